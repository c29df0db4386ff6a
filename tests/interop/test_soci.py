"""Our zTOCs, indexes and images against SOCI's own code (github.com/awslabs/soci-snapshotter)."""

import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Callable

import pytest

from accel.errors import UnsupportedError
from accel.formats.soci import SociOptions, build_ztoc, plan_toc
from accel_core import LayerScanner
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import decode, encode
from support.images import file, tar_of
from support.layer_views import compare, tarfile_view
from support.soci_interop import SociError
from support.trees import tree

pytestmark = pytest.mark.interop

TOOL = "AWS SOCI CLI v0.2"
IDENTICAL = SociOptions(identical=True)
SPAN = 1 << 16


def scan(
    layer: bytes, *, span_bytes: int = SPAN, placement: str = "soci", compression: str = "auto"
) -> LayerIndex:
    scanner = LayerScanner(span_bytes=span_bytes, placement=placement, compression=compression)
    scanner.feed(layer)
    return scanner.finish()


def gz(data: bytes, level: int = 6, **header) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=level, mtime=0, **header) as stream:
        stream.write(data)
    return out.getvalue()


def in_members(data: bytes, n: int) -> bytes:
    size = len(data) // n + 1
    return b"".join(gz(data[i : i + size]) for i in range(0, len(data), size))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "level 1": lambda data: gz(data, 1),
    "level 6": gz,
    "level 9 with a name": lambda data: gz(data, 9, filename="layer.tar"),
    "stored": lambda data: gz(data, 0),
    "three members": lambda data: in_members(data, 3),
    "forty members": lambda data: in_members(data, 40),
    "not compressed": lambda data: data,
}
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize("span_bytes", [1 << 12, 1 << 16, 1 << 22])
def test_identical_ztocs_are_byte_for_byte_those_of_the_real_builder(soci, packer, tar_format, span_bytes):
    layer = PACKERS[packer](tree(1, tar_format=FORMATS[tar_format]))
    index = scan(layer, span_bytes=span_bytes)
    theirs = soci.build(layer, index.compression, span_bytes, TOOL)
    ours, _ = build_ztoc(index, IDENTICAL)
    assert ours == theirs
    decoded, version, tool = decode(theirs)
    assert (version, tool) == ("0.9", TOOL)
    assert encode(decoded, tool=tool, share=False) == theirs


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize("placement", ["soci", "adaptive"])
def test_every_file_read_through_our_ztoc_is_what_tarfile_says(soci, packer, tar_format, placement):
    tar = tree(2, tar_format=FORMATS[tar_format])
    layer = PACKERS[packer](tar)
    ztoc, plan = build_ztoc(scan(layer, placement=placement), SociOptions(span_bytes=SPAN))
    assert not plan.edits
    assert compare(soci.read(layer, ztoc), tarfile_view(tar)) == []


@pytest.mark.parametrize("share", [False, True])
def test_a_decoded_ztoc_written_again_reads_the_same(soci, share):
    tar = tree(3)
    layer = gz(tar)
    index, _, tool = decode(soci.build(layer, "gzip", SPAN, TOOL))
    again = encode(index, tool=tool, share=share)
    assert compare(soci.read(layer, again), tarfile_view(tar)) == []


def raw_header(name: bytes, typeflag: bytes, size: int = 0, mode: int = 0o644, link: bytes = b"") -> bytes:
    magic = b"ustar  \0" if typeflag == b"S" else b"ustar\x0000"
    block = bytearray(
        name.ljust(100, b"\0")
        + b"%07o\0" % mode
        + b"%07o\0" % 1
        + b"%07o\0" % 2
        + b"%011o\0" % size
        + b"%011o\0" % 1_700_000_000
        + b" " * 8
        + typeflag
        + link.ljust(100, b"\0")
        + magic
    )
    block += bytes(512 - len(block))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: bytes, data: bytes = b"", typeflag: bytes = b"0", **fields) -> bytes:
    return (
        raw_header(name, typeflag, fields.pop("size", len(data)), **fields) + data + bytes(-len(data) % 512)
    )


END = bytes(1024)
A, B = member(b"a", b"hello" * 100), member(b"b", b"world" * 200)
GLOBAL = member(b"pax_global_header", b"52 comment=0123456789012345678901234567890123456789\n", b"g")

