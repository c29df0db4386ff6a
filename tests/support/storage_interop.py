"""containers/storage's and containers/image's own code as a subprocess (``tests/interop/storage``)."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.go_programs import cannot, run


@dataclass(frozen=True)
class Storage:
    """The compiled program and a directory for its files and stores."""

    program: Path
    directory: Path

    def check(self, blob: bytes, annotations: Mapping[str, str], diff_id: str) -> dict[str, Any]:
        """What podman's pull makes of one layer. Raises ``Refused`` where the pull would fail."""
        arguments = [
            "--annotations",
            json.dumps(dict(annotations)),
            "--diff-id",
            diff_id,
            "--root",
            self._root(),
        ]
        return dict(json.loads(run(self.program, "check", self._file("blob", blob), *arguments)))

    def compress(self, tar: bytes, *options: str) -> tuple[bytes, dict[str, Any]]:
        """The zstd:chunked blob that podman would push, and what it says of it."""
        out = self.directory / "compressed"
        said = run(self.program, "compress", *options, self._file("tar", tar), str(out))
        return out.read_bytes(), dict(json.loads(said))

    def copy(self, reference: str, *, partial: bool = True) -> dict[str, Any]:
        """A pull of an image from a registry in plain HTTP. Raises ``Refused`` where it fails."""
        arguments = ["--root", self._root(), f"--partial={str(partial).lower()}"]
        return dict(json.loads(run(self.program, "copy", reference, *arguments)))

    def _root(self) -> str:
        if os.geteuid():
            raise cannot("storage takes root")
        return tempfile.mkdtemp(dir=self.directory)

    def _file(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)
