"""Reading through an index gives the slices that zlib gives, wherever it starts, and typed errors where it cannot."""

import gzip
import io
import os
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import accel_core
from accel_core import Checkpoints, FormatError, LayerIndex, TruncatedError, open_indexed
from accel_core.byte_source import BufferSource, CallSource, FileSource
from accel_core.gzip_stream import implementations, use_implementation
from accel_core.indexed_reader import IndexedReader
from support.contents import contents, text
from support.gzip_cases import valid_streams
from support.gzips import ENCODERS, Encoder
from support.tar_layers import around
from support.zlib_oracle import zlib_verdict

TAR = contents()["mixed tar"]
FAST = [encoder for encoder in ENCODERS if not encoder.slow]
HAND_MADE = {name: stream for name, stream in valid_streams().items() if "zero bytes after" not in name}


def tar_of(*bodies: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i, body in enumerate(bodies):
            info = tarfile.TarInfo(f"file{i}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


BODIES = [text(700_000, 50 + i) + random.Random(i).randbytes(90_000) for i in range(3)]
BIG = tar_of(*BODIES, bytes(400_000))
BLOB = gzip.compress(BIG, 6, mtime=0)


@pytest.fixture(params=implementations(), autouse=True)
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    use_implementation(request.param)
    yield request.param
    use_implementation(implementations()[0])


def scan(blob: bytes, span_bytes: int, placement: str = "soci") -> LayerIndex:
    return accel_core.index([blob], compression="gzip", span_bytes=span_bytes, placement=placement)  # type: ignore[arg-type]


def reader_of(stream: bytes, index: LayerIndex, **options: object) -> IndexedReader:
    return IndexedReader(BufferSource(stream), index.checkpoints, index.uncomp_size, **options)  # type: ignore[arg-type]


def test_every_range_near_a_border_is_the_slice() -> None:
    index = scan(BLOB, 300_000)
    reader = reader_of(BLOB, index)
    borders = {*index.checkpoints.uncomp_offset, len(BIG), 32768, 262144, 262144 + 32768}
    for border in sorted(borders):
        for start in (border - 40_000, border - 258, border - 1, border, border + 1):
            for n in (0, 1, 2, 4096, 40_000, 131_071, 131_072, 200_000):
                if start >= 0:
                    assert reader.read_at(start, n) == BIG[start : start + n], (start, n)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20, 4 << 20, 32 << 20])
def test_random_reads_are_slices_and_keep_no_more_than_was_allowed(cache_bytes: int) -> None:
    index = scan(BLOB, 1 << 20)
    reader = reader_of(BLOB, index, cache_bytes=cache_bytes)
    rng = random.Random(3)
    for _ in range(400):
        start, n = rng.randrange(len(BIG) + 10), rng.choice([1, 100, 4096, 131_072, 500_000])
        assert reader.read_at(start, n) == BIG[start : start + n]
        assert reader.memory_bytes <= max(cache_bytes, 600_000)     # one cursor is needed in any case


def test_later_reads_start_at_boundaries_noted_by_earlier_ones() -> None:
    index = scan(BLOB, 1 << 30)
    assert len(index.checkpoints) == 1
    fetched = []

    def read_at(offset: int, n: int) -> bytes:
        fetched.append(n)
        return BLOB[offset : offset + n]

    reader = IndexedReader(CallSource(read_at, len(BLOB)), index.checkpoints, len(BIG))
    assert reader.read_at(2_000_000, 100) == BIG[2_000_000:2_000_100]
    for _ in range(10):     # other places, so that no cursor stands near
        reader.read_at(0, 10)
    first = sum(fetched)
    fetched.clear()
    for i in range(20):
        reader.read_at(i * 1000, 10)
    fetched.clear()
    assert reader.read_at(1_900_000, 100) == BIG[1_900_000:1_900_100]
    assert sum(fetched) < first / 3


@pytest.mark.parametrize("cache_bytes", [1_000_000, 2_000_000, 4_000_000])
def test_boundaries_noted_with_little_memory_are_as_good_to_resume_at(cache_bytes: int) -> None:
    data, blob = large()
    reader = reader_of(blob, large_index(1 << 30), cache_bytes=cache_bytes)
    rng = random.Random(cache_bytes)
    for _ in range(150):
        start = rng.randrange(len(data))
        assert reader.read_at(start, 3000) == data[start : start + 3000]
        assert reader.memory_bytes <= cache_bytes


