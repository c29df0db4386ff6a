"""What does it take to index the whole ml image, its two layers side by side?

Ours is `accel convert` from one OCI layout to a fresh one on the same file system: layers are linked, their zTOCs and
the manifests written. SOCI's builder (`bench/soci`) makes the zTOCs of both layers at once, and nothing else; `soci
create` also copies each layer to a temporary file before. The limit is what two processes take that only inflate a
layer and hash it as stored. Wall time is what somebody waits, CPU time what the machine pays.

What was written is looked at once; where strace can run, so is every file that `accel convert` creates.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import children
import ml
import process
import programs
from children import Child
from measure import Row, skipped

import data

BASELINE = "accel convert --threads 2"
NOT_OURS = re.compile(r"/dev/|/proc/|.*/__pycache__/")


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    if only not in (None, "ml"):
        return
    try:
        image = ml.image(tiny)
    except ml.CannotMake as error:
        skipped(f"image: {error}")
        return
    layers = [ml.layer(name, tiny) for name in ml.LAYERS]
    sizes = [ml.tar(name, tiny).stat().st_size for name in ml.LAYERS]
    with TemporaryDirectory(dir=data.CACHE) as folder:
        found = commands(image, layers, sizes, Path(folder))
        bytes_in = sum(path.stat().st_size for path in layers)
        yield from children.rows("image", "ml", found, BASELINE, rounds, bytes_in, sum(sizes))


def commands(image: Path, layers: list[Path], sizes: list[int], folder: Path) -> dict[str, Child]:
    found: dict[str, Child] = {}
    dest = folder / "dest"
    ours = [*programs.accel().command, "convert", f"oci:{image}:{ml.TAG}", f"oci:{dest}:{ml.TAG}",
            "--min-layer-size", "0", "--threads"]  # fmt: skip
    for n in ("2", "1"):
        command, fresh = [*ours, n], partial(shutil.rmtree, dest, ignore_errors=True)
        check = partial(converted, image, dest, layers, sizes, command if n == "2" else None)
        found[f"accel convert --threads {n}"] = Child(command, "", fresh, check)
    builder = programs.soci()
    if builder.version:
        ztocs = [folder / f"{i}.ztoc" for i in range(len(layers))]
        arguments = [str(path) for pair in zip(layers, ztocs, strict=True) for path in pair]
        found["SOCI's builder, both layers at once"] = Child(
            [*builder.command, *arguments], builder.version, check=partial(looked_at, ztocs, layers, sizes)
        )
    else:
        skipped(f"image: SOCI's builder: {builder.missing}")
    inflate, openssl = programs.libdeflate_gunzip(), programs.installed("openssl")
    if inflate.version and openssl.version:
        one = f"({inflate.command[0]} -d -c {{0}} >/dev/null; openssl dgst -sha256 {{0}}) & "
        script = "".join(one.format(shlex.quote(str(path))) for path in layers) + "wait"
        version = f"{inflate.version}, {openssl.version}"
        found["limit: libdeflate-gunzip and openssl sha256, both layers at once"] = Child(["sh", "-c", script], version)
    else:
        skipped("image: the limit: apt install libdeflate-tools openssl")
    return found


def converted(image: Path, dest: Path, layers: list[Path], sizes: list[int], command: list[str] | None) -> str:
    """What ``dest`` holds beyond ``image``. ``command`` makes it again, watched for files that it creates elsewhere."""
    blobs = {path.name for path in (image / "blobs" / "sha256").iterdir()}
    made = [path for path in sorted(dest.rglob("*")) if path.is_file() and path.name not in blobs]
    for path in made:
        assert re.fullmatch(r"[0-9a-f]{64}|index\.json|oci-layout", path.name), f"left behind: {path}"
    ztocs = [path for path in made if path.read_bytes()[:1] not in (b"{", b"")]
    ztocs.sort(key=lambda path: path.stat().st_size)    # as the layers are
    note = looked_at(ztocs, layers, sizes)
    if command and programs.installed("strace").version:
        shutil.rmtree(dest)
        note += f"; {elsewhere(command, dest)}"
    return note


def looked_at(ztocs: list[Path], layers: list[Path], sizes: list[int]) -> str:
    found = [
        process.ztoc(path, layer.stat().st_size, size)
        for path, layer, size in zip(ztocs, layers, sizes, strict=True)
    ]
    return "; ".join(found)


def elsewhere(command: list[str], dest: Path) -> str:
    """How many files ``command`` creates, named or not, that are not below ``dest``. None of them may be left."""
    watch = ["strace", "-f", "-qq", "-e", "trace=open,openat", "-e", "signal=none", "-o", "/dev/stdout"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*watch, *command], capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode:
        return "strace may not trace here"
    created = re.findall(r'open(?:at\(AT_FDCWD, |\()"([^"]*)", [^\n]*(?:O_CREAT|O_TMPFILE)', done.stdout)
    others = [path for path in created if not path.startswith(str(dest)) and not NOT_OURS.match(path)]
    left = [path for path in others if os.path.isfile(path)]
    assert not left, left
    return f"{len(others)} temporary files elsewhere"
