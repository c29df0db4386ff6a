"""Every CRC-32 there is, over a block that sits in the cache as the scan's output does."""

import zlib
from collections.abc import Callable
from functools import partial
from random import Random

from accel.bench.decoders import Libdeflate
from accel.bench.peers import module
from accel.bench.timing import Call
from accel_core import crc32

BLOCK_BYTES = 1 << 18
TOTAL_BYTES = 1 << 28  # a call over all of it takes 4 to 80 ms

Crc = Callable[[bytes], int]


def checksums(block: bytes, libdeflate: str | None = None) -> dict[str, Crc]:
    """Ours by implementation, then those installed. Checked against zlib's on the block."""
    found: dict[str, Crc] = {
        f"accel {name}": partial(crc32.crc32, implementation=name) for name in crc32.implementations()
    }
    found["zlib"] = zlib.crc32
    for name, import_name in (("isal_zlib", "isal.isal_zlib"), ("zlib-ng", "zlib_ng.zlib_ng")):
        if peer := module(import_name):
            found[name] = peer.crc32
    try:
        library = Libdeflate(libdeflate).lib
        found["libdeflate"] = lambda data: int(library.libdeflate_crc32(0, data, len(data)))
    except ImportError:
        pass
    wanted = zlib.crc32(block)
    return {name: call for name, call in found.items() if call(block) == wanted}


def checksum_calls(libdeflate: str | None = None, n_bytes: int = TOTAL_BYTES) -> dict[str, Call]:
    """Each as a call over ``n_bytes``, a block of 256 KiB again and again."""
    block = Random(1).randbytes(BLOCK_BYTES)
    times = n_bytes // BLOCK_BYTES
    return {name: repeated(call, block, times) for name, call in checksums(block, libdeflate).items()}


def repeated(call: Crc, block: bytes, times: int) -> Call:
    """``call`` on the block ``times`` times."""

    def loop() -> None:
        for _ in range(times):
            call(block)

    return loop
