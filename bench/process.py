"""What does a whole process take to index the big layer of the ml image: start, reading, scan, and the index on disk?

Ours with one thread and with two, beside the tools that write such indexes, all with checkpoints about every 4 MiB of
output: indexed_gzip from Python, rapidgzip, gztool (without line numbers, `-z`), and SOCI's builder (`bench/soci`). The
decompressors, which write to /dev/null, are there for orientation. CPU time is user and system, all threads; the peak
is that of the resident set, pages of mapped files included, and never below the 9 MB of what starts the processes.

What each wrote is looked at once, in the first round: the note says how many checkpoints and how large.
"""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import children
import ml
import programs
from children import Child
from measure import Row, skipped

import data
from accel_core.ztoc_decode import decode

SPACING = 4 << 20
TAR_RECORD = 20 * 512           # zeros after the last entry that a zTOC may not count
MOST_APART = 4                  # times the spacing: the least plausible number of checkpoints
BASELINE = "accel index --format gzidx --threads 1"

INDEXED_GZIP = f"""
import sys, indexed_gzip
with indexed_gzip.IndexedGzipFile(sys.argv[1], spacing={SPACING}) as file:
    file.build_full_index()
    file.export_index(sys.argv[2])
"""


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    encoder = only or "gzip-6"
    if encoder not in data.ENCODERS:
        return
    try:
        tar = ml.tar("big", tiny)
        layer = ml.layer("big", tiny) if encoder == "gzip-6" else ml.layer_by("big", encoder, tiny)
    except ml.CannotMake as error:
        skipped(f"process: {error}")
        return
    if layer is None:
        skipped(f"process of {encoder}: the encoder is not installed")
        return
    with TemporaryDirectory(dir=data.CACHE) as folder:
        found = commands(layer, tar.stat().st_size, Path(folder))
        sizes = layer.stat().st_size, tar.stat().st_size
        yield from children.rows("process", encoder, found, BASELINE, rounds, *sizes)


def commands(layer: Path, n_out: int, folder: Path) -> dict[str, Child]:
    """Every process that can run here, by name."""
    found: dict[str, Child] = {}

    def add(name: str, program: programs.Program, kind: Callable[..., str] | None, *arguments: str) -> None:
        out = folder / "index"
        words = {"LAYER": str(layer), "OUT": str(out)}
        if program.version is None:
            skipped(f"process: {name}: {program.missing}")
            return
        found[name] = Child(
            [*program.command, *(words.get(argument, argument) for argument in arguments)],
            program.version,
            partial(out.unlink, missing_ok=True),
            partial(kind, out, layer.stat().st_size, n_out) if kind else str,
        )

    accel, python = programs.accel(), programs.python
    for n in ("1", "2"):
        for format, kind in (("gzidx", gzidx), ("soci", ztoc)):
            name = f"accel index --format {format} --threads {n}"
            add(name, accel, kind, "index", "LAYER", "--format", format, "--threads", n, "-o", "OUT")
    add("indexed_gzip", python("indexed_gzip", INDEXED_GZIP), gzidx, "LAYER", "OUT")
    for n in ("1", "2"):
        add(f"rapidgzip -P {n}", programs.script("rapidgzip"), gzidx, "-P", n, "--export-index", "OUT", "LAYER")
    add("gztool -s 4", programs.installed("gztool"), gztool, "-z", "-v", "0", "-i", "-s", "4", "-I", "OUT", "LAYER")
    add("SOCI's builder", programs.soci(), ztoc, "LAYER", "OUT")
    add("libdeflate-gunzip -dc", programs.libdeflate_gunzip(), None, "-d", "-c", "LAYER")
    for name in ("igzip", "pigz", "gzip"):
        add(f"{name} -dc", programs.installed(name), None, "-d", "-c", "LAYER")
    return found


# --- is that an index? --------------------------------------------------------------------------------------


def gzidx(path: Path, comp_size: int, n_out: int) -> str:
    raw = path.read_bytes()
    magic, _, comp, uncomp, _, window, n = struct.unpack_from("<5sHQQIII", raw)
    assert magic == b"GZIDX" and (comp, uncomp) == (comp_size, n_out), (magic, comp, uncomp)
    assert len(raw) <= 35 + n * (18 + window)
    return told(n, raw, n_out)


def gztool(path: Path, comp_size: int, n_out: int) -> str:
    raw = path.read_bytes()
    zeros, magic, n, expected = struct.unpack_from(">Q8sQQ", raw)
    assert zeros == 0 and magic == b"gzipindx" and n == expected, (magic, n, expected)
    assert int.from_bytes(raw[-8:], "big") == n_out
    return told(n, raw, n_out)


def ztoc(path: Path, comp_size: int, n_out: int) -> str:
    raw = path.read_bytes()
    index, _, _ = decode(raw)
    assert index.comp_size == comp_size and 0 <= n_out - index.uncomp_size < TAR_RECORD, index.uncomp_size
    return f"{told(index.n_spans, raw, n_out, index.span_bytes)}, {len(index.entries)} entries"


def told(n: int, raw: bytes, n_out: int, spacing: int = SPACING) -> str:
    assert n >= n_out // (MOST_APART * spacing), f"{n} checkpoints in {n_out} bytes"
    return f"{n} checkpoints, {len(raw) / 1e6:.2f} MB"
