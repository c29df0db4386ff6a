"""Merging layers into one tree: whiteouts, links, replaced and hostile names."""

import pytest

from accel.errors import NotFoundError
from accel.images.tree import Tree, merge
from accel_core.entries import EntryTable

Rows = list[dict[str, object]]


def reg(name: str, **more: object) -> dict[str, object]:
    return {"name": name.encode(), "typeflag": "0", **more}


def dirent(name: str, **more: object) -> dict[str, object]:
    return {"name": name.encode(), "typeflag": "5", **more}


def sym(name: str, target: str) -> dict[str, object]:
    return {"name": name.encode(), "typeflag": "2", "linkname": target.encode()}


def link(name: str, target: str) -> dict[str, object]:
    return {"name": name.encode(), "typeflag": "1", "linkname": target.encode()}


def merged(*layers: Rows) -> Tree:
    tables = []
    for rows in layers:
        table = EntryTable()
        for row in rows:
            table.append(**row)  # type: ignore[arg-type]
        tables.append(table)
    return merge(tables)


def names(tree: Tree) -> dict[str, int]:
    """Every path but the root, with the layer that its node came from."""
    return {path.decode(): node.layer for path, node in tree.walk() if path}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param([[reg("a")], [reg("b")]], {"a": 0, "b": 1}, id="layers add up"),
        pytest.param([[reg("a")], [reg("a")]], {"a": 1}, id="upper layer wins"),
        pytest.param([[reg("a", size=1), reg("a", size=2)]], {"a": 0}, id="last entry wins"),
        pytest.param([[reg("d/a"), reg("d/b")], [reg("d/.wh.a")]], {"d": 0, "d/b": 0}, id="whiteout hides"),
        pytest.param([[reg("d/a")], [reg(".wh.d")]], {}, id="whiteout of a directory hides all of it"),
        pytest.param([[reg("a")], [reg("a"), reg(".wh.a")]], {"a": 1}, id="whiteout spares its own layer"),
        pytest.param([[reg(".wh.a"), reg("a")]], {"a": 0}, id="whiteout of nothing"),
        pytest.param(
            [[reg("d/a"), reg("d/s/b")], [reg("d/c"), reg("d/.wh..wh..opq")]],
            {"d": 0, "d/c": 1},
            id="opaque directory",
        ),
        pytest.param(
            [[reg("a")], [reg(".wh..wh.aufs"), reg(".wh..wh.plnk/x")]], {"a": 0}, id="aufs bookkeeping"
        ),
        pytest.param([[reg("d/a")], [reg("d")]], {"d": 1}, id="file replaces directory"),
        pytest.param([[reg("d")], [reg("d/a")]], {"d": 1, "d/a": 1}, id="directory replaces file"),
        pytest.param(
            [[dirent("d"), reg("d/a")], [dirent("d/")]], {"d": 1, "d/a": 0}, id="directory keeps children"
        ),
        pytest.param(
            [[reg("d/a"), sym("l", "d")], [reg("l/b")]],
            {"d": 0, "d/a": 0, "l": 1, "l/b": 1},
            id="symlink in a name is not followed",
        ),
        pytest.param(
            [[reg("./x"), reg("/y"), reg("z//w")]], {"x": 0, "y": 0, "z": 0, "z/w": 0}, id="names are cleaned"
        ),
        pytest.param([[reg("../../a"), reg("b/../c")]], {"a": 0, "c": 0}, id="names cannot climb out"),
        pytest.param([[reg("a")], [link("b", "a")]], {"a": 0, "b": 0}, id="hard link to a lower layer"),
        pytest.param([[link("b", "a"), reg("a")]], {"a": 0, "b": 0}, id="hard link before its target"),
        pytest.param(
            [[{"name": b"pax", "typeflag": "g"}, reg("a")]], {"a": 0}, id="global header is no file"
        ),
    ],
)
def test_merge(layers: list[Rows], expected: dict[str, int]) -> None:
    assert names(merged(*layers)) == expected


def test_the_last_entry_of_a_name_counts() -> None:
    assert merged([reg("a", size=1), reg("a", size=2)]).find(b"a")[1].size == 2


def test_hard_links_are_one_node_even_after_their_target_is_replaced() -> None:
    tree = merged([reg("a", size=5), link("b", "a"), link("c", "./b")], [reg("a", size=9)])
    assert tree.find(b"b")[1] is tree.find(b"c")[1]
    assert tree.find(b"b")[1].size == 5
    assert tree.find(b"a")[1].size == 9


def test_attributes_of_the_root_are_kept() -> None:
    tree = merged([dirent("./", mode=0o1777)])
    assert tree.root.entry is not None and tree.root.entry.mode == 0o1777


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (link("b", "missing"), "does not exist"),
        (link("b", "b"), "does not exist"),
        (link("b", "d"), "hard link to a directory"),
        (reg("x" * 5000), "name of 5000 bytes"),
        (link("b", "x" * 5000), "link target of 5000 bytes"),
        (reg("/"), "in place of the root"),
        ({"name": b"odd", "typeflag": "Z"}, "unknown entry type 'Z'"),
    ],
)
def test_entries_without_a_place_are_reported_and_left_out(row: dict[str, object], what: str) -> None:
    tree = merged([dirent("d"), row])
    assert [what in problem.what for problem in tree.problems] == [True]
    assert names(tree) == {"d": 0}


def test_links_that_wait_for_each_other_end() -> None:
    tree = merged([link("a", "b"), link("b", "a"), link("c", "d"), link("d", "e"), reg("e")])
    assert names(tree) == {"c": 0, "d": 0, "e": 0}
    assert len(tree.problems) == 2


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/abs", b"etc/motd"),
        (b"rel/motd", b"etc/motd"),
        (b"etc/up", b"etc/motd"),
        (b"out", b"etc/motd"),  # more ".." than levels end at the root, as with chroot
        (b"./etc//motd", b"etc/motd"),
        (b"rel", b"etc"),
        (b"", b""),
    ],
)
def test_find_follows_symlinks_inside_the_image(path: bytes, found: bytes) -> None:
    tree = merged(
        [reg("etc/motd"), sym("abs", "/etc/motd"), sym("rel", "etc"), sym("etc/up", "../etc/motd")],
        [sym("out", "../../../../etc/motd")],
    )
    assert tree.find(path)[0] == found


def test_find_without_follow_stops_at_the_last_link() -> None:
    tree = merged([reg("d/a"), sym("l", "d"), sym("d/m", "a")])
    assert tree.find(b"l", follow=False)[1].kind == "symlink"
    assert tree.find(b"l/m", follow=False)[0] == b"d/m"
    assert tree.find(b"l/", follow=False)[1].kind == "symlink"


@pytest.mark.parametrize("path", [b"missing", b"a/b", b"loop", b"loop/x", b"dangling"])
def test_find_says_what_is_not_there(path: bytes) -> None:
    with pytest.raises(NotFoundError):
        merged([reg("a"), sym("loop", "loop"), sym("dangling", "nowhere")]).find(path)


def test_walk_is_sorted_and_parents_first() -> None:
    tree = merged([reg("b/y"), reg("b/x"), reg("a"), reg("b.d/z")])
    assert [path for path, _ in tree.walk()] == [b"", b"a", b"b", b"b/x", b"b/y", b"b.d", b"b.d/z"]


def test_deep_names_do_not_exhaust_the_stack() -> None:
    deep = "d/" * 2000 + "f"
    tree = merged([reg(deep)])
    assert len(names(tree)) == 2001
    assert tree.find(deep.encode())[1].kind == "file"
