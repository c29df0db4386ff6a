"""Scanning in chunks says exactly what one scan says, whatever the chunks, and finds the same errors."""

import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_core import FormatError, LimitError, index
from accel_core.find_joint import JointSearch
from accel_core.gzip_chunk import GzipChunk
from accel_core.indexing import index_parallel
from accel_core.layer_index import LayerIndex
from accel_core.parallel_scan import ScanJob, scan_in_chunks, scan_parallel
from accel_core.ztoc import encode

SPAN = 128 << 10
CHUNK = 256 << 10


def layer(seed: int, *, sizes: list[int], n_files: int, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """Files of words and random bytes, some with PAX or GNU headers in front."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(3000)]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        for i in range(n_files):
            size = rng.choice(sizes)
            body = rng.randbytes(size) if rng.random() < 0.15 else b" ".join(rng.choices(words, k=size // 10 + 1))
            info = tarfile.TarInfo(f"d{i % 7}/" + "long/" * (30 if rng.random() < 0.2 else 0) + f"file{i}")
            info.size, info.mtime = len(body), i * 0.5 if tar_format == tarfile.PAX_FORMAT else i
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


SMALL_FILES = layer(1, sizes=[0, 10, 700, 5000, 60_000], n_files=500)
HEADERS = layer(2, sizes=[0, 0, 0, 3, 40], n_files=9000)
BIG_FILE = layer(3, sizes=[6 << 20], n_files=1)
MIXED = layer(5, sizes=[0, 100, 9000, 1 << 20], n_files=25, tar_format=tarfile.GNU_FORMAT)
NESTED = layer(6, sizes=[2 << 20], n_files=2)[:-10240] + layer(7, sizes=[4000], n_files=300)
ZEROS = layer(8, sizes=[5000], n_files=300)[:-10240] + layer(9, sizes=[0], n_files=1)[:512] + bytes(20 << 20)


def with_tar_inside(inner: bytes) -> bytes:
    """A tar whose only large file is a tar: its headers look like ours."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, body in (("a.tar", inner), ("b", b"x" * 1000), ("c.tar", inner)):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def members(tar: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(tar[i : i + size], 6) for i in range(0, len(tar), size))


def flushed(tar: bytes, mode: int) -> bytes:
    """As pigz and pgzip make it: one member, a flush every 128 KiB."""
    deflate = zlib.compressobj(6, wbits=31)
    pieces = [deflate.compress(tar[i : i + 131072]) + deflate.flush(mode) for i in range(0, len(tar), 131072)]
    return b"".join(pieces) + deflate.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "level 1": lambda tar: gzip.compress(tar, 1),
    "level 6": lambda tar: gzip.compress(tar, 6),
    "level 9": lambda tar: gzip.compress(tar, 9),
    "stored": lambda tar: gzip.compress(tar, 0),
    "sync flushes": lambda tar: flushed(tar, zlib.Z_SYNC_FLUSH),
    "full flushes": lambda tar: flushed(tar, zlib.Z_FULL_FLUSH),
    "large members": lambda tar: members(tar, 700_000),
    "small members": lambda tar: members(tar, 65280),
    "gzip in gzip": lambda tar: gzip.compress(gzip.compress(tar), 0),
}
LAYERS = {
    "small files": SMALL_FILES,
    "headers": HEADERS,
    "big file": BIG_FILE,
    "mixed": MIXED,
    "nested": with_tar_inside(NESTED),
    "zeros": ZEROS,
}


def in_chunks(blob: bytes, n_chunks: int, **options: int) -> tuple[object, ...]:
    return facts_of(scan_in_chunks(job_of(blob, **options), n_chunks=n_chunks, min_chunk_bytes=CHUNK))


def parallel(blob: bytes, threads: int, **options: int) -> tuple[object, ...]:
    return facts_of(scan_parallel(job_of(blob, **options), threads=threads, min_chunk_bytes=CHUNK))


def job_of(blob: bytes, **options: int) -> ScanJob:
    def read_at(offset: int, n_bytes: int) -> bytes:
        return blob[offset : offset + n_bytes]

    return ScanJob(read_at, len(blob), SPAN, **options)  # type: ignore[arg-type]


