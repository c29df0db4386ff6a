"""``accel_core.index``: a layer from wherever it is, to its index."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

from typing_extensions import Buffer

from accel_core.errors import FormatError
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import DEFAULT_SPAN_BYTES, LayerScanner

PIECE_BYTES = 1 << 20


class Readable(Protocol):
    """A binary file, pipe or response."""

    def read(self, n_bytes: int, /) -> bytes:
        """Up to ``n_bytes``; empty at the end."""


Source = str | os.PathLike[str] | Readable | Iterable[Buffer]


def index(
    source: Source,
    *,
    compression: Literal["auto", "gzip", "tar"] = "auto",
    span_bytes: int = DEFAULT_SPAN_BYTES,
    placement: Literal["adaptive", "soci"] = "adaptive",
    digest: bool = True,
    span_digests: bool = True,
    diff_id: bool = False,
    max_uncomp_bytes: int | None = None,
    blob: str | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> LayerIndex:
    """Index a layer blob in one pass: a path, a binary file object, or pieces of any size.

    ``on_bytes`` is called with the number of compressed bytes done since the last call; what it raises stops the work.
    ``blob`` names the layer in errors (default: the path). The other options are those of ``LayerScanner``, and so are
    the errors; OSError if the path cannot be read.
    """
    scanner = LayerScanner(
        compression=compression,
        span_bytes=span_bytes,
        placement=placement,
        digest=digest,
        span_digests=span_digests,
        diff_id=diff_id,
        max_uncomp_bytes=max_uncomp_bytes,
    )
    if blob is None and isinstance(source, str | os.PathLike):
        blob = os.fspath(source)
    try:
        for piece in _pieces(source):
            scanner.feed(piece)
            if on_bytes is not None:
                on_bytes(memoryview(piece).nbytes)
        return scanner.finish()
    except FormatError as error:
        error.blob = error.blob or blob
        raise


def _pieces(source: Source) -> Iterator[Buffer]:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb", buffering=0) as file:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")
    elif hasattr(source, "read"):
        yield from iter(lambda: source.read(PIECE_BYTES), b"")
    else:
        yield from source
