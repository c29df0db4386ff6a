"""The headers of zstd frames (RFC 8878), read far enough to say in which modes an encoder wrote their blocks."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = 0xFD2FB528
MAX_BLOCK = 128 << 10
BLOCK_TYPES = ("raw", "RLE", "compressed")
LITERALS = ("raw", "RLE", "compressed", "treeless")
TABLES = ("predefined", "RLE", "FSE", "repeat")


@dataclass(frozen=True, slots=True)
class Frame:
    size: int                       # of its content
    single_segment: bool
    modes: frozenset[str]           # of its blocks and their sections


def frame(blob: bytes) -> Frame:
    """What ``blob``, one frame, says."""
    magic, descriptor = struct.unpack_from("<IB", blob)
    assert magic == MAGIC
    assert descriptor & 0b11111 == 0, "checksum, dictionary, or reserved bits"
    single_segment = bool(descriptor >> 5 & 1)
    at = 5 if single_segment else 6
    n = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    size = int.from_bytes(blob[at : at + n], "little") + (256 if n == 2 else 0)
    return Frame(size, single_segment, frozenset(modes(blob, at + n)))


def modes(blob: bytes, at: int) -> Iterator[str]:
    """Of each block: its type, and what is in it."""
    last = 0
    while not last:
        header = int.from_bytes(blob[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        assert size <= MAX_BLOCK
        yield f"{BLOCK_TYPES[kind]} block"
        at += 3
        if kind == 2:
            yield from sections(blob[at : at + size])
        at += 1 if kind == 1 else size
    assert at == len(blob)


def sections(block: bytes) -> Iterator[str]:
    """Literals and sequences of a compressed block."""
    kind, form = block[0] & 3, block[0] >> 2 & 3
    yield f"{LITERALS[kind]} literals"
    if kind < 2:
        n_header = (1, 2, 1, 3)[form]
        size = int.from_bytes(block[:n_header], "little") >> (4 if form & 1 else 3)
        at = n_header + (1 if kind == 1 else size)
    else:
        n_header, bits = ((3, 10), (3, 10), (4, 14), (5, 18))[form]
        yield f"{4 if form else 1} streams"
        at = n_header + (int.from_bytes(block[:n_header], "little") >> (4 + bits))
        if kind == 2:
            yield "direct weights" if block[n_header] >= 128 else "FSE weights"
    n = block[at]
    at += 1 if n < 128 else 2 if n < 255 else 3
    yield f"{'no' if n == 0 else 'few' if n < 128 else 'many' if n < 255 else 'very many'} sequences"
    if n:
        for name, shift in (("literal lengths", 6), ("offsets", 4), ("match lengths", 2)):
            yield f"{TABLES[block[at] >> shift & 3]} {name}"
