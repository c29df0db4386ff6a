"""Errors of images, stores and operations.

::

    AccelError                      (accel_core.errors) root
    ├── FormatError, LimitError, UnsupportedError    (accel_core.errors)
    ├── DigestMismatch (ValueError) bytes are not what their digest or size says
    ├── ReferenceSyntaxError (ValueError) text that names no image
    ├── NotFoundError (LookupError) no such image, tag, manifest, blob or path
    ├── RegistryError               a registry's refusal or failure; ``temporary`` says if trying again may help
    │   └── AuthError               no (valid) credentials, or no permission
    ├── Refused                     what was asked for is in use, or not possible as things are
    ├── ConfigError (ValueError)    options or configuration that cannot work
    ├── VerifyError                 an image does not hold what its index claims
    └── Cancelled                   the caller asked to stop
"""

from accel_core.errors import AccelError, FormatError, LimitError, TruncatedError, UnsupportedError

__all__ = [
    "AccelError",
    "AuthError",
    "Cancelled",
    "ConfigError",
    "DigestMismatch",
    "FormatError",
    "LimitError",
    "NotFoundError",
    "ReferenceSyntaxError",
    "Refused",
    "RegistryError",
    "TruncatedError",
    "UnsupportedError",
    "VerifyError",
]


class DigestMismatch(AccelError, ValueError):
    """Bytes are not what their digest (or size) says."""

    def __init__(self, wanted: str, got: str, *, n_bytes: int, blob: str | None = None) -> None:
        where = f" in {blob}" if blob else ""
        super().__init__(f"digest mismatch{where}: wanted {wanted}, got {got} after {n_bytes} bytes")
        self.wanted = wanted
        self.got = got
        self.n_bytes = n_bytes
        self.blob = blob


class ReferenceSyntaxError(AccelError, ValueError):
    """Text that names no image."""


class NotFoundError(AccelError, LookupError):
    """No such image, tag, manifest, blob or path."""


class RegistryError(AccelError):
    """A registry refused or failed. ``status`` is the HTTP status (None: no answer), ``code`` the spec's error code."""

    def __init__(
        self, what: str, *, status: int | None = None, code: str | None = None, temporary: bool = False
    ) -> None:
        super().__init__(what)
        self.what = what
        self.status = status
        self.code = code
        self.temporary = temporary


class AuthError(RegistryError):
    """No (valid) credentials, or no permission."""


class Refused(AccelError):
    """What was asked for is in use, or not possible as things are."""


class ConfigError(AccelError, ValueError):
    """Options or configuration that cannot work."""


class VerifyError(AccelError):
    """An image does not hold what its index claims."""


class Cancelled(AccelError):
    """The caller asked to stop."""
