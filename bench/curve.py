"""How does the cost of an index grow with the layer, and with the number of chunks it is scanned in?

Sizes: whole processes (see `process.py`) over layers of 100 MB to 2 GB of tar, each one gzip stream; the entries of the
mixed layer over and over. `--only 8000` takes 8 GB instead, or any other number of MB.

Chunks: the scan of the largest of these layers as so many chunks, joined at the end, one after the other in this
process. That counts the work which more cores than are here would share, and what speculation adds to it.
"""

import os
import shutil
import subprocess
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import children
import process
from measure import Row, interleaved, rows_of, skipped

import data
from accel_core.parallel_scan import ScanJob, scan_in_chunks

SIZES, TINY_SIZES = (100, 250, 500, 1000, 2000), (2, 4)     # 10^6 bytes of tar
CHUNKS = (1, 2, 4, 8, 16)
PIECE_BYTES = 1 << 20
END = bytes(1024)               # of an archive
WITHOUT = ("-dc", "accel index --format soci --threads 2")      # rows of process.py that would only crowd the picture


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    if only and not only.isdecimal():
        return
    if shutil.which("gzip") is None:
        skipped("curve: gzip is not installed")
        return
    sizes = (int(only),) if only else TINY_SIZES if tiny else SIZES
    layers = [Layer(size, tiny) for size in sizes]
    for layer in layers:
        yield from by_size(layer, rounds)
    yield from by_chunks(layers[-1], rounds)


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
        self.path = data.CACHE / f"curve-{size}{'-tiny' if tiny else ''}.gzip-6.tar.gz"
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
    with tar.open("rb") as file, path.open("wb") as out:
        with subprocess.Popen(data.ENCODERS["gzip-6"], stdin=subprocess.PIPE, stdout=out) as packer:
            assert packer.stdin is not None
            for length in copies:
                file.seek(0)
                for at in range(0, length, PIECE_BYTES):
                    packer.stdin.write(file.read(min(PIECE_BYTES, length - at)))
            packer.stdin.write(END)
    if packer.returncode:
        raise OSError(f"gzip ended with {packer.returncode}")
