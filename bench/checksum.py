"""How fast is each CRC-32, over blocks that sit in the cache as the scan's output does?"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import peers
from measure import Row, interleaved, rows_of

from accel_core.crc32 import crc32, implementations


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    total = 1 << (22 if tiny else 28)
    for block_bytes in (1 << 12, 1 << 16, 1 << 18):
        if only and only != str(block_bytes):
            continue
        block = Random(1).randbytes(block_bytes)
        times = interleaved(
            {name: repeated(call, block, total // block_bytes) for name, call in calls(block).items()}, rounds
        )
        yield from rows_of("checksum", f"blocks of {block_bytes}", times, "zlib", total, total)


def calls(block: bytes) -> dict[str, Callable[[bytes], int]]:
    found: dict[str, Callable[[bytes], int]] = {
        f"accel {name}": partial(crc32, implementation=name) for name in implementations()
    }
    found["zlib"] = zlib.crc32
    for name, import_name in (("isal_zlib", "isal.isal_zlib"), ("zlib-ng", "zlib_ng.zlib_ng")):
        if peer := peers.module(import_name):
            found[name] = peer.crc32
    try:
        library = peers.Libdeflate().lib
        found["libdeflate"] = lambda data: library.libdeflate_crc32(0, data, len(data))
    except ImportError:
        pass
    for name, call in found.items():
        assert call(block) == zlib.crc32(block), name
    return found


def repeated(call: Callable[[bytes], int], block: bytes, n: int) -> peers.Call:
    def loop() -> None:
        for _ in range(n):
            call(block)

    return loop
