"""``accel rules …``."""

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from accel.cli.exits import EPILOG, guarded
from accel.cli.options import JsonOption
from accel.cli.service_options import Service, with_service
from accel.errors import ConfigError

rules = typer.Typer(
    name="rules",
    help="Rules of a conversion service: which images are converted, and how.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_SpecArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="The rule as JSON or YAML, as in the configuration; - for stdin.")
]
_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The rule.")]


def list_rules(service: Service, as_json: JsonOption = False) -> None:
    """List the rules in their order."""
    from accel.cli.render import print_json
    from accel.cli.render_service import show_table

    found = service().get("/rules")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["rule"]["name"],
            "on" if one["rule"]["enabled"] else "off",
            one["origin"],
            one["rule"]["mode"],
            _words(one["rule"]),
        )
        for one in found
    ]
    show_table(("rule", "", "from", "mode", "about"), rows)


def add(
    service: Service,
    spec: _SpecArgument,
    position: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, metavar="N", help="Its place in the order, from 0 (default: the last)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a rule.

    \b
      echo '{"name": "team", "repository": "team/**", "mode": "full"}' | accel rules add -
    """
    _show(service().post("/rules", {"rule": _read(spec), "position": position}), as_json)


def edit(service: Service, name: _NameArgument, spec: _SpecArgument, as_json: JsonOption = False) -> None:
    """Replace a rule that was added at run time."""
    from accel.client import path_of

    _show(service().put(path_of("rules", name), _read(spec)), as_json)


def remove(service: Service, name: _NameArgument) -> None:
    """Forget a rule that was added at run time."""
    from accel.client import path_of

    service().delete(path_of("rules", name))


def enable(service: Service, name: _NameArgument, as_json: JsonOption = False) -> None:
    """Switch a rule on."""
    _switch(service, name, True, as_json)


def disable(service: Service, name: _NameArgument, as_json: JsonOption = False) -> None:
    """Switch a rule off."""
    _switch(service, name, False, as_json)


def explain(
    service: Service,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image, as HOST/REPOSITORY:TAG.")],
    pusher: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Who is to have pushed it."),
    ] = None,
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--config", "-c", metavar="FILE", help="Ask this configuration instead of a running service."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which rule covers an image, why the others do not, and what would happen.

    \b
      accel rules explain registry.example.com/team/app:1.0
      accel rules explain registry.example.com/team/app:1.0 --config accel.yaml
    """
    from accel.cli.render import print_json, printable
    from accel.cli.render_service import show_table

    if config is not None:
        found = _explained(config, image, pusher)
    else:
        found = service().post("/rules/explain", {"image": image, "pusher": pusher})
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["rule"],
            "yes" if one["matches"] else "no",
            one["reason"] or one.get("problem") or f"{one['recipe']['mode']} as {', '.join(one['tags'])}",
        )
        for one in found["rules"]
    ]
    show_table(("rule", "covers it", ""), rows)
    for warning in found["warnings"]:
        print(printable(warning))


def _explained(config: str, image: str, pusher: str | None) -> Any:
    """What the rules of a configuration file alone say; its store is not touched."""
    from tempfile import TemporaryDirectory
    from time import time

    from accel.cli.serve import needs_extra

    needs_extra()
    from accel.config.service import service_settings
    from accel.service.database import open_database
    from accel.service.rules import RuleBook
    from accel.service.settings import StoreSettings

    settings = service_settings(config)
    with TemporaryDirectory() as folder:
        database = open_database(StoreSettings(path=folder))
        try:
            return RuleBook(database, settings, time).explain(image, pusher)
        finally:
            database.close()


def _switch(service: Service, name: str, enabled: bool, as_json: bool) -> None:
    from accel.client import path_of
    from accel.errors import NotFoundError

    client = service()
    stored = next((one for one in client.get("/rules") if one["rule"]["name"] == name), None)
    if stored is None:
        raise NotFoundError(f"no rule {name!r}")
    _show(client.put(path_of("rules", name), stored["rule"] | {"enabled": enabled}), as_json)


def _read(path: str) -> Any:
    import sys

    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml

        return yaml.safe_load(text)
    except ImportError:
        raise ConfigError(f"{path} is no JSON; for YAML: pip install 'accel[service]'") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None


def _show(stored: Any, as_json: bool) -> None:
    from accel.cli.render import print_json

    if as_json:
        print_json(stored)
    else:
        print(f"{stored['rule']['name']}: {'on' if stored['rule']['enabled'] else 'off'}, {_words(stored['rule'])}")


def _words(rule: dict[str, Any]) -> str:
    words = []
    for name in ("registry", "namespace", "repository", "tag", "pusher"):
        pattern = rule[name]
        if pattern["include"]:
            words.append(f"{name} {', '.join(pattern['include'])}")
        if pattern["exclude"]:
            words.append(f"not {name} {', '.join(pattern['exclude'])}")
    return "; ".join(words) or "everything"


for _name, _command in (
    ("list", list_rules),
    ("add", add),
    ("edit", edit),
    ("remove", remove),
    ("enable", enable),
    ("disable", disable),
    ("explain", explain),
):
    rules.command(_name, epilog=EPILOG)(guarded(with_service(_command)))
