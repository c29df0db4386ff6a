"""Extraction: what tar made comes back, and nothing ever lands outside the target."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.errors import ConfigError
from accel.images.tree import Node, merge
from accel.reader.extract import ExtractOptions, Extractor, ExtractReport, open_target
from accel_core.entries import EntryTable

Rows = list[dict[str, object]]
CONTENT = b"content of one file"


def reg(name: str, **more: object) -> dict[str, object]:
    return {"name": name.encode(), "typeflag": "0", "size": len(CONTENT), **more}


def extracted(target: Path, *layers: Rows, options: ExtractOptions | None = None) -> ExtractReport:
    tables = []
    for rows in layers:
        table = EntryTable()
        for row in rows:
            table.append(**row)  # type: ignore[arg-type]
        tables.append(table)

    def content(node: Node) -> Iterator[bytes]:
        return iter([CONTENT[:5], CONTENT[5:]])

    fd = open_target(target)
    try:
        return Extractor(fd, content, options or ExtractOptions()).extract(merge(tables).walk())
    finally:
        os.close(fd)


def everything(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_files_links_and_directories(tmp_path: Path) -> None:
    report = extracted(
        tmp_path / "out",
        [
            {"name": b"d", "typeflag": "5", "mode": 0o750, "mtime_s": 1000},
            reg("d/a", mode=0o640, mtime_s=1_600_000_000, mtime_ns=123_456_789),
            {"name": b"d/hard", "typeflag": "1", "linkname": b"d/a"},
            {"name": b"soft", "typeflag": "2", "linkname": b"d/a", "mtime_s": 77},
            {"name": b"pipe", "typeflag": "6", "mode": 0o622},
        ],
    )
    out = tmp_path / "out"
    assert everything(out) == {"d", "d/a", "d/hard", "soft", "pipe"}
    assert (out / "d/a").read_bytes() == CONTENT
    assert (out / "d/a").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert stat.S_IMODE((out / "d/a").stat().st_mode) == 0o640
    assert (out / "d/a").stat().st_ino == (out / "d/hard").stat().st_ino
    assert os.readlink(out / "soft") == "d/a" and (out / "soft").lstat().st_mtime == 77
    assert (
        stat.S_ISFIFO((out / "pipe").stat().st_mode) and stat.S_IMODE((out / "pipe").stat().st_mode) == 0o622
    )
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o750 and (out / "d").stat().st_mtime == 1000
    assert (report.n_files, report.n_bytes, report.skipped) == (4, len(CONTENT), [])


def test_read_only_directories_are_filled_first(tmp_path: Path) -> None:
    extracted(tmp_path / "out", [{"name": b"d", "typeflag": "5", "mode": 0o500}, reg("d/a")])
    assert (tmp_path / "out/d/a").read_bytes() == CONTENT


def test_symlinks_in_the_image_lead_no_write_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    rows = [
        {"name": b"d", "typeflag": "2", "linkname": str(outside).encode()},
        reg("d/evil"),
        {"name": b"e", "typeflag": "2", "linkname": b"../outside"},
        {"name": b"e/sub", "typeflag": "5"},
        reg("e/sub/evil"),
    ]
    extracted(tmp_path / "out", rows)
    assert everything(outside) == set()
    assert everything(tmp_path / "out") == {"d", "d/evil", "e", "e/sub", "e/sub/evil"}


def test_hard_links_reach_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    rows = [
        {"name": b"l", "typeflag": "1", "linkname": b"../secret"},
        {"name": b"m", "typeflag": "1", "linkname": str(tmp_path / "secret").encode()},
        {"name": b"s", "typeflag": "2", "linkname": b"../secret"},
        {"name": b"n", "typeflag": "1", "linkname": b"s"},
    ]
    extracted(tmp_path / "out", rows)
    assert everything(tmp_path / "out") == {"s", "n"}
    assert (tmp_path / "out/n").is_symlink()  # a second name of the link itself, not of what it points at
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "../../../../../../tmp/evil-accel"])
def test_names_that_climb_are_refused(tmp_path: Path, name: str) -> None:
    report = extracted(tmp_path / "out", [reg(name), reg("good")])
    assert {path for path in everything(tmp_path) if (tmp_path / path).is_file()} == {"out/good"}
    assert "climbs" in report.skipped[0][1]


def test_what_lies_in_a_refused_directory_is_refused(tmp_path: Path) -> None:
    report = extracted(tmp_path / "out", [{"name": b"../d", "typeflag": "5"}, reg("d/a")])
    assert everything(tmp_path) == {"out"}
    assert len(report.skipped) == 2


def test_absolute_names_land_inside(tmp_path: Path) -> None:
    extracted(tmp_path / "out", [reg("/etc/accel-test")])
    assert everything(tmp_path / "out") == {"etc", "etc/accel-test"}


@pytest.mark.parametrize("name", [b"a\0b", b"x" * 300])
def test_names_no_file_system_holds_are_skipped(tmp_path: Path, name: bytes) -> None:
    row = {"name": name, "typeflag": "0", "size": len(CONTENT)}
    report = extracted(tmp_path / "out", [row, reg("good")])
    assert everything(tmp_path / "out") == {"good"}
    assert len(report.skipped) == 1


@pytest.mark.parametrize("planted", ["symlink", "file", "directory"])
def test_nothing_in_the_target_is_overwritten_or_followed(tmp_path: Path, planted: str) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "a").write_text("precious")
    match planted:
        case "symlink":
            (out / "a").symlink_to(outside / "a")
        case "file":
            (out / "a").write_text("precious")
        case "directory":
            (out / "a").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        extracted(out, [reg("a")])
    assert (outside / "a").read_text() == "precious"


def test_a_planted_symlink_to_a_directory_is_not_followed(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (out / "d").symlink_to(outside)
    with pytest.raises(ConfigError, match="exists already"):
        extracted(out, [reg("d/a")])
    assert everything(outside) == set()


def test_directories_that_exist_are_filled(tmp_path: Path) -> None:
    (tmp_path / "out/d").mkdir(parents=True)
    extracted(tmp_path / "out", [reg("d/a")])
    assert (tmp_path / "out/d/a").exists()


def test_a_file_that_breaks_off_is_removed(tmp_path: Path) -> None:
    table = EntryTable()
    table.append(name=b"a", size=4)

    def broken(node: Node) -> Iterator[bytes]:
        yield b"x"
        raise ValueError("span is not what it should be")

    fd = open_target(tmp_path / "out")
    try:
        with pytest.raises(ValueError, match="span"):
            Extractor(fd, broken, ExtractOptions()).extract(merge([table]).walk())
    finally:
        os.close(fd)
    assert everything(tmp_path / "out") == set()


def test_devices_only_on_request(tmp_path: Path) -> None:
    row = {"name": b"null", "typeflag": "3", "devmajor": 1, "devminor": 3}
    report = extracted(tmp_path / "out", [row])
    assert everything(tmp_path / "out") == set()
    assert report.skipped == [("null", "device node")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_owners_and_set_id_bits_are_kept_by_root_and_dropped_without_owner(tmp_path: Path) -> None:
    row = reg("a", uid=1234, gid=4321, mode=0o4755)
    extracted(tmp_path / "kept", [row])
    extracted(tmp_path / "dropped", [row], options=ExtractOptions(owner=False))
    kept, dropped = (tmp_path / "kept/a").stat(), (tmp_path / "dropped/a").stat()
    assert (kept.st_uid, kept.st_gid, stat.S_IMODE(kept.st_mode)) == (1234, 4321, 0o4755)
    assert (dropped.st_uid, stat.S_IMODE(dropped.st_mode)) == (os.geteuid(), 0o755)


def test_attributes_this_system_cannot_hold_are_reported(tmp_path: Path) -> None:
    row = reg("a", uid=1 << 40, pax=[(b"SCHILY.xattr.nonsense", b"v")])
    report = extracted(tmp_path / "out", [row], options=ExtractOptions(owner=True))
    assert {why.partition(":")[0] for _, why in report.skipped} == {"owner", "xattr nonsense"}
    assert (tmp_path / "out/a").read_bytes() == CONTENT
