"""Options of the commands that ask a running service."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from accel.cli.options import with_options_of

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
    return with_options_of(_parameters, command, "service")
