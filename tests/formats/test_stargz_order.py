"""Order of an eStargz layer's members, and which layers no TOC should be written for."""

import pytest

from accel.errors import NotFoundError
from accel.formats.stargz import (
    NO_PREFETCH,
    PREFETCH,
    estargz_refusal,
    layer_order,
    toc_size_refusal,
    zstd_refusal,
)
from support.stargz_blobs import estargz_blob, scan, tar_split_of
from support.tars import (
    base256,
    directory,
    file,
    global_pax,
    gnu_sparse,
    hardlink,
    header,
    pax,
    symlink,
    tar_of,
)

TREE = [
    directory(b"./"), directory(b"./a/"), file(b"./a/x", b"1"), directory(b"./b/"), hardlink(b"./b/link", b"./a/x"),
    file(b"./b/y", b"2"), directory(b"./c/"), hardlink(b"./c/far", b"/b/link"), symlink(b"./c/sym", b"../a/x"),
]  # fmt: skip


def named(members: list[bytes], prefetch: list[bytes]) -> list[bytes]:
    entries = scan(tar_of(*members))
    landmarks = {NO_PREFETCH: b"NO", PREFETCH: b"YES"}
    return [landmarks.get(row) or entries[row].name for row in layer_order(entries, prefetch).rows]


def test_without_prefetched_files_the_landmark_comes_first() -> None:
    order = layer_order(scan(tar_of(*TREE)))
    assert list(order.rows) == [NO_PREFETCH, *range(len(TREE))]
    assert order.is_streamable
    assert (order.dropped, order.duplicates, order.missing) == ((), (), ())


@pytest.mark.parametrize(("prefetch", "front"), [
    ([b"a/x"], [b"./", b"./a/", b"./a/x"]),
    ([b"/a/x", b"../a/x", b"./a//x"], [b"./", b"./a/", b"./a/x"]),
    ([b"b/y", b"a/x"], [b"./", b"./b/", b"./b/y", b"./a/", b"./a/x"]),
    ([b"b/link"], [b"./", b"./b/", b"./a/", b"./a/x", b"./b/link"]),
    ([b"c/far"], [b"./", b"./c/", b"./b/", b"./a/", b"./a/x", b"./b/link", b"./c/far"]),
    ([b"c/sym"], [b"./", b"./c/", b"./c/sym"]),
    ([b"a"], [b"./", b"./a/"]),
    ([b""], [b"./"]),
])  # fmt: skip
def test_prefetched_files_come_first_with_what_they_need(prefetch: list[bytes], front: list[bytes]) -> None:
    rest = [entry.name for entry in scan(tar_of(*TREE)) if entry.name not in front]
    assert named(TREE, prefetch) == [*front, b"YES", *rest]


def test_a_missing_name_is_reported_or_an_error() -> None:
    entries = scan(tar_of(*TREE))
    order = layer_order(entries, [b"nope", b"a/x"])
    assert order.missing == (b"nope",)
    assert order.rows[3] == PREFETCH
    assert layer_order(entries, [b"nope"]).rows[0] == NO_PREFETCH
    with pytest.raises(NotFoundError, match="nope"):
        layer_order(entries, [b"nope"], allow_missing=False)


def test_earlier_conversions_global_headers_and_earlier_duplicates_are_left_out() -> None:
    members = [
        file(b".no.prefetch.landmark", b"\x0f"), global_pax((b"comment", b"c")), file(b"a", b"1"), file(b"./a", b"2"),
        file(b"b"), file(b"/.prefetch.landmark", b"\x0f"), file(b"d/.prefetch.landmark"),
        file(b"./stargz.index.json", b"{}"),
    ]  # fmt: skip
    order = layer_order(scan(tar_of(*members)))
    assert list(order.rows) == [NO_PREFETCH, 3, 4, 6]
    assert order.dropped == (0, 1, 2, 5, 7)
    assert order.duplicates == (2,)


def test_links_in_a_circle_and_very_long_chains_end() -> None:
    assert named([hardlink(b"a", b"b"), hardlink(b"b", b"a")], [b"a"]) == [b"b", b"a", b"YES"]
    n = 5000
    chain = [file(b"0", b"x"), *(hardlink(b"%d" % i, b"%d" % (i - 1)) for i in range(1, n))]
    assert named(chain, [b"%d" % (n - 1)])[:n] == [b"%d" % i for i in range(n)]


def test_a_converted_layer_converts_to_itself() -> None:
    first = estargz_blob(tar_of(*TREE))
    again = estargz_blob(first.tar)
    assert again.data == first.data


