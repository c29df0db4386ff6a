"""Batches of a tar: cut at the same places whatever the pieces, every file's chunks whole; tarfile is the judge."""

import hashlib
import io
import random
import tarfile

import pytest

from accel_core.errors import FormatError, TruncatedError
from accel_core.tar_batches import TarBatches
from support import tar_cases
from support.images import file, random_tar, tar_of

BATCH, CHUNK = 4096, 2048


def batches_of(
    tar: bytes, piece_bytes: int, batch_bytes: int = BATCH, chunk_bytes: int = CHUNK
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int, int]], int]:
    """Ranges of the batches, chunks as (row, offset in the file, start and end in the tar), end of the entries."""
    cutter = TarBatches(batch_bytes=batch_bytes, chunk_bytes=chunk_bytes)
    ranges: list[tuple[int, int]] = []
    chunks: list[tuple[int, int, int, int]] = []
    start = 0

    def take(end: int) -> None:
        nonlocal start
        ranges.append((start, end))
        for row, offset, first, last in zip(*cutter.chunks(start, end), strict=True):
            chunks.append((row, offset, start + first, start + last))
        start = end

    for at in range(0, len(tar), piece_bytes):
        cutter.feed(tar[at : at + piece_bytes])
        while (cut := cutter.next_cut()) is not None:
            take(cut)
    cutter.close()
    while (cut := cutter.next_cut()) is not None:
        take(cut)
    if start < len(tar):
        take(len(tar))
    assert cutter.position == len(tar)
    return ranges, chunks, cutter.entries_end


def big_tar() -> bytes:
    rng = random.Random(5)
    return tar_of(
        file("small", b"x"), file("two-chunks", rng.randbytes(2 * CHUNK)), file("none"),
        file("long", rng.randbytes(9 * CHUNK + 5)), *(file(f"f{i}", rng.randbytes(i * 97)) for i in range(40)),
    )  # fmt: skip


CASES = tar_cases.LEGAL | {"big": big_tar(), "random": random_tar(3, 30, 5000)}


@pytest.mark.parametrize("name", CASES)
def test_cuts_depend_on_the_tar_alone(name: str) -> None:
    tar = CASES[name]
    whole = batches_of(tar, max(1, len(tar)))
    ranges, chunks, entries_end = whole
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges)][:-1] or not ranges
    assert (ranges[-1][1] if ranges else 0) == len(tar)
    for piece_bytes in (1, 511, 512, 513, 5000):
        if piece_bytes > 1 or len(tar) < 50_000:
            assert batches_of(tar, piece_bytes) == whole
    for _, _, start, end in chunks:
        assert sum(first <= start and end <= last for first, last in ranges) == 1
    if 0 < entries_end < len(tar):
        assert entries_end in [start for start, _ in ranges]


@pytest.mark.parametrize("name", ["big", "random", "every type", "no end"])
def test_chunks_are_the_files(name: str) -> None:
    tar = CASES[name]
    _, chunks, _ = batches_of(tar, 700)
    found: dict[int, bytes] = {}
    for row, offset, start, end in chunks:
        assert offset == len(found.get(row, b"")) and 0 < end - start <= CHUNK
        found[row] = found.get(row, b"") + tar[start:end]
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        members = opened.getmembers()
        theirs = {
            i: opened.extractfile(m).read()  # type: ignore[union-attr]
            for i, m in enumerate(members)
            if m.isreg() and m.size
        }
    assert {row: hashlib.sha256(data).digest() for row, data in found.items()} == {
        row: hashlib.sha256(data).digest() for row, data in theirs.items()
    }


def test_batches_are_as_large_as_asked_for_and_not_much_larger() -> None:
    ranges, _, entries_end = batches_of(big_tar(), 999)
    sizes = [end - start for start, end in ranges if end < entries_end]
    assert min(sizes) >= BATCH
    assert max(end - start for start, end in ranges) <= BATCH + CHUNK + 1024


def test_what_follows_the_archive_is_cut_too() -> None:
    tar = tar_of(file("a", b"x")) + bytes(10 * BATCH)
    ranges, _, entries_end = batches_of(tar, 4000)
    assert entries_end == 1024 and ranges[0] == (0, 1024)
    assert {end - start for start, end in ranges[1:-1]} == {BATCH}


def test_many_small_batches_are_the_same_tar() -> None:
    ranges, chunks, _ = batches_of(big_tar(), 333, batch_bytes=1, chunk_bytes=1)
    assert len(ranges) > len(chunks) > 9 * CHUNK
    assert all(end > start for start, end in ranges)


@pytest.mark.parametrize("name", tar_cases.CORRUPT)
def test_a_corrupt_tar_is_an_error_with_its_offset(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        batches_of(tar_cases.CORRUPT[name], 512)
    assert caught.value.uncomp_offset is not None


@pytest.mark.parametrize("name", tar_cases.TRUNCATED)
def test_a_truncated_tar_is_told_at_the_end(name: str) -> None:
    with pytest.raises(TruncatedError):
        batches_of(tar_cases.TRUNCATED[name], 100)


def test_rows_are_counted_by_where_their_data_begins() -> None:
    cutter = TarBatches(batch_bytes=BATCH, chunk_bytes=CHUNK)
    cutter.feed(tar_of(file("a", b"x"), file("b"), file("c")))
    assert [cutter.n_entries_until(n) for n in (0, 511, 512, 1024, 1536, 2048)] == [0, 0, 1, 1, 2, 3]
    assert len(cutter.entries) == cutter.n_entries == 3


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1)])
def test_sizes_are_positive(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        TarBatches(batch_bytes=sizes[0], chunk_bytes=sizes[1])


def test_a_closed_scan_takes_no_more() -> None:
    cutter = TarBatches(batch_bytes=1, chunk_bytes=1)
    cutter.close()
    with pytest.raises(ValueError, match="closed"):
        cutter.feed(b"x")