# Layers that SOCI's builder refuses, or writes so that its own reader fails; and what ours makes of them.
FIXED = {
    "global header first": GLOBAL + A + B + END,
    "global header between": A + GLOBAL + B + END,
    "global header last": A + B + GLOBAL + END,
    "global header and a root entry": A + member(b"./", typeflag=b"5", mode=0o700) + GLOBAL + B + END,
    "directory with a size": A + member(b"d/", typeflag=b"5", size=4096) + B + END,
    "symlink with a size": A + member(b"s", typeflag=b"2", link=b"a", size=7) + B + END,
    "hard link with a size": A + member(b"h", typeflag=b"1", link=b"a", size=500) + B + END,
    "contiguous file": A + member(b"c", b"contiguous", b"7") + B + END,
    "link before its target": member(b"h", typeflag=b"1", link=b"b") + A + B + END,
    "two links before their target": member(b"h", typeflag=b"1", link=b"b")
    + member(b"i/j", typeflag=b"1", link=b"./b")
    + A
    + B
    + member(b"e", b"e")
    + END,
    "link before its empty target": member(b"h", typeflag=b"1", link=b"z") + member(b"z") + A + B + END,
    "link before the last file": A + member(b"h", typeflag=b"1", link=b"b") + B + END,
    "no end blocks": A + B,
    "more after the end": A + B + END + A,
    "nothing at all": END,
}


@pytest.mark.parametrize("case", FIXED)
@pytest.mark.parametrize("packer", ["level 6", "not compressed"])
def test_odd_layers_are_written_so_that_the_real_reader_reads_them(soci, case, packer):
    tar = FIXED[case]
    layer = PACKERS[packer](tar)
    ztoc, _ = build_ztoc(scan(layer, placement="adaptive"), SociOptions(span_bytes=1536))
    truth = (
        tar.removesuffix(GLOBAL + END) + END if tar.endswith(GLOBAL + END) else tar
    )  # tarfile fails on that
    assert compare(soci.read(layer, ztoc), tarfile_view(truth)) == []


TRAILERS = {"zeros": bytes(5000), "garbage": b"garbage" * 99, "one byte": b"\0"}


@pytest.mark.parametrize("trailer", TRAILERS)
def test_bytes_after_the_last_member_belong_to_the_last_span(soci, trailer):
    tar = tree(4)
    layer = gz(tar) + TRAILERS[trailer]
    index = scan(layer)
    assert index.trailing_bytes == len(TRAILERS[trailer])
    ztoc, _ = build_ztoc(index, SociOptions(span_bytes=SPAN))
    assert compare(soci.read(layer, ztoc), tarfile_view(tar)) == []
    with pytest.raises(SociError):
        soci.build(layer, "gzip", SPAN, TOOL)
    with pytest.raises(UnsupportedError, match="after the last gzip member"):
        build_ztoc(index, IDENTICAL)


@pytest.mark.parametrize("typeflag", [b"g", b"7", b"S", b"V"])
def test_identical_mode_refuses_the_types_that_the_real_builder_refuses(soci, typeflag):
    layer = gz(A + (GLOBAL if typeflag == b"g" else member(b"c", typeflag=typeflag)) + B + END)
    with pytest.raises(SociError):
        soci.build(layer, "gzip", SPAN, TOOL)
    assert plan_toc(scan(layer), IDENTICAL).refusal


IDENTICAL_ODDITIES = [
    "directory with a size",
    "symlink with a size",
    "link before its target",
    "more after the end",
    "no end blocks",
    "nothing at all",
]


@pytest.mark.parametrize("case", IDENTICAL_ODDITIES)
def test_identical_mode_copies_what_the_real_builder_copies(soci, case):
    layer = gz(FIXED[case])
    ours, _ = build_ztoc(scan(layer), SociOptions(identical=True, span_bytes=SPAN))
    assert ours == soci.build(layer, "gzip", SPAN, TOOL)


def flushed(data: bytes) -> bytes:
    """A gzip member that begins with an empty deflate block."""
    stream = zlib.compressobj(6, zlib.DEFLATED, 31)
    return stream.flush(zlib.Z_FULL_FLUSH) + stream.compress(data) + stream.flush()


