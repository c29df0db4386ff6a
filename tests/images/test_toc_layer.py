"""Chunks that share a gzip member: read once, and only where nothing but empty members lies between their offsets."""

import gzip
import hashlib
import json
from collections.abc import Callable

import pytest

from accel.blobs import MemoryBlob
from accel.errors import DigestMismatch, FormatError
from accel.formats.stargz import EMPTY_MEMBER, ESTARGZ_LAYER, estargz_annotations, estargz_end, toc_member
from accel.images.toc_layer import ChunkReader, FoundToc, find_toc
from accel.oci import Descriptor, digest_of
from accel.verify.report import VerifyReport
from accel.verify.toc import TocChecks

CONTENTS = [b"one", b"second", b"3"]
INNERS = [0, 512, 1024]
MEMBER = gzip.compress(b"".join(data.ljust(512, b"\0") for data in CONTENTS), mtime=0)


def layer(data: bytes, offsets: list[int], inners: list[int] = INNERS) -> tuple[bytes, Descriptor]:
    """An eStargz layer of ``data`` that holds the files of CONTENTS, and says that they are there."""
    entries = [
        {"name": str(i), "type": "reg", "size": len(content), "offset": offset, "innerOffset": inner,
         "chunkDigest": "sha256:" + hashlib.sha256(content).hexdigest()}
        for i, (content, offset, inner) in enumerate(zip(CONTENTS, offsets, inners, strict=True))
    ]  # fmt: skip
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    blob = data + gzip.compress(toc_member(toc)) + estargz_end(len(data))
    return blob, Descriptor(ESTARGZ_LAYER, digest_of(blob), len(blob), annotations=estargz_annotations(toc, 0))


def opened(blob: bytes, descriptor: Descriptor) -> tuple[FoundToc, ChunkReader, list[int]]:
    found = find_toc(MemoryBlob(blob), descriptor)
    assert found is not None
    fetched: list[int] = []
    return found, ChunkReader(MemoryBlob(blob), found, "blob", fetched.append), fetched


def mismatches(blob: bytes, descriptor: Descriptor) -> list[str]:
    found = opened(blob, descriptor)[0]
    report = VerifyReport("image", "")
    checks = TocChecks(found, descriptor, report)
    assert checks.is_sound()
    for at in range(0, len(blob), 7):
        checks.cutter.update(blob[at : at + 7])
    assert checks.cutter.n_done == len(found.toc.chunks.members()) - 1
    return [problem.what for problem in report.mismatches]


@pytest.mark.parametrize("offsets", [[0, 20, 40], [0, 0, 0], [0, 0, 20]])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_shared_member_is_fetched_once(offsets: list[int], order: tuple[int, ...]) -> None:
    blob, descriptor = layer(EMPTY_MEMBER * (offsets[-1] // 20) + MEMBER, offsets)
    _, reader, fetched = opened(blob, descriptor)
    assert [reader.chunk(i) for i in order] == [CONTENTS[i] for i in order]
    assert len(fetched) == 1
    assert mismatches(blob, descriptor) == []


def test_a_member_that_lies_between_is_not_passed_over() -> None:
    """Else every chunk would be one more stream to decompress."""
    named = bytearray(EMPTY_MEMBER[:10])
    named[3:9] = b"\x08" + b"name!"  # a file name that hides all that follows up to a zero
    hidden = bytes(named).replace(b"\0", b"x") + b"\xff" * 10
    for between in (hidden, gzip.compress(b"", mtime=0)[:-1] + b"\x01", bytes(20)):
        blob, descriptor = layer(between + EMPTY_MEMBER + MEMBER, [0, 20, 40])
        _, reader, _ = opened(blob, descriptor)
        with pytest.raises(FormatError, match="not in one member"):
            reader.chunk(0)
        assert reader.chunk(1) == CONTENTS[1]  # what is behind it can be read
        assert ["not in one member" in what for what in mismatches(blob, descriptor)] == [True]


@pytest.mark.parametrize("change", [lambda data: data[:-20], lambda data: data[:-8] + b"\0" * 8])
def test_what_follows_the_last_chunk_is_not_needed(change: Callable[[bytes], bytes]) -> None:
    """As in the reference reader: digests of chunks are what counts."""
    blob, descriptor = layer(change(EMPTY_MEMBER * 2 + MEMBER + EMPTY_MEMBER), [0, 20, 40])
    assert opened(blob, descriptor)[1].chunk(2) == CONTENTS[2]


def test_a_chunk_that_is_not_there_is_an_error() -> None:
    blob, descriptor = layer(EMPTY_MEMBER * 2 + MEMBER, [0, 20, 40], [0, 512, 1536])
    with pytest.raises(FormatError, match="0 bytes, not 1"):
        opened(blob, descriptor)[1].chunk(2)
    blob, descriptor = layer(EMPTY_MEMBER * 2 + MEMBER, [0, 20, 40], [0, 513, 1024])
    with pytest.raises(DigestMismatch):
        opened(blob, descriptor)[1].chunk(1)
    assert len(mismatches(blob, descriptor)) == 1
