"""Options that several commands share, and the words their values are written in."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from accel.errors import ConfigError
from accel.units import size_of

if TYPE_CHECKING:
    from accel.oci import Platform
    from accel.registry.options import RegistryOptions

Registries = Callable[[], "RegistryOptions"]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
PlatformOption = Annotated[
    Optional[str],  # noqa: UP045  older Typer versions do not know X | None
    typer.Option(
        "--platform", metavar="OS/ARCH[/VARIANT]", help="Which image of an index (default: this machine's)."
    ),
]
_HOSTS = "Registries"


def _registry_parameters(
    plain_http: Annotated[
        list[str],
        typer.Option(
            metavar="HOST", help="Speak plain HTTP to this host (repeatable).", rich_help_panel=_HOSTS
        ),
    ] = [],  # noqa: B006  Typer reads the default, nobody changes it
    insecure_tls: Annotated[
        list[str],
        typer.Option(metavar="HOST", help="Do not check this host's certificate.", rich_help_panel=_HOSTS),
    ] = [],  # noqa: B006
    ca_cert: Annotated[
        list[str],
        typer.Option(
            metavar="HOST=FILE", help="Trust these CA certificates for this host.", rich_help_panel=_HOSTS
        ),
    ] = [],  # noqa: B006
    client_cert: Annotated[
        list[str],
        typer.Option(
            metavar="HOST=FILE", help="Show this client certificate to this host.", rich_help_panel=_HOSTS
        ),
    ] = [],  # noqa: B006
    client_key: Annotated[
        list[str],
        typer.Option(metavar="HOST=FILE", help="The key of that certificate.", rich_help_panel=_HOSTS),
    ] = [],  # noqa: B006
    authfile: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Credentials, as docker's config.json (default: where docker and podman log in).",
            rich_help_panel=_HOSTS,
        ),
    ] = None,
) -> "RegistryOptions":
    from accel.config import RegistryChoices, registry_options

    return registry_options(
        RegistryChoices(
            plain_http=plain_http,
            insecure_tls=insecure_tls,
            ca_certs=[_pair(text) for text in ca_cert],
            client_certs=[_pair(text) for text in client_cert],
            client_keys=[_pair(text) for text in client_key],
            authfile=authfile,
        )
    )


def with_registries(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, with the options about registries instead of its parameter ``registries``.

    That gets a function which reads them: for work on local files, loading what they need would take longer.
    """
    return with_options_of(_registry_parameters, command, "registries")


def with_options_of(
    parameters: Callable[..., Any], command: Callable[..., None], name: str
) -> Callable[..., None]:
    """``command``, with the options of ``parameters`` instead of its parameter ``name``.

    That gets a function which gives what ``parameters`` makes of what was chosen.
    """
    own = [p for p in inspect.signature(command).parameters.values() if p.name != name]
    shared = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in inspect.signature(parameters).parameters.values()
    ]
    names = {p.name for p in shared}

    def run(**values: Any) -> None:
        chosen = {option: values.pop(option) for option in names}
        command(**values, **{name: lambda: parameters(**chosen)})

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    )
    run.__annotations__ = {p.name: p.annotation for p in own + shared}
    return run


def parse_size(text: str) -> int:
    """Bytes from ``4194304``, ``4M``, ``4MiB``: K, M, G and T are powers of 1024."""
    n_bytes = size_of(text)
    if n_bytes is None:
        raise ConfigError(f"{text!r} is not a size (examples: 65536, 512K, 4MiB)")
    return n_bytes


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers from ``1,2,8``: ascending, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(map(str.isdecimal, parts)):
        raise ConfigError(f"{text!r} is not a list of numbers (example: 1,2,8)")
    return tuple(sorted({int(part) for part in parts}))


def parse_platform(text: str | None) -> "Platform | None":
    """A platform, None for none."""
    from accel.errors import FormatError
    from accel.oci import Platform

    try:
        return None if text is None else Platform.parse(text)
    except FormatError as error:  # on a command line that is wrong usage, not bad data
        raise ConfigError(str(error)) from error


def _pair(text: str) -> tuple[str, str]:
    host, equals, path = text.partition("=")
    if not (host and equals and path):
        raise ConfigError(f"{text!r} is not HOST=FILE")
    return host, path
