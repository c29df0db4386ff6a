"""What becomes of entries that a zTOC cannot hold as they are."""

import random
import time

import pytest

from accel.errors import UnsupportedError
from accel.formats.soci import SociOptions, build_ztoc, choose_layer, plan_toc, tar_span_bytes
from accel.formats.soci.names import SociType
from accel.oci import Descriptor, MediaType
from accel_core.checkpoints import Checkpoints
from accel_core.entries import EntryTable
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import decode

COMPATIBLE, IDENTICAL = SociOptions(), SociOptions(identical=True)
DIGEST = "sha256:" + "ab" * 32


def index_of(*rows: dict, points: tuple = ((10,), (0,)), trailing_bytes: int = 0) -> LayerIndex:
    entries, at = EntryTable(), 0
    for row in rows:
        entries.append(**{"name": b"x", "data_offset": at + 512, "header_offset": at} | row)
        at = entries[len(entries) - 1].end_offset
    n = len(points[0])
    checkpoints = Checkpoints(points[0], points[1], bytes(n), bytes(32768 * n))
    size = max(at + 1024, points[1][-1] + 1)
    return LayerIndex(
        "gzip", max(size, points[0][-1] + 1), size, size, 1000, checkpoints, (DIGEST,) * n, entries,
        trailing_bytes=trailing_bytes,
    )  # fmt: skip


def rows_of(index: LayerIndex, options: SociOptions = COMPATIBLE) -> list[tuple]:
    ztoc, _ = build_ztoc(index, options)
    return [(e.name, e.typeflag, e.data_offset, e.size) for e in decode(ztoc)[0].entries]


def link(name: bytes, target: bytes) -> dict:
    return {"name": name, "typeflag": "1", "linkname": target}


def test_ordinary_entries_need_no_edit():
    index = index_of({"name": b"d/", "typeflag": "5"}, {"name": b"d/a", "size": 5}, link(b"b", b"./d/a"))
    plan = plan_toc(index, COMPATIBLE)
    assert (plan.refusal, plan.edits, plan.notes) == ("", {}, ())
    assert plan.apply(index.entries) is index.entries


def test_a_global_header_becomes_one_more_entry_of_the_root():
    index = index_of(
        {"name": b"pax_global_header", "typeflag": "g", "flags": 4, "data_offset": 1024}, {"name": b"a"}
    )
    assert rows_of(index) == [(b"./", "5", 1024, 0), (b"a", "0", 1536, 0)]
    assert plan_toc(index, COMPATIBLE).notes
    assert "type 'g'" in plan_toc(index, IDENTICAL).refusal


def test_the_placeholder_has_the_attributes_that_the_root_ends_up_with():
    pax = ((b"SCHILY.xattr.user.k", b"v"),)
    index = index_of(
        {"name": b"./", "typeflag": "5", "mode": 0o700},
        {"name": b"g", "typeflag": "g", "flags": 4},
        {"name": b"/", "typeflag": "5", "mode": 0o711, "uid": 7, "mtime_s": 99, "pax": pax},
    )
    edited = plan_toc(index, COMPATIBLE).apply(index.entries)[1]
    assert (edited.name, edited.mode, edited.uid, edited.mtime_s, edited.pax) == (b"./", 0o711, 7, 99, pax)
    without = index_of({"name": b"g", "typeflag": "g", "flags": 4})
    edited = plan_toc(without, COMPATIBLE).apply(without.entries)[0]
    assert (edited.mode, edited.uid, edited.has_mtime) == (0o755, 0, False)


def test_a_link_moves_behind_its_target():
    index = index_of(link(b"h", b"b"), {"name": b"a", "size": 1}, {"name": b"b", "size": 600}, {"name": b"c"})
    assert rows_of(index) == [
        (b"./", "5", 512, 0),
        (b"a", "0", 1024, 1),
        (b"b", "0", 2048, 600),
        (b"h", "1", 3072, 0),  # where the header of c begins
        (b"c", "0", 3584, 0),
    ]


