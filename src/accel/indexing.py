"""One layer in, one index file out.

:data:`FORMATS` lists what can be written, one row a format. Rows import their encoder when they are used: for a small
layer, imports are most of the time that ``accel index`` takes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from typing_extensions import Buffer

from accel.errors import ConfigError, FormatError, UnsupportedError
from accel.progress import NoProgress, Progress
from accel_core import DEFAULT_SPAN_BYTES, LayerIndex, index
from accel_core.gzip_index import GzipIndex

Source = str | Iterable[bytes]  # the path of a regular file, or a layer's bytes in pieces of any size
ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """``max_layer_bytes`` bounds what a layer may inflate to. ``identical``: the bytes SOCI's own tool writes (soci).

    ``threads`` work on a file together; what they find does not depend on their number.
    """

    span_bytes: int = DEFAULT_SPAN_BYTES
    max_layer_bytes: int = 64 << 30
    identical: bool = False
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer blob to be read once. ``name`` is for errors; ``on_bytes`` hears how many bytes were read."""

    source: Source
    name: str
    on_bytes: Callable[[int], object]

    def scan(
        self, options: IndexOptions, *, digests: bool = False, sparse_windows: bool = False
    ) -> LayerIndex:
        """All that inflating it tells."""
        return index(
            self.source,
            span_bytes=options.span_bytes,
            placement="soci" if options.identical else "adaptive",
            digest=digests,
            span_digests=digests,
            sparse_windows=sparse_windows,
            max_uncomp_bytes=options.max_layer_bytes,
            threads=options.threads if isinstance(self.source, str) else 1,
            blob=self.name,
            on_bytes=self.on_bytes,
        )

    def comp_size(self) -> int:
        """Size of the blob; 0 if only its end will tell."""
        return os.path.getsize(self.source) if isinstance(self.source, str) else 0

    def scan_gzip(self, options: IndexOptions) -> LayerIndex:
        """For formats that hold checkpoints, and no digests. Sparse windows compress to a fifth."""
        found = self.scan(options, sparse_windows=True)
        if found.compression != "gzip":
            raise UnsupportedError(f"{self.name} is not compressed: it can be read anywhere without an index")
        return found

    @contextmanager
    def reader(self) -> Iterator[ReadAt]:
        """``read_at(offset, n_bytes)`` for offsets that rise; at the end it gives fewer bytes."""
        if isinstance(self.source, str):
            with open(self.source, "rb", buffering=0) as file:
                yield lambda offset, n_bytes: os.pread(file.fileno(), n_bytes, offset)
        else:
            yield _InOrder(self.source, self.on_bytes).read_at


class _InOrder:
    """Pieces that come in order, read by offset. What lies before the last offset is forgotten."""

    def __init__(self, pieces: Iterable[bytes], on_bytes: Callable[[int], object]) -> None:
        self._pieces = iter(pieces)
        self._on_bytes = on_bytes
        self._start = 0
        self._held = b""

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        while offset + n_bytes > self._start + len(self._held):
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._on_bytes(len(piece))
            kept = self._held[max(0, offset - self._start) :]
            self._start += len(self._held) - len(kept)
            self._held = kept + piece
        return self._held[offset - self._start : offset - self._start + n_bytes]


Found = LayerIndex | GzipIndex
Pieces = Iterable[Buffer]


@dataclass(frozen=True, slots=True)
class IndexFormat:
    """``make`` reads a layer, and gives what it found and the bytes of the index file."""

    name: str
    about: str  # one line, for who has to choose
    make: Callable[[Layer, IndexOptions], tuple[Found, Pieces]]


def _soci(layer: Layer, options: IndexOptions) -> tuple[Found, Pieces]:
    from accel.formats.soci import SociOptions, build_ztoc, gzip_span_bytes

    soci = SociOptions(identical=options.identical, span_bytes=options.span_bytes)
    span_bytes = gzip_span_bytes(layer.comp_size(), soci)
    found = layer.scan(replace(options, span_bytes=span_bytes), digests=True)
    return found, [build_ztoc(found, soci)[0]]


def _gzidx(layer: Layer, options: IndexOptions) -> tuple[Found, Pieces]:
    from accel.formats.gzidx import encode

    found = layer.scan_gzip(options)
    return found, encode(found)


def _gztool(layer: Layer, options: IndexOptions) -> tuple[Found, Pieces]:
    from accel.formats.gztool import encode

    found = layer.scan_gzip(options)
    return found, encode(found)


def _accel(layer: Layer, options: IndexOptions) -> tuple[Found, Pieces]:
    from accel.formats.compact import encode

    found = layer.scan(options, digests=True, sparse_windows=True)
    return found, [encode(found)]


def _bgzip(layer: Layer, options: IndexOptions) -> tuple[Found, Pieces]:
    from accel.formats.bgzip import block_starts, encode

    with layer.reader() as read_at:
        found = block_starts(read_at)
    return found, [encode(found)]


FORMATS = {
    row.name: row
    for row in (
        IndexFormat("soci", "zTOC, for the SOCI snapshotter: checkpoints, table of contents, digests", _soci),
        IndexFormat("accel", "compact: checkpoints, table of contents, digests in 0.2 % of the layer", _accel),
        IndexFormat("gzidx", "GZIDX, for indexed_gzip and rapidgzip: checkpoints", _gzidx),
        IndexFormat("gztool", ".gzi, for gztool and rapidgzip: checkpoints, compressed", _gztool),
        IndexFormat("bgzip", ".gzi, as bgzip -r writes it: the blocks of a BGZF layer, not inflated", _bgzip),
    )
}


def index_layer(
    source: Source,
    format: str = "soci",
    options: IndexOptions | None = None,
    *,
    name: str = "layer",
    progress: Progress | None = None,
) -> tuple[Found, Pieces]:
    """What a layer holds, and the bytes of its index in ``format``, a name in FORMATS. ``name`` is the layer's.

    Raises ``UnsupportedError`` for what cannot be indexed so, ``FormatError``, ``LimitError``; ``ConfigError`` for
    options that do not fit the format; OSError.
    """
    options = options or IndexOptions()
    if format not in FORMATS:
        raise ConfigError(f"no index format {format!r} (there are {', '.join(FORMATS)})")
    if options.identical and format != "soci":
        raise ConfigError(f"the soci tool does not write {format}")
    shown = progress or NoProgress()
    shown.begin(name, os.path.getsize(source) if isinstance(source, str) else None)
    outcome = "failed"
    try:
        made = FORMATS[format].make(Layer(source, name, lambda n_bytes: shown.advance(name, n_bytes)), options)
        outcome = "indexed"
        return made
    except FormatError as error:
        error.blob = error.blob or name
        raise
    finally:
        shown.end(name, outcome)
