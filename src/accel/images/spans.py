"""Random access to the uncompressed bytes of one layer through its index, from verified spans only."""

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator

from accel.blobs import Blob
from accel.errors import DigestMismatch, FormatError, LimitError
from accel_core.byte_source import CallSource
from accel_core.indexed_reader import IndexedReader
from accel_core.layer_index import LayerIndex

MAX_SPAN_BYTES = 256 << 20  # of either side. Writers make 1-8 MiB ones; a stored span is held in memory whole.
PIECE_BYTES = 1 << 20  # read at a time
_KEPT_SPANS = 2  # a file that straddles two spans, and its neighbour, fetch neither twice
_CACHE_BYTES = 8 << 20  # of decoders, and of places to go on from


class LayerReader:
    """Reads ranges of a layer. Every span is checked against its digest before a byte of it is inflated, and inflated
    only as far as it is read.

    ``name`` is the layer's digest, for errors. ``on_fetch`` is told the bytes of each range read from ``blob``.
    Not for use by several threads at once.
    """

    def __init__(
        self,
        blob: Blob,
        index: LayerIndex,
        name: str,
        *,
        on_fetch: Callable[[int], None] = lambda n_bytes: None,
    ) -> None:
        _check(index, blob.size, name)
        self.index = index
        self.name = name
        self._blob = blob
        self._on_fetch = on_fetch
        self._spans: OrderedDict[int, bytes] = OrderedDict()  # as stored
        self._number = 0  # of the span being read
        self._inflated: IndexedReader | None = None
        if index.compression == "gzip":
            source = CallSource(self._stored, blob.size)
            self._inflated = IndexedReader(
                source, index.checkpoints, index.archive_size, cache_bytes=_CACHE_BYTES, blob=name
            )

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The uncompressed bytes ``[start, end)``, a MiB or less at a time.

        Raises ``FormatError`` when the index or the layer does not hold them, ``DigestMismatch`` for a span that is
        not what its digest says.
        """
        if not 0 <= start <= end <= self.index.archive_size:
            raise FormatError(
                f"range [{start}, {end}) is outside the archive", blob=self.name, uncomp_offset=start
            )
        while start < end:
            self._number = number = self._span_of(start)
            first, last = self.index.span_uncomp(number)
            _limit(last - first)
            upto = min(end, last, start + PIECE_BYTES)
            if self._inflated is None:
                yield memoryview(self._span(number))[start - first : upto - first]
            else:
                yield self._inflated.read_at(start, upto - start)
            start = upto

    def _stored(self, comp_offset: int, n_bytes: int) -> memoryview:
        """Stored bytes of the span being read."""
        at = comp_offset - self.index.span_comp(self._number)[0]
        return memoryview(self._span(self._number))[at : at + n_bytes]

    def _span(self, number: int) -> bytes:
        """The stored bytes of span ``number``, fetched and verified unless it was just used."""
        if number in self._spans:
            self._spans.move_to_end(number)
            return self._spans[number]
        data = self._fetch(number)
        self._spans[number] = data
        if len(self._spans) > _KEPT_SPANS:
            self._spans.popitem(last=False)
        return data

    def _fetch(self, number: int) -> bytes:
        start, end = self.index.span_comp(number)
        _limit(end - start)
        comp = self._blob.read_at(start, end - start)
        self._on_fetch(len(comp))
        if len(comp) != end - start:
            raise FormatError(
                f"span {number} ends early: {len(comp)} of {end - start} bytes",
                blob=self.name,
                comp_offset=start,
            )
        got = "sha256:" + hashlib.sha256(comp).hexdigest()
        if got != self.index.span_digests[number]:
            what = f"{self.name} span {number} (compressed offset {start})"
            raise DigestMismatch(self.index.span_digests[number], got, n_bytes=len(comp), blob=what)
        return comp

    def _span_of(self, uncomp_offset: int) -> int:
        if self.index.compression == "tar":
            return uncomp_offset // self.index.span_bytes
        return bisect_right(self.index.checkpoints.uncomp_offset, uncomp_offset) - 1


def _limit(n_bytes: int) -> None:
    if n_bytes > MAX_SPAN_BYTES:
        raise LimitError(f"a span of {n_bytes} bytes is too large to read", limit=MAX_SPAN_BYTES)


def _check(index: LayerIndex, blob_size: int, name: str) -> None:
    # Indexes come from strangers: every span must be a forward range inside the blob before anything is read by it.
    if index.comp_size != blob_size:
        raise FormatError(
            f"index is for a layer of {index.comp_size} bytes, this one has {blob_size}", blob=name
        )
    if index.compression == "tar":
        if index.span_bytes <= 0 or index.n_spans != -(-index.comp_size // index.span_bytes):
            raise FormatError("spans of the index do not cover the layer", blob=name)
        if index.archive_size > index.comp_size:
            raise FormatError("index claims more bytes than the layer has", blob=name)
        return
    points = index.checkpoints
    if not len(points) or len(points) != index.n_spans or points.uncomp_offset[0] != 0:
        raise FormatError("index has no checkpoint at the start of the layer", blob=name)
    for number in range(index.n_spans):
        start, end = index.span_comp(number)
        first, last = index.span_uncomp(number)
        if not (0 <= start < end <= blob_size and first <= last) or points.bits[number] > 7:
            raise FormatError(
                f"span {number} of the index is not a forward range", blob=name, comp_offset=start
            )
