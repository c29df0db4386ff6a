"""What a layer is, told by its bytes; ordinary decoders against the libraries that made the data."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zlib

import pytest
import zstandard

from accel.errors import FormatError, LimitError, TruncatedError, UnsupportedError
from accel.images.compression import Compression, decompressed, peek, sniff
from support.images import file, tar_of

DATA = b"".join(bytes([b]) * 3000 + random.Random(b).randbytes(500) for b in range(60))
ENCODED: dict[Compression, bytes] = {
    "gzip": gzip.compress(DATA),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(DATA),
    "xz": lzma.compress(DATA),
    "bzip2": bz2.compress(DATA),
}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def v7_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    head = bytearray(out.getvalue()[:512])
    head[257:265] = bytes(8)  # no magic
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"\x1f\x8b", "gzip"),
        (ENCODED["gzip"], "gzip"),
        (ENCODED["zstd"], "zstd"),
        (b"\x5a\x2a\x4d\x18\0\0\0\0", "zstd"),
        (ENCODED["xz"], "xz"),
        (ENCODED["bzip2"], "bzip2"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (tar_of(file("a", b"x")), "tar"),
        (v7_tar(), "tar"),
        (tar_of(), "tar"),
        (tar_of(file("a"))[:511], "unknown"),
        (b"not a layer" * 100, "unknown"),
        (b"\x1f", "unknown"),
    ],
)
def test_sniff(head: bytes, kind: str) -> None:
    assert sniff(head[:512]) == kind


@pytest.mark.parametrize("size", [1, 7, 512, 1 << 20])
def test_peek_gives_everything_again(size: int) -> None:
    head, chunks = peek(pieces(DATA[:5000], size))
    assert head == DATA[:512]
    assert b"".join(chunks) == DATA[:5000]


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("kind", list(ENCODED))
def test_decoders(kind: Compression, size: int) -> None:
    assert b"".join(decompressed(pieces(ENCODED[kind], size), kind)) == DATA


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize("tail", [b"", bytes(1), bytes(700), b"garbage", b"\x1f"])
def test_gzip_members_follow_each_other_and_garbage_ends_them(tail: bytes, size: int) -> None:
    data = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two") + tail
    assert b"".join(decompressed(pieces(data, size), "gzip")) == b"onetwo"


@pytest.mark.parametrize("kind", list(ENCODED))
def test_frames_follow_each_other(kind: Compression) -> None:
    assert b"".join(decompressed([ENCODED[kind] * 2], kind)) == DATA * 2


@pytest.mark.parametrize("kind", ["gzip", "xz", "bzip2"])
def test_truncation_is_an_error(kind: Compression) -> None:
    with pytest.raises(TruncatedError):
        list(decompressed([ENCODED[kind][:-3]], kind))


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "bzip2"])
def test_corruption_is_an_error(kind: Compression) -> None:
    data = bytearray(ENCODED[kind])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FormatError):
        list(decompressed([bytes(data)], kind))


def test_a_small_input_is_never_inflated_in_one_piece() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    assert len(bomb) < 100_000
    assert max(len(piece) for piece in decompressed([bomb], "gzip")) <= 1 << 20


def test_bombs_stop_at_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    seen = 0
    with pytest.raises(LimitError):
        for piece in decompressed([bomb], "gzip", max_bytes=3 << 20):
            seen += len(piece)
    assert seen <= 3 << 20


def test_no_decoder_is_said_so() -> None:
    with pytest.raises(UnsupportedError, match="lz4"):
        list(decompressed([b"\x04\x22\x4d\x18"], "lz4"))


def test_output_that_ends_with_a_full_piece_is_whole() -> None:
    data = bytes(1 << 20)
    assert b"".join(decompressed([gzip.compress(data)], "gzip")) == data
    assert b"".join(decompressed([zlib.compress(data, wbits=31)] * 2, "gzip")) == data * 2


@pytest.mark.parametrize("checksum", [True, False])
def test_a_zstd_stream_may_end_between_frames_only(checksum: bool) -> None:
    pack = zstandard.ZstdCompressor(write_checksum=checksum).compress
    skippable = bytes.fromhex("502a4d18") + (3).to_bytes(4, "little") + b"abc"
    streamed = zstandard.ZstdCompressor(write_checksum=checksum).compressobj()
    rng = random.Random(1)
    parts = [
        pack(b"x" * 300_000), skippable, pack(b""), pack(rng.randbytes(70_000)),
        streamed.compress(rng.randbytes(500)) + streamed.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + streamed.flush(),
    ]  # fmt: skip
    whole = b"".join(parts)
    ends = {sum(map(len, parts[:n])) for n in range(len(parts) + 1)}
    cuts = {*range(1, 200), *range(len(whole) - 600, len(whole) + 1), *ends, 35_000} - {0}
    for cut in sorted(cuts):
        if cut in ends:
            assert b"".join(decompressed([whole[:cut]], "zstd"))
        else:
            with pytest.raises(TruncatedError):
                list(decompressed(pieces(whole[:cut], 7), "zstd"))
