"""Errors the kernels raise.

::

    AccelError
    ├── FormatError (ValueError)    the bytes break their format; carries what, blob and offset
    │   └── TruncatedError          the bytes end before the format says they may
    ├── LimitError                  a caller's limit (size, entries, memory) was reached
    └── UnsupportedError            valid, but nothing we can index (for example zstd)

``accel.errors`` adds what only images and registries can get wrong.
"""


class AccelError(Exception):
    """Root of every error this project raises on purpose."""


class FormatError(AccelError, ValueError):
    """The bytes break their format.

    ``comp_offset`` / ``uncomp_offset`` say where, in the compressed blob or in its inflated bytes (None: not known);
    ``blob`` names the blob once a caller that knows it has filled it in.
    """

    def __init__(
        self, what: str, *, comp_offset: int | None = None, uncomp_offset: int | None = None, blob: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.comp_offset = comp_offset
        self.uncomp_offset = uncomp_offset
        self.blob = blob

    def __str__(self) -> str:
        where = [f"blob {self.blob}"] if self.blob else []
        if self.comp_offset is not None:
            where.append(f"compressed offset {self.comp_offset}")
        if self.uncomp_offset is not None:
            where.append(f"uncompressed offset {self.uncomp_offset}")
        return f"{self.what} ({', '.join(where)})" if where else self.what


class TruncatedError(FormatError):
    """The bytes end before the format says they may."""


class LimitError(AccelError):
    """A limit set by the caller was reached before the end of the data; ``blob`` as in FormatError."""

    def __init__(self, what: str, *, limit: int, blob: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.limit = limit
        self.blob = blob

    def __str__(self) -> str:
        return f"{self.what} ({f'blob {self.blob}, ' if self.blob else ''}limit {self.limit})"


class UnsupportedError(AccelError):
    """Valid data of a kind that this operation does not handle; the message says which and why."""
