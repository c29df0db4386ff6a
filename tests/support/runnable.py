"""A small image that can be run: a static busybox, files to read, one too large to be fetched by accident."""

import hashlib
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.go_programs import cannot
from support.images import directory, file, hardlink, symlink, tar_of, whiteout
from support.layer_views import tarfile_view
from support.trees import words

SHELL = ("/bin/busybox", "sh", "-c")
BIG = random.Random(1).randbytes(20 << 20)
# Prints each file's digest and path, but not of the large one: that would fetch it.
DIGESTS = "cd /; busybox find bin etc usr -type f -exec busybox sha256sum {} +"
BIG_DIGEST = "busybox sha256sum /big"


def runnable_layers() -> list[bytes]:
    """Tars. The upper one deletes, hides and replaces files of the lower one."""
    busybox = shutil.which("busybox")
    if busybox is None or b"/ld-linux" in Path(busybox).read_bytes()[:4096]:
        raise cannot("there is no static busybox (Debian package busybox-static)")
    rng = random.Random(2)
    lower = tar_of(
        directory("bin"),
        file("bin/busybox", Path(busybox).read_bytes(), 0o755, mtime=1_700_000_000),
        symlink("bin/sh", "busybox"),
        file("big", BIG),
        directory("etc"),
        *(
            file(f"etc/{name}", words(rng, size), mtime=9)
            for name, size in (("a", 0), ("b", 513), ("c", 70_000))
        ),
        directory("usr"),
        directory("usr/opaque"),
        file("usr/opaque/hidden", b"hidden"),
        file("usr/deleted", b"deleted"),
        file("usr/replaced", b"old"),
        hardlink("usr/linked", "etc/c"),
    )
    upper = tar_of(
        directory("usr"),
        directory("usr/opaque"),
        file("usr/opaque/.wh..wh..opq"),
        file("usr/opaque/shown", b"shown"),
        whiteout("usr/deleted"),
        file("usr/replaced", b"new"),
    )
    return [lower, upper]


def digests(tars: list[bytes]) -> Mapping[str, str]:
    """What ``DIGESTS`` should find, by path."""
    lower, upper = (tarfile_view(tar) for tar in tars)
    for path in (b"usr/opaque/hidden", b"usr/deleted"):
        del lower[path]
    linked: dict[str, Any] = lower[lower[b"usr/linked"]["hard link to"]]
    files = (
        lower | {b"usr/linked": linked} | {path: row for path, row in upper.items() if b".wh." not in path}
    )
    return {
        path.decode(): row["sha256"] for path, row in files.items() if row["type"] == "reg" and path != b"big"
    }


def printed(output: str) -> Mapping[str, str]:
    """The same from what a run printed."""
    rows = [line.split(maxsplit=1) for line in output.splitlines()]
    return {path: digest for digest, path in rows if path not in _OF_THE_RUNTIME}


_OF_THE_RUNTIME = {"etc/hosts", "etc/hostname", "etc/resolv.conf"}


def big_digest() -> str:
    return f"{hashlib.sha256(BIG).hexdigest()}  /big\n"
