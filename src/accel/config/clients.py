"""Where a service is, and who we are there.

ACCEL_SERVER                  URL of the service (default: one on this machine)
ACCEL_TOKEN ACCEL_TOKEN_FILE  a token of its API, or a file that holds it
"""

import os
from collections.abc import Mapping
from pathlib import Path

from accel.errors import ConfigError

DEFAULT_SERVER = "http://127.0.0.1:8086"
_MAX_TOKEN_BYTES = 4096


def server_and_token(
    server: str | None, token_file: str | None, environ: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """URL and token ("" for none): what was named, else what the environment says. Raises ConfigError."""
    env = os.environ if environ is None else environ
    path = token_file or env.get("ACCEL_TOKEN_FILE")
    token = env.get("ACCEL_TOKEN", "") if token_file is None else ""
    if path and not token:
        try:
            token = Path(path).read_bytes()[:_MAX_TOKEN_BYTES].decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the token in {path}: {type(error).__name__}") from None
    return server or env.get("ACCEL_SERVER") or DEFAULT_SERVER, token