@cache
def large() -> tuple[bytes, bytes]:
    """A layer of more than one piece of a stream, and of more than the longest."""
    data = tar_of(*BODIES * 9)
    return data, gzip.compress(data, 1, mtime=0)


@cache
def large_index(span_bytes: int) -> LayerIndex:
    return scan(large()[1], span_bytes)


@pytest.mark.parametrize("encoder", FAST, ids=lambda encoder: encoder.name)
def test_streams_of_every_encoder_read_back(encoder: Encoder) -> None:
    blob = encoder.encode(TAR)
    index = scan(blob, 40_000)
    reader = reader_of(blob, index)
    rng = random.Random(encoder.name)
    for _ in range(40):
        start, n = rng.randrange(len(TAR)), rng.choice([1, 5000, 150_000])
        assert reader.read_at(start, n) == TAR[start : start + n]
    assert reader.read_at(0, len(TAR) + 1) == TAR


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_streams_read_back_from_every_block(name: str) -> None:
    blob, data = around(HAND_MADE[name], zlib_verdict(HAND_MADE[name]).data)
    index = scan(blob, 1)
    reader = reader_of(blob, index)
    for start in (*index.checkpoints.uncomp_offset, len(data) // 2):
        assert reader.read_at(start, len(data)) == data[start:]


def test_members_and_what_follows_the_last_one_are_read_over() -> None:
    parts = [BIG[:400_000], b"", BIG[400_000:400_001], BIG[400_001:]]
    blob = b"".join(gzip.compress(part, mtime=0) for part in parts)
    data = b"".join(parts)
    for tail in (b"", bytes(1000), b"not gzip"):
        index = scan(blob + tail, 1 << 30)
        assert reader_of(blob + tail, index).read_at(0, len(data)) == data
        assert reader_of(blob + tail, index).read_at(399_990, 20) == data[399_990:400_010]


@pytest.mark.parametrize("blocks", [1, 4096, 20_000])
def test_empty_members_and_blocks_need_no_room(blocks: int) -> None:
    blob = gzip.compress(b"begin", mtime=0) + gzip.compress(b"", mtime=0) * blocks + gzip.compress(b"end", mtime=0)
    reader = IndexedReader(BufferSource(blob), Checkpoints((10,), (0,), b"\0", b"", (-1,)), 8)
    assert reader.read_at(4, 4) == b"nend"


def test_windows_may_be_shared_sparse_or_absent() -> None:
    full = scan(BLOB, 300_000)
    points = full.checkpoints
    # Each window twice, in another order; that of the first checkpoint is absent.
    order = list(range(len(points)))
    random.Random(1).shuffle(order)
    windows = b"".join(bytes(points.window(i)) for i in order)
    rows = [-1, *(order.index(i) for i in range(1, len(points)))]
    reader = reader_of(BLOB, replace(full, checkpoints=replace(points, windows=windows, rows=rows)))
    for start in points.uncomp_offset:
        assert reader.read_at(start, 150_000) == BIG[start : start + 150_000]
    # A window that matches need is not optional.
    without = replace(points, windows=b"", rows=[-1] * len(points))
    with pytest.raises(FormatError, match="distance too far back"):
        reader_of(BLOB, replace(full, checkpoints=without)).read_at(points.uncomp_offset[1], 300_000)


def test_several_threads_read_at_once() -> None:
    index = scan(BLOB, 500_000)
    reader = reader_of(BLOB, index)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(60):
            start, n = rng.randrange(len(BIG)), rng.choice([10, 4096, 300_000])
            assert reader.read_at(start, n) == BIG[start : start + n]

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(work, seed) for seed in range(24)]:
            done.result()
    assert reader.memory_bytes <= 64 << 20


@pytest.mark.parametrize("span_bytes", [2_000, 600_000, 1 << 30])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_stream_by_threads_is_the_sequential_read(span_bytes: int, threads: int) -> None:
    data, blob = large()
    with open_indexed(blob, large_index(span_bytes), threads=threads) as file:
        assert b"".join(bytes(piece) for piece in file.stream()) == data
        assert b"".join(bytes(piece) for piece in file.stream(1_000_001, 9_000_000)) == data[1_000_001:9_000_000]
        assert list(file.stream(5, 5)) == []
        for size in (-1, 7_000_000, 1_000_000):
            file.seek(0)
            assert b"".join(iter(lambda n=size: file.read(n), b"")) == data
        file.seek(0)
        into = bytearray(3_000_000)
        got = b""
        while n := file.readinto(into):
            got += into[:n]
        assert got == data


