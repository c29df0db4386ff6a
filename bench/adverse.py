"""What do two threads cost where they cannot help?

Layers of 500 MB and more of tar, one gzip member each: history that never becomes known to a second decoder, nothing
but stored blocks, blocks so large that it finds no start, starts that lead to nothing. One process, in turns, medians;
ratios are of CPU time to one thread, and the note has the least, the median and the greatest of single rounds, for CPU
and for wall time: 1.05 is 5 % more than one thread takes.

Each stream is a unit over and over, a whole tar member in blocks that end on a byte, deflated once.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from measure import Row, rows_of

import data
from accel.bench.timing import Sample, medians, sampled
from accel_core import index
from accel_core.parallel_scan import MIN_CHUNK_BYTES

TAR_BYTES, TINY_BYTES = 520 << 20, 18 << 20
BLOCK_BYTES, TINY_BLOCK_BYTES = 48 << 20, 6 << 20      # of a huge block
STORED_BYTES = 65535
HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
TAR_END = bytes(1024)
SERIAL = "1 thread"


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    for case, make in CASES.items():
        if only in (None, case):
            path = layer(case, make, tiny)
            calls = {name: partial(indexed, path, n) for name, n in ((SERIAL, 1), ("2 threads", 2))}
            samples = sampled(calls, rounds)
            sizes = path.stat().st_size, indexed(path, 1)
            rows = rows_of("adverse", case, {name: medians(taken) for name, taken in samples.items()}, SERIAL, *sizes)
            for row in rows:
                row.note = extra(samples[row.implementation], samples[SERIAL])
                yield row


def indexed(path: Path, threads: int) -> int:
    """Index the layer without SHA-256, of which threads take a share in any case; what it inflates to."""
    made = index(path, threads=threads, digest=False, span_digests=False, sparse_windows=True)
    return made.uncomp_size


def extra(ours: list[Sample], serial: list[Sample]) -> str:
    """The ratios round by round."""
    pairs = list(zip(ours, serial, strict=True))
    cpu, wall = ([getattr(a, side) / getattr(b, side) for a, b in pairs] for side in ("cpu_s", "wall_s"))
    return " ".join(
        f"{name} {min(ratios):.2f}-{sorted(ratios)[len(ratios) // 2]:.2f}-{max(ratios):.2f}"
        for name, ratios in (("CPU", cpu), ("wall", wall))
    )


# --- layers -------------------------------------------------------------------------------------------------

Unit = tuple[bytes, bytes, bytes]   # tar, its blocks at the start of the stream, its blocks behind another such unit


def layer(case: str, make: Callable[[int], Unit], tiny: bool) -> Path:
    path = data.CACHE / f"adverse{'-tiny' if tiny else ''}.{case.replace(' ', '-')}.tar.gz"
    if not path.exists():
        with data.publish(path) as temporary, temporary.open("wb") as out:
            write(out, *make(TINY_BLOCK_BYTES if tiny else BLOCK_BYTES), TINY_BYTES if tiny else TAR_BYTES)
        assert path.stat().st_size > 2 * MIN_CHUNK_BYTES, "too small for a second thread"
    return path


def write(out: BinaryIO, tar: bytes, first: bytes, following: bytes, tar_bytes: int) -> None:
    n_units = max(2, tar_bytes // len(tar))
    out.write(HEADER + first)
    for _ in range(n_units - 1):
        out.write(following)
    crc = 0
    for _ in range(n_units):
        crc = zlib.crc32(tar, crc)
    out.write(stored(TAR_END, final=True))
    out.write(struct.pack("<II", zlib.crc32(TAR_END, crc), (n_units * len(tar) + len(TAR_END)) & 0xFFFFFFFF))


def member(body: bytes) -> bytes:
    """A file of the tar."""
    fields = b"body".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % len(body) + b"0" * 11 + b"\0"
    head = (fields + b" " * 8 + b"0").ljust(257, b"\0") + b"ustar\00000"
    head = head.ljust(512, b"\0")
    return head[:148] + b"%06o\0 " % sum(head) + head[156:] + body + bytes(-len(body) % 512)


def stored(content: bytes, final: bool = False) -> bytes:
    """Stored blocks, the last of them the stream's last one if ``final``."""
    pieces = [content[at : at + STORED_BYTES] for at in range(0, len(content), STORED_BYTES)]
    return b"".join(
        struct.pack("<BHH", final and i == len(pieces) - 1, len(piece), len(piece) ^ 0xFFFF) + piece
        for i, piece in enumerate(pieces)
    )


