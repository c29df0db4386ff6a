"""What Go's archive/tar says about an archive, asked of a small program built from ``tests/interop/tar``."""

import base64
import json
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent / "interop" / "tar"


@dataclass(frozen=True)
class GoArchive:
    """``entries`` hold bytes and ints by field name; ``error`` is empty if the archive ended well at ``end``."""

    entries: list[dict[str, Any]]
    error: str
    end: int


class GoTar:
    """The running program; one question at a time."""

    def __init__(self, build_dir: Path) -> None:
        """Builds and starts it. Raises FileNotFoundError where there is no Go."""
        go = shutil.which("go")
        if go is None:
            raise FileNotFoundError("go is not installed")
        program = build_dir / "tarheaders"
        subprocess.run([go, "build", "-o", str(program), "."], cwd=SOURCE, check=True, timeout=240)
        self._process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, archive: bytes) -> GoArchive:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(struct.pack(">I", len(archive)) + archive)
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return GoArchive([_decoded(entry) for entry in answer["Entries"]], answer["Error"], answer["End"])

    def close(self) -> None:
        self._process.communicate(timeout=10)


def _decoded(entry: dict[str, Any]) -> dict[str, Any]:
    for key in ("Name", "Linkname", "Uname", "Gname"):
        entry[key] = base64.b64decode(entry[key])
    entry["Pax"] = [(base64.b64decode(key), base64.b64decode(value)) for key, value in entry["Pax"]]
    return entry
