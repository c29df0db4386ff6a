"""How fast is each CRC-32, over blocks that sit in the cache as the scan's output does?"""

from collections.abc import Iterator
from random import Random

import peers
from measure import Row, interleaved, rows_of

from accel.bench.checksums import checksums, repeated


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    total = 1 << (22 if tiny else 28)
    for block_bytes in (1 << 12, 1 << 16, 1 << 18):
        if only and only != str(block_bytes):
            continue
        block = Random(1).randbytes(block_bytes)
        times = interleaved(
            {
                name: repeated(call, block, total // block_bytes)
                for name, call in checksums(block, peers.LIBDEFLATE).items()
            },
            rounds,
        )
        yield from rows_of("checksum", f"blocks of {block_bytes}", times, "zlib", total, total, peers.versions())
