"""What gets compressed in tests: seeded bytes with the shapes that matter to deflate, and a real tar."""

import io
import os
import random
import sys
import tarfile
from functools import cache
from pathlib import Path

SIZE = 200_000


@cache
def contents() -> dict[str, bytes]:
    """Name -> bytes, at most a few hundred kilobytes each."""
    rng = random.Random(20)
    made = {
        "empty": b"",
        "one byte": b"a",
        "two bytes": b"ab",
        "zeros": bytes(4 * SIZE),
        "random": rng.randbytes(SIZE),
        "text": text(SIZE, 21),
        "ELF": elf(SIZE),
        "distance exactly 32768": at_distance(32768, 22),
        "distance 32767": at_distance(32767, 23),
        "mixed tar": mixed_tar(),
        "skewed bytes": skewed(SIZE, 24),
    }
    for period in range(1, 17):
        made[f"period {period}"] = (rng.randbytes(period) * (30_000 // period + 1))[:30_000]
    return made


@cache
def small_contents() -> dict[str, bytes]:
    """The same shapes, small enough for slow encoders and for feeding byte by byte."""
    return {name: data[:9_000] for name, data in contents().items() if not name.startswith("distance")}


def text(n: int, seed: int) -> bytes:
    """``n`` bytes of words, repeated as words are."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(1, 11))) for _ in range(2000)]
    weights = [1 / (i + 1) for i in range(len(words))]
    out = " ".join(rng.choices(words, weights, k=n // 3))
    return out.encode()[:n].ljust(n, b".")


def elf(n: int) -> bytes:
    """The first ``n`` bytes of the running interpreter or, should it be a stub, of its largest library."""
    binary = Path(sys.executable).resolve()
    if binary.stat().st_size < n:
        libraries = [p for p in Path(os.__file__).parent.parent.glob("*.so*") if p.stat().st_size >= n]
        binary = max(libraries, key=lambda p: p.stat().st_size, default=binary)
    return binary.read_bytes()[:n]


def at_distance(distance: int, seed: int) -> bytes:
    """Random bytes that only repeat ``distance`` bytes further on."""
    rng = random.Random(seed)
    period = bytearray(rng.randbytes(distance))
    out = bytearray(period)
    while len(out) < 4 * distance:
        for _ in range(20):             # otherwise one match of 258 follows the other
            period[rng.randrange(distance)] = rng.randrange(256)
        out += period
    return bytes(out)


def skewed(n: int, seed: int) -> bytes:
    """Bytes so unequal in frequency that codes reach their greatest length."""
    rng = random.Random(seed)
    return bytes(rng.choices(range(40), [1.7**-i for i in range(40)], k=n))


def mixed_tar() -> bytes:
    """A GNU tar of what layers hold: directories, links, Python sources, machine code, compressed data."""
    rng = random.Random(25)
    out = io.BytesIO()
    library = Path(os.__file__).parent
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("json/__init__.py", "json/decoder.py", "tarfile.py", "gzip.py"):
            _add(tar, f"usr/lib/python3/{name}", (library / name).read_bytes()[:40_000])
        _add(tar, "usr/bin/python3", elf(120_000))
        _add(tar, "usr/share/doc/noise.gz", rng.randbytes(60_000))
        _add(tar, "usr/share/zeros", bytes(50_000))
        _add(tar, f"usr/share/{'long/' * 30}name", b"x" * 700)
        link = tarfile.TarInfo("usr/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, "python3"
        tar.addfile(link)
        for i in range(200):
            _add(tar, f"etc/conf.d/{i:03}.conf", text(rng.randrange(300), i))
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 1_700_000_000
    tar.addfile(info, io.BytesIO(data))