def test_a_slice_kept_from_a_stream_keeps_its_bytes() -> None:
    data, blob = large()
    with open_indexed(blob, large_index(600_000), threads=2) as file:
        kept = [piece[:100] for piece in file.stream()]
        held = [struct.iter_unpack("100s", piece[:100]) for piece in file.stream()]
        whole = [struct.iter_unpack("B", piece) for piece in file.stream()]
        starts = [0]
        for piece in file.stream():
            starts.append(starts[-1] + len(piece))
            last = piece
        assert [bytes(part) for part in kept] == [data[start : start + 100] for start in starts[:-1]]
        assert [next(part)[0] for part in held] == [bytes(part) for part in kept]
        assert [next(part)[0] for part in whole] == [part[0] for part in kept]
        with pytest.raises(ValueError, match="released"):
            bytes(last)


def test_it_is_a_file_to_tarfile(tmp_path: Path) -> None:
    path = tmp_path / "layer.tar.gz"
    path.write_bytes(gzip.compress(TAR, mtime=0))
    with (
        open_indexed(path, accel_core.index(path, span_bytes=60_000), threads=2) as file,
        tarfile.open(fileobj=file) as got,
        tarfile.open(fileobj=io.BytesIO(TAR)) as want,
    ):
        assert got.getnames() == want.getnames()
        for member in reversed(want.getmembers()):
            if member.isfile():
                assert got.extractfile(member.name).read() == want.extractfile(member).read()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_seek_and_tell_are_those_of_a_file() -> None:
    with open_indexed(BLOB, scan(BLOB, 500_000)) as file:
        judge = io.BytesIO(BIG)
        rng = random.Random(9)
        for _ in range(100):
            where, whence = rng.choice([(rng.randrange(len(BIG)), 0), (-rng.randrange(5000), 2), (50, 1), (10, 2)])
            assert file.seek(where, whence) == judge.seek(where, whence) == file.tell()
            n = rng.choice([0, 1, 70_000])
            assert file.read(n) == judge.read(n)
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)


@pytest.mark.parametrize("kind", ["path", "descriptor", "bytes", "call"])
def test_every_kind_of_source_reads_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(BLOB)
    with path.open("rb") as opened:
        sources = {
            "path": path,
            "descriptor": opened.fileno(),
            "bytes": memoryview(BLOB),
            "call": lambda offset, n: BLOB[offset : offset + n],
        }
        with open_indexed(sources[kind], scan(BLOB, 300_000)) as file:  # type: ignore[arg-type]
            assert file.read() == BIG
        os.fstat(opened.fileno())       # still the caller's