LINK = hardlink(b"link", b"a")
FILE = file(b"a", b"1")
BOTH, STARGZ, CONTAINERS = (True, True), (True, False), (False, True)
CASES = {
    "nothing odd": (TREE, (False, False), False, ""),
    "old sparse file": ([gnu_sparse(b"s", [(0, 5)], 5, b"12345")], BOTH, True, "sparse"),
    "PAX sparse file": ([pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"1")), FILE], BOTH, True, "sparse"),
    "vendor type": ([header(b"v", typeflag=b"V")], BOTH, True, "type 'V'"),
    "contiguous": ([file(b"c", b"1", typeflag=b"7")], CONTAINERS, False, "type '7'"),
    "global header": ([global_pax((b"k", b"v")), FILE], CONTAINERS, False, "type 'g'"),
    "size on a directory": ([directory(b"d", size=5)], CONTAINERS, False, "claims 5 bytes"),
    "large owner": ([file(b"a", uid=base256(1 << 32, 8))], BOTH, True, "32 bits"),
    "late time": ([file(b"a", mtime=base256(253402300800, 12))], BOTH, True, "years"),
    "late access time": ([pax((b"atime", b"253402300800")), FILE], CONTAINERS, False, "years"),
    "name that is no UTF-8": ([file(b"\xff")], STARGZ, True, "not UTF-8"),
    "link that is no UTF-8": ([symlink(b"s", b"\xff")], STARGZ, True, "not UTF-8"),
    "overlong UTF-8": ([file(b"\xc0\xaf")], STARGZ, True, "not UTF-8"),
    "surrogate": ([file(b"\xed\xa0\x80")], STARGZ, True, "not UTF-8"),
    "attribute that is no UTF-8": ([pax((b"SCHILY.xattr.\xff", b"1")), FILE], STARGZ, True, "not UTF-8"),
    "attribute without name": ([pax((b"SCHILY.xattr.", b"1")), FILE], CONTAINERS, False, "without a name"),
    "file twice": ([FILE, file(b"./a", b"2")], BOTH, False, "twice"),
    "directory twice": ([directory(b"d/"), file(b"d/a"), directory(b"./d")], BOTH, False, "twice"),
    "file, then directory": ([FILE, directory(b"a/"), file(b"a/b")], BOTH, True, "twice"),
    "link to what comes again": ([FILE, LINK, file(b"a", b"2")], BOTH, True, ""),
    "link to nothing": ([LINK], BOTH, True, "not in the layer"),
    "link to a later file": ([LINK, FILE], STARGZ, True, "later entry"),
    "link to a later link": ([hardlink(b"x", b"link"), FILE, LINK], BOTH, True, "later hard link"),
    "link to itself": ([hardlink(b"a", b"./a")], BOTH, True, "later hard link"),
    "link to a directory": ([directory(b"a"), LINK], BOTH, True, "to a directory"),
    "link to a symlink": ([symlink(b"a", b"b"), LINK], (False, False), False, ""),
    "below a file": ([FILE, file(b"a/b")], BOTH, True, "below"),
    "far below a symlink": ([symlink(b"a", b"b"), file(b"a/b/c")], BOTH, True, "below"),
    "above what comes later": ([file(b"a/b"), FILE], BOTH, True, "below"),
    "file as root": ([file(b".")], BOTH, True, "root"),
    "file with a slash": ([file(b"f/")], CONTAINERS, False, "slash"),
    "climbing": ([file(b"x/../y")], CONTAINERS, False, ".."),
    "dots that do not climb": ([file(b"x../..y/...")], (False, False), False, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_readers_refuse_what_they_cannot_show(name: str) -> None:
    """The verdicts on zstd blobs were compared with what the real readers do (and are stricter in a few)."""
    members, (stargz, containers), estargz, why = CASES[name]
    entries = scan(tar_of(*members))
    refusal = zstd_refusal(entries)
    assert (bool(refusal.stargz), bool(refusal.containers)) == (stargz, containers), refusal
    in_estargz = estargz_refusal(entries, layer_order(entries).dropped)
    assert bool(in_estargz) == estargz, in_estargz
    assert all(why in text for text in (refusal.stargz, refusal.containers) if text), refusal


def test_the_end_of_the_tar_counts_for_containers() -> None:
    tar = tar_of(FILE) + b"x"
    refusal = zstd_refusal(scan(tar), tar_split_of(tar, scan(tar), 1000))
    assert (refusal.stargz, "zeros" in refusal.containers) == ("", True)


def test_a_toc_has_a_greatest_size() -> None:
    assert toc_size_refusal(150 << 20) == ""
    assert "157286401" in toc_size_refusal((150 << 20) + 1)
