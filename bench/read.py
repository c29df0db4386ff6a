"""How fast does a layer read back through its index, by range and whole?

Random reads: seeded ranges that lie in regular files of the tar, the same for all; each round opens a cold reader with
its index loaded, the page cache is warm. p50 and p99 are of single calls, over all rounds. Full reads: from the first
byte to the last in pieces of 4 MiB, by one thread and by two. Every byte is compared once, before the clock runs.
"""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from measure import Row, interleaved, skipped
from read_peers import Implementation, Members, implementations

import data
from accel_core import LayerIndex, index

RANDOM = {"random 4 KiB": (4096, 2000), "random 128 KiB": (131_072, 500)}
TINY = {"random 4 KiB": (4096, 30), "random 128 KiB": (20_000, 10)}


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    path = data.CACHE / "ml" / "big.tar.gz"
    if tiny or not path.exists():
        layer = data.layer("mixed", "gzip-6", tiny)
        if layer is None:
            skipped("read: gzip is not installed")
            return
        path = layer
    layer_index = index(path, placement="soci", span_bytes=1 << 20 if tiny else 4 << 20, digest=False)
    members = Members(layer_index)
    readers = implementations(path, layer_index, members)
    for case, (size, count) in (TINY if tiny else RANDOM).items():
        if only in (None, case):
            offsets = ranges(members, size, count)
            yield from random_reads(case, path, offsets, size, [r for r in readers if r.random], rounds)
    for case in ("sequential", "parallel"):
        if only in (None, case):
            yield from full_reads(case, path, layer_index, [r for r in readers if getattr(r, case)], rounds)


def ranges(members: Members, size: int, count: int) -> list[int]:
    """Offsets of ranges that lie each within one file, as often in each as it has bytes."""
    rng = random.Random(11)
    large = [(start, length) for start, length, _ in members.rows if length >= size]
    chosen = rng.choices(large, weights=[length for _, length in large], k=count)
    return [start + rng.randrange(length - size + 1) for start, length in chosen]


def random_reads(
    case: str, path: Path, offsets: list[int], size: int, readers: list[Implementation], rounds: int
) -> Iterator[Row]:
    check(offsets, size, readers)
    calls: dict[str, list[float]] = {reader.name: [] for reader in readers}
    cpu: dict[str, list[float]] = {reader.name: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            took, cpu_s = timed(reader, offsets, size)
            calls[reader.name] += took
            cpu[reader.name].append(cpu_s)
    base = min(sum(calls[reader.name]) for reader in readers if "accel" not in reader.name)
    for reader in readers:
        took = sorted(calls[reader.name])
        yield Row(
            "read", case, reader.name, path.stat().st_size, size * len(offsets),
            cpu_s=round(sorted(cpu[reader.name])[rounds // 2], 4), wall_s=round(sum(took) / rounds, 4),
            ratio=round(base / sum(took), 2), p50_ms=round(took[len(took) // 2] * 1e3, 4),
            p99_ms=round(took[len(took) * 99 // 100] * 1e3, 4), per_s=round(len(took) / sum(took), 1), note=reader.note,
        )  # fmt: skip


def check(offsets: list[int], size: int, readers: list[Implementation]) -> None:
    """All give the same bytes."""
    wanted = None
    for implementation in readers:
        reader = implementation.open()
        got = [hash(bytes(reader.read_at(offset, size))) for offset in offsets[:200]]
        reader.close()
        wanted = wanted or got
        assert got == wanted, implementation.name


def timed(implementation: Implementation, offsets: list[int], size: int) -> tuple[list[float], float]:
    """Wall seconds of each read by a cold reader, and CPU seconds of all."""
    reader = implementation.open()
    read_at, clock = reader.read_at, time.perf_counter
    took = []
    cpu = time.process_time()
    for offset in offsets:
        start = clock()
        read_at(offset, size)
        took.append(clock() - start)
    cpu = time.process_time() - cpu
    reader.close()
    return took, cpu


def full_reads(
    case: str, path: Path, layer_index: LayerIndex, readers: list[Implementation], rounds: int
) -> Iterator[Row]:
    def read(implementation: Implementation) -> None:
        reader = implementation.open()
        done = sum(reader.pieces())
        reader.close()
        assert done == layer_index.uncomp_size, (implementation.name, done)

    times = interleaved({reader.name: partial(read, reader) for reader in readers}, rounds)
    base = min(wall for name, (_, wall) in times.items() if "accel" not in name)
    for name, (cpu, wall) in times.items():
        yield Row(
            "read", case, name, path.stat().st_size, layer_index.uncomp_size,
            cpu_s=round(cpu, 4), wall_s=round(wall, 4), mb_s=round(layer_index.uncomp_size / wall / 1e6, 1),
            ratio=round(base / wall, 2), note="MB/s of wall time",
        )  # fmt: skip