def test_a_layer_that_is_not_compressed_is_read_as_it_is() -> None:
    index = accel_core.index([TAR], span_bytes=60_000)
    assert index.compression == "tar"
    with open_indexed(TAR, index, threads=2) as file:
        assert file.read() == TAR
        assert file.read_at(100_000, 70_000) == TAR[100_000:170_000]
    flipped = bytearray(TAR)
    flipped[150_000] ^= 1
    with open_indexed(flipped, index, blob="sha256:ab") as file:
        assert file.read_at(0, 120_000) == TAR[:120_000]
        with pytest.raises(FormatError, match="span 2 is not what its digest says.*sha256:ab"):
            file.read_at(119_000, 2000)


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_a_span_that_differs_from_its_digest_is_not_inflated() -> None:
    index = scan(BLOB, 500_000)
    damaged = bytearray(BLOB)
    start, end = index.span_comp(2)
    damaged[end - 10] ^= 4
    with open_indexed(damaged, index, blob="sha256:cd") as file:
        first = index.span_uncomp(2)[0]
        assert file.read_at(first - 1000, 1000) == BIG[first - 1000 : first]
        with pytest.raises(FormatError, match=f"span 2 .*blob sha256:cd, compressed offset {start}"):
            file.read_at(first, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_flipped_bits_give_other_bytes_or_a_typed_error_the_same_by_threads(threads: int) -> None:
    data = tar_of(BODIES[0])
    blob = gzip.compress(data, 6, mtime=0)
    index = scan(blob, 60_000)
    rng = random.Random(17)
    for _ in range(60):
        damaged = bytearray(blob)
        damaged[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)
        results = []
        for n in (1, threads):
            out = bytearray()
            with open_indexed(damaged, index, verify=False, blob="b", threads=n) as file:
                try:
                    for start in range(0, len(data), 100_000) if n == 1 else ():
                        out += file.read_at(start, 100_000)
                    for piece in file.stream() if n > 1 else ():
                        out += piece
                    results.append((bytes(out), None))
                except FormatError as error:
                    assert error.blob == "b" and error.comp_offset is not None
                    results.append((b"", (error.what, error.comp_offset)))
        assert results[0] == results[1]


@pytest.mark.parametrize("n", [1, 5000, 131_072, 400_000])
def test_what_lies_before_a_broken_block_is_read_and_nothing_behind_it(n: int) -> None:
    packer = zlib.compressobj(6, wbits=31)
    before = packer.compress(BIG[:600_000]) + packer.flush(zlib.Z_SYNC_FLUSH)
    blob = before + packer.compress(BIG[600_000:]) + packer.flush()
    damaged = before + b"\x07" + blob[len(before) + 1 :]       # a block of type 3
    reader = reader_of(damaged, scan(blob, 1 << 30), blob="layer")
    for _ in range(2):
        for start in (600_000 - n, 0):
            assert reader.read_at(start, n) == BIG[start : start + n]
            with pytest.raises(FormatError, match="block type") as caught:
                reader.read_at(600_001 - n, n)
            assert (caught.value.blob, caught.value.comp_offset) == ("layer", len(before))
            assert caught.value.uncomp_offset == 600_000


def test_a_blob_cut_anywhere_is_an_error_where_its_bytes_are_missing() -> None:
    data = tar_of(text(15_000, 5))
    blob = next(encoder for encoder in ENCODERS if encoder.name == "zlib level 6 with flushes").encode(data)
    index = scan(blob, 1)
    points = index.checkpoints
    assert len(points) > 1
    for cut in range(10, len(blob)):
        short = blob[:cut]
        source = CallSource(lambda offset, n, short=short: short[offset : offset + n], len(blob))
        reader = IndexedReader(source, points, len(data), blob="b")
        if cut < len(blob) - 20:  # the trailer, and an empty last block
            with pytest.raises(FormatError) as caught:
                reader.read_at(0, len(data))
            assert isinstance(caught.value, TruncatedError), caught.value
            assert caught.value.blob == "b" and caught.value.comp_offset is not None
            # Or a little later: the end of a span's last block, when all its bytes are there, is not asked for.
            assert cut <= caught.value.comp_offset <= cut + 8
        whole = sum(offset <= cut for offset in points.comp_offset[1:])     # spans that end before the cut
        assert reader.read_at(0, points.uncomp_offset[whole]) == data[: points.uncomp_offset[whole]]


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(BLOB)
    with path.open("r+b") as opened:
        index = scan(BLOB, 300_000)
        reader = IndexedReader(FileSource(opened.fileno()), index.checkpoints, len(BIG), blob="b")
        assert reader.read_at(0, 1000) == BIG[:1000]
        opened.truncate(len(BLOB) // 2)
        with pytest.raises(TruncatedError, match="blob b"):
            reader.read_at(len(BIG) - 1000, 1000)
        assert reader.read_at(0, 1000) == BIG[:1000]


GOOD = scan(BLOB, 500_000)
N = len(GOOD.checkpoints)


def changed(field: str, i: int, value: int) -> Checkpoints:
    values = list(getattr(GOOD.checkpoints, field))
    values[i] = value
    return replace(GOOD.checkpoints, **{field: bytes(values) if field == "bits" else tuple(values)})


IMPOSSIBLE = {
    "comp offset behind the end": (changed("comp_offset", 2, len(BLOB) + 1), len(BIG)),
    "comp offset far behind the end": (changed("comp_offset", 2, 1 << 62), len(BIG)),
    "comp offset over 64 bits": (changed("comp_offset", 2, 1 << 70), len(BIG)),
    "comp offset negative": (changed("comp_offset", 0, -1), len(BIG)),
    "comp offsets fall": (changed("comp_offset", 1, GOOD.checkpoints.comp_offset[2] + 5), len(BIG)),
    "uncomp offsets fall": (changed("uncomp_offset", 1, GOOD.checkpoints.uncomp_offset[2] + 5), len(BIG)),
    "uncomp offset negative": (changed("uncomp_offset", 1, -5), len(BIG)),
    "no checkpoint at the start": (changed("uncomp_offset", 0, 1), len(BIG)),
    "bits 8": (changed("bits", 2, 8), len(BIG)),
    "bits 255": (changed("bits", 2, 255), len(BIG)),
    "bits before the blob": (replace(changed("comp_offset", 0, 0), bits=b"\1" + GOOD.checkpoints.bits[1:]), len(BIG)),
    "huge size": (GOOD.checkpoints, 1 << 62),
    "size that the blob cannot have": (GOOD.checkpoints, len(BLOB) * 1032 + 100_000),
    "negative size": (GOOD.checkpoints, -1),
    "no checkpoints": (Checkpoints((), (), b"", b""), len(BIG)),

    "columns of other lengths": (replace(GOOD.checkpoints, comp_offset=(10,)), len(BIG)),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_checkpoints_that_cannot_be_are_refused(name: str) -> None:
    points, size = IMPOSSIBLE[name]
    with pytest.raises(FormatError, match="blob b"):
        IndexedReader(BufferSource(BLOB), points, size, blob="b")


def test_checkpoints_that_merely_lie_give_other_bytes_or_a_typed_error() -> None:
    rng = random.Random(8)
    for _ in range(200):
        field = rng.choice(["comp_offset", "uncomp_offset", "bits"])
        i = rng.randrange(1, N)
        old = getattr(GOOD.checkpoints, field)[i]
        value = rng.randrange(8) if field == "bits" else old + rng.randrange(-3000, 3000)
        try:
            reader = IndexedReader(BufferSource(BLOB), changed(field, i, value), len(BIG), blob="b")
        except FormatError:
            continue
        for start in [rng.randrange(len(BIG)) for _ in range(6)]:
            try:
                got = reader.read_at(start, 50_000)
            except FormatError as error:
                assert error.blob == "b" and error.comp_offset is not None
            else:
                assert len(got) == min(50_000, len(BIG) - start)


def test_more_bytes_than_the_stream_has_are_an_error_and_less_are_no_matter() -> None:
    reader = IndexedReader(BufferSource(BLOB), GOOD.checkpoints, len(BIG) + 1, blob="b")
    assert reader.read_at(len(BIG) - 10, 10) == BIG[-10:]
    with pytest.raises(TruncatedError, match="ends before the index says"):
        reader.read_at(len(BIG) - 10, 11)
    shorter = IndexedReader(BufferSource(BLOB), GOOD.checkpoints, len(BIG) - 500)
    assert shorter.read_at(len(BIG) - 1000, 5000) == BIG[-1000:-500]


def test_an_index_of_another_blob_or_of_no_blob_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=f"layer of {len(BLOB)} bytes"):
        open_indexed(BLOB[:-1], GOOD)
    with pytest.raises(FormatError, match="digest for each span"):
        open_indexed(BLOB, replace(GOOD, span_digests=GOOD.span_digests[1:]))
    with pytest.raises(FileNotFoundError):
        open_indexed(tmp_path / "none", GOOD)


def test_what_a_source_raises_passes_through_and_the_reader_lives_on() -> None:
    broken = True

    def read_at(offset: int, n: int) -> bytes:
        if broken and offset > 100_000:
            raise ConnectionError("gone")
        return BLOB[offset : offset + n]

    # The first time in the middle of a long read, which decodes into memory that is gone afterwards.
    with open_indexed(read_at, GOOD, verify=False, threads=2) as file:
        with pytest.raises(ConnectionError, match="gone"):
            file.read_at(0, len(BIG))
        with pytest.raises(ConnectionError, match="gone"):
            file.read_at(len(BIG) - 10, 10)
        with pytest.raises(ConnectionError, match="gone"):
            list(file.stream())
        broken = False
        assert file.read_at(len(BIG) - 10, 10) == BIG[-10:]
