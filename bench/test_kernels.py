"""Kernels beside their peers under pytest-benchmark, for a quick look: ``pytest bench/test_kernels.py``."""

import random
import zlib
from functools import cache

import pytest

import data
from accel_core import LayerScanner, inflate_span
from accel_core.crc32 import crc32, implementations

pytest.importorskip("pytest_benchmark")

BLOCK = random.Random(1).randbytes(1 << 18)


@cache
def layer() -> tuple[bytes, bytes]:
    """A small tar and its gzip form."""
    tar = data.tar("mixed", tiny=True).read_bytes()
    packer = zlib.compressobj(6, wbits=31)
    return tar, packer.compress(tar) + packer.flush()


@pytest.mark.benchmark(group="CRC-32 of 256 KiB")
@pytest.mark.parametrize("name", [*implementations(), "zlib"])
def test_crc32(benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    call = zlib.crc32 if name == "zlib" else lambda data: crc32(data, 0, name)
    assert benchmark(call, BLOCK) == zlib.crc32(BLOCK)


@pytest.mark.benchmark(group="gzip layer of 3 MB")
@pytest.mark.parametrize("name", ["accel scan", "accel scan without digests", "zlib inflate"])
def test_layer(benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    tar, blob = layer()

    def scan() -> int:
        scanner = LayerScanner(digest="without" not in name, span_digests="without" not in name)
        scanner.feed(blob)
        return scanner.finish().uncomp_size

    def inflate() -> int:
        return len(zlib.decompress(blob, 31))

    assert benchmark(inflate if name.startswith("zlib") else scan) == len(tar)


@pytest.mark.benchmark(group="one span of 1 MiB")
@pytest.mark.parametrize("name", ["accel", "zlib"])
def test_span(benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    whole = layer()[0][: 1 << 20]
    window, span = whole[:32768], whole[32768:]
    packer = zlib.compressobj(6, wbits=-15, zdict=window)
    comp = packer.compress(span) + packer.flush() + bytes(8)

    def theirs() -> bytes:
        return zlib.decompressobj(-15, zdict=window).decompress(comp)

    def ours() -> bytes:
        return inflate_span(comp, 0, window, len(span))

    assert benchmark(ours if name == "accel" else theirs) == span
