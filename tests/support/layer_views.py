"""Layers as other people's readers see them, and the same as ``tarfile`` does, to be compared."""

import datetime
import hashlib
import io
import json
import os
import posixpath
import stat
import tarfile
from pathlib import Path
from typing import Any


def read_row(line: bytes) -> tuple[bytes, dict[str, Any]]:
    """A path, and what a program of ours said about it in one line of JSON, in the form of :func:`tarfile_view`."""
    row = json.loads(line)
    xattrs = {bytes.fromhex(key): bytes.fromhex(value) for key, value in row["xattrs"].items()}
    view = {
        "type": row["type"],
        "mode": row["perm"],
        "size": row["size"],
        "mtime": row["mod_time"],
        "link": bytes.fromhex(row["link"]),
        "owner": (row["uid"], row["gid"]),
        "device": (row["major"], row["minor"]),
        "xattrs": xattrs,
        "sha256": row["sha256"],
        "node": row["node"],
    }
    if row["error"]:
        view["error"] = row["error"]
    return bytes.fromhex(row["path"]), view


_KINDS = {
    tarfile.REGTYPE: "reg",
    tarfile.AREGTYPE: "reg",
    tarfile.CONTTYPE: "reg",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
}


def tarfile_view(tar: bytes) -> dict[bytes, dict[str, Any]]:
    """What a layer holds according to ``tarfile``: the last member of a path counts, hard links are their target.

    Times are seconds as ``tarfile`` has them (a float for PAX), to be compared with :func:`compare`.
    """
    view: dict[bytes, dict[str, Any]] = {}
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape", encoding="utf-8") as archive:
        members = list(archive)
        for member in members:
            path = _clean(member.name)
            if member.islnk():
                # Links to a later member are what some of our layers are about: take the final target.
                view[path] = {"hard link to": _clean(member.linkname)}
                continue
            data = archive.extractfile(member) if member.isreg() else None
            content = data.read() if data else b""
            view[path] = {
                "type": _KINDS[member.type],
                "mode": member.mode & 0o7777,
                "size": member.size if member.isreg() else 0,
                "mtime": member.mtime,
                "link": os.fsencode(member.linkname) if member.issym() else b"",
                "owner": (member.uid, member.gid),
                "device": (member.devmajor, member.devminor)
                if member.isdev() and not member.isfifo()
                else (0, 0),
                "xattrs": {
                    os.fsencode(key.removeprefix("SCHILY.xattr.")): os.fsencode(value)
                    for key, value in member.pax_headers.items()
                    if key.startswith("SCHILY.xattr.")
                },
                "sha256": hashlib.sha256(content).hexdigest() if member.isreg() else "",
            }
    return view


def directory_view(root: Path) -> dict[bytes, dict[str, Any]]:
    """What is below a directory, in the form of :func:`tarfile_view` with hard links as the files that they are."""
    view: dict[bytes, dict[str, Any]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            view[os.path.relpath(path, top)] = _described(path, os.lstat(path))
    return view


def _described(path: bytes, about: os.stat_result) -> dict[str, Any]:
    kind = _MODES[stat.S_IFMT(about.st_mode)]
    device = (os.major(about.st_rdev), os.minor(about.st_rdev)) if kind in ("char", "block") else (0, 0)
    names = os.listxattr(path, follow_symlinks=False)
    return {
        "type": kind,
        "mode": stat.S_IMODE(about.st_mode),
        "size": about.st_size if kind == "reg" else 0,
        "mtime": round(about.st_mtime_ns / 1e9, 3),  # umoci is off by some hundred ns
        "link": os.readlink(path) if kind == "symlink" else b"",
        "owner": (about.st_uid, about.st_gid),
        "device": device,
        "xattrs": {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names},
        "sha256": hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest() if kind == "reg" else "",
        "node": about.st_ino,
    }


_MODES = {
    stat.S_IFREG: "reg",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def compare(seen: dict[bytes, dict[str, Any]], truth: dict[bytes, dict[str, Any]]) -> list[str]:
    """How the two views differ; directories that only the reader has are those no member names."""
    differences = []
    for path, wanted in truth.items():
        got = seen.get(path)
        if got is None:
            differences.append(f"{path!r} is missing")
            continue
        if "error" in got:
            differences.append(f"{path!r}: {got['error']}")
        if "hard link to" in wanted:
            target = seen.get(wanted["hard link to"])
            if target is None or target["node"] != got["node"]:
                differences.append(f"{path!r} is no link to {wanted['hard link to']!r}")
            continue
        for key, value in wanted.items():
            mine = _seconds(got["mtime"]) if key == "mtime" else got[key]
            if mine != value:
                differences.append(f"{path!r}: {key} is {mine!r}, not {value!r}")
    parents = {b""} | {parent for path in truth for parent in _parents(path)}
    for path in seen.keys() - truth.keys() - parents:
        differences.append(f"{path!r} is too much")
    return differences


def _parents(path: bytes) -> set[bytes]:
    found = set()
    while path := posixpath.dirname(path):
        found.add(path)
    return found


def _seconds(text: str | float) -> float:
    if not isinstance(text, str):
        return text
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole + "+00:00")
    return moment.timestamp() + (float("0." + fraction) if fraction else 0)


def _clean(name: str) -> bytes:
    return os.fsencode(posixpath.normpath("/" + name)).lstrip(b"/")