def test_an_empty_first_block_is_no_reason_for_two_checkpoints_at_the_start(soci):
    tar = tree(5)
    for layer in (flushed(tar), gz(b"") + gz(tar)):
        theirs = soci.build(layer, "gzip", SPAN, TOOL)
        assert build_ztoc(scan(layer), SociOptions(identical=True, span_bytes=SPAN))[0] == theirs
        with pytest.raises(SociError, match="monotonic"):
            soci.read(layer, theirs)
        ztoc, _ = build_ztoc(scan(layer, placement="adaptive"), SociOptions(span_bytes=SPAN))
        assert compare(soci.read(layer, ztoc), tarfile_view(tar)) == []


HOPELESS = {
    "link without a target": A + member(b"h", typeflag=b"1", link=b"nowhere") + END,
    "link to itself": A + member(b"h", typeflag=b"1", link=b"h") + END,
    "nothing behind an empty target": A + member(b"h", typeflag=b"1", link=b"z") + member(b"z") + END,
    "link to a link that must move": member(b"h", typeflag=b"1", link=b"a")
    + member(b"i", typeflag=b"1", link=b"h")
    + A
    + END,
    "sparse file": A + member(b"s", typeflag=b"S") + END,
    "unknown type": A + member(b"v", typeflag=b"V") + END,
    "file with a directory's mode": A + member(b"m", b"x", mode=0o040644) + END,
}


@pytest.mark.parametrize("case", HOPELESS)
def test_layers_that_no_ztoc_can_hold_are_left_out_and_the_real_reader_agrees(soci, case):
    layer = gz(HOPELESS[case])
    index = scan(layer)
    assert plan_toc(index, SociOptions()).refusal
    try:
        theirs = soci.build(layer, "gzip", SPAN, TOOL)
        files = soci.read(layer, theirs)
    except SociError:
        return
    assert compare(files, tarfile_view(HOPELESS[case])) != []


def test_a_plain_tar_that_ends_with_its_last_span_is_left_out(soci):
    tar = member(b"a", b"x" * 512) + member(b"b", b"y" * 1024)  # 2560 bytes, no end blocks
    index = scan(tar, span_bytes=1280)
    assert "span" in plan_toc(index, SociOptions(span_bytes=1280)).refusal
    with pytest.raises(SociError, match="panic"):
        soci.read(tar, build_ztoc(index, SociOptions(identical=True, span_bytes=1280))[0])


def test_tables_larger_than_one_of_the_readers_transactions_are_read(soci):
    rng = random.Random(6)
    entries = [file(f"d{i % 97}/{i}", rng.randbytes(i % 40), mtime=i % 1000) for i in range(6_000)]
    tar = tar_of(*entries)
    layer = gz(tar, 1)
    ztoc, _ = build_ztoc(scan(layer, span_bytes=1 << 20), SociOptions(span_bytes=1 << 20))
    assert compare(soci.read(layer, ztoc), tarfile_view(tar)) == []


def test_times_and_owners_at_their_limits(soci):
    rows = []
    for i, (mtime, uid) in enumerate(
        [(-1, 0), (0, 1 << 20), (253402300799, 3), (-62135596801, 2097151), (1 << 33, 0xFFFFFFFF)]
    ):
        info = tarfile.TarInfo(f"f{i}")
        info.mtime, info.uid = mtime, uid
        rows.append(info)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info in rows:
            archive.addfile(info)
    layer = gz(out.getvalue())
    ztoc, _ = build_ztoc(scan(layer), SociOptions(span_bytes=SPAN))
    files = soci.read(layer, ztoc)
    assert [files[b"f%d" % i].get("error") for i in range(5)] == [None] * 5
    assert files[b"f2"]["mtime"] == "9999-12-31T23:59:59Z"
    assert files[b"f4"]["owner"] == (0xFFFFFFFF, 0)
    assert build_ztoc(scan(layer), SociOptions(identical=True, span_bytes=SPAN))[0] == soci.build(
        layer, "gzip", SPAN, TOOL
    )


def test_the_environment_has_the_real_thing(soci):
    """Guards the guard: a zTOC with one wrong byte in a span digest is refused when the span is read."""
    tar = tree(7)
    layer = gz(tar)
    ztoc = bytearray(build_ztoc(scan(layer), SociOptions(span_bytes=SPAN))[0])
    at = ztoc.index(b"sha256:") + 7
    ztoc[at] ^= 1
    assert any("error" in row for row in soci.read(layer, bytes(ztoc)).values())
