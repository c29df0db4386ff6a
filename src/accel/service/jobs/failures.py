"""What went wrong, as a record that can be stored: which error, in what words, and whether trying again may help."""

import errno
import sqlite3

import sqlalchemy.exc

from accel.convert.parts import MissingResult
from accel.errors import (
    AccelError,
    AuthError,
    Cancelled,
    ConfigError,
    DigestMismatch,
    FormatError,
    LimitError,
    NotFoundError,
    RegistryError,
    UnsupportedError,
)

Failure = dict[str, object]  # "type", "message", "retriable"

# The image or the configuration must change before another try can end otherwise.
_FINAL = (ConfigError, FormatError, LimitError, NotFoundError, UnsupportedError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def describe(error: BaseException) -> Failure:
    """The record of an error."""
    return {"type": type(error).__name__, "message": str(error)[:2000], "retriable": _may_pass(error)}


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, MissingResult):
        return True  # what was lost is made again
    if isinstance(error, AuthError):
        return error.temporary
    if isinstance(error, RegistryError):
        # A registry's refusal is final; no answer, or one that says "not now", is not.
        return error.temporary or error.status is None
    if isinstance(error, DigestMismatch):
        return True  # a broken transfer looks like this; a broken blob will look so again
    if isinstance(error, (Cancelled, *_FINAL)):
        return False
    if isinstance(error, OSError):
        return not isinstance(error, (FileNotFoundError, PermissionError)) or error.errno in _FULL
    if isinstance(error, (sqlite3.OperationalError, sqlalchemy.exc.DBAPIError, MemoryError)):
        return True
    return not isinstance(error, AccelError)  # a bug of ours may depend on the moment
