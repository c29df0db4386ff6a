"""What does it take to write the whole ml image anew, so that runtimes start it before it is there?

Ours is `accel convert --mode full` from one OCI layout to a fresh one on the same file system. The peers get the two
layers of the image side by side, in one process: the estargz library as ctr-remote and nerdctl use it, at its default
level 9 and at 6 and 1, and with zstd:chunked; podman's compressor for zstd:chunked (`tests/interop/stargz`, `storage`).
Each writes blobs and knows digests, diffIDs and TOC digests at the end; none but ours writes manifests.

`--only estargz` or `--only zstd-chunked` leaves out the other. The note says how large the layers are, beside the gzip.
"""

import json
import shutil
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

FORMATS = ("estargz", "zstd-chunked")
LAYER = "application/vnd.oci.image.layer."
# By format: the name of a row, the program, and its arguments.
PEERS: dict[str, list[tuple[str, Callable[[], programs.Program], tuple[str, ...]]]] = {
    "estargz": [
        (f"estargz, level {level}", programs.stargz, ("build", "--level", level)) for level in ("9", "6", "1")
    ],
    "zstd-chunked": [
        ("stargz's zstd:chunked, level 3", programs.stargz, ("build", "--zstdchunked", "--level", "3")),
        ("podman's zstd:chunked, level 3", programs.storage, ("compress", "--level", "3")),
    ],
}


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    if only not in (None, *FORMATS):
        return
    try:
        image = ml.image(tiny)
    except ml.CannotMake as error:
        skipped(f"full: {error}")
        return
    layers = [ml.layer(name, tiny) for name in ml.LAYERS]
    bytes_in = sum(path.stat().st_size for path in layers)
    bytes_out = sum(ml.tar(name, tiny).stat().st_size for name in ml.LAYERS)
    with TemporaryDirectory(dir=data.CACHE) as folder:
        for format in [only] if only else [*FORMATS, ",".join(FORMATS)]:
            found = ours(image, Path(folder) / "dest", format, bytes_in)
            baseline = next(iter(found))
            for name, program, arguments in PEERS.get(format, []):
                add_peer(found, name, program(), arguments, layers, Path(folder))
            yield from children.rows("full", format, found, baseline, rounds, bytes_in, bytes_out)


def ours(image: Path, dest: Path, format: str, bytes_in: int) -> dict[str, Child]:
    command = [*programs.accel().command, "convert", f"oci:{image}:{ml.TAG}", f"oci:{dest}:{ml.TAG}",
               "--mode", "full", "--format", format]  # fmt: skip
    ways = ["--threads 2", "--threads 1"]
    if format == "estargz":
        ways.append("--min-chunk-size 0 --threads 2")
    return {
        f"accel convert --mode full --format {format} {way}": Child(
            [*command, *way.split()], "", partial(shutil.rmtree, dest, ignore_errors=True),
            partial(layers_of, dest, bytes_in, len(format.split(","))),
        )
        for way in ways
    }  # fmt: skip


def add_peer(
    found: dict[str, Child], name: str, program: programs.Program, arguments: tuple[str, ...], layers: list[Path],
    folder: Path,
) -> None:  # fmt: skip
    if program.version is None:
        skipped(f"full: {name}: {program.missing}")
        return
    outs = [folder / layer.name for layer in layers]
    words = [str(path) for pair in zip(layers, outs, strict=True) for path in pair]
    found[name] = Child(
        [*program.command, *arguments, *words], program.version, partial(forget, outs), partial(told, outs, layers)
    )


def forget(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def told(outs: list[Path], layers: list[Path]) -> str:
    return sizes([path.stat().st_size for path in outs], sum(path.stat().st_size for path in layers))


def layers_of(dest: Path, bytes_in: int, n_formats: int) -> str:
    """The sizes of the layers that the manifests in ``dest`` name, which must be there."""
    blobs = dest / "blobs" / "sha256"
    documents = [json.loads(path.read_bytes()) for path in blobs.iterdir() if path.read_bytes()[:1] == b"{"]
    notes = []
    for manifest in (one for one in documents if "layers" in one):
        found = [layer["size"] for layer in manifest["layers"]]
        for layer in manifest["layers"]:
            blob = blobs / layer["digest"].removeprefix("sha256:")
            assert layer["mediaType"].startswith(LAYER) and blob.stat().st_size == layer["size"], layer
        notes.append(sizes(found, bytes_in))
    assert len(notes) == n_formats, notes
    return "; ".join(notes)


def sizes(found: list[int], bytes_in: int) -> str:
    assert len(found) == len(ml.LAYERS), found
    return f"{sum(found) / 1e6:.1f} MB, {sum(found) / bytes_in:.3f} of the gzip"