def never_known(block_bytes: int) -> Unit:
    """Hex digits, and every few KiB the same line, which each copies from the one before and none ever spells out."""
    rng = random.Random(1)
    line = rng.randbytes(600)
    body = b"".join(line + rng.randbytes(4700).hex().encode() for _ in range(800))
    tar = member(body)
    first, following = zlib.compressobj(6, wbits=-15), zlib.compressobj(6, wbits=-15, zdict=tar[-32768:])
    return tar, *(packer.compress(tar) + packer.flush(zlib.Z_SYNC_FLUSH) for packer in (first, following))


def stored_only(block_bytes: int) -> Unit:
    tar = member(random.Random(2).randbytes(8 << 20))
    return tar, stored(tar), stored(tar)


class Bits:
    def __init__(self) -> None:
        self.value = self.n = 0

    def put(self, *fields: tuple[int, int]) -> None:
        for value, n in fields:
            self.value |= value << self.n
            self.n += n

    def dynamic(self, final: bool, precode: dict[int, int]) -> None:
        """The start of a block of 257 literals and one distance, up to the 19 lengths of its code lengths code."""
        self.put((final, 1), (2, 2), (0, 5), (0, 5), (15, 4))
        order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
        self.put(*((precode.get(symbol, 0), 3) for symbol in order))


def huge_block(body: bytes) -> Unit:
    """One block of literals of eight bits, as ``igzip -0`` writes random bytes; no byte of ``body`` is 255."""
    tar = member(body)
    # 255 literals and the end of the block: the code of byte b is b, and 255 the end.
    bits = Bits()
    bits.dynamic(False, {8: 1, 0: 1})           # length 0 is 0, length 8 is 1
    bits.put((((1 << 255) - 1) | 1 << 256, 258))
    symbols = int.from_bytes(tar.translate(REVERSED) + b"\xff", "little")
    blocks = bits.value | symbols << bits.n
    n_bits = bits.n + 8 * (len(tar) + 1) + 3    # an empty stored block makes it end on a byte
    blocks_bytes = blocks.to_bytes((n_bits + 7) // 8, "little") + b"\0\0\xff\xff"
    return tar, blocks_bytes, blocks_bytes


REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def huge_random_block(block_bytes: int) -> Unit:
    return huge_block(random.Random(3).randbytes(block_bytes).replace(b"\xff", b"\xfe"))


def false_starts(block_bytes: int) -> Unit:
    """The literals of a huge block read like the smallest of blocks, which hold nothing: there to be started at."""
    bits = Bits()
    bits.dynamic(False, {0: 1, 1: 2, 18: 2})    # 0; 10 and 11, whose high bit comes first
    bits.put((0b11, 2), (127, 7), (0b11, 2), (256 - 138 - 11, 7), (0b01, 2), (0, 1))    # the end has the only code
    bits.put((0, 1))
    inner = bits.value.to_bytes(bits.n // 8, "little")
    assert bits.n % 8 == 0 and b"\xff" not in inner
    return huge_block((inner * (block_bytes // len(inner))).translate(REVERSED))


CASES: dict[str, Callable[[int], Unit]] = {
    "history never known": never_known,
    "stored blocks": stored_only,
    "huge blocks": huge_random_block,
    "false starts": false_starts,
}
