"""Exit codes, and how each error becomes one line and one code. The table is documented in docs/cli.md."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

import typer

from accel.errors import (
    AccelError,
    AuthError,
    Cancelled,
    ConfigError,
    DigestMismatch,
    FormatError,
    LimitError,
    NotFoundError,
    ReferenceSyntaxError,
    Refused,
    RegistryError,
    UnsupportedError,
    VerifyError,
)

OK = 0
MISMATCH = 1
USAGE = 2
NOT_FOUND = 3
AUTH = 4
BAD_DATA = 5
REGISTRY = 6
NOTHING_TO_INDEX = 7
LOCAL_IO = 8
REFUSED = 9
INTERNAL = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE

# first match wins: subclasses before their bases
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (KeyboardInterrupt, INTERRUPTED),
    (Cancelled, INTERRUPTED),
    (AuthError, AUTH),
    (RegistryError, REGISTRY),
    (NotFoundError, NOT_FOUND),
    (Refused, REFUSED),
    (ConfigError, USAGE),
    (ReferenceSyntaxError, USAGE),
    (VerifyError, MISMATCH),
    (DigestMismatch, BAD_DATA),
    (FormatError, BAD_DATA),
    (LimitError, BAD_DATA),
    (UnsupportedError, BAD_DATA),
    (FileNotFoundError, NOT_FOUND),
    (OSError, LOCAL_IO),
)

EPILOG = (
    "Exit codes: 0 done, 1 verify found mismatches, 2 wrong usage, 3 not found, 4 credentials or permission, "
    "5 bad data, 6 registry or network, 7 nothing to index, 8 local disk or file, 9 refused by the service, "
    "130 interrupted."
)

_Params = ParamSpec("_Params")


def exit_code(error: BaseException) -> int:
    """The exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)


def guarded(command: Callable[_Params, None]) -> Callable[_Params, None]:
    """``command`` with every error rendered and turned into an exit code."""

    @wraps(command)
    def run(*args: _Params.args, **kwargs: _Params.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # whoever read our output has had enough; nothing more can be said there
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the border: whatever it is becomes a code
            fail(error, as_json=bool(kwargs.get("as_json")))

    return run


def fail(error: BaseException, *, as_json: bool) -> NoReturn:
    """Say what happened on stderr (with ``as_json`` also as an object on stdout) and leave with its code."""
    code = exit_code(error)
    message = describe(error)
    if os.environ.get("ACCEL_DEBUG"):
        traceback.print_exception(error)
    if as_json:
        body = {
            "error": {"kind": type(error).__name__, "message": message, "exit_code": code} | _facts(error)
        }
        print(json.dumps(body), flush=True)
    print(f"accel: error: {message}", file=sys.stderr, flush=True)
    raise typer.Exit(code) from error


def describe(error: BaseException) -> str:
    """One line for people."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing was published"
    if isinstance(error, AccelError):
        text = str(error)
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        text = where + (error.strerror or str(error) or type(error).__name__)
        if error.errno == errno.ENOSPC:
            text += " (disk full)"
    elif isinstance(error, MemoryError):
        text = "out of memory"
    else:
        text = f"internal error: {type(error).__name__}: {error} (set ACCEL_DEBUG=1 for the traceback)"
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _facts(error: BaseException) -> dict[str, object]:
    names = (
        "blob",
        "comp_offset",
        "uncomp_offset",
        "wanted",
        "got",
        "n_bytes",
        "limit",
        "status",
        "code",
        "temporary",
    )
    return {name: value for name in names if (value := getattr(error, name, None)) is not None}
