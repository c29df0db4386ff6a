"""Layers that bring their own table of contents: eStargz and zstd:chunked, read chunk by chunk.

::

    last bytes of the blob ──> footer ──> TOC, digest in the layer's annotation ──> chunks, digests in the TOC

A table that no annotation vouches for is not used: such a layer is an ordinary one.
"""

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import zstandard

from accel.blobs import Blob, check_bytes
from accel.errors import DigestMismatch, FormatError, LimitError
from accel.formats.stargz import (
    EMPTY_MEMBER,
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

    Every chunk is verified before a byte of it is handed out; the last one and its member are kept. ``on_fetch`` is
    told the bytes of each range read. Not for several threads at once.
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
        self._members = chunks.members()
        self._open: tuple[int, bytes] = (-1, b"")  # the last member or frame, by its number ...
        self._kept: tuple[int, bytes] = (-1, b"")  # ... and the last chunk

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
            member = bisect_right(self._members, number) - 1
            if self._open[0] != member:
                self._open = (member, self._decoded(number, self._members[member + 1] - 1))
            self._kept = (number, checked_chunk(self._open[1], self._toc, number, self._name))
        return self._kept[1]

    def _decoded(self, first: int, last: int) -> bytes:
        start, end = self._toc.chunks.blob_range(first, last)
        limit_member(self._toc, first, last, self._name)
        comp = self._blob.read_at(start, end - start)
        self._on_fetch(len(comp))
        return decoded_member(comp, self._toc, first, last, self._footer, self._name)


def limit_member(toc: Toc, first: int, last: int, name: str) -> None:
    """Raises LimitError if the member or frame of chunks ``first`` to ``last`` would take too much memory."""
    start, end = toc.chunks.blob_range(first, last)
    n_bytes = max(end - start, toc.chunks.inner_end(last))
    if n_bytes > MAX_CHUNK_BYTES:
        raise LimitError(f"a chunk of {n_bytes} bytes is too large to read", limit=MAX_CHUNK_BYTES, blob=name)


def decoded_member(comp: bytes, toc: Toc, first: int, last: int, footer: Footer, name: str) -> bytes:
    """What the member or frame of chunks ``first`` to ``last`` holds, at least up to the end of these.

    ``comp`` begins at the offset of the first one. Raises FormatError for what does not decompress.
    """
    start, n_bytes = toc.chunks.blob_offset[first], toc.chunks.inner_end(last)
    try:
        if footer.is_gzip:
            # Nothing but empty members may lie between the offsets: then all chunks are in one member, to be
            # decompressed once, whoever wrote the table.
            n_between = toc.chunks.blob_offset[last] - start
            if comp[:n_between] != EMPTY_MEMBER * (n_between // len(EMPTY_MEMBER)):
                raise FormatError(f"chunks {first} to {last} are not in one member", comp_offset=start, blob=name)
            return zlib.decompressobj(31).decompress(memoryview(comp)[n_between:], n_bytes)
        with zstandard.ZstdDecompressor().stream_reader(comp, read_across_frames=True) as reader:
            return reader.read(n_bytes)
    except (zlib.error, zstandard.ZstdError) as error:
        raise FormatError(f"chunk {first} does not decompress: {error}", comp_offset=start, blob=name) from error


def checked_chunk(data: bytes, toc: Toc, number: int, name: str) -> bytes:
    """Chunk ``number`` from what its member or frame holds. Raises FormatError if it ends early, DigestMismatch."""
    chunks = toc.chunks
    start, size, end = chunks.blob_offset[number], chunks.chunk_size[number], chunks.inner_end(number)
    chunk = data[end - size : end]
    if len(chunk) != size:
        raise FormatError(f"chunk {number} has {len(chunk)} bytes, not {size}", comp_offset=start, blob=name)
    got = hashlib.sha256(chunk)
    if got.digest() != chunks.digest(number):
        wanted = f"sha256:{chunks.digest(number).hex()}"
        what = f"{name} chunk {number} (compressed offset {start})"
        raise DigestMismatch(wanted, f"sha256:{got.hexdigest()}", n_bytes=size, blob=what)
    return chunk
