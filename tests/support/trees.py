"""Layers with one of everything that layers usually have."""

import random
import struct
import tarfile
from typing import Any

from support.images import TarEntry, directory, file, hardlink, symlink, tar_of, whiteout

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0).decode()  # cap_net_raw=ep


def words(rng: random.Random, n: int) -> bytes:
    alphabet = [bytes(rng.choices(b"abcdefghijkl \n", k=rng.randint(2, 9))) for _ in range(300)]
    return b"".join(rng.choices(alphabet, k=n // 4 + 1))[:n]


def tree(seed: int, n_files: int = 60, *, twice: bool = True, **tar_of_options: Any) -> bytes:
    """A layer with one of everything that layers usually have; with ``twice`` also two files of one name."""
    rng = random.Random(seed)
    xattrs = {"SCHILY.xattr.security.capability": CAPABILITY, "SCHILY.xattr.user.k": "v é"}
    pax = tar_of_options.get("tar_format", tarfile.PAX_FORMAT) == tarfile.PAX_FORMAT
    entries = [
        directory("etc", mode=0o1777, mtime=1_700_000_000, uname="root", gname="root"),
        directory("etc/empty", uid=7, gid=8),
        file("etc/zero", mtime=5),
        file("etc/setuid", b"x" * 700, mode=0o6755, uname="someone", gname="staff"),
        symlink("etc/link", "../usr/f0001", mtime=9),
        symlink("etc/nowhere", "/" + "n" * 150),
        whiteout("etc/gone"),
        file("etc/.wh..wh..opq"),
    ]
    for i in range(n_files):
        options: dict[str, Any] = {"mtime": 1_600_000_000 + i % 7}
        if pax and i % 5 == 0:
            options["pax_headers"] = dict(list(xattrs.items())[: 1 + i % 2])
        if pax and i % 7 == 0:
            options["mtime"] = 1_600_000_000.25
        entries.append(
            file(f"usr/f{i:04}", words(rng, rng.choice([0, 1, 511, 512, 513, 5000, 40000])), **options)
        )
    entries += [
        hardlink("usr/same", "usr/f0001"),
        hardlink("usr/same again", "./usr/same"),
        file("very/" + "long/" * 40 + "name", b"deep"),
    ]
    if twice:
        entries.append(file("usr/f0002", b"the second of this name counts"))
    for name, kind in (("c", tarfile.CHRTYPE), ("b", tarfile.BLKTYPE), ("p", tarfile.FIFOTYPE)):
        info = tarfile.TarInfo(f"dev/{name}")
        info.type, info.mode = kind, 0o600
        info.devmajor, info.devminor = (0, 0) if name == "p" else (1, 300)
        entries.append(TarEntry(info))
    return tar_of(*entries, **tar_of_options)
