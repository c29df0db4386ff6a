"""Other people's gzip encoders under one door: a name, and bytes to bytes.

A tool that is not installed skips the tests that need it, by name; with ``ACCEL_REQUIRE_TOOLS=1`` it fails them.
"""

import atexit
import gzip
import importlib
import os
import random
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

GO_SOURCE = Path(__file__).parent.parent / "interop" / "gogzip"
STRATEGIES = {
    "default": zlib.Z_DEFAULT_STRATEGY,
    "filtered": zlib.Z_FILTERED,
    "huffman": zlib.Z_HUFFMAN_ONLY,
    "rle": zlib.Z_RLE,
    "fixed": zlib.Z_FIXED,
}
FLUSHES = (zlib.Z_BLOCK, zlib.Z_PARTIAL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)


@dataclass(frozen=True, slots=True)
class Encoder:
    """One way to make a gzip stream; ``slow`` ones are for small inputs only."""

    name: str
    encode: Callable[[bytes], bytes]
    slow: bool = False


def missing(tool: str) -> None:
    """Skips the running test for want of ``tool``, or fails it where tools are required."""
    message = f"{tool} is not installed"
    if os.environ.get("ACCEL_REQUIRE_TOOLS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def _zlib(**options: int) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        packer = zlib.compressobj(**{"wbits": 31, **options})
        return packer.compress(data) + packer.flush()

    return encode


def _zlib_flushed(level: int, seed: int, mean_bytes: int) -> Callable[[bytes], bytes]:
    """zlib with flushes of every kind at random places, some on the heels of each other."""

    def encode(data: bytes) -> bytes:
        rng = random.Random(seed)
        packer = zlib.compressobj(level, zlib.DEFLATED, 31)
        out, start = [], 0
        while start < len(data):
            n = rng.choice((0, 1, rng.randrange(2 * mean_bytes)))
            out += [packer.compress(data[start : start + n]), packer.flush(rng.choice(FLUSHES))]
            start += n
        return b"".join([*out, packer.flush()])

    return encode


def _members(size: int) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        parts = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        return b"".join(gzip.compress(part, 1 + i % 9, mtime=0) for i, part in enumerate(parts))

    return encode


def _command(*command: str) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        if shutil.which(command[0]) is None:
            missing(command[0])
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    return encode


def _file_command(*command: str) -> Callable[[bytes], bytes]:
    """For tools that want a file name and write to standard output."""

    def encode(data: bytes) -> bytes:
        if shutil.which(command[0]) is None:
            missing(command[0])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "data")
            path.write_bytes(data)
            return subprocess.run([*command, str(path)], capture_output=True, check=True).stdout

    return encode


def _module(name: str, call: Callable[[object], Callable[[bytes], bytes]]) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        try:
            module = importlib.import_module(name)
        except ImportError:
            missing(f"Python module {name}")
        return bytes(call(module)(data))

    return encode


@cache
def _go_binary() -> str | None:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        return None
    folder = tempfile.mkdtemp(prefix="gogzip-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    binary = os.path.join(folder, "gogzip")
    cache_dir = os.environ.get("GOCACHE") or os.path.join(tempfile.gettempdir(), "gogzip-cache")
    environment = {**os.environ, "GOCACHE": cache_dir, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", binary, "."], cwd=GO_SOURCE, env=environment, check=True, capture_output=True)
    return binary


def _go(*arguments: str) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        binary = _go_binary()
        if binary is None:
            missing("go")
        return _command(str(binary), *arguments)(data)

    return encode


def _all() -> list[Encoder]:
    made = [Encoder(f"zlib level {n}", _zlib(level=n)) for n in range(10)]
    for name, strategy in STRATEGIES.items():
        made.append(Encoder(f"zlib strategy {name}", _zlib(strategy=strategy)))
    made += [Encoder(f"zlib memLevel {n}", _zlib(memLevel=n)) for n in range(1, 10)]
    made += [Encoder(f"zlib wbits {n}", _zlib(wbits=16 + n)) for n in range(9, 16)]
    for level in (0, 1, 6, 9):
        made.append(Encoder(f"zlib level {level} with flushes", _zlib_flushed(level, 30 + level, 5000)))
    made.append(Encoder("zlib with dense flushes", _zlib_flushed(6, 40, 150)))
    made += [Encoder(f"members of {n}", _members(n)) for n in (1000, 50_000)]

    made += [Encoder(f"gzip -{n}", _command("gzip", "-cn", f"-{n}")) for n in range(1, 10)]
    made.append(Encoder("gzip --rsyncable", _command("gzip", "-cn", "--rsyncable")))
    made.append(Encoder("gzip with name", _file_command("gzip", "-cN")))
    for options in ("-6", "-1", "-9", "-i", "-p1", "-p4 -b128", "-p4 -i -R", "-H", "-U"):
        made.append(Encoder(f"pigz {options}", _command("pigz", "-cn", *options.split())))
    made.append(Encoder("pigz -11", _command("pigz", "-cn", "-11"), slow=True))
    made += [Encoder(f"igzip -{n}", _command("igzip", "-c", f"-{n}")) for n in range(4)]
    for n in range(1, 13):
        made.append(Encoder(f"libdeflate -{n}", _file_command("libdeflate-gzip", "-c", f"-{n}"), slow=n > 9))
    made.append(Encoder("zopfli", _file_command("zopfli", "-c", "--i5"), slow=True))
    made += [Encoder(f"bgzip -l {n}", _command("bgzip", "-c", "-l", str(n))) for n in (0, 1, 6, 9)]
    made.append(Encoder("zstd --format=gzip", _command("zstd", "-qc", "--format=gzip")))

    made += [Encoder(f"Go level {n}", _go("-level", str(n))) for n in range(-2, 10)]
    made.append(Encoder("Go with Flush", _go("-flush", "3000")))
    made.append(Encoder("Go with empty blocks", _go("-flush", "700", "-twice")))
    made.append(Encoder("Go with members and names", _go("-members", "40000", "-name", "layer")))

    for n in range(4):
        made.append(Encoder(f"isal level {n}", _module("isal.igzip", lambda m, n=n: lambda d: m.compress(d, n))))
    made.append(Encoder("Python zopfli", _module("zopfli.gzip", lambda m: lambda d: m.compress(d)), slow=True))
    for n in (1, 6, 12):
        encode = _module("deflate", lambda m, n=n: lambda d: m.gzip_compress(d, n))
        made.append(Encoder(f"Python deflate {n}", encode, slow=n > 9))
    return made


ENCODERS = _all()
