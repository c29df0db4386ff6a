"""Footers: bytes worked out by hand, and what strangers may put there."""

import gzip
import struct

import pytest
import zstandard

from accel.errors import FormatError, TruncatedError
from accel.formats.stargz import Extent, Footer, parse_footer
from accel.formats.stargz.footer import (
    MAX_FOOTER_BYTES,
    containers_footer,
    external_footer,
    gzip_footer,
    legacy_footer,
    zstd_footer,
)

EXTENT = Extent(0x1122, 0x33, 0x4455)
SPLIT = Extent(0x1200, 0x66, 0x7788)
EMPTY_STORED = "010000ffff0000000000000000"
VECTORS = {
    "gzip": (
        gzip_footer(0x1234),
        "1f8b08040000000000ff1a00534716003030303030303030303030303132333453544152475a" + EMPTY_STORED,
    ),
    "legacy": (
        legacy_footer(0x1234),
        "1f8b08040000000000ff16003030303030303030303030303132333453544152475a" + EMPTY_STORED,
    ),
    "external": (
        external_footer(),
        "1f8b08040000000000ff15005347110053544152475a45585445524e414c544f43" + EMPTY_STORED,
    ),
    "zstd": (
        zstd_footer(EXTENT),
        "502a4d1828000000" "2211000000000000" "3300000000000000" "5544000000000000" "0100000000000000"
        "476e556c496e5578",
    ),
    "containers": (
        containers_footer(EXTENT, SPLIT),
        "502a4d1840000000" "2211000000000000" "3300000000000000" "5544000000000000" "0100000000000000"
        "0012000000000000" "6600000000000000" "8877000000000000" "474e556c496e5578",
    ),
}  # fmt: skip
WANTED = {
    "gzip": Footer("gzip", 0x1234, 0x10000 - 51 - 0x1234, footer_offset=0x10000 - 51),
    "legacy": Footer("legacy", 0x1234, 0x10000 - 47 - 0x1234, footer_offset=0x10000 - 47),
    "external": Footer("external", -1, 0, footer_offset=0x10000 - 46),
    "zstd": Footer("zstd", 0x1122, 0x33, 0x4455, footer_offset=0x10000 - 48),
    "containers": Footer("containers", 0x1122, 0x33, 0x4455, SPLIT, 0x10000 - 72),
}
DATA_ENDS = {"gzip": 0x1234, "legacy": 0x1234, "external": 0x10000 - 46, "zstd": 0x111A, "containers": 0x111A}


@pytest.mark.parametrize("kind", VECTORS)
def test_bytes(kind: str) -> None:
    footer, wanted = VECTORS[kind]
    assert footer.hex() == wanted


@pytest.mark.parametrize("kind", VECTORS)
def test_it_is_found_at_the_end_of_a_blob(kind: str) -> None:
    footer, _ = VECTORS[kind]
    found = parse_footer(b"x" * (MAX_FOOTER_BYTES - len(footer)) + footer, 0x10000)
    assert found == WANTED[kind]
    assert found is not None
    assert found.data_end == DATA_ENDS[kind]


@pytest.mark.parametrize("kind", ["gzip", "legacy", "external"])
def test_a_gzip_footer_is_a_member_of_nothing(kind: str) -> None:
    assert gzip.decompress(VECTORS[kind][0]) == b""


@pytest.mark.parametrize("kind", ["zstd", "containers"])
def test_a_zstd_footer_is_a_frame_of_nothing(kind: str) -> None:
    frame = zstandard.ZstdCompressor().compress(b"data")
    reader = zstandard.ZstdDecompressor().stream_reader(frame + VECTORS[kind][0], read_across_frames=True)
    assert reader.read() == b"data"


@pytest.mark.parametrize("offset", [1, *range(1023, 200_000, 1023), (1 << 40) + 5])
def test_offsets_survive(offset: int) -> None:
    for footer in (gzip_footer(offset), legacy_footer(offset)):
        found = parse_footer(footer.rjust(MAX_FOOTER_BYTES, b"\0"), offset + 1000)
        assert found is not None
        assert (found.toc_offset, found.toc_comp_size) == (offset, 1000 - len(footer))


def test_other_writers_of_gzip_headers_are_fine() -> None:
    footer = bytearray(gzip_footer(77))
    footer[4:10] = b"\x01\x02\x03\x04\x02\x03"      # time, extra flags, system
    found = parse_footer(bytes(footer).rjust(MAX_FOOTER_BYTES, b"\0"), 1000)
    assert found is not None
    assert found.toc_offset == 77


@pytest.mark.parametrize("tail", [
    b"", b"\0" * 72, gzip.compress(b"").rjust(72),
    gzip.compress(b"x" * 100).rjust(72), zstandard.compress(b"x" * 99).rjust(72),
    gzip_footer(5)[:-1].rjust(72), (gzip_footer(5)[:12] + b"XX" + gzip_footer(5)[14:]).rjust(72),
    (gzip_footer(5)[:14] + b"\x15" + gzip_footer(5)[15:]).rjust(72), legacy_footer(5)[1:],
])  # fmt: skip
def test_what_is_no_footer_is_none(tail: bytes) -> None:
    assert parse_footer(tail, len(tail)) is None


@pytest.mark.parametrize("tail", [
    gzip_footer(0), gzip_footer(10_000 - 51), gzip_footer(10_000), gzip_footer((1 << 64) - 1), legacy_footer(0),
    legacy_footer(10_000 - 47), gzip_footer(0x1234).replace(b"1234", b"12g4"),
    gzip_footer(0xABC).replace(b"abc", b"ABC"),
    gzip_footer(0x1234).replace(b"STARGZ", b"STARGX"),
    zstd_footer(Extent(0, 5, 5)), zstd_footer(Extent(8, 5, 5)), zstd_footer(Extent(9, 0, 5)),
    zstd_footer(Extent(9, 10_000, 5)), zstd_footer(Extent(9, (1 << 64) - 1, 5)),
    zstd_footer(Extent((1 << 64) - 9, 9, 5)),
    zstd_footer(Extent(9, 5, 1 << 63)), zstd_footer(Extent(10_000 - 48, 1, 1)),
    zstd_footer(EXTENT)[:-16] + struct.pack("<Q", 2) + b"GnUlInUx", b"\1" + zstd_footer(EXTENT)[1:],
    zstd_footer(EXTENT).replace(b"GnU", b"GNU"), containers_footer(EXTENT, SPLIT).replace(b"GNU", b"GnU"),
    containers_footer(EXTENT, Extent(4, 5, 6)), containers_footer(EXTENT, Extent(9, 10_000, 6)),
    containers_footer(Extent(9, 10_000, 6), SPLIT),
])  # fmt: skip
def test_a_footer_that_points_nowhere_is_refused_with_its_place(tail: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_footer(tail.rjust(MAX_FOOTER_BYTES, b"\0"), 10_000)
    assert caught.value.comp_offset is not None
    assert 10_000 - 72 <= caught.value.comp_offset < 10_000


def test_a_footer_larger_than_its_blob_is_refused() -> None:
    for footer in (zstd_footer(EXTENT), containers_footer(EXTENT, SPLIT), gzip_footer(3)):
        for n in range(len(footer)):
            try:
                assert parse_footer(footer[n:], len(footer) - n) is None
            except FormatError as error:
                assert error.comp_offset is not None
                assert error.comp_offset >= 0


def test_too_short_a_tail_is_no_answer() -> None:
    with pytest.raises(TruncatedError):
        parse_footer(gzip_footer(5), 10_000)
