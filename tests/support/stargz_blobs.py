"""Whole eStargz and zstd blobs from a tar, in the plainest way: all in memory, zlib and zstandard, one thread.

For tests: what a converter writes is to be read by the same tools as these blobs.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from accel.formats.stargz import (
    LANDMARK_DATA_OFFSET,
    NO_PREFETCH,
    PREFETCH,
    ChunkTable,
    Order,
    TarSplit,
    TarSplitWriter,
    ZstdEnd,
    estargz_annotations,
    estargz_end,
    estargz_toc,
    landmark_member,
    layer_order,
    toc_member,
    zstd_end,
    zstd_toc,
)
from accel_core.entries import EntryTable
from accel_core.tar_scan import TarScanner

EMPTY = hashlib.sha256(b"").digest()


@dataclass(frozen=True)
class Blob:
    data: bytes
    tar: bytes                  # what it decompresses to
    toc: bytes
    annotations: dict[str, str]
    entries: EntryTable         # of the source
    chunks: ChunkTable
    order: Order | None = None
    end: ZstdEnd | None = None
    tar_split: TarSplit | None = None


def scan(tar: bytes) -> EntryTable:
    scanner = TarScanner()
    scanner.feed(tar)
    return scanner.close()


def gzip_member(data: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


class Pieces:
    """Compressed pieces one after the other, and the chunks among them."""

    def __init__(self, compress) -> None:  # type: ignore[no-untyped-def]
        self.compress = compress
        self.out = bytearray()
        self.tar = bytearray()
        self.chunks = ChunkTable()
        self.file_digests: dict[int, bytes] = {}

    def plain(self, data: bytes) -> None:
        self.tar += data
        if data:
            self.out += self.compress(data)

    def file(self, row: int, content: bytes, chunk_bytes: int, tail: bytes = b"") -> None:
        """The chunks of a file; ``tail`` goes into the piece of the last one."""
        starts = range(0, len(content), chunk_bytes)
        for start in starts:
            chunk = content[start : start + chunk_bytes]
            at = len(self.out)
            self.plain(chunk + (tail if start == starts[-1] else b""))
            self.chunks.append(row, start, len(chunk), at, len(self.out), hashlib.sha256(chunk).digest())
        if len(starts) > 1:
            self.file_digests[row] = hashlib.sha256(content).digest()


def estargz_blob(tar: bytes, prefetch: Sequence[bytes] = (), chunk_bytes: int = 4 << 20, level: int = 6) -> Blob:
    """An eStargz layer: a member begins at every chunk, and holds what comes until the next."""
    entries = scan(tar)
    order = layer_order(entries, prefetch)
    pieces = Pieces(lambda data: gzip_member(data, level))
    waiting: tuple[int, bytes] | None = None
    between = b""

    def flush() -> None:
        if waiting is None:
            pieces.plain(between)
        else:
            pieces.file(waiting[0], waiting[1], chunk_bytes, between)

    for row in order.rows:
        if row in (NO_PREFETCH, PREFETCH):
            member = landmark_member(prefetch=row == PREFETCH)
            head, content = member[:LANDMARK_DATA_OFFSET], member[LANDMARK_DATA_OFFSET : LANDMARK_DATA_OFFSET + 1]
        else:
            entry = entries[row]
            head = tar[entry.header_offset : entry.data_offset]
            content = tar[entry.data_offset : entry.data_offset + entry.stored_size]
        between += head
        if content:
            flush()
            waiting, between = (row, content), bytes(-len(content) % 512)
    flush()
    toc = estargz_toc(entries, pieces.chunks, pieces.file_digests, order.rows)
    toc_offset = len(pieces.out)
    pieces.plain(toc_member(toc))
    pieces.out += estargz_end(toc_offset)
    plain = bytes(pieces.tar)
    return Blob(
        bytes(pieces.out), plain, toc, estargz_annotations(toc, len(plain)), entries, pieces.chunks, order=order
    )


def zstd_blob(tar: bytes, chunk_bytes: int = 4 << 20, level: int = 3, piece_bytes: int = 1 << 20) -> Blob:
    """A zstd layer for both readers: chunks in frames of their own, what lies between two files in one frame."""
    entries = scan(tar)
    compressor = zstandard.ZstdCompressor(level=level)
    pieces = Pieces(compressor.compress)
    done = 0
    for entry in entries:
        if entry.stored_size:
            pieces.plain(tar[done : entry.data_offset])
            done = entry.data_offset + entry.stored_size
            pieces.file(entry.index, tar[entry.data_offset : done], chunk_bytes)
    pieces.plain(tar[done:])
    tar_split = tar_split_of(tar, entries, piece_bytes)
    toc = zstd_toc(
        entries, pieces.chunks, pieces.file_digests, tar_split.digest, header_times=tar_split.header_times
    )  # fmt: skip
    end = zstd_end(len(pieces.out), toc, tar_split)
    return Blob(
        bytes(pieces.out) + end.data, tar, toc, end.containers_annotations(), entries, pieces.chunks,
        end=end, tar_split=tar_split,
    )  # fmt: skip


def tar_split_of(tar: bytes, entries: EntryTable, piece_bytes: int) -> TarSplit:
    writer = TarSplitWriter()
    row = 0
    for start in range(0, len(tar), piece_bytes):
        first = row
        piece = tar[start : start + piece_bytes]
        while row < len(entries) and entries[row].data_offset <= start + len(piece):
            row += 1
        writer.add(piece, entries, first, row)
    return writer.finish()
