"""Layers to measure on: tars of this machine's own trees, compressed by the encoders images come from, kept in a cache.

Made once in ``bench/cache`` (or ``ACCEL_BENCH_CACHE``); delete it to make them anew. Order and metadata are fixed, so
the same machine gives the same bytes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from accel.bench import synthetic
from accel.bench.synthetic import TREES

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("ACCEL_BENCH_CACHE", Path(__file__).resolve().parent / "cache"))

# What programs need when they start, among what they do not.
START_TREES = ("usr/bin", "usr/sbin", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib/python3.11",
               "usr/lib/python3.13", "usr/lib/python3", "usr/share/perl", "usr/share/perl5", "etc")  # fmt: skip
# containers/image would need gpgme and libbtrfs at build time otherwise.
GO_TAGS = "containers_image_openpgp,exclude_graphdriver_btrfs"
FULL_BYTES, TINY_BYTES = 300_000_000, 3_000_000
START_BYTES, START_BIGGEST = 4_000_000_000, 12_000_000    # whole trees, without the giants (compilers, LLVM)

# Name -> command that compresses standard input to standard output.
ENCODERS: dict[str, list[str]] = {
    "gzip-6": ["gzip", "-6", "-n", "-c"],
    "gzip-1": ["gzip", "-1", "-n", "-c"],
    "gzip-9": ["gzip", "-9", "-n", "-c"],
    "pigz-6": ["pigz", "-6", "-n", "-c"],
    "igzip-1": ["igzip", "-1", "-c"],
    "libdeflate-6": ["libdeflate-gzip", "-6", "-c"],
    "zopfli": ["zopfli", "-c", "--i1"],     # some minutes, once
    "go": ["gogzip"],
}

_READ_FILES = ("libdeflate-6", "zopfli")    # not standard input


def tar(name: str, tiny: bool) -> Path:
    """The uncompressed layer ``name``: "mixed" or "start"."""
    path = CACHE / f"{name}{'-tiny' if tiny else ''}.tar"
    if not path.exists():
        trees = START_TREES if name == "start" else TREES
        limit = TINY_BYTES if tiny else START_BYTES if name == "start" else FULL_BYTES
        with publish(path) as temporary:
            biggest = START_BIGGEST if name == "start" and not tiny else limit // 8
            write_tar(temporary, trees, limit, biggest)
    return path


def demo_layers() -> list[Path]:
    """The large gzip layers of the image that ``make demo`` assembles, largest first; none if it was never run."""
    blobs = sorted((ROOT / "demo" / "work" / "image" / "blobs" / "sha256").glob("*"), key=lambda p: -p.stat().st_size)
    return [path for path in blobs if path.stat().st_size > 10_000_000 and path.read_bytes()[:2] == b"\x1f\x8b"]


def layer(name: str, encoder: str, tiny: bool) -> Path | None:
    """The layer ``name`` as compressed by ``encoder``; None if that is not installed."""
    path = CACHE / f"{name}{'-tiny' if tiny else ''}.{encoder}.tar.gz"
    return path if path.exists() else compressed(tar(name, tiny), path, encoder)


def compressed(source: Path, path: Path, encoder: str) -> Path | None:
    """``source`` compressed by ``encoder`` as ``path``, unless that exists; None if the encoder is not installed."""
    if path.exists():
        return path
    command = go_encoder() if encoder == "go" else ENCODERS[encoder]
    if not command or shutil.which(command[0]) is None:
        return None
    with publish(path) as temporary:
        with source.open("rb") as data, temporary.open("wb") as out:
            arguments = [str(source)] if encoder in _READ_FILES else []
            subprocess.run([*command, *arguments], stdin=data, stdout=out, check=True)
    return path


def go_encoder() -> list[str]:
    """Command of the Go encoder, built if need be; empty without Go."""
    try:
        return [str(go_program("gogzip", ROOT / "tests" / "interop" / "gogzip"))]
    except FileNotFoundError:
        return []


def go_program(name: str, source: Path, *, cgo: bool = False) -> Path:
    """The Go program in ``source``, built into the cache if need be. Raises ``FileNotFoundError`` without Go."""
    binary = CACHE / name
    if not binary.exists():
        go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
        if go is None:
            raise FileNotFoundError(f"no Go, which {name} is built with")
        CACHE.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "CGO_ENABLED": str(int(cgo))}
        command = [go, "build", "-tags", GO_TAGS, "-o", str(binary), "."]
        subprocess.run(command, cwd=source, env=environment, check=True)
    return binary


class publish:
    """Writes aside, then renames, so that an interrupted run leaves nothing half made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent)
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.temporary.rename(self.path)
        else:
            self.temporary.unlink()


def write_tar(path: Path, trees: tuple[str, ...], limit: int, biggest: int) -> None:
    """A GNU tar of the trees, a fair share of each, until ``limit`` bytes, without files over ``biggest``."""
    with path.open("wb") as out:
        synthetic.write_tar(out, trees, limit, biggest)


if __name__ == "__main__":
    for encoder in ENCODERS:
        print(layer("mixed", encoder, tiny="--tiny" in sys.argv))
