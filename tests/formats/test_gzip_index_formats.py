"""Every format of index files of gzip blobs, in one table: what goes in comes out, and strangers' files do no harm."""

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from accel.errors import AccelError, FormatError, LimitError, TruncatedError, UnsupportedError
from accel.formats import bgzip, gzidx, gztool
from accel_core import Checkpoints, index, inflate_span
from accel_core.checkpoints import WINDOW_BYTES
from accel_core.gzip_index import GzipIndex, GzipIndexed
from support.contents import contents
from support.gzip_spans import assert_every_span_inflates
from support.gzips import ENCODERS

TAR = contents()["mixed tar"]
GZIPS = ("gzip -1", "gzip -6", "gzip -9", "pigz -6", "pigz -i", "igzip -1", "Go with members and names")
BGZF = ("bgzip -l 1", "bgzip -l 6", "bgzip -l 0")


def scanned(blob: bytes) -> GzipIndexed:
    return index([blob], span_bytes=60_000, digest=False, span_digests=False, sparse_windows=True)


def blocks(blob: bytes) -> GzipIndexed:
    return bgzip.block_starts(lambda offset, n_bytes: blob[offset : offset + n_bytes])


@dataclass(frozen=True)
class Format:
    """``learn`` gives what ``encode`` takes; ``encoders`` make the blobs it is for."""

    name: str
    encode: Callable[[GzipIndexed], Iterable[Any]]
    decode: Callable[..., GzipIndex]
    learn: Callable[[bytes], GzipIndexed] = scanned
    encoders: tuple[str, ...] = GZIPS
    keeps_uncomp_size: bool = True

    def file(self, index: GzipIndexed) -> bytes:
        pieces = self.encode(index)
        return pieces if isinstance(pieces, bytes) else b"".join(pieces)


def gzidx_0(index: GzipIndexed) -> Iterator[bytes]:
    """As indexed_gzip wrote it before version 1.6: no flags, and a window for all points but the first."""
    points = index.checkpoints
    yield b"GZIDX\0\0" + struct.pack("<QQIII", index.comp_size, index.uncomp_size, 1 << 20, WINDOW_BYTES, len(points))
    for i in range(len(points)):
        yield struct.pack("<QQB", points.comp_offset[i], points.uncomp_offset[i], points.bits[i])
    for i in range(1, len(points)):
        yield bytes(points.window(i)).rjust(WINDOW_BYTES, b"\0")


def gztool_with_lines(index: GzipIndexed) -> Iterator[bytes]:
    """gztool's version 1."""
    points = index.checkpoints
    yield bytes(8) + b"gzipindX" + struct.pack(">IQQ", 0, len(points), len(points))
    for i in range(len(points)):
        window = zlib.compress(points.window(i), 9) if i else b""
        yield struct.pack(">QQII", points.uncomp_offset[i], points.comp_offset[i], points.bits[i], len(window))
        yield window + struct.pack(">Q", 1 + TAR[: points.uncomp_offset[i]].count(b"\n"))
    yield struct.pack(">QQ", index.uncomp_size, TAR.count(b"\n"))


FORMATS = [
    Format("GZIDX", gzidx.encode, gzidx.decode),
    Format("GZIDX 0", gzidx_0, gzidx.decode),
    Format("gztool", gztool.encode, gztool.decode),
    Format("gztool with lines", gztool_with_lines, gztool.decode),
    Format("bgzip", bgzip.encode, bgzip.decode, blocks, BGZF, keeps_uncomp_size=False),
]
ALL = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


@cache
def blob_of(encoder: str) -> bytes:
    return next(e for e in ENCODERS if e.name == encoder).encode(TAR)


@cache
def example(format: Format) -> tuple[bytes, GzipIndexed, bytes]:
    """A blob, what is known of it, and the index file of that."""
    blob = blob_of(format.encoders[1])
    found = format.learn(blob)
    assert len(found.checkpoints) > 3
    return blob, found, format.file(found)


def offsets(index: GzipIndexed) -> list[tuple[int, int, int]]:
    points = index.checkpoints
    return list(zip(points.comp_offset, points.uncomp_offset, points.bits, strict=True))


