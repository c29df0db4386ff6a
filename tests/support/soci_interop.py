"""SOCI's own code as a subprocess (``tests/interop/soci``)."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel.oci import Descriptor
from support.layer_views import read_row

# A zTOC with wrong checkpoints can make SOCI's reader loop for ever.
TIMEOUT_S = 120


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
        return {path: row for path, row in map(read_row, out.splitlines())}

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