def facts_of(scan: GzipChunk) -> tuple[object, ...]:
    checkpoints, entries, archive_size, size, n_members, trailing = scan.result()
    return (
        checkpoints.comp_offset, checkpoints.uncomp_offset, checkpoints.bits, bytes(checkpoints.windows),
        list(entries), archive_size, size, n_members, trailing,
    )


def facts(serial: LayerIndex) -> tuple[object, ...]:
    points = serial.checkpoints
    return (
        points.comp_offset, points.uncomp_offset, points.bits, bytes(points.windows), list(serial.entries),
        serial.archive_size, serial.uncomp_size, serial.members, serial.trailing_bytes,
    )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", LAYERS)
def test_chunks_say_what_one_scan_says(name: str, encoder: str) -> None:
    blob = ENCODERS[encoder](LAYERS[name])
    try:
        wanted = facts(index([blob], span_bytes=SPAN, digest=False, span_digests=False))
    except FormatError as error:        # "gzip in gzip" is no tar
        with pytest.raises(FormatError) as other:
            in_chunks(blob, 3)
        assert (other.value.what, other.value.uncomp_offset) == (error.what, error.uncomp_offset)
        return
    for n_chunks in (1, 2, 9):
        assert in_chunks(blob, n_chunks) == wanted, n_chunks
    assert parallel(blob, 3) == wanted


def test_joints_are_found_and_used() -> None:
    """Not everything falls back to one scan: a joint has the window that zlib sees there."""
    blob = gzip.compress(SMALL_FILES, 6)
    every = index([blob], placement="soci", span_bytes=1, digest=False, span_digests=False).checkpoints
    bits = zip(every.comp_offset, every.bits, strict=True)
    windows = {8 * c - b: bytes(every.window(i)) for i, (c, b) in enumerate(bits)}
    search = JointSearch(len(blob) // 3, 1 << 20, 16 << 20)
    assert search.feed(blob[len(blob) // 3 :])
    joint = search.joint()
    assert joint is not None
    bit, window, prefix = joint
    assert prefix is not None
    assert windows[bit] == window
    assert prefix.start_bit in windows


def test_a_corrupt_chunk_is_the_error_of_one_scan() -> None:
    blob = bytearray(gzip.compress(SMALL_FILES, 6))
    for at in (len(blob) // 2, len(blob) * 3 // 4, len(blob) - 6):
        bad = bytearray(blob)
        bad[at] ^= 0x55
        with pytest.raises(FormatError) as one:
            index([bytes(bad)], span_bytes=SPAN)
        with pytest.raises(FormatError) as other:
            in_chunks(bytes(bad), 4)
        assert (other.value.what, other.value.comp_offset) == (one.value.what, one.value.comp_offset)


def test_a_cut_stream_and_a_bomb_are_errors() -> None:
    blob = gzip.compress(SMALL_FILES, 6)
    with pytest.raises(FormatError):
        in_chunks(blob[:-20], 3)
    with pytest.raises(LimitError):
        in_chunks(blob, 3, max_uncomp_bytes=len(SMALL_FILES) - 1)
    assert in_chunks(blob, 3, max_uncomp_bytes=len(SMALL_FILES))[6] == len(SMALL_FILES)


def test_what_on_bytes_raises_stops_all_threads() -> None:
    blob = gzip.compress(SMALL_FILES, 6)

    def on_bytes(_: int) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        scan_parallel(
            ScanJob(lambda at, n: blob[at : at + n], len(blob), SPAN, on_bytes=on_bytes),
            threads=2, min_chunk_bytes=CHUNK,
        )


def test_index_gives_the_same_with_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel_core.indexing.MIN_CHUNK_BYTES", CHUNK)
    monkeypatch.setattr("accel_core.parallel_scan.MIN_CHUNK_BYTES", CHUNK)
    path = tmp_path / "layer.tar.gz"
    path.write_bytes(gzip.compress(SMALL_FILES, 6))
    one, several = index(path, span_bytes=SPAN), index(path, span_bytes=SPAN, threads=3)
    assert facts(one) == facts(several)
    assert (one.digest, one.span_digests) == (several.digest, several.span_digests)
    assert encode(one, tool="t") == encode(several, tool="t")


def test_a_blob_that_shrinks_under_the_threads_is_an_error() -> None:
    blob = gzip.compress(SMALL_FILES, 6)
    with pytest.raises(FormatError):
        index_parallel(lambda at, n: blob[: len(blob) // 2][at : at + n], len(blob), threads=2, span_bytes=SPAN)
