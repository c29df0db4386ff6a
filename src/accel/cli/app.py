"""The Typer application: its commands, and the border where a command line becomes an exit code."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from accel.cli.exits import EPILOG, INTERNAL, INTERRUPTED, USAGE, guarded

HELP = """
Make container images start before they are downloaded.

[bold]convert[/bold] adds an index to an image: runtimes with the SOCI snapshotter then fetch files as they are read.
The layers stay as they are; the result is a second tag beside the first.

    accel convert docker://registry.example.com/app:1.0        [dim]# writes …/app:1.0_accelerated[/dim]
    accel cat docker://registry.example.com/app:1.0_accelerated /etc/os-release

An IMAGE is [dim]\\[docker://]host/repo:tag, oci:DIR\\[:TAG], oci-archive:FILE\\[:TAG]
or docker-archive:FILE\\[:TAG][/dim].
"""

_SERVICE = "The conversion service"

# Commands, and groups of commands, and the module that has each; in the order of the help.
_ON_IMAGES = {name: name for name in ("convert", "index", "ls", "cat", "extract", "inspect", "verify", "bench")}
_OF_THE_SERVICE = {
    "serve": "serve",
    "worker": "serve",
    "backfill": "protect",
    "rules": "rules",
    "jobs": "jobs",
    "protect": "protect",
    "deliveries": "protect",
}
_MODULES = _ON_IMAGES | _OF_THE_SERVICE


def application(only: str = "") -> typer.Typer:
    """The command line, or as much of it as the command ``only`` needs: to load the others takes longer than to start.

    Whatever is no command gets all of them.
    """
    app = typer.Typer(
        name="accel",
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in (only,) if only in _MODULES else _MODULES:
        command = getattr(import_module(f"accel.cli.{_MODULES[name]}"), name)
        panel = _SERVICE if name in _OF_THE_SERVICE else None
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(epilog=EPILOG, rich_help_panel=panel)(guarded(command))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print("accel", version("accel"))
        except PackageNotFoundError:  # run from a source tree
            print("accel (not installed)")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command."""


def run(args: Sequence[str]) -> int:
    """Run one command line and give its exit code."""
    try:
        result = application(args[0] if args else "")(args=list(args), prog_name="accel", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except typer.Exit as stop:
        return int(stop.exit_code)
    except Exception as error:  # noqa: BLE001  what is left is the command line parser's: click's or Typer's own tree
        return _usage_error(error)
    return result if isinstance(result, int) else 0


def _usage_error(error: Exception) -> int:
    message: Callable[[], str] | None = getattr(error, "format_message", None)
    if message is None:
        print(f"accel: error: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        return INTERNAL
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    print(f"accel: error: {' '.join(message().split())}{hint}", file=sys.stderr)
    return USAGE
