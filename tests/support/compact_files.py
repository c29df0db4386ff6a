"""Compact index files taken apart and put together again, with frames and digests right however wrong the rest is."""

import hashlib
import struct
from collections.abc import Iterable, Sequence

import zstandard

from accel.formats.compact.header import FIXED_BYTES, parse_header

HASH_BYTES = 32
_ROW = struct.Struct("<HHII32s")
Part = tuple[int, bytes]        # kind of a section, and what it inflates to
Stored = tuple[int, bytes, int]  # ... and as it is stored, with the size that its row gives


def parts_of(data: bytes) -> tuple[bytes, list[Part]]:
    """The fixed bytes of the header, and the sections in the order of the file."""
    header = parse_header(data[: int.from_bytes(data[12:16], "little")], len(data))
    inflate = zstandard.ZstdDecompressor().decompress
    return data[:FIXED_BYTES], [(kind, inflate(data[s.offset : s.end])) for (kind, _), s in header.sections.items()]


def stored(parts: Iterable[Part]) -> list[Stored]:
    """Each section in a frame of its own."""
    frame = zstandard.ZstdCompressor().compress
    return [(kind, frame(raw), len(raw)) for kind, raw in parts]


def signed(data: bytes) -> bytes:
    """``data`` with the digests that its header and its sections, wherever those end up, ought to have."""
    size = int.from_bytes(data[12:16], "little")
    if not FIXED_BYTES + HASH_BYTES <= size <= len(data):
        return data
    rows, at = [], size
    for start in range(FIXED_BYTES, size - HASH_BYTES - _ROW.size + 1, _ROW.size):
        kind, zero, n_stored, n_raw, _ = _ROW.unpack_from(data, start)
        rows.append(_ROW.pack(kind, zero, n_stored, n_raw, hashlib.sha256(data[at : at + n_stored]).digest()))
        at += n_stored
    head = (data[:FIXED_BYTES] + b"".join(rows)).ljust(size - HASH_BYTES, b"\0")
    return head + hashlib.sha256(head).digest() + data[size:]


def file_of(fixed: bytes, sections: Sequence[Stored]) -> bytes:
    """A file of these parts: its sizes of header and table, and its digests, are right; nothing else need be."""
    size = FIXED_BYTES + len(sections) * _ROW.size + HASH_BYTES
    head = fixed[:12] + struct.pack("<I", size) + fixed[16:76] + struct.pack("<I", len(sections)) + fixed[80:]
    head += b"".join(
        _ROW.pack(kind & 0xFFFF, 0, len(data), n_raw & 0xFFFFFFFF, hashlib.sha256(data).digest())
        for kind, data, n_raw in sections
    )
    return b"".join((head, hashlib.sha256(head).digest(), *(data for _, data, _ in sections)))
