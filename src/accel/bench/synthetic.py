"""A layer for those who have none at hand: files of this machine, as a tar, compressed as most layers are."""

import gzip
import io
import os
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

# Machine code, scripts, headers, text, data that is compressed already: what base images and toolchains hold.
TREES = ("usr/bin", "usr/lib/python3.11", "usr/lib/python3", "usr/share/perl", "usr/include", "usr/share/doc")
LEVEL = 6


def stdlib_tree() -> str:
    """Python's own library, which is there wherever this runs."""
    return sysconfig.get_path("stdlib").lstrip("/")


def write_layer(path: Path, limit: int, on_bytes: Callable[[int], object]) -> None:
    """A gzip layer at ``path`` of about ``limit`` uncompressed bytes of this machine's files; fewer if it has fewer."""
    trees = (*TREES, stdlib_tree())
    with path.open("wb") as file, gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as out:
        write_tar(out, tuple(dict.fromkeys(trees)), limit, limit // 8, on_bytes)


def write_tar(
    out: BinaryIO | gzip.GzipFile,
    trees: tuple[str, ...],
    limit: int,
    biggest: int,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> None:
    """A GNU tar of the trees, a fair share of each, until ``limit`` bytes, without files over ``biggest``.

    Order and metadata are fixed, so the same files give the same bytes.
    """
    present = [tree for tree in trees if Path("/", tree).is_dir()] or [stdlib_tree()]
    written = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for i, tree in enumerate(present):
            share = (limit - written) // (len(present) - i)
            for entry in walk(Path("/", tree)):
                size = add(tar, entry, biggest)
                on_bytes(size)
                written += size
                share -= size
                if share <= 0:
                    break


def walk(folder: Path) -> Iterator[Path]:
    """Folders, files and links below ``folder``, sorted; what may not be read is left out."""
    yield folder
    if not os.access(folder, os.R_OK | os.X_OK):
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if path.name not in ("__pycache__", "test", "tests"):
                yield from walk(path)
        elif path.suffix != ".a" and (path.is_symlink() or path.is_file()):
            yield path


def add(out: tarfile.TarFile, path: Path, biggest: int) -> int:
    """Bytes added to the tar for ``path``; 0 if it is left out, as files over ``biggest`` bytes are."""
    info = out.gettarinfo(str(path), arcname=str(path).lstrip("/"))
    if info.type == tarfile.LNKTYPE:  # as a file of its own: its other name may be elsewhere
        info.type, info.size, info.linkname = tarfile.REGTYPE, path.stat().st_size, ""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    if not info.isfile():
        out.addfile(info)
        return 512
    if info.size > biggest or not os.access(path, os.R_OK):
        return 0
    data = path.read_bytes()
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))
    return 512 + len(data)