# --- what goes in comes out ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "encoder"), [(f, e) for f in FORMATS for e in f.encoders], ids=lambda x: getattr(x, "name", x)
)
def test_a_layer_can_be_read_through_what_was_written(format: Format, encoder: str) -> None:
    blob = blob_of(encoder)
    found = format.learn(blob)
    file = format.file(found)
    read = format.decode(file, comp_size=len(blob))
    assert offsets(read) == offsets(found)
    assert read.uncomp_size == (len(TAR) if format.keeps_uncomp_size else None)
    assert_every_span_inflates(read, blob, TAR)
    assert format.file(read) == file


@ALL
def test_an_empty_blob_has_an_index(format: Format) -> None:
    blob = next(e for e in ENCODERS if e.name == format.encoders[0]).encode(b"")
    points = Checkpoints((18 if format.name == "bgzip" else 10,), (0,), b"\0", b"", (-1,))
    read = format.decode(format.file(GzipIndex(points, len(blob), 0)), comp_size=len(blob))
    assert offsets(read) == offsets(GzipIndex(points, len(blob), 0))


@ALL
def test_any_buffer_can_be_decoded(format: Format) -> None:
    blob, found, file = example(format)
    for buffer in (bytearray(file), memoryview(file)):
        assert offsets(format.decode(buffer, comp_size=len(blob))) == offsets(found)


# --- strangers' files -------------------------------------------------------------------------------------------


