"""How does the cost of an index grow with the layer, and with the number of chunks it is scanned in?

Sizes: whole processes (see `process.py`) over layers of 100 MB to 8 GB of tar, each one gzip stream; the entries of the
mixed layer over and over. `--only 500` takes that number of MB alone, or any other.

Chunks: the scan of the layer of 2 GB as so many chunks, joined at the end, one after the other in this
process. That counts the work which more cores than are here would share, and what speculation adds to it.
"""

import os
import struct
import tarfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import children
import process
from measure import Row, interleaved, rows_of

import data
from accel_core.crc32 import combine
from accel_core.parallel_scan import ScanJob, scan_in_chunks

SIZES, TINY_SIZES = (100, 250, 500, 1000, 2000, 8000), (2, 4)       # 10^6 bytes of tar
CHUNKS_SIZE = 2000
CHUNKS = (1, 2, 4, 8, 16)
PIECE_BYTES = 1 << 20
LEVEL = 6           # of zlib
END = bytes(1024)   # of an archive
WITHOUT = ("-dc", "accel index --format soci --threads 2")      # rows of process.py that would only crowd the picture


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    if only and not only.isdecimal():
        return
    sizes = (int(only),) if only else TINY_SIZES if tiny else SIZES
    layers = [Layer(size, tiny) for size in sizes]
    for layer in layers:
        yield from by_size(layer, rounds)
    yield from by_chunks(layers[sizes.index(CHUNKS_SIZE) if CHUNKS_SIZE in sizes else -1], rounds)


def by_size(layer: "Layer", rounds: int) -> Iterator[Row]:
    with TemporaryDirectory(dir=data.CACHE) as folder:
        found = process.commands(layer.path, layer.uncomp_size, Path(folder))
        found = {name: child for name, child in found.items() if not name.endswith(WITHOUT)}
        yield from children.rows(
            "curve", f"{layer.name} MB", found, process.BASELINE, rounds, layer.comp_size, layer.uncomp_size
        )


def by_chunks(layer: "Layer", rounds: int) -> Iterator[Row]:
    calls = {f"accel scan, {n} chunks": partial(layer.scan, n) for n in CHUNKS}
    times = interleaved(calls, rounds)
    sizes = layer.comp_size, layer.uncomp_size
    yield from rows_of("curve", f"{layer.name} MB in chunks", times, f"accel scan, {CHUNKS[0]} chunks", *sizes)


class Layer:
    """One gzip stream of about ``size`` 10^6 bytes of tar, in the cache."""

    def __init__(self, size: int, tiny: bool) -> None:
        self.name = str(size)
        self.path = data.CACHE / f"curve-{size}{'-tiny' if tiny else ''}.tar.gz"
        tar = data.tar("mixed", tiny)
        copies = list(lengths(tar, size * 10**6))
        self.uncomp_size = sum(copies) + len(END)
        if not self.path.exists():
            with data.publish(self.path) as temporary:
                write(tar, copies, temporary)
        self.comp_size = self.path.stat().st_size

    def scan(self, n_chunks: int) -> None:
        """In ``n_chunks`` chunks, or fewer where those would be too small."""
        file = os.open(self.path, os.O_RDONLY)
        try:
            job = ScanJob(lambda offset, n: os.pread(file, n, offset), self.comp_size, process.SPACING)
            scan_in_chunks(job, n_chunks=n_chunks)
        finally:
            os.close(file)


def lengths(tar: Path, size: int) -> Iterator[int]:
    """How much of the tar to take, again and again, for ``size`` bytes: whole entries only."""
    with tarfile.open(tar) as members:
        starts = [member.offset for member in members]
        starts.append(members.offset)       # where the archive ends
    left = size - len(END)
    while taken := starts[bisect_right(starts, left) - 1]:
        yield taken
        left -= taken


def write(tar: Path, copies: list[int], path: Path) -> None:
    """One gzip member. What is taken again is compressed once: it starts and ends at a byte and knows nothing before it."""
    crc = size = 0
    done: dict[int, tuple[bytes, int]] = {}
    with path.open("wb") as out:
        out.write(bytes.fromhex("1f8b08000000000000ff"))
        for length in copies:
            if length not in done:
                done = {length: packed(tar, length)}
            data, its_crc = done[length]
            out.write(data)
            crc, size = combine(crc, its_crc, length), size + length
        packer = zlib.compressobj(LEVEL, wbits=-15)
        out.write(packer.compress(END) + packer.flush())
        crc, size = zlib.crc32(END, crc), size + len(END)
        out.write(struct.pack("<II", crc, size & 0xFFFFFFFF))


def packed(tar: Path, length: int) -> tuple[bytes, int]:
    """The first ``length`` bytes as deflate blocks, none of them the last, and their CRC-32."""
    packer = zlib.compressobj(LEVEL, wbits=-15)
    pieces, crc = [], 0
    with tar.open("rb") as file:
        for at in range(0, length, PIECE_BYTES):
            piece = file.read(min(PIECE_BYTES, length - at))
            pieces.append(packer.compress(piece))
            crc = zlib.crc32(piece, crc)
    pieces.append(packer.flush(zlib.Z_FULL_FLUSH))
    return b"".join(pieces), crc
