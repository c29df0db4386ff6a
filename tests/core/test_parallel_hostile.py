"""Streams made against the parallel scan: it says what one scan says, ends, and keeps its memory."""

import gzip
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_core import FormatError, parallel_scan
from accel_core.chunk_plan import PATIENCE_BYTES
from support.hostile_layers import (
    CHUNK_BYTES,
    believable,
    bomb,
    false_stream,
    files,
    hostile_layers,
    never_known,
)
from support.scans import joint_in, planned_joints, said_by_one_scan, said_by_threads

SPAN = 16 << 10
LAYERS = hostile_layers()
WITH_JOINTS = [
    "gzip files, level 6", "false joints", "noise among text", "random", "empty dynamic blocks", "long gzip headers",
    "boundaries 0 bytes behind headers", "boundaries 511 bytes behind headers", "boundary in the middle of everything",
    "large special headers", "zeros behind", "a tar in a tar", "stored only", "false joints in large blocks",
    "starts without end in large blocks",
]  # fmt: skip

MEASURE = """
import os, sys
from accel_core.parallel_scan import ScanJob, scan_parallel

def kib(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1])

fd, n_threads = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
job = ScanJob(lambda at, n: os.pread(fd, n, at), os.fstat(fd).st_size, 4 << 20)
before = kib("VmRSS")
scan = scan_parallel(job, threads=n_threads)
print(kib("VmHWM") - before - 32 * len(scan.result()[0]))
"""


def assert_same(blob: bytes, *threads: int, note: object = "", max_uncomp_bytes: int | None = None) -> None:
    wanted = said_by_one_scan(blob, span_bytes=SPAN, max_uncomp_bytes=max_uncomp_bytes)
    for n in threads:
        said = said_by_threads(
            blob, n, span_bytes=SPAN, min_chunk_bytes=CHUNK_BYTES, max_uncomp_bytes=max_uncomp_bytes, in_order=True
        )
        assert said == wanted, (n, note)


def joints(name: str) -> list[int]:
    return planned_joints(LAYERS[name], 3, CHUNK_BYTES)


@pytest.mark.parametrize("name", LAYERS)
def test_threads_say_what_one_scan_says(name: str) -> None:
    assert_same(LAYERS[name], 2, 4, 7)
    assert said_by_threads(LAYERS[name], 3, span_bytes=SPAN, min_chunk_bytes=CHUNK_BYTES) == said_by_one_scan(
        LAYERS[name], span_bytes=SPAN
    )


@pytest.mark.parametrize("name", WITH_JOINTS)
def test_the_layers_meant_to_have_joints_have_some(name: str) -> None:
    assert joints(name)


def test_most_chunks_of_a_well_meant_layer_join(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = []
    absorbed = parallel_scan._Scan._absorbed

    def count(*arguments: object) -> bool:
        joined.append(absorbed(*arguments))  # type: ignore[arg-type]
        return joined[-1]

    monkeypatch.setattr(parallel_scan._Scan, "_absorbed", count)
    for name in ("noise among text", "gzip files, level 6"):
        assert_same(LAYERS[name], 3)
    assert joined == [True] * 4
    joined.clear()
    assert_same(LAYERS["false joints"], 3)
    assert joined == [False] * 2


@pytest.mark.parametrize("name", WITH_JOINTS)
def test_a_bit_flipped_at_a_joint_is_found_by_all(name: str) -> None:
    for joint in joints(name):
        for bit in (-1, 0, 2, 13):
            bad = bytearray(LAYERS[name])
            bad[(joint + bit) >> 3] ^= 1 << ((joint + bit) & 7)
            assert_same(bytes(bad), 3, note=(joint, bit))


@pytest.mark.parametrize("name", WITH_JOINTS)
def test_a_stream_cut_near_a_joint_or_in_a_chunk_is_cut_for_all(name: str) -> None:
    blob = LAYERS[name]
    places = [place for joint in joints(name) for place in (joint // 8, joint // 8 + 1, joint // 8 + CHUNK_BYTES // 2)]
    for place in [*places, len(blob) - 1, len(blob) - 9]:
        assert_same(blob[:place], 3, note=place)


@pytest.mark.parametrize("name", WITH_JOINTS)
def test_a_limit_anywhere_is_met_by_all(name: str) -> None:
    said = said_by_one_scan(LAYERS[name], span_bytes=SPAN)
    size = said[6] if len(said) > 6 else 0
    assert isinstance(size, int)
    for limit in (size // 3, size // 2, size - 1, size):
        assert_same(LAYERS[name], 3, note=limit, max_uncomp_bytes=limit)


def test_random_damage_is_the_same_damage_to_all() -> None:
    rng = random.Random(1)
    for i in range(40):
        bad = bytearray(LAYERS[rng.choice(WITH_JOINTS)])
        for _ in range(rng.choice((1, 2, 5))):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        assert_same(bytes(bad), rng.randrange(2, 9), note=i)


def test_a_search_for_joints_in_starts_without_end_gives_up() -> None:
    """Each of some 40,000 starts leads through all that follow, and then to nothing."""
    blob = false_stream(never_known, 500)
    before = time.process_time()
    assert joint_in(blob, CHUNK_BYTES) is None
    assert time.process_time() - before < 60        # some hundredths of a second; hours, if the search had no end


def test_a_bomb_in_chunks_is_a_bomb() -> None:
    blob = bomb(200 << 20)
    assert_same(blob, 3)
    assert_same(blob, 3, max_uncomp_bytes=150 << 20)


@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="sanitizers have memory of their own")
@pytest.mark.parametrize("block", [believable, never_known])
def test_each_thread_has_its_bound_of_memory(tmp_path: Path, block: Callable[[int], bytes]) -> None:
    """Two bytes a byte that is decoded blindly, the input for that, and a scanner; however large the stream is."""
    blob = false_stream(block, 40_000)
    path = tmp_path / "layer.gz"
    path.write_bytes(blob)
    for n_threads in (1, 4, 8):
        run = [sys.executable, "-c", MEASURE, str(path), str(n_threads)]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        assert int(done.stdout) << 10 < n_threads * (2 * PATIENCE_BYTES + (8 << 20)), n_threads


def test_the_first_fault_is_reported_however_near_the_limit_is() -> None:
    good = files(12, 150, [3000, 20_000], 0.6)
    blob = gzip.compress(good + b"no header".ljust(512, b"\1") + good, 6, mtime=0)
    for beyond in (0, 512, 20_000):
        limit = len(good) + 512 + beyond
        assert said_by_one_scan(blob, span_bytes=SPAN, max_uncomp_bytes=limit)[0] is FormatError
        assert_same(blob, 3, 8, note=beyond, max_uncomp_bytes=limit)
