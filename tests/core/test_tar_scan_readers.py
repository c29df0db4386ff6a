"""The scan against other people's tar code: archives by GNU tar and tarfile, read by tarfile and ``tar --list``."""

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from accel_core.entries import (
    FLAG_GLOBAL,
    FLAG_GNU_SPARSE,
    FLAG_PAX_SPARSE,
    FLAG_UNKNOWN_TYPE,
    Entry,
    EntryTable,
)
from accel_core.tar_scan import TarScanner

LONG = "long/" + "d" * 90 + "/" + "e" * 120 + "/" + "f" * 140


def scan(archive: bytes) -> EntryTable:
    scanner = TarScanner()
    for i in range(0, len(archive), 10_007):
        scanner.feed(archive[i : i + 10_007])
    return scanner.close()


def read_by_tarfile(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as tar:
        return tar.getmembers()


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def check_against_tarfile(entry: Entry, info: tarfile.TarInfo, *, incremental: bool = False) -> None:
    # tarfile takes the times that --incremental puts into GNU headers for a ustar prefix: its names are wrong there.
    assert incremental or text(entry.name).rstrip("/") == info.name
    assert text(entry.linkname).rstrip("/") == info.linkname.rstrip("/")
    assert (entry.uid, entry.gid, text(entry.uname), text(entry.gname)) == (info.uid, info.gid, info.uname, info.gname)
    assert entry.mode == info.mode
    assert entry.mtime_s + entry.mtime_ns / 1e9 == pytest.approx(info.mtime, abs=1e-6)
    assert entry.data_offset == info.offset_data or entry.flags & FLAG_PAX_SPARSE
    assert entry.header_offset == info.offset
    assert entry.size == info.size
    assert entry.typeflag == info.type.decode("latin-1").replace("\0", "0")
    if info.ischr() or info.isblk():
        assert (entry.devmajor, entry.devminor) == (info.devmajor, info.devminor)
    if "hdrcharset" not in info.pax_headers:
        assert {text(k): text(v) for k, v in entry.pax} == info.pax_headers


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind an unprivileged user can make, sparse ones and (where the file system has them) xattrs."""
    root = tmp_path_factory.mktemp("tree")
    (root / LONG).parent.mkdir(parents=True)
    (root / LONG).write_bytes(b"long" * 1000)
    (root / "empty").touch()
    (root / "dir").mkdir()
    (root / "dir" / "data").write_bytes(os.urandom(70_000))
    (root / "dir" / "ünïcode").write_bytes(b"x")
    os.link(root / "dir" / "data", root / "hard")
    os.link(root / LONG, root / "hard-to-long")
    (root / "sym").symlink_to("dir/data")
    (root / "sym-long").symlink_to(LONG + "/" + LONG)
    os.mkfifo(root / "fifo")
    with open(root / "sparse", "wb") as out:
        for i in range(60):
            out.seek(i * 40_000)
            out.write(b"data" * 200)
        out.truncate(5_000_000)
    with open(root / "hole", "wb") as out:
        out.truncate(3_000_000)
    os.utime(root / "empty", ns=(0, -1_500_000_000))
    os.utime(root / "dir" / "data", ns=(0, 1_700_000_000_123_456_789))
    (root / "last").write_bytes(b"end")
    for name in ("dir/data", "dir"):
        try:
            os.setxattr(root / name, "user.note", b"\0value=\n\xff")
        except OSError:
            pass
    return root


def gnu_tar(tree: Path, *options: str) -> bytes:
    program = shutil.which("tar")
    if program is None or b"GNU tar" not in subprocess.run([program, "--version"], capture_output=True).stdout:
        pytest.skip("tar is not GNU tar")
    done = subprocess.run(
        [program, "-C", str(tree), *options, "-cf", "-", "--sort=name", "."],
        capture_output=True, timeout=60, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    # v7 and ustar cannot hold all of the tree: the rest is in the archive all the same.
    assert done.returncode == 0 or "v7" in "".join(options) or "ustar" in "".join(options), done.stderr
    return done.stdout


GNU_TAR_OPTIONS = [
    ["--format=v7"],
    ["--format=ustar"],
    ["--format=oldgnu"],
    ["--format=gnu"],
    ["--format=gnu", "--incremental"],
    ["--format=gnu", "--label=volume name"],
    ["--format=posix"],
    ["--format=posix", "--label=volume name"],
    ["--format=posix", "--xattrs", "--xattrs-include=*"],
    ["--format=posix", "--pax-option=comment=global,delete=atime"],
    ["--format=gnu", "--sparse"],
    ["--format=oldgnu", "--sparse"],
    ["--format=posix", "--sparse", "--sparse-version=0.0"],
    ["--format=posix", "--sparse", "--sparse-version=0.1"],
    ["--format=posix", "--sparse", "--sparse-version=1.0"],
]


def listed(archive: bytes) -> list[tuple[int, bytes]]:
    """Block number and name that GNU tar lists for each member; the volume label is not listed as one."""
    lines = subprocess.run(
        ["tar", "-tRf", "-", "--quoting-style=literal", "--show-stored-names"],
        input=archive, capture_output=True, check=True, timeout=60, env={**os.environ, "LC_ALL": "C"},
    ).stdout.splitlines()  # fmt: skip
    rows = [re.match(rb"block (\d+): (.*)", line) for line in lines]
    return [(int(row[1]), row[2]) for row in rows if row and not row[2].startswith(b"**")]


@pytest.mark.tools
@pytest.mark.parametrize("options", GNU_TAR_OPTIONS, ids=" ".join)
def test_reads_what_gnu_tar_writes(tree: Path, options: list[str]) -> None:
    archive = gnu_tar(tree, *options)
    ours = [entry for entry in scan(archive) if not entry.flags & FLAG_GLOBAL]
    theirs = read_by_tarfile(archive)
    assert len(ours) == len(theirs) >= 8
    for entry, info in zip(ours, theirs, strict=True):
        if info.type == tarfile.GNUTYPE_SPARSE or entry.flags & FLAG_PAX_SPARSE:
            assert info.sparse is not None
            assert (text(entry.name), entry.size, entry.header_offset) == (info.name, info.size, info.offset)
        elif any(entry.flags & FLAG_GLOBAL for entry in scan(archive)):
            # tarfile applies the global records to every later member.
            assert (text(entry.name).rstrip("/"), entry.size) == (info.name, info.size)
        else:
            check_against_tarfile(entry, info, incremental="--incremental" in options)
    sparse = {text(entry.name) for entry in ours if entry.flags & (FLAG_GNU_SPARSE | FLAG_PAX_SPARSE)}
    assert sparse == ({"./sparse", "./hole"} if "--sparse" in options else set())


@pytest.mark.tools
@pytest.mark.parametrize("options", GNU_TAR_OPTIONS, ids=" ".join)
def test_finds_members_where_gnu_tar_lists_them(tree: Path, options: list[str]) -> None:
    archive = gnu_tar(tree, *options)
    entries = [entry for entry in scan(archive) if not entry.flags & FLAG_GLOBAL]
    posix = "--format=posix" in options
    # After a PAX header GNU tar counts from the member's own header, after L and K from the first of them.
    ours = [(entry.data_offset // 512 - 1 if posix else entry.header_offset // 512, entry.name) for entry in entries]
    theirs = listed(archive)
    if posix and "--label=volume name" in options:
        assert theirs.pop(0) == (0, b"volume name")     # a record of the global header
    assert ours == theirs


@pytest.mark.tools
def test_xattrs_come_as_gnu_tar_stores_them(tree: Path) -> None:
    try:
        wanted = os.getxattr(tree / "dir" / "data", "user.note")
    except OSError:
        pytest.skip("no user xattrs on this file system")
    archive = gnu_tar(tree, "--format=posix", "--xattrs", "--xattrs-include=*")
    found = {entry.name: dict(entry.pax).get(b"SCHILY.xattr.user.note") for entry in scan(archive)}
    assert found[b"./dir/data"] == found[b"./dir/"] == wanted


@pytest.mark.tools
def test_a_later_volume_begins_with_the_rest_of_a_file(tree: Path, tmp_path: Path) -> None:
    gnu_tar(tree)
    volumes = [tmp_path / "1", tmp_path / "2", tmp_path / "3"]
    files = [option for volume in volumes for option in ("-f", str(volume))]
    subprocess.run(
        ["tar", "-C", str(tree), "-cM", "--format=gnu", "-L", "30", *files, "dir/data", "last"], check=True, timeout=60
    )
    first, *_, last = scan(volumes[2].read_bytes())
    assert (first.typeflag, first.flags, first.name) == ("M", FLAG_UNKNOWN_TYPE, b"dir/data")
    assert (last.name, last.size) == (b"last", 3)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_tarfile_writes(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for i, kind in enumerate([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                  tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.AREGTYPE]):  # fmt: skip
            for name in ("a", "p" * 80 + "/" + "n" * 80, "ünïcode", "bad\udcff"):
                info = tarfile.TarInfo(f"{name}{i}")
                info.type = kind
                info.size = 600 * i if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else 0
                info.linkname = "target" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
                info.devmajor, info.devminor = 5 * i, i
                info.uid, info.gid, info.uname, info.gname = 1000 + i, 2000, "üser", "group"
                info.mtime = 1_700_000_000 + (i / 8 if form == tarfile.PAX_FORMAT else 0)
                if form != tarfile.USTAR_FORMAT:
                    info.uid = 1 << 30
                tar.addfile(info, io.BytesIO(bytes(info.size)))
    archive = out.getvalue()
    ours, theirs = list(scan(archive)), read_by_tarfile(archive)
    for entry, info in zip(ours, theirs, strict=True):
        check_against_tarfile(entry, info)
