"""Options of the commands that ask a running service."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from accel.client import Client

Service = Callable[[], "Client"]
_PANEL = "Service"


def _parameters(
    server: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="URL", help="The service (default: ACCEL_SERVER, or this machine's).", rich_help_panel=_PANEL
        ),
    ] = None,
    token_file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="A file with a token of its API (default: ACCEL_TOKEN, ACCEL_TOKEN_FILE).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
) -> "Client":
    from accel.client import Client
    from accel.config.clients import server_and_token

    return Client(*server_and_token(server, token_file))


def with_service(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, with the options about the service instead of its parameter ``service``, which makes a client."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "service"]
    shared = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(_parameters).parameters.values()
    ]
    names = {p.name for p in shared}

    def run(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in names}
        command(**values, service=lambda: _parameters(**chosen))

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    )
    run.__annotations__ = {p.name: p.annotation for p in own + shared}
    return run