def test_a_link_to_an_empty_file_waits_for_the_next_member_with_data():
    index = index_of(
        link(b"h", b"b"), {"name": b"b"}, {"name": b"s", "typeflag": "2"}, {"name": b"c", "size": 9}
    )
    assert rows_of(index)[-2:] == [(b"c", "0", 2048, 9), (b"h", "1", 2560, 0)]


def test_links_in_order_stay_where_they_are_also_if_the_target_comes_again():
    index = index_of({"name": b"a", "size": 1}, link(b"h", b"a"), {"name": b"a", "size": 2}, link(b"i", b"h"))
    assert plan_toc(index, COMPATIBLE).edits == {}


LEFT_OUT = {
    "no such target": index_of(link(b"h", b"nowhere")),
    "link h to h: no such target": index_of(link(b"h", b"h")),
    "nothing with data follows": index_of(link(b"h", b"b"), {"name": b"b"}),
    "itself a hard link to a later": index_of(link(b"h", b"b"), link(b"i", b"h"), {"name": b"b", "size": 1}),
    "more than once": index_of(link(b"h", b"b"), {"name": b"h"}, {"name": b"b", "size": 1}),
    "to a later entry more than once": index_of(
        link(b"h", b"b"), link(b"./h", b"b"), {"name": b"b", "size": 1}
    ),
    "sparse file": index_of({"typeflag": "S", "flags": 1}),
    "is a sparse file": index_of({"flags": 2}),
    "type 'V'": index_of({"typeflag": "V", "flags": 16}),
    "does not fit 32 bits": index_of({"uid": 1 << 32}),
    "owner 0:-1": index_of({"gid": -1}),
    "mode 40644": index_of({"mode": 0o40644}),
    "years 0 to 9999": index_of({"mtime_s": 253402300800}),
    "same uncompressed offset": index_of(points=((10, 20), (0, 0))),
    "same compressed offset": index_of(points=((10, 10), (0, 9))),
    "span 0 holds": index_of(points=((10, 1 << 32), (0, 9))),
    "span 1 holds": index_of(points=((10, 20, 30), (0, 9, 1 << 33))),
}


@pytest.mark.parametrize("why", LEFT_OUT)
def test_what_cannot_be_helped_leaves_the_layer_out_and_says_why(why):
    refusal = plan_toc(LEFT_OUT[why], COMPATIBLE).refusal
    assert why.replace("link h to h", "hard link 'h' to 'h'") in refusal
    with pytest.raises(UnsupportedError, match="no zTOC"):
        build_ztoc(LEFT_OUT[why], COMPATIBLE)


def test_modes_with_bits_that_are_no_type_are_kept():
    for mode in (0o100644, 0o200644, 0o7777, 1 << 40):
        assert plan_toc(index_of({"mode": mode}), COMPATIBLE).refusal == ""
    assert plan_toc(index_of({"mode": 0o40755, "typeflag": "5", "name": b"d"}), COMPATIBLE).refusal == ""


def test_identical_mode_copies_what_only_readers_refuse():
    for why in (
        "no such target",
        "does not fit 32 bits",
        "mode 40644",
        "years 0 to 9999",
        "same uncompressed offset",
    ):
        assert plan_toc(LEFT_OUT[why], IDENTICAL).refusal == ""
    assert "sparse" in plan_toc(LEFT_OUT["is a sparse file"], IDENTICAL).refusal
    assert "3 bytes after" in plan_toc(index_of(trailing_bytes=3), IDENTICAL).refusal
    assert plan_toc(index_of(trailing_bytes=3), COMPATIBLE).refusal == ""


def test_planning_a_large_layer_takes_no_time_to_speak_of():
    rng = random.Random(1)
    rows = [{"name": b"usr/lib/%d/%d" % (rng.randrange(500), i), "size": 100} for i in range(50_000)]
    index = index_of(
        *rows, link(b"h", b"usr/lib/nothing"), *[link(b"l%d" % i, rows[i]["name"]) for i in range(5000)]
    )
    start = time.process_time()
    assert "no such target" in plan_toc(index, COMPATIBLE).refusal
    assert time.process_time() - start < 1.0  # measured 0.03 s


