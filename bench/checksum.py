"""How fast is each CRC-32, over blocks that sit in the cache as the scan's output does? How fast is SHA-256?"""

import hashlib
from collections.abc import Iterator
from functools import partial
from random import Random

import peers
from measure import Row, interleaved, rows_of

from accel.bench.checksums import checksums, repeated
from accel_core.sha256 import implementations, sha256, update_all


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
    if only in (None, "sha256"):
        data = Random(1).randbytes(1 << 20) * (total >> 20)
        calls: dict[str, peers.Call] = {"hashlib": lambda: hashlib.sha256(data).digest()}
        for n in (1, 2, 4, 8, 16) if implementations()[0] != "hashlib" else ():
            calls[f"accel, {n} at once"] = partial(hashed_at_once, data, n)
        times = interleaved(calls, rounds)
        yield from rows_of("checksum", f"sha256 ({implementations()[0]})", times, "hashlib", total, total, {})


def hashed_at_once(data: bytes, n: int) -> None:
    """``n`` equal parts of ``data``, a MiB of all of them at a time."""
    share, step = len(data) // n, (1 << 20) // n
    hashes = [sha256() for _ in range(n)]
    view = memoryview(data)
    for at in range(0, share, step):
        update_all((one, view[i * share + at : i * share + min(at + step, share)]) for i, one in enumerate(hashes))
