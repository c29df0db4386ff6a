"""How many bytes of a layer does a program need to start, by the spans of its index?

A trace is the files a program opens before it does anything: its loader and libraries as ``ldd`` lists them and, for
Python, the files of the modules it imports. The files are looked up in the layer, links followed; what is fetched is
the union of the spans their bytes lie in. ``ideal`` is the same by a share of the compressed size: what fetching
files alone would take.
"""

import bisect
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from measure import Row, skipped

import data
from accel_core import LayerIndex, index

PYTHON = "import json, ssl, sqlite3, http.client, logging, urllib.request"
TRACE = """
import sys
print(*[module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)], sep="\\n")
"""
INDEXES: dict[str, dict[str, Any]] = {
    "adaptive, 4 MiB": {},
    "fixed, 4 MiB": {"placement": "soci"},
    "fixed, 1 MiB": {"placement": "soci", "span_bytes": 1 << 20},
    "adaptive, 1 MiB": {"span_bytes": 1 << 20},
}


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    path = data.layer("start", "go", tiny) or data.layer("start", "gzip-6", tiny)
    if path is None:
        skipped("start_fetch: no encoder is installed")
        return
    indexes = {name: index(path, digest=False, span_digests=False, **options) for name, options in INDEXES.items()}
    for case, files in (tiny_trace(path) if tiny else traces()).items():
        if not only or only == case:
            yield from fetched(case, files, indexes)


def tiny_trace(path: Path) -> dict[str, list[str]]:
    """Some files that are surely there."""
    return {"every ninth file": [entry.name.decode() for entry in list(index(path).entries)[::9]]}


def fetched(case: str, files: Iterable[str], indexes: dict[str, LayerIndex]) -> Iterator[Row]:
    for name, layer in indexes.items():
        ranges, found = data_ranges(layer, files)
        if not ranges:
            skipped(f"start_fetch of {case}: the layer has none of its files")
            return
        spans = spans_of(layer, ranges)
        needed = sum(end - start for start, end in ranges)
        size = sum(end - start for start, end in merged(layer.span_comp(i) for i in spans))
        ideal = needed * layer.comp_size / layer.uncomp_size
        yield Row(
            "start_fetch", case, name, bytes_in=size, bytes_out=needed, ratio=round(size / ideal, 3),
            note=f"{found} files of {needed / 1e6:.1f} MB: {size / 1e6:.2f} MB in {len(spans)} of "
            f"{len(layer.checkpoints)} spans, "
            f"{100 * size / layer.comp_size:.1f} % of the layer; ideal {ideal / 1e6:.2f} MB",
        )  # fmt: skip


def data_ranges(layer: LayerIndex, files: Iterable[str]) -> tuple[list[tuple[int, int]], int]:
    """Uncompressed ranges of the files' bytes in the layer, and how many of the files it has."""
    entries = {entry.name.decode(errors="replace"): entry for entry in layer.entries}
    ranges, found = set(), 0
    for file in files:
        entry = entries.get(file.lstrip("/"))
        if entry is not None and entry.typeflag == "0":
            found += 1
            if entry.stored_size:
                ranges.add((entry.data_offset, entry.data_offset + entry.stored_size))
    return sorted(ranges), found


def spans_of(layer: LayerIndex, ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Numbers of the spans that hold any byte of the ranges."""
    starts = layer.checkpoints.uncomp_offset
    wanted: set[int] = set()
    for start, end in ranges:
        wanted.update(range(bisect.bisect_right(starts, start) - 1, bisect.bisect_left(starts, end)))
    return sorted(wanted)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of sorted ranges."""
    union: list[tuple[int, int]] = []
    for start, end in ranges:
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def traces() -> dict[str, list[str]]:
    """Program -> real paths of the files it opens to start."""
    found = {}
    for program in ("sh", "bash", "perl", "openssl", "git", "curl"):
        if path := shutil.which(program, path="/usr/bin:/bin"):
            found[program] = libraries(path)
    if python := shutil.which("python3", path="/usr/bin:/bin"):
        found["python3"] = libraries(python) + modules(python, "pass")
        found["python3 with ssl, http, sqlite3"] = libraries(python) + modules(python, PYTHON)
    return found


def libraries(path: str) -> list[str]:
    """A program, its loader and its libraries."""
    run = subprocess.run(["ldd", path], capture_output=True, text=True)
    words = [word for word in run.stdout.split() if word.startswith("/")]
    return sorted({os.path.realpath(word) for word in [path, *words]})


def modules(python: str, imports: str) -> list[str]:
    """Files of the modules Python has after ``imports``, and the libraries of those in machine code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LD_"))}
    command = [python, "-c", f"{imports}\n{TRACE}"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    files = {os.path.realpath(line) for line in run.stdout.split("\n") if line}
    for file in list(files):
        if Path(file).suffix == ".so":
            files.update(libraries(file))
    return sorted(files)
