"""Kernels at work in several threads at once: what is not shared does not meet, and what is handed over arrives.

``make tsan`` runs this under ThreadSanitizer, which ends the process at the first data race in a kernel.
"""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from accel_core import LayerIndex, index, inflate_span
from accel_core.crc32 import crc32
from accel_core.ztoc import decode, encode
from support.hostile_layers import CHUNK_BYTES, files, hostile_layers
from support.scans import joint_in, said_by_one_scan, said_by_threads
from support.tars import END

THREADS = 4
SPAN = 64 << 10
TAR = files(20, 150, [0, 500, 30_000]) + END
BLOBS = [gzip.compress(TAR, level, mtime=0) for level in (0, 1, 6, 9)]
SHARED = """
import gzip, random, threading
from accel_core.gzip_chunk import GzipChunk

blob = gzip.compress(random.Random(1).randbytes(8 << 20), 1)
scan, start = GzipChunk(1 << 16, 1 << 40), threading.Barrier(2)

def work():
    start.wait()
    for _ in range(20):
        try:
            scan.scan(blob, 1 << 60)
        except Exception:
            pass

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def assert_same_in_threads(work: Callable[[int], object], n: int) -> None:
    alone = [work(i) for i in range(n)]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            assert list(pool.map(work, range(n))) == alone


def indexed(i: int) -> LayerIndex:
    return index([BLOBS[i]], span_bytes=SPAN)


def test_layers_are_indexed_side_by_side() -> None:
    def work(i: int) -> bytes:
        return encode(indexed(i), tool="t")

    assert_same_in_threads(work, len(BLOBS))


def test_spans_are_inflated_side_by_side() -> None:
    layer = indexed(2)

    def work(i: int) -> bytes:
        (start, end), (first, last) = layer.span_comp(i), layer.span_uncomp(i)
        return inflate_span(BLOBS[2][start:end], layer.checkpoints.bits[i], layer.checkpoints.window(i), last - first)

    assert_same_in_threads(work, layer.n_spans)


def test_joints_are_searched_side_by_side() -> None:
    blob = hostile_layers()["noise among text"]
    assert_same_in_threads(lambda i: joint_in(blob, i * len(blob) // 8), 8)


def test_checksums_and_ztocs_are_made_side_by_side() -> None:
    encoded = [encode(indexed(i), tool="t") for i in range(len(BLOBS))]

    def work(i: int) -> tuple[int, bytes]:
        return crc32(TAR[i:]), encode(decode(encoded[i])[0], tool="t")

    assert_same_in_threads(work, len(BLOBS))


@pytest.mark.parametrize("name", ["noise among text", "false joints", "long gzip headers", "empty fixed blocks"])
def test_chunks_are_scanned_side_by_side(name: str) -> None:
    blob = hostile_layers()[name]
    wanted = said_by_one_scan(blob, span_bytes=16 << 10)
    for threads in (2, THREADS, 8):
        assert said_by_threads(blob, threads, span_bytes=16 << 10, min_chunk_bytes=CHUNK_BYTES) == wanted


@pytest.mark.skipif("libtsan" not in os.environ.get("LD_PRELOAD", ""), reason="only ThreadSanitizer sees a race")
def test_a_race_in_a_kernel_is_reported() -> None:
    """Two threads in one scan, as nobody should: what proves that the other tests would tell of a race."""
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True)
    assert "WARNING: ThreadSanitizer: data race" in done.stderr
    assert "inflate" in done.stderr or "gzip_stream" in done.stderr
    assert done.returncode == 66