@ALL
def test_cut_anywhere_it_is_an_error(format: Format) -> None:
    blob, _, file = example(format)
    step = max(1, len(file) // 3000)
    for end in {*range(0, min(len(file), 1000)), *range(0, len(file), step), *range(len(file) - 50, len(file))}:
        with pytest.raises(FormatError):
            format.decode(file[:end], comp_size=len(blob))


@ALL
def test_flipped_bits_never_do_more_than_give_an_error_or_wrong_bytes(format: Format) -> None:
    blob, _, file = example(format)
    rng = random.Random(50)
    places = [*range(8 * 120), *(rng.randrange(8 * len(file)) for _ in range(1500))]
    for place in places:
        bad = bytearray(file)
        bad[place % (8 * len(file)) >> 3] ^= 1 << (place & 7)
        try:
            read = format.decode(bad, comp_size=len(blob))
        except AccelError:
            continue
        i = rng.randrange(len(read.checkpoints))
        points = read.checkpoints
        end = points.uncomp_offset[i + 1] if i + 1 < len(points) else (read.uncomp_size or points.uncomp_offset[i])
        assert len(points.window(i)) in (0, WINDOW_BYTES)
        try:
            inflate_span(blob[points.span_start(i) :], points.bits[i], points.window(i), end - points.uncomp_offset[i])
        except AccelError:
            continue


HOSTILE = {
    "compressed offsets go back": lambda comp, uncomp: ([comp[0], comp[2], comp[1], *comp[3:]], uncomp),
    "uncompressed offsets go back": lambda comp, uncomp: (comp, [uncomp[0], uncomp[2], uncomp[1], *uncomp[3:]]),
    "behind the end of the blob": lambda comp, uncomp: ([*comp[:-1], comp[-1] + (1 << 40)], uncomp),
    "huge compressed offset": lambda comp, uncomp: ([*comp[:-1], (1 << 64) - 1], uncomp),
    "huge uncompressed offset": lambda comp, uncomp: (comp, [*uncomp[:-1], (1 << 64) - 1]),
    "more than deflate can make": lambda comp, uncomp: ([*comp[:-1], comp[-2] + 1], uncomp),
    "starts late": lambda comp, uncomp: (comp[1:], uncomp[1:]),
    "before the blob": lambda comp, uncomp: ([0, *comp[1:]], uncomp),
}


@pytest.mark.parametrize("lie", HOSTILE)
@ALL
def test_offsets_that_cannot_be_are_an_error(format: Format, lie: str) -> None:
    if format.name == "bgzip" and lie in ("starts late", "before the blob"):
        pytest.skip("its first block is not written")
    blob, found, _ = example(format)
    points = found.checkpoints
    comp, uncomp = HOSTILE[lie](list(points.comp_offset), list(points.uncomp_offset))
    bits = bytearray(points.bits[-len(comp) :])
    if lie == "before the blob":
        bits[0] = 3
    rows = [-1] * len(comp) if points.rows is not None else None
    hostile = replace(points, comp_offset=comp, uncomp_offset=uncomp, bits=bytes(bits), rows=rows)
    try:
        file = format.file(GzipIndex(hostile, len(blob), len(TAR)))
    except (UnsupportedError, OverflowError, struct.error):
        pytest.skip("cannot even be written")
    with pytest.raises(FormatError):
        format.decode(file, comp_size=len(blob))


@ALL
def test_an_index_of_a_longer_blob_is_an_error(format: Format) -> None:
    blob, found, file = example(format)
    with pytest.raises(FormatError):
        format.decode(file, comp_size=found.checkpoints.comp_offset[-1] - 20)
    if format.name.startswith("GZIDX"):
        with pytest.raises(FormatError, match="of a blob of"):
            format.decode(file, comp_size=len(blob) + 1)


@ALL
def test_other_files_are_an_error(format: Format) -> None:
    theirs = [example(f)[2] for f in FORMATS if f.decode is not format.decode]
    for other in (b"", b"GZIDX", bytes(16), TAR[:4096], blob_of("gzip -6"), *theirs):
        with pytest.raises(FormatError):
            format.decode(other, comp_size=len(blob_of("gzip -6")))


@ALL
def test_bytes_behind_it_are_an_error(format: Format) -> None:
    blob, _, file = example(format)
    with pytest.raises(FormatError):
        format.decode(file + b"\0", comp_size=len(blob))


LYING_COUNTS = [
    ("GZIDX", 31, struct.pack("<I", (1 << 32) - 1)),
    ("GZIDX", 27, struct.pack("<I", (1 << 32) - 1)),
    ("GZIDX", 27, struct.pack("<I", 16384)),
    ("GZIDX 0", 31, struct.pack("<I", (1 << 32) - 1)),
    ("gztool", 16, struct.pack(">QQ", 1 << 40, 1 << 40)),
    ("gztool", 16, struct.pack(">QQ", 0, 1 << 40)),
    ("gztool", 52, struct.pack(">I", (1 << 32) - 1)),
    ("bgzip", 0, struct.pack("<Q", 1 << 60)),
]


@pytest.mark.parametrize(("name", "at", "lie"), LYING_COUNTS)
def test_lying_counts_cost_no_memory(name: str, at: int, lie: bytes) -> None:
    format = next(f for f in FORMATS if f.name == name)
    blob, _, file = example(format)
    bad = file[:at] + lie + file[at + len(lie) :]
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            format.decode(bad, comp_size=len(blob))
        assert tracemalloc.get_traced_memory()[1] < 4 * len(file) + (1 << 20)
    finally:
        tracemalloc.stop()


# --- single formats ---------------------------------------------------------------------------------------------


def gztool_file(window: bytes, n: int = 1) -> bytes:
    """An index whose points, but for the first, have a window stored as ``window``."""
    points = [struct.pack(">QQII", 0, 10, 0, 0)]
    points += [struct.pack(">QQII", 1000 * i, 10 + 1000 * i, 0, len(window)) + window for i in range(1, n + 1)]
    counts = struct.pack(">QQ", n + 1, n + 1)
    return bytes(8) + b"gzipindx" + counts + b"".join(points) + struct.pack(">Q", 1000 * n + 1000)


@pytest.mark.parametrize(
    "window",
    [
        zlib.compress(bytes(1 << 30), 9)[:100_000],
        zlib.compress(bytes(WINDOW_BYTES + 1)),
        zlib.compress(b"w" * 50) + b"x",
        zlib.compress(b"w" * 50)[:-1],
        b"no zlib",
    ],
    ids=["bomb", "too long", "bytes behind", "cut", "no zlib"],
)
def test_windows_of_gztool_must_be_windows(window: bytes) -> None:
    with pytest.raises(FormatError, match="not a usable gztool index"):
        gztool.decode(gztool_file(window), comp_size=1 << 20)


def test_short_windows_of_gztool_lie_at_the_end() -> None:
    read = gztool.decode(gztool_file(zlib.compress(b"abc")), comp_size=1 << 20)
    assert bytes(read.checkpoints.window(1)) == b"abc".rjust(WINDOW_BYTES, b"\0")


def test_small_gztool_files_do_not_become_large_windows() -> None:
    file = gztool_file(zlib.compress(bytes(WINDOW_BYTES), 9), 1000)
    assert len(file) < 100_000
    with pytest.raises(LimitError):
        gztool.decode(file, comp_size=1 << 30, max_window_bytes=10 * WINDOW_BYTES)
    assert len(gztool.decode(file, comp_size=1 << 30).checkpoints) == 1001


def test_a_gztool_index_that_still_grows_can_be_read() -> None:
    format = next(f for f in FORMATS if f.name == "gztool")
    blob, found, file = example(format)
    growing = file[:16] + struct.pack(">QQ", 0, len(found.checkpoints)) + file[32:-8]
    read = gztool.decode(growing, comp_size=len(blob))
    assert read.uncomp_size is None and offsets(read) == offsets(found)
    with pytest.raises(FormatError, match="no checkpoint"):
        gztool.decode(file[:16] + struct.pack(">QQ", 0, (1 << 64) - 1), comp_size=len(blob))


def test_gzidx_points_with_bits_always_have_a_window() -> None:
    points = Checkpoints((10, 5000, 9000), (0, 10_000, 20_000), bytes((0, 0, 3)), b"", (-1, -1, -1))
    file = b"".join(gzidx.encode(GzipIndex(points, 20_000, 40_000)))
    flags = [file[35 + 18 * i + 16 : 35 + 18 * i + 18] for i in range(4)]
    assert flags == [b"\0\0", b"\0\0", b"\x03\x01", b"\0\0"]
    assert file[35 + 18 * 4 :] == bytes(WINDOW_BYTES)


def test_wider_gzidx_windows_are_cut_to_what_deflate_can_reach() -> None:
    file = b"GZIDX\x01\0" + struct.pack("<QQIII", 5000, 90_000, 1 << 20, 40_000, 2)
    file += struct.pack("<QQBB", 10, 0, 0, 0) + struct.pack("<QQBB", 3000, 50_000, 0, 1)
    wide = random.Random(1).randbytes(40_000)
    read = gzidx.decode(file + wide, comp_size=5000)
    assert bytes(read.checkpoints.window(1)) == wide[-WINDOW_BYTES:]


def test_points_at_the_end_of_the_blob_are_left_out() -> None:
    file = b"GZIDX\x01\0" + struct.pack("<QQIII", 5000, 0, 1 << 20, WINDOW_BYTES, 3)
    file += struct.pack("<QQBB", 10, 0, 0, 0) + struct.pack("<QQBB", 3000, 5_000, 0, 0)
    file += struct.pack("<QQBB", 5000, 9_000, 0, 0)
    read = gzidx.decode(file, comp_size=5000)
    assert offsets(read) == [(10, 0, 0), (3000, 5000, 0)] and read.uncomp_size is None


def test_bgzip_refuses_what_is_no_bgzf() -> None:
    bgzf, plain = blob_of("bgzip -l 6"), blob_of("gzip -6")
    for blob, error in (
        (b"", UnsupportedError),
        (plain, UnsupportedError),
        (bgzf + plain, UnsupportedError),
        (bgzf + bytes(512), UnsupportedError),
        (bgzf[:-1], TruncatedError),
        (bgzf[:50_000], TruncatedError),
        (bgzf[:16] + b"\x10\0" + bgzf[18:], FormatError),
        (bgzf[:16] + b"\x1b\0" + bgzf[18:], (UnsupportedError, FormatError)),
        (bgzf[:-4] + b"\1\0\1\0", FormatError),
    ):
        with pytest.raises(error):
            blocks(blob)
    with pytest.raises(UnsupportedError):
        bgzip.encode(scanned(plain))


def test_the_count_of_an_empty_bgzip_index_is_read_both_ways() -> None:
    blob = next(e for e in ENCODERS if e.name == "bgzip -l 6").encode(b"")
    for file in (bytes(8), b"\xff" * 8):
        assert offsets(bgzip.decode(file, comp_size=len(blob))) == [(18, 0, 0)]
