"""SOCI's own code as a subprocess (``tests/interop/soci``), and the same questions answered by ``tarfile``."""

import datetime
import hashlib
import io
import json
import os
import posixpath
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from accel.oci import Descriptor

SOURCE = Path(__file__).resolve().parents[1] / "interop" / "soci"
# A zTOC with wrong checkpoints can make SOCI's reader loop for ever.
TIMEOUT_S = 120


def build_program(directory: Path) -> Path:
    """Compiles the program; skips (or fails, if interop is required) where that cannot be done."""
    required = os.environ.get("ACCEL_REQUIRE_INTEROP") == "1"
    go = shutil.which("go")
    if go is None:
        if required:
            pytest.fail("interop is required, but there is no Go on this machine")
        pytest.skip("no Go on this machine")
    program = directory / "interop"
    built = subprocess.run(
        [go, "build", "-o", str(program), "."],
        cwd=SOURCE,
        capture_output=True,
        check=False,
        text=True,
        timeout=1500,
    )
    if built.returncode:
        if required:
            pytest.fail(f"the interop program does not build: {built.stderr}")
        pytest.skip(f"the interop program does not build: {built.stderr[-500:]}")
    return program


@dataclass(frozen=True)
class Soci:
    """The compiled program and a directory for its files."""

    program: Path
    directory: Path

    def run(self, *args: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            [str(self.program), *args],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
            env=os.environ | {"TZ": "UTC"},
        )
        if done.returncode:
            raise SociError(done.stderr.decode(errors="replace"))
        return done.stdout

    def build(self, layer: bytes, compression: str, span_bytes: int, tool: str) -> bytes:
        """The zTOC that SOCI's builder makes of a layer."""
        algorithm = {"gzip": "gzip", "tar": "uncompressed"}[compression]
        return self.run("build", self._file("layer", layer), algorithm, str(span_bytes), tool)

    def read(self, layer: bytes, ztoc: bytes) -> dict[bytes, dict[str, Any]]:
        """Every path of the layer as SOCI's reader sees it, in the form of :func:`tarfile_view`."""
        out = self.run("read", self._file("layer", layer), self._file("ztoc", ztoc))
        return {path: row for path, row in map(_row, out.splitlines())}

    def index(self, raw: bytes) -> bytes:
        """A SOCI index decoded and encoded again."""
        return self.run("index", stdin=raw)

    def convert(
        self, layout: Path, target: Descriptor, min_layer_bytes: int, platforms: Sequence[str]
    ) -> str:
        """The digest of the converted image's index; its blobs are then in the layout."""
        out = self.run(
            "convert",
            str(layout),
            target.digest,
            target.media_type,
            str(target.size),
            str(min_layer_bytes),
            *platforms,
        )
        return out.decode().strip()

    def _file(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)


class SociError(Exception):
    """SOCI's code refused."""


def _row(line: bytes) -> tuple[bytes, dict[str, Any]]:
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

    Times are seconds as ``tarfile`` has them (a float for PAX), to be compared with :func:`same_view`.
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


def compare(soci: dict[bytes, dict[str, Any]], truth: dict[bytes, dict[str, Any]]) -> list[str]:
    """How the two views differ; directories that only SOCI's reader has are those no member names."""
    differences = []
    for path, wanted in truth.items():
        got = soci.get(path)
        if got is None:
            differences.append(f"{path!r} is missing")
            continue
        if "error" in got:
            differences.append(f"{path!r}: {got['error']}")
        if "hard link to" in wanted:
            target = soci.get(wanted["hard link to"])
            if target is None or target["node"] != got["node"]:
                differences.append(f"{path!r} is no link to {wanted['hard link to']!r}")
            continue
        for key, value in wanted.items():
            mine = _seconds(got["mtime"]) if key == "mtime" else got[key]
            if mine != value:
                differences.append(f"{path!r}: {key} is {mine!r}, not {value!r}")
    parents = {b""} | {parent for path in truth for parent in _parents(path)}
    for path in soci.keys() - truth.keys() - parents:
        differences.append(f"{path!r} is too much")
    return differences


def _parents(path: bytes) -> set[bytes]:
    found = set()
    while path := posixpath.dirname(path):
        found.add(path)
    return found


def _seconds(text: str) -> float:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole + "+00:00")
    return moment.timestamp() + (float("0." + fraction) if fraction else 0)


def _clean(name: str) -> bytes:
    return os.fsencode(posixpath.normpath("/" + name)).lstrip(b"/")
