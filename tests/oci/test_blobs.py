"""Blobs: ranges, and bytes checked while they pass."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.blobs import Blob, FileBlob, MemoryBlob, check_bytes, read_whole, verified
from accel.errors import DigestMismatch, FormatError, LimitError, TruncatedError
from accel.oci import Descriptor, digest_of

DATA = bytes(range(256)) * 40


@pytest.fixture(params=["memory", "file", "part of a file"])
def blob(request: pytest.FixtureRequest, tmp_path: Path) -> Blob:
    path = tmp_path / "blob"
    if request.param == "memory":
        return MemoryBlob(DATA)
    if request.param == "file":
        path.write_bytes(DATA)
        return FileBlob(path)
    path.write_bytes(b"before" + DATA + b"after")
    return FileBlob(path, 6, len(DATA))


@pytest.mark.parametrize(
    ("offset", "n_bytes"), [(0, 0), (0, 1), (5, 300), (0, 10240), (10239, 1), (10240, 0)]
)
def test_ranges_are_slices(blob: Blob, offset: int, n_bytes: int) -> None:
    assert blob.read_at(offset, n_bytes) == DATA[offset : offset + n_bytes]


@pytest.mark.parametrize("chunk_bytes", [1000, 10240, 1 << 20])
def test_streams_are_all_the_bytes(blob: Blob, chunk_bytes: int) -> None:
    chunks = list(blob.stream(chunk_bytes))
    assert b"".join(chunks) == DATA
    assert max(map(len, chunks)) <= chunk_bytes
    assert blob.size == len(DATA)


@pytest.mark.parametrize(("offset", "n_bytes"), [(0, 10241), (10240, 1), (1 << 62, 1)])
def test_reads_past_the_end_are_refused(blob: Blob, offset: int, n_bytes: int) -> None:
    with pytest.raises(TruncatedError) as caught:
        blob.read_at(offset, n_bytes)
    assert caught.value.comp_offset == offset


@pytest.mark.parametrize(("offset", "n_bytes"), [(-1, 1), (0, -1)])
def test_negative_ranges_are_refused(blob: Blob, offset: int, n_bytes: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        blob.read_at(offset, n_bytes)


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    blob = FileBlob(path, name="sha256:x")
    os.truncate(path, 100)
    with pytest.raises(TruncatedError, match="sha256:x"):
        blob.read_at(0, 200)
    with pytest.raises(TruncatedError):
        list(blob.stream())


def test_a_part_outside_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    for offset, size in [(0, len(DATA) + 1), (len(DATA) + 1, None), (5, len(DATA))]:
        with pytest.raises(TruncatedError):
            FileBlob(path, offset, size)


def test_an_archive_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(DATA)
    blob = FileBlob(path, 10, 20, identity=FileBlob.identity_of(path.stat()))
    assert blob.read_at(0, 20) == DATA[10:30]
    (tmp_path / "other").write_bytes(DATA[::-1])
    os.replace(tmp_path / "other", path)
    with pytest.raises(FormatError, match="changed"):
        blob.read_at(0, 20)


@pytest.mark.timeout(10)
def test_pipes_and_devices_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(FormatError, match="regular file"):
            FileBlob(path)


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    before = os.listdir("/proc/self/fd")
    blob = FileBlob(path)
    blob.read_at(0, 5)
    stream = blob.stream(100)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert os.listdir("/proc/self/fd") == before


def test_verified_lets_the_right_bytes_through() -> None:
    descriptor = Descriptor.of(DATA, "a/b")
    assert b"".join(verified(MemoryBlob(DATA).stream(99), descriptor)) == DATA
    assert b"".join(verified([memoryview(DATA)], descriptor)) == DATA
    assert check_bytes(DATA, descriptor) is DATA
    assert list(verified([], Descriptor.of(b"", "a/b"))) == []


def test_verified_computes_sha512_too() -> None:
    empty = (
        "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
    )
    assert list(verified([], Descriptor("a/b", empty, 0))) == []
    with pytest.raises(DigestMismatch):
        list(verified([b"x"], Descriptor("a/b", empty, 1)))


def test_verified_stops_at_the_first_byte_too_many() -> None:
    endless = verified(itertools.repeat(b"x" * 10), Descriptor("a/b", digest_of(b""), 25))
    assert [next(endless), next(endless)] == [b"x" * 10] * 2
    with pytest.raises(DigestMismatch) as caught:
        next(endless)
    assert caught.value.n_bytes == 30


@pytest.mark.parametrize("data", [DATA[:-1], DATA[:-1] + b"!", b""])
def test_verified_refuses_wrong_and_missing_bytes_at_the_end(data: bytes) -> None:
    descriptor = Descriptor.of(DATA, "a/b")
    with pytest.raises(DigestMismatch) as caught:
        list(verified([data], descriptor))
    assert caught.value.blob == descriptor.digest
    assert caught.value.n_bytes == len(data)


def test_a_small_blob_that_is_large_is_not_read() -> None:
    class Bomb(MemoryBlob):
        def stream(self, chunk_bytes: int = 1) -> Iterator[bytes]:
            raise AssertionError("read")

    descriptor = Descriptor.of(DATA, "a/b")
    assert read_whole(MemoryBlob(DATA), descriptor) == DATA
    with pytest.raises(LimitError):
        read_whole(Bomb(DATA), descriptor, max_bytes=len(DATA) - 1)
