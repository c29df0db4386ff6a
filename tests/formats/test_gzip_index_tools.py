"""Index files of gzip blobs, to and from the tools that made them up."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from accel.formats import bgzip, gzidx, gztool
from accel_core import Checkpoints, index
from accel_core.checkpoints import WINDOW_BYTES
from accel_core.gzip_index import GzipIndex, GzipIndexed
from support.contents import elf, text
from support.gzip_index_tools import (
    Maker,
    Reader,
    made_by_bgzip,
    made_by_gztool,
    made_by_indexed_gzip,
    made_by_rapidgzip,
    read_by_bgzip,
    read_by_gztool,
    read_by_indexed_gzip,
    read_by_rapidgzip,
)
from support.gzip_spans import assert_every_span_inflates
from support.gzips import ENCODERS

pytestmark = pytest.mark.tools

DATA = Path(__file__).parents[1] / "data/gzip_index"
GZIPS = (
    "gzip -1",
    "gzip -6",
    "gzip -9",
    "pigz -6",
    "igzip -1",
    "bgzip -l 6",
    "Go level 6",
    "Go with members and names",
    "zlib strategy huffman",
)
BGZF = ("bgzip -l 6", "bgzip -l 0")

Decoder = Callable[..., GzipIndex]


@cache
def layer() -> bytes:
    """A tar of some megabytes."""
    out = io.BytesIO()
    rng = random.Random(60)
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i, content in enumerate([text(1_500_000, 61), elf(700_000), rng.randbytes(300_000), text(1_500_000, 62)]):
            info = tarfile.TarInfo(f"file{i}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@cache
def blob_of(encoder: str) -> bytes:
    return next(e for e in ENCODERS if e.name == encoder).encode(layer())


@cache
def scanned(encoder: str) -> GzipIndexed:
    return index([blob_of(encoder)], span_bytes=400_000, digest=False, span_digests=False, sparse_windows=True)


def blocks(encoder: str) -> GzipIndexed:
    blob = blob_of(encoder)
    return bgzip.block_starts(lambda offset, n_bytes: blob[offset : offset + n_bytes])


def ranges(n: int) -> list[tuple[int, int]]:
    """``n`` places in the layer, most of them not behind the one before."""
    rng = random.Random(63)
    size = len(layer())
    return [(size - 1, 1), (size - 70_000, 70_000)] + [
        (offset, min(rng.randrange(1, 150_000), size - offset)) for offset in rng.choices(range(size), k=n)
    ]


WRITTEN: list[tuple[Any, Callable[[str], GzipIndexed], Reader, tuple[str, ...], int]] = [
    (gzidx, scanned, read_by_indexed_gzip, GZIPS, 60),
    (gzidx, scanned, read_by_rapidgzip, GZIPS, 60),
    (gztool, scanned, read_by_gztool, GZIPS, 15),
    (gztool, scanned, read_by_rapidgzip, GZIPS, 60),
    (bgzip, blocks, read_by_bgzip, BGZF, 15),
    (bgzip, blocks, read_by_rapidgzip, BGZF, 60),
]


@pytest.mark.parametrize(
    ("format", "learn", "read", "encoder", "n"),
    [(format, learn, read, encoder, n) for format, learn, read, encoders, n in WRITTEN for encoder in encoders],
    ids=lambda x: getattr(x, "__name__", str(x)).rpartition(".")[2],
)
def test_they_read_layers_through_our_index(
    tmp_path: Path, format: Any, learn: Callable[[str], GzipIndexed], read: Reader, encoder: str, n: int
) -> None:
    blob, file = tmp_path / "layer.gz", tmp_path / "index"
    blob.write_bytes(blob_of(encoder))
    file.write_bytes(joined(format.encode(learn(encoder))))
    wanted = ranges(n)
    for (offset, n_bytes), got in zip(wanted, read(blob, file, wanted), strict=True):
        assert got == layer()[offset : offset + n_bytes], (offset, n_bytes)


def joined(pieces: bytes | Iterable[bytes]) -> bytes:
    return pieces if isinstance(pieces, bytes) else b"".join(pieces)


MADE: list[tuple[str, Maker, Decoder, tuple[str, ...]]] = [
    ("indexed_gzip", made_by_indexed_gzip, gzidx.decode, GZIPS),
    ("rapidgzip", made_by_rapidgzip("indexed_gzip"), gzidx.decode, GZIPS),
    ("rapidgzip as gztool", made_by_rapidgzip("gztool"), gztool.decode, GZIPS),
    ("rapidgzip as gztool with lines", made_by_rapidgzip("gztool-with-lines"), gztool.decode, GZIPS),
    ("gztool", made_by_gztool("-z"), gztool.decode, GZIPS),
    ("gztool with lines", made_by_gztool("-x"), gztool.decode, GZIPS),
    ("bgzip", made_by_bgzip, bgzip.decode, BGZF),
]


@pytest.mark.parametrize(
    ("make", "decode", "encoder"),
    [
        pytest.param(make, decode, encoder, id=f"{name}-{encoder}")
        for name, make, decode, encoders in MADE
        for encoder in encoders
    ],
)
def test_we_read_layers_through_their_index(tmp_path: Path, make: Maker, decode: Decoder, encoder: str) -> None:
    blob = tmp_path / "layer.gz"
    blob.write_bytes(blob_of(encoder))
    read = decode(make(blob), comp_size=blob.stat().st_size)
    assert read.uncomp_size in (len(layer()), None)
    assert len(read.checkpoints) > 3
    assert_every_span_inflates(read, blob.read_bytes(), layer())


def test_we_read_version_0_of_an_older_indexed_gzip() -> None:
    blob = (DATA / "lines.gz").read_bytes()
    read = gzidx.decode(gzip.decompress((DATA / "lines.gzidx.gz").read_bytes()), comp_size=len(blob))
    assert len(read.checkpoints) == 3
    assert_every_span_inflates(read, blob, gzip.decompress(blob))


@pytest.mark.parametrize("encoder", BGZF)
def test_our_bgzip_index_is_the_very_file_bgzip_writes(tmp_path: Path, encoder: str) -> None:
    blob = tmp_path / "layer.gz"
    bgzf, empty = blob_of(encoder), next(e for e in ENCODERS if e.name == encoder).encode(b"")
    for content in (bgzf, empty, bgzf + bgzf, empty + bgzf + empty + bgzf, bgzf[: -len(empty)]):
        blob.write_bytes(content)
        ours = bgzip.encode(bgzip.block_starts(lambda offset, n, content=content: content[offset : offset + n]))
        assert ours == made_by_bgzip(blob)


@pytest.mark.parametrize(("format", "read"), [(gzidx, read_by_indexed_gzip), (gztool, read_by_gztool)])
def test_checkpoints_that_need_no_window_but_bits_can_be_written(tmp_path: Path, format: Any, read: Reader) -> None:
    blob, file = tmp_path / "layer.gz", tmp_path / "index"
    blob.write_bytes(blob_of("zlib strategy huffman"))  # no matches: nothing refers back
    found = scanned("zlib strategy huffman")
    points = found.checkpoints
    assert any(points.bits)
    bare = Checkpoints(points.comp_offset, points.uncomp_offset, points.bits, b"", (-1,) * len(points))
    file.write_bytes(joined(format.encode(GzipIndex(bare, found.comp_size, found.uncomp_size))))
    assert file.stat().st_size < 35 + len(points) * (18 + WINDOW_BYTES)
    wanted = ranges(10)
    for (offset, n_bytes), got in zip(wanted, read(blob, file, wanted), strict=True):
        assert got == layer()[offset : offset + n_bytes], (offset, n_bytes)
