"""``accel serve`` and ``accel worker``."""

from typing import Annotated

import typer

from accel.errors import ConfigError

_ConfigOption = Annotated[
    str, typer.Option("--config", "-c", metavar="FILE", help="The service's configuration, in YAML.")
]


def serve(
    config: _ConfigOption,
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration, say what is wrong, and end.")
    ] = False,
) -> None:
    """Run the conversion service: push an image, get the accelerated one.

    Takes the events of registries, converts what the rules cover, sets the results' tags, and tells whoever wants to
    know. One process with an embedded store needs nothing else; with a PostgreSQL URL in the configuration any number
    of servers and workers share the work. docs/service.md is its manual, and its page is where it listens.

    \b
      accel serve --config accel.yaml --check
      accel serve --config accel.yaml
    """
    needs_extra()
    from accel.config.service import service_registries, service_settings

    settings = service_settings(config)
    registries = service_registries(settings)
    if check:
        print(f"{config}: fine: {len(settings.registries)} registries, {len(settings.rules)} rules")
        return
    from accel.service.app import serve

    serve(settings, registries)


def worker(config: _ConfigOption) -> None:
    """Work for a conversion service that runs elsewhere, with the same configuration and PostgreSQL store.

    Any number of workers on any number of machines take layers and images as they come; what one that dies has begun,
    another one finishes within seconds.

    \b
      accel worker --config accel.yaml
    """
    needs_extra()
    from accel.config.service import service_registries, service_settings
    from accel.service.app import work

    settings = service_settings(config)
    work(settings, service_registries(settings))


def needs_extra() -> None:
    """Raises ConfigError if what only the service needs is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("yaml", "pydantic", "sqlalchemy", "dbos", "fastapi", "uvicorn") if not find_spec(name)]
    if missing:
        raise ConfigError(f"the service needs {', '.join(missing)}: pip install 'accel[service]'")
