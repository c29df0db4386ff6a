"""The layers of an image as entries and bytes, whether there is an index for them or not.

::

    indexed       zTOC           entries and checkpoints from it; ranges of the blob as needed
    lazy          its own TOC    eStargz, zstd:chunked: entries and chunks from it; chunks as needed
    gzip, tar     no index       one pass over the whole blob makes one in memory, then as above
    zstd, xz, …   no index       decoded from the start for every read
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from accel.blobs import Blob, verified
from accel.errors import FormatError, TruncatedError
from accel.formats.stargz import LANDMARKS
from accel.images.compression import Compression, decompressed, peek, sniff
from accel.images.spans import LayerReader
from accel.images.toc_layer import ChunkReader, FoundToc
from accel.oci import Descriptor
from accel_core.entry import Entry
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import LayerScanner
from accel_core.tar_scan import TarScanner
from accel_core.ztoc_survey import clean_name

OnFetch = Callable[[int], None]
MAX_UNINDEXED_BYTES = 64 << 30  # uncompressed


class LayerContent(Protocol):
    """One opened layer."""

    @property
    def entries(self) -> Iterable[Entry]:
        """Its tar entries in order."""

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The bytes ``[start, end)`` of its tar."""


class IndexedLayer:
    """A layer read through its index."""

    def __init__(self, blob: Blob, index: LayerIndex, digest: str, on_fetch: OnFetch) -> None:
        self._reader = LayerReader(blob, index, digest, on_fetch=on_fetch)
        self.entries: Iterable[Entry] = index.entries

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        return self._reader.read(start, end)


class LazyLayer:
    """A layer that brings its own table of contents. Landmarks, which mounts do not show, are not listed.

    Where its tar would be, the table has the contents of its files one after the other.
    """

    def __init__(self, blob: Blob, found: FoundToc, digest: str, on_fetch: OnFetch) -> None:
        self._reader = ChunkReader(blob, found, digest, on_fetch)
        self.entries: Iterable[Entry] = [
            entry for entry in found.toc.entries if clean_name(entry.name) not in LANDMARKS
        ]

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        return self._reader.read(start, end)


class StreamedLayer:
    """A layer that can only be decoded from its start."""

    def __init__(self, blob: Blob, layer: Descriptor, compression: Compression, on_fetch: OnFetch) -> None:
        self._blob = blob
        self._layer = layer
        self._compression = compression
        self._on_fetch = on_fetch
        scanner = TarScanner()
        for piece in self._decode():
            scanner.feed(piece)
        self.entries: Iterable[Entry] = scanner.close()

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        position = 0
        for piece in self._decode():
            first, last = max(start - position, 0), min(end - position, len(piece))
            if first < last:
                yield memoryview(piece)[first:last]
            position += len(piece)
            if position >= end:
                return
        raise TruncatedError("the layer ends early", uncomp_offset=position, blob=self._layer.digest)

    def _decode(self) -> Iterator[bytes]:
        chunks = _fetched(verified(self._blob.stream(), self._layer), self._on_fetch)
        try:
            yield from decompressed(chunks, self._compression, max_bytes=MAX_UNINDEXED_BYTES)
        except FormatError as error:
            error.blob = error.blob or self._layer.digest
            raise


def open_unindexed(blob: Blob, layer: Descriptor, on_fetch: OnFetch) -> LayerContent:
    """``layer`` without an index: read through once, now. Raises ``UnsupportedError`` for an unknown compression."""
    head, chunks = peek(_fetched(verified(blob.stream(), layer), on_fetch))
    compression = sniff(head)
    if compression not in ("gzip", "tar"):
        return StreamedLayer(blob, layer, compression, on_fetch)
    scanner = LayerScanner(compression=compression, max_uncomp_bytes=MAX_UNINDEXED_BYTES)
    try:
        for chunk in chunks:
            scanner.feed(chunk)
        index = scanner.finish()
    except FormatError as error:
        error.blob = error.blob or layer.digest
        raise
    return IndexedLayer(blob, index, layer.digest, on_fetch)


def _fetched(chunks: Iterator[bytes], on_fetch: OnFetch) -> Iterator[bytes]:
    for chunk in chunks:
        on_fetch(len(chunk))
        yield chunk
