"""How fast are tar entries found in the uncompressed bytes, beside ``tarfile``?"""

import io
import tarfile
from collections.abc import Iterator
from functools import partial

from measure import Row, interleaved, rows_of

import data
from accel_core.tar_scan import TarScanner

PIECE_BYTES = 1 << 18       # as the scan hands its output on


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    blob = data.tar("mixed", tiny).read_bytes()
    many = many_small(200 if tiny else 20_000)
    for case, archive in (("mixed", blob), ("small files", many)):
        if only and only != case:
            continue
        assert scan(archive) == names(archive)
        calls = {"accel": partial(scan, archive), "tarfile": partial(names, archive)}
        times = interleaved(calls, min(rounds, 3))
        for row in rows_of("tar", case, times, "tarfile", len(archive), len(archive)):
            row.note = f"{scan(archive)} entries"
            yield row


def scan(archive: bytes) -> int:
    scanner = TarScanner()
    view = memoryview(archive)
    for start in range(0, len(view), PIECE_BYTES):
        scanner.feed(view[start : start + PIECE_BYTES])
    return len(scanner.close())


def names(archive: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        return len(tar.getmembers())


def many_small(n: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for i in range(n):
            info = tarfile.TarInfo(f"usr/share/zoneinfo/{i % 97}/{i}")
            info.size, info.mtime = 100, 1_700_000_000.25      # a fraction takes a PAX record
            tar.addfile(info, io.BytesIO(b"x" * 100))
    return out.getvalue()
