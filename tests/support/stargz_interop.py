"""stargz-snapshotter's own code as a subprocess (``tests/interop/stargz``)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.go_programs import run
from support.layer_views import read_row

LANDMARK = b".no.prefetch.landmark"
PREFETCH_LANDMARK = b".prefetch.landmark"
# Go's zero time, which is what no modtime in a TOC means, as seconds.
NO_TIME_S = -62135596800.0


@dataclass(frozen=True)
class Stargz:
    """The compiled program and a directory for its files."""

    program: Path
    directory: Path

    def check(self, blob: bytes, toc_digest: str, *, zstd: bool = False) -> dict[str, Any]:
        """Its report. Raises ``Refused`` where a promise of the blob is broken."""
        return dict(json.loads(self._ask("check", blob, toc_digest, zstd)))

    def read(self, blob: bytes, toc_digest: str, *, zstd: bool = False) -> dict[bytes, dict[str, Any]]:
        """Every path of the layer as the snapshotter's filesystem sees it, in the form of ``tarfile_view``."""
        out = self._ask("list", blob, toc_digest, zstd)
        return {path: row for path, row in map(read_row, out.splitlines())}

    def unpack(self, blob: bytes, *, zstd: bool = False) -> bytes:
        """The tar without TOC and footer."""
        out = self.directory / "unpacked"
        run(self.program, "unpack", self._file("blob", blob), str(out), *_zstd(zstd))
        return out.read_bytes()

    def build(
        self, tar: bytes, *options: str, prioritized: Sequence[str] = ()
    ) -> tuple[bytes, dict[str, Any]]:
        """The blob that the reference converter makes of a tar (plain or gzip), and what it says of it."""
        out = self.directory / "built"
        more = (
            ["--prioritized", self._file("prioritized", "\n".join(prioritized).encode())]
            if prioritized
            else []
        )
        said = run(self.program, "build", *options, *more, self._file("tar", tar), str(out))
        return out.read_bytes(), dict(json.loads(said))

    def _ask(self, command: str, blob: bytes, toc_digest: str, zstd: bool) -> bytes:
        return run(self.program, command, self._file("blob", blob), "--toc-digest", toc_digest, *_zstd(zstd))

    def _file(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)


def _zstd(zstd: bool) -> list[str]:
    return ["--zstd"] if zstd else []


def in_whole_seconds(truth: dict[bytes, dict[str, Any]], epoch: float = 0) -> dict[bytes, dict[str, Any]]:
    """That view of ``tarfile`` as eStargz has it, with another time for the ``epoch`` if its writer leaves it out."""
    return {
        path: row | {"mtime": math.floor(row["mtime"] + 0.5) or epoch} if "mtime" in row else row
        for path, row in truth.items()
    }


def overlay_view(truth: dict[bytes, dict[str, Any]]) -> dict[bytes, dict[str, Any]]:
    """A view with whiteouts as overlayfs wants them: devices 0/0 and directories that say they are opaque."""
    view = dict(truth)
    for path in truth:
        folder, slash, name = path.rpartition(b"/")
        if name == b".wh..wh..opq":
            del view[path]
            row = view[folder]
            view[folder] = row | {"xattrs": row["xattrs"] | {b"trusted.overlay.opaque": b"y"}}
        elif name.startswith(b".wh."):
            del view[path]
            view[folder + slash + name.removeprefix(b".wh.")] = {"type": "char", "device": (0, 0), "size": 0}
    return view
