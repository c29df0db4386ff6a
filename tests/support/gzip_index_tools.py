"""Other people's tools that make and use index files of gzip blobs.

A maker turns the path of a blob into the bytes of an index; a reader gets the paths of both and a list of ``(offset,
n_bytes)``, and gives those bytes.
"""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.gzips import missing

Ranges = Sequence[tuple[int, int]]
Maker = Callable[[Path], bytes]
Reader = Callable[[Path, Path, Ranges], list[bytes]]


def _run(*command: str | Path, ok: bool = True) -> bytes:
    tool = Path(sys.executable).with_name(str(command[0]))
    found = str(tool) if tool.exists() else shutil.which(command[0])
    if found is None:
        missing(str(command[0]))
    return subprocess.run([str(found), *command[1:]], check=ok, capture_output=True).stdout


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"Python module {name}")


# --- makers -----------------------------------------------------------------------------------------------------


def made_by_indexed_gzip(blob: Path) -> bytes:
    index = blob.with_suffix(".made")
    with _module("indexed_gzip").IndexedGzipFile(str(blob), spacing=1 << 18) as file:
        file.build_full_index()
        file.export_index(str(index))
    return index.read_bytes()


def made_by_gztool(*options: str) -> Maker:
    def make(blob: Path) -> bytes:
        index = blob.with_suffix(".made")
        _run("gztool", "-v", "0", "-s", "1", *options, "-f", "-I", index, "-i", blob)
        return index.read_bytes()

    return make


def made_by_rapidgzip(format: str) -> Maker:
    def make(blob: Path) -> bytes:
        index = blob.with_suffix(".made")
        options = ("-P", "1", "--chunk-size", "128", "-d", "-f", "-o", "/dev/null")
        _run("rapidgzip", *options, "--index-format", format, "--export-index", index, blob)
        return index.read_bytes()

    return make


def made_by_bgzip(blob: Path) -> bytes:
    index = blob.with_suffix(".made")
    _run("bgzip", "-r", "-I", index, blob)
    return index.read_bytes()


# --- readers ----------------------------------------------------------------------------------------------------


def read_by_indexed_gzip(blob: Path, index: Path, ranges: Ranges) -> list[bytes]:
    module = _module("indexed_gzip")
    with module.IndexedGzipFile(str(blob), auto_build=False) as file:  # it may not find out anything itself
        file.import_index(str(index))
        return _read_each(file, ranges)


def read_by_rapidgzip(blob: Path, index: Path, ranges: Ranges) -> list[bytes]:
    module = _module("rapidgzip")
    with module.RapidgzipFile(str(blob), parallelization=1) as file:
        file.import_index(str(index))
        return _read_each(file, ranges)


def _read_each(file: Any, ranges: Ranges) -> list[bytes]:
    read = []
    for offset, n_bytes in ranges:
        file.seek(offset)
        read.append(file.read(n_bytes))
    return read


def read_by_gztool(blob: Path, index: Path, ranges: Ranges) -> list[bytes]:
    options = ("-v", "0", "-W", "-I", index)
    return [_run("gztool", *options, "-b", str(offset), "-r", str(n), blob) for offset, n in ranges]


def read_by_bgzip(blob: Path, index: Path, ranges: Ranges) -> list[bytes]:
    index.rename(f"{blob}.gzi")
    return [_run("bgzip", "-b", str(offset), "-s", str(n), blob) for offset, n in ranges]
