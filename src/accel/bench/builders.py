"""Other people's index builders: inflate a layer, keep checkpoints with their windows. In this process or in one of
their own; and the index files they write.
"""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel.bench.peers import Peer, from_pypi, module, program
from accel.bench.timing import Call

SPACING = 4 << 20  # distance of checkpoints
SOCI, GZIDX, GZTOOL = "SOCI zTOC", "GZIDX", "gztool .gzi"
SOCI_GO = "no package has it; with Go: cd tests/interop/soci && go build -o …/soci-ztoc . (in accel's source)"


@dataclass(frozen=True, slots=True)
class Builder:
    """``prepare(path, out, threads)`` gives the call; ``export(path, out)`` writes the index as a file, not timed.

    ``process``: it works in a process of its own, whose start counts too.
    """

    peer: Peer
    label: str
    format: str
    does: str
    prepare: Callable[[Path, Path, int], Call]
    export: Callable[[Path, Path], None]
    threaded: bool = False
    process: bool = False


def _indexed_gzip(path: Path, out: Path, threads: int) -> Call:
    def build() -> None:
        indexed_gzip: Any = module("indexed_gzip")
        with indexed_gzip.IndexedGzipFile(str(path), spacing=SPACING) as file:
            file.build_full_index()

    return build


def _export_indexed_gzip(path: Path, out: Path) -> None:
    indexed_gzip: Any = module("indexed_gzip")
    with indexed_gzip.IndexedGzipFile(str(path), spacing=SPACING) as file:
        file.build_full_index()
        file.export_index(str(out))


def _rapidgzip(path: Path, out: Path, threads: int) -> Call:
    def find_blocks() -> None:
        rapidgzip: Any = module("rapidgzip")
        with rapidgzip.open(str(path), parallelization=threads) as file:
            file.block_offsets()  # builds the whole index

    return find_blocks


def _export_rapidgzip(path: Path, out: Path) -> None:
    rapidgzip: Any = module("rapidgzip")
    with rapidgzip.open(str(path), parallelization=1) as file:
        file.export_index(str(out))


def _gztool(path: Path, out: Path, threads: int) -> Call:
    def build() -> None:
        out.unlink(missing_ok=True)
        _run(["gztool", "-v", "0", "-z", "-i", "-s", str(SPACING >> 20), "-I", str(out), str(path)])

    return build


def _soci_ztoc(path: Path, out: Path, threads: int) -> Call:
    def build() -> None:
        with out.open("wb") as file:
            _run(["soci-ztoc", "build", str(path), "gzip", str(SPACING), "soci"], stdout=file.fileno())

    return build


def _export_by(prepare: Callable[[Path, Path, int], Call]) -> Callable[[Path, Path], None]:
    def export(path: Path, out: Path) -> None:
        prepare(path, out, 1)()

    return export


def _run(command: list[str], stdout: int = subprocess.DEVNULL) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(f"{command[0]} failed with code {done.returncode}{f': {said[-1]}' if said else ''}")


BUILDERS = (
    Builder(
        from_pypi("indexed_gzip", "indexed_gzip"),
        "indexed_gzip",
        GZIDX,
        "inflate, CRC, checkpoints, full windows",
        _indexed_gzip,
        _export_indexed_gzip,
    ),
    Builder(
        from_pypi("rapidgzip", "rapidgzip"),
        "rapidgzip",
        GZIDX,
        "inflate, checkpoints, sparse windows",
        _rapidgzip,
        _export_rapidgzip,
        threaded=True,
    ),
    Builder(
        program("gztool", "apt install gztool (Debian 12 and later)", "-h"),
        "gztool",
        GZTOOL,
        "a process: inflate, CRC, checkpoints, packed windows",
        _gztool,
        _export_by(_gztool),
        process=True,
    ),
    Builder(
        program("soci-ztoc", SOCI_GO),
        "soci-ztoc",
        SOCI,
        "a process: two inflates, CRC, tar entries, checkpoints, full windows, SHA-256 of spans",
        _soci_ztoc,
        _export_by(_soci_ztoc),
        process=True,
    ),
)


def index_builders(path: Path) -> dict[str, Call]:
    """Those installed that build in this process with one thread, by label."""
    calls = {}
    for builder in BUILDERS:
        if not builder.process and builder.peer.version() is not None:
            label = f"{builder.label} -P1" if builder.threaded else builder.label
            calls[label] = builder.prepare(path, Path(os.devnull), 1)
    return calls
