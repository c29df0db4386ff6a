"""Layers that bring their own table of contents: eStargz and zstd:chunked, read chunk by chunk.

::

    last bytes of the blob ──> footer ──> TOC, digest in the layer's annotation ──> chunks, digests in the TOC

A table that no annotation vouches for is not used: such a layer is an ordinary one.
"""

import gzip
import hashlib
import io
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import zstandard

from accel.blobs import Blob, check_bytes
from accel.errors import DigestMismatch, FormatError, LimitError
from accel.formats.stargz import (
    MAX_FOOTER_BYTES,
    MAX_TOC_BYTES,
    Annotation,
    Footer,
    Toc,
    parse_footer,
    parse_toc,
    toc_json,
)
from accel.oci import Descriptor

MAX_CHUNK_BYTES = 256 << 20  # of either side. Writers make 4 MiB ones; one is held in memory whole.
OnFetch = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FoundToc:
    """The table of contents of a layer, and what it cost to fetch: the footer and the compressed table."""

    toc: Toc
    footer: Footer
    comp_toc: bytes = field(repr=False)

    @property
    def fetched_bytes(self) -> int:
        return len(self.comp_toc) + MAX_FOOTER_BYTES


def has_toc(layer: Descriptor) -> bool:
    """Whether the annotations of ``layer`` speak of a table of contents."""
    return Annotation.TOC_DIGEST in layer.annotations or Annotation.CHECKSUM in layer.annotations


def find_toc(blob: Blob, layer: Descriptor) -> FoundToc | None:
    """The table of contents that ``layer`` has by its annotations; None if it has none.

    Raises ``FormatError`` for one that is broken, ``DigestMismatch`` for another one than the annotations say,
    ``LimitError`` for one that is too large.
    """
    if not has_toc(layer):
        return None
    by_json = layer.annotations.get(Annotation.TOC_DIGEST)
    by_bytes = layer.annotations.get(Annotation.CHECKSUM)
    try:
        footer = _footer(blob, layer)
        comp = blob.read_at(footer.toc_offset, footer.toc_comp_size)
        if by_bytes is not None:
            check_bytes(comp, Descriptor("", by_bytes, len(comp)))
        toc = parse_toc(toc_json(footer, comp), data_end=footer.data_end, digest=by_json)
    except (FormatError, LimitError) as error:
        error.blob = error.blob or layer.digest
        raise
    return FoundToc(toc, footer, comp)


def _footer(blob: Blob, layer: Descriptor) -> Footer:
    n_bytes = min(MAX_FOOTER_BYTES, blob.size)
    footer = parse_footer(blob.read_at(blob.size - n_bytes, n_bytes), blob.size)
    if footer is None:
        raise FormatError("no footer of a table of contents, which an annotation speaks of", blob=layer.digest)
    if footer.toc_offset < 0:
        raise FormatError("the table of contents is in another image", blob=layer.digest)
    if footer.toc_comp_size > MAX_TOC_BYTES:
        raise LimitError(f"a table of contents of {footer.toc_comp_size} bytes", limit=MAX_TOC_BYTES)
    return footer


class ChunkReader:
    """Reads ranges of the contents of a layer's files, which its TOC counts one after the other.

    Every chunk is verified before a byte of it is handed out; the last one is kept. ``on_fetch`` is told the bytes of
    each range read. Not for several threads at once.
    """

    def __init__(self, blob: Blob, found: FoundToc, name: str, on_fetch: OnFetch = lambda n_bytes: None) -> None:
        self._blob = blob
        self._footer = found.footer
        self._toc = found.toc
        self._name = name
        self._on_fetch = on_fetch
        chunks, entries = found.toc.chunks, found.toc.entries
        self._starts = [
            entries[row].data_offset + offset
            for row, offset in zip(chunks.entry, chunks.chunk_offset, strict=True)
        ]
        self._kept: tuple[int, bytes] = (-1, b"")

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The bytes ``[start, end)`` of all contents, a chunk or less at a time.

        Raises ``FormatError``, ``DigestMismatch``, ``LimitError``.
        """
        if not 0 <= start <= end <= self._toc.content_size:
            raise FormatError(f"range [{start}, {end}) is outside the files", blob=self._name)
        while start < end:
            number = bisect_right(self._starts, start) - 1
            first = self._starts[number]
            chunk = memoryview(self.chunk(number))
            piece = chunk[start - first : end - first]
            yield piece
            start += len(piece)

    def chunk(self, number: int) -> bytes:
        """The bytes of one chunk."""
        if self._kept[0] != number:
            chunks = self._toc.chunks
            start, end = chunks.blob_offset[number], chunks.end_offset[number]
            limit_chunk(max(end - start, chunks.chunk_size[number]), self._name)
            comp = self._blob.read_at(start, end - start)
            self._on_fetch(len(comp))
            self._kept = (number, decoded_chunk(comp, self._toc, number, self._footer, self._name))
        return self._kept[1]


def limit_chunk(n_bytes: int, name: str) -> None:
    """Raises LimitError for a chunk that would take too much memory."""
    if n_bytes > MAX_CHUNK_BYTES:
        raise LimitError(f"a chunk of {n_bytes} bytes is too large to read", limit=MAX_CHUNK_BYTES, blob=name)


def decoded_chunk(comp: bytes, toc: Toc, number: int, footer: Footer, name: str) -> bytes:
    """The bytes of chunk ``number`` from the members or frames that hold it, verified.

    Raises ``FormatError`` for what does not decompress to as many bytes, ``DigestMismatch``.
    """
    chunks = toc.chunks
    start, size = chunks.blob_offset[number], chunks.chunk_size[number]
    inner = chunks.inner_offset[number] if len(chunks.inner_offset) else 0
    limit_chunk(inner + size, name)
    try:
        if footer.is_gzip:
            data = _gunzip(comp, inner + size)
        else:
            with zstandard.ZstdDecompressor().stream_reader(comp, read_across_frames=True) as reader:
                data = reader.read(inner + size)
    except (zlib.error, EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise FormatError(
            f"chunk {number} does not decompress: {error}", comp_offset=start, blob=name
        ) from error
    data = data[inner:]
    if len(data) != size:
        raise FormatError(f"chunk {number} has {len(data)} bytes, not {size}", comp_offset=start, blob=name)
    got = hashlib.sha256(data)
    if got.digest() != chunks.digest(number):
        wanted = f"sha256:{chunks.digest(number).hex()}"
        what = f"{name} chunk {number} (compressed offset {start})"
        raise DigestMismatch(wanted, f"sha256:{got.hexdigest()}", n_bytes=size, blob=what)
    return data


def _gunzip(comp: bytes, n_bytes: int) -> bytes:
    """The first bytes of what gzip members hold, ``n_bytes`` or all of them."""
    first = zlib.decompressobj(31)
    data = first.decompress(comp, n_bytes)
    if len(data) == n_bytes or not first.eof:
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(comp)) as members:
        return members.read(n_bytes)
