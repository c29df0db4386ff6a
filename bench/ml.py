"""A container image for machine learning as an OCI layout, ``image`` in ``bench/cache/ml``: the layers people wait for.

Two layers, each one gzip stream by ``gzip -6 -n``, as PAX tars with owner 0 and a fixed time::

    root   279 MB of tar, 108 MB as gzip                        Debian 12 by debootstrap: minbase and PACKAGES
    big    1,765 MB of tar in 59,124 entries, 497 MB as gzip    site-packages by pip: what ml-packages.txt pins, with
                                                                the .pyc files that pip leaves

PyPI's torch for x86-64 is the CUDA build. What only CUDA needs stays out (CUDA_ONLY, and the nvidia-* packages it
depends on), which leaves about what the CPU build holds: 600 MB, of which libtorch_cpu.so is 448. Everything is for
x86-64 Linux and Python 3.11, whatever machine asks. ``root`` needs root's rights and the network, and is what Debian
serves that day; ``big`` needs the network and Python 3.11.

The tiny image has the same shape, with this machine's own files instead, and means nothing.

    python bench/ml.py [--tiny] [ENCODER ...]       # makes the image, and the big layer by other encoders too
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data

TAG = "ml"
LAYERS = ("root", "big")
MADE = "2026-11-01T00:00:00Z"
MTIME = 1793491200                      # the same, for every entry
PACKAGES = ("ca-certificates", "curl", "git", "less", "procps", "python3", "python3-venv")
PINS = Path(__file__).with_name("ml-packages.txt")
CUDA_ONLY = re.compile(r"lib(torch_cuda.*|torch_nvshmem|c10_cuda|caffe2_nvrtc)\.so")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64",
             "manylinux2014_x86_64", "linux_x86_64")  # fmt: skip
# Below the root's / but not in the layer: what differs from run to run or belongs to the package manager's cache.
LEFT_OUT = re.compile(
    r"(dev|proc|sys|tmp|var/log|var/cache|var/lib/apt/lists)/.+|etc/(machine-id|hostname|resolv\.conf)"
)

OCI = "application/vnd.oci.image."
REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST, CONFIG, LAYER = OCI + "manifest.v1+json", OCI + "config.v1+json", OCI + "layer.v1.tar+gzip"


class CannotMake(Exception):
    """This machine lacks what the image takes."""


def folder(tiny: bool) -> Path:
    return data.CACHE / ("ml-tiny" if tiny else "ml")


def image(tiny: bool) -> Path:
    """The OCI layout, whose only tag is TAG; its layers are also ``root.tar.gz`` and ``big.tar.gz`` beside it."""
    layout = folder(tiny) / "image"
    if not layout.exists():
        part = layout.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        write_layout(part, {name: (tar(name, tiny), layer(name, tiny)) for name in LAYERS})
        part.rename(layout)
    return layout


def layer(name: str, tiny: bool) -> Path:
    """The layer ``root`` or ``big`` as it is in the image."""
    path = folder(tiny) / f"{name}.tar.gz"
    if not path.exists() and not data.compressed(tar(name, tiny), path, "gzip-6"):
        raise CannotMake("the ml image needs gzip")
    return path


def layer_by(name: str, encoder: str, tiny: bool) -> Path | None:
    """The same by another encoder of ``data.ENCODERS``; None if that is not installed."""
    path = folder(tiny) / f"{name}.{encoder}.tar.gz"
    return path if path.exists() else data.compressed(tar(name, tiny), path, encoder)


def tar(name: str, tiny: bool) -> Path:
    """The uncompressed layer."""
    path = folder(tiny) / f"{name}.tar"
    if path.exists():
        return path
    if tiny:
        tree = "usr/bin" if name == "root" else sysconfig.get_path("stdlib").lstrip("/")
        with data.publish(path) as temporary:
            data.write_tar(temporary, (tree,), data.TINY_BYTES * (1 if name == "root" else 4), data.TINY_BYTES)
        return path
    tree = tree_of(name)
    with data.publish(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as out:
        for entry in entries(tree):
            add(out, tree, entry)
    shutil.rmtree(tree)
    return path


# --- what is in the layers ----------------------------------------------------------------------------------


def tree_of(name: str) -> Path:
    """A folder with the files of a layer."""
    tree = folder(tiny=False) / f"{name}.tree"
    if not tree.exists():
        part = tree.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            {"root": bootstrap, "big": install}[name](part)
        except subprocess.CalledProcessError as error:
            raise CannotMake(f"the ml image could not be made: {error}") from error
        part.rename(tree)
    return tree


def bootstrap(tree: Path) -> None:
    """A Debian root in ``tree``."""
    tool = shutil.which("debootstrap") or shutil.which("/usr/sbin/debootstrap")
    if tool is None or os.geteuid():
        raise CannotMake("the ml image needs debootstrap, and root's rights to run it")
    command = [tool, "--arch=amd64", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(tree)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def install(tree: Path) -> None:
    """The packages as below /usr/local in ``tree``, compiled, without what only CUDA needs."""
    if sys.version_info[:2] != (3, 11):
        raise CannotMake("the ml image needs Python 3.11, whose .pyc files it holds")
    local = tree / "usr" / "local"
    site = local / "lib" / "python3.11" / "site-packages"
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--only-binary=:all:",
               "--python-version", "3.11", *platforms, "--target", str(site), "-r", str(PINS)]  # fmt: skip
    subprocess.run(command, check=True)
    for path in (site / "torch" / "lib").iterdir():
        if CUDA_ONLY.fullmatch(path.name):
            path.unlink()
    for name in ("bin", "etc", "share"):        # pip puts them beside the modules when it has a target
        (site / name).rename(local / name)
    settle(local / "bin", site)
    for path in site.rglob("*.py"):
        os.utime(path, (MTIME, MTIME))          # a .pyc holds the time of its source
    command = [sys.executable, "-m", "compileall", "-qq", "-j", "0", "-s", str(tree), "-p", "/", str(site)]
    subprocess.run(command, check=False)        # fails for the templates among the modules, which are no Python


def settle(scripts: Path, site: Path) -> None:
    """Let nothing in the scripts, or in the records of their hashes, tell which Python ran pip."""
    for script in scripts.iterdir():
        script.write_bytes(re.sub(rb"\A#!.*python.*", b"#!/usr/local/bin/python3.11", script.read_bytes()))
    for record in site.glob("*.dist-info/RECORD"):
        record.write_text(re.sub(r"(?m)^((?:\.\./)*bin/[^,]*),.*$", r"\1,,", record.read_text()))


def entries(tree: Path) -> Iterator[Path]:
    """What is below ``tree``, a folder before what it holds, sorted, without what is LEFT_OUT."""
    for top, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted(folders + files):
            path = Path(top, name)
            if not LEFT_OUT.fullmatch(path.relative_to(tree).as_posix()):
                yield path


def add(out: tarfile.TarFile, tree: Path, path: Path) -> None:
    info = out.gettarinfo(path, path.relative_to(tree).as_posix())
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = min(int(info.mtime), MTIME)
    if info.isreg():
        with path.open("rb") as file:
            out.addfile(info, file)
    else:
        out.addfile(info)


# --- the layout ---------------------------------------------------------------------------------------------


def write_layout(layout: Path, layers: dict[str, tuple[Path, Path]]) -> None:
    """An OCI layout of layers given as name -> (tar, blob); blobs are hard links."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    descriptors = []
    for _, blob in layers.values():
        digest = sha256(blob)
        os.link(blob, blobs / digest)
        descriptors.append({"mediaType": LAYER, "digest": f"sha256:{digest}", "size": blob.stat().st_size})
    config = {
        "architecture": "amd64", "os": "linux", "created": MADE,
        "config": {"Cmd": ["python3"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(tar)}" for tar, _ in layers.values()]},
        "history": [{"created": MADE, "created_by": f"bench: {name}"} for name in layers],
    }  # fmt: skip
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": put(blobs, config, CONFIG), "layers": descriptors}
    entry = put(blobs, manifest, MANIFEST)
    entry |= {"platform": {"architecture": "amd64", "os": "linux"}, "annotations": {REF_NAME: TAG}}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def put(blobs: Path, value: Any, media_type: str) -> dict[str, Any]:
    """Store JSON as a blob; gives its descriptor."""
    raw = json.dumps(value, separators=(",", ":")).encode()
    digest = hashlib.sha256(raw).hexdigest()
    (blobs / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", choices=[*data.ENCODERS, []])
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    print(image(arguments.tiny))
    for encoder in arguments.encoders:
        print(layer_by("big", encoder, arguments.tiny) or f"not installed: {encoder}")


if __name__ == "__main__":
    main()