# Which layers


def layer(media_type: str, size: int = 1 << 30) -> Descriptor:
    return Descriptor(media_type, DIGEST, size)


# media type: (SOCI's choice, ours by media type alone)
CHOICES = {
    MediaType.OCI_LAYER_GZIP: ("gzip", "gzip"),
    MediaType.OCI_LAYER: ("tar", "tar"),
    MediaType.DOCKER_LAYER_GZIP: ("gzip", "gzip"),
    MediaType.DOCKER_LAYER: ("tar", "tar"),
    MediaType.OCI_FOREIGN_GZIP: ("gzip", None),
    MediaType.DOCKER_FOREIGN_GZIP: ("gzip", None),
    MediaType.DOCKER_FOREIGN: ("tar", None),
    MediaType.OCI_FOREIGN: (None, None),
    MediaType.OCI_LAYER_ZSTD: (None, None),
    MediaType.DOCKER_LAYER_ZSTD: (None, None),
    "application/vnd.oci.image.layer.v1.tar+gzip+encrypted": ("gzip", None),
    "application/vnd.oci.image.layer.v1.tar+encrypted": (None, None),
    SociType.PREFETCH: (None, None),
}


@pytest.mark.parametrize("media_type", CHOICES)
def test_the_media_type_says_which_layers_are_indexed(media_type):
    theirs, ours = CHOICES[media_type]
    assert choose_layer(layer(media_type), IDENTICAL).compression == theirs
    choice = choose_layer(layer(media_type), COMPATIBLE)
    assert choice.compression == ours
    assert bool(choice.reason) == (ours is None)


def test_what_the_bytes_say_counts_more_and_is_an_error_in_identical_mode():
    for actual in ("gzip", "tar"):
        assert choose_layer(layer(MediaType.DOCKER_LAYER), COMPATIBLE, sniffed=actual).compression == actual
    assert (
        choose_layer(layer(MediaType.OCI_LAYER_GZIP), COMPATIBLE, sniffed="zstd").reason
        == "unsupported compression zstd"
    )
    assert choose_layer(layer(MediaType.OCI_LAYER_GZIP), IDENTICAL, sniffed="gzip").compression == "gzip"
    with pytest.raises(UnsupportedError, match="gzip"):
        choose_layer(layer(MediaType.DOCKER_LAYER), IDENTICAL, sniffed="gzip")


def test_what_is_no_layer_is_left_out_or_refuses_the_image():
    assert "not a file system layer" in choose_layer(layer("application/vnd.in-toto+json"), COMPATIBLE).reason
    with pytest.raises(UnsupportedError, match="in-toto"):
        choose_layer(layer("application/vnd.in-toto+json"), IDENTICAL)


@pytest.mark.parametrize("options", [COMPATIBLE, IDENTICAL])
def test_small_layers_are_left_out(options):
    ten_mib = 10 << 20
    assert choose_layer(layer(MediaType.OCI_LAYER_GZIP, ten_mib), options).compression == "gzip"
    assert choose_layer(layer(MediaType.OCI_LAYER_GZIP, ten_mib - 1), options).reason.startswith(
        "10485759 bytes"
    )


def test_spans_of_a_plain_tar_do_not_divide_its_size():
    assert tar_span_bytes(8 << 20, COMPATIBLE) == (4 << 20) + 512
    assert tar_span_bytes((8 << 20) + 1, COMPATIBLE) == 4 << 20
    assert tar_span_bytes(8 << 20, IDENTICAL) == 4 << 20
    assert tar_span_bytes(1024, SociOptions(span_bytes=512)) == 1536
    assert tar_span_bytes(1000, COMPATIBLE) == 4 << 20
