"""A tar-split against the tar that is to be rebuilt from it and the files' contents."""

import base64
import io
import json
from collections.abc import Iterator

from accel.blobs import Blob
from accel.errors import FormatError, LimitError, TruncatedError
from accel.formats.stargz import Annotation, Extent, Toc, decompress_frame
from accel.oci import Descriptor, digest_of
from accel.verify.streams import PullFile
from accel_core.crc64 import crc64

MAX_TAR_SPLIT_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20


def check_tar_split(blob: Blob, layer: Descriptor, toc: Toc, tar: Iterator[bytes]) -> Iterator[str]:
    """What is wrong with the tar-split of ``layer``, as far as the first bytes of ``tar`` that do not come from it."""
    position = layer.annotations[Annotation.TAR_SPLIT_POSITION]
    try:
        extent = Extent.parse(position)
        comp = blob.read_at(extent.comp_offset, extent.comp_size)
    except (ValueError, TruncatedError):
        yield f"annotation says the tar-split is at {position[:100]!r}, where it cannot be"
        return
    got = digest_of(comp)
    if got != toc.tar_split_digest:
        yield f"digest of the tar-split is {got}, the TOC says {toc.tar_split_digest or 'nothing'}"
    try:
        lines = decompress_frame(comp, "tar-split", max_bytes=MAX_TAR_SPLIT_BYTES)
        if len(lines) != extent.uncomp_size:
            yield f"tar-split has {len(lines)} bytes, its annotation says {extent.uncomp_size}"
        yield from _compare(lines, PullFile(tar))
    except (FormatError, LimitError) as error:
        yield f"tar-split: {error}"


def _compare(lines: bytes, tar: PullFile) -> Iterator[str]:
    at = 0
    for number, line in enumerate(io.BytesIO(lines)):
        try:
            item = json.loads(line)
            payload = base64.b64decode(item["payload"] or "", validate=True)
            is_file, size = item["type"] == 1, int(item.get("size", 0))
        except (ValueError, KeyError, TypeError, RecursionError):
            yield f"tar-split line {number} is broken"
            return
        if not is_file:
            size = len(payload)
        crc = 0
        matches, left = True, size
        while left:
            piece = tar.read(min(left, _PIECE_BYTES))
            if not piece:
                yield f"tar-split line {number}: the tar ends at {at}"
                return
            if is_file:
                crc = crc64(piece, crc)
            else:
                matches = matches and piece == payload[size - left : size - left + len(piece)]
            left -= len(piece)
            at += len(piece)
        if is_file and size and payload != crc.to_bytes(8, "big"):
            matches = False
        if not matches:
            yield f"tar-split line {number} is not what the tar has before {at}"
            return
    if tar.read(1):
        yield f"the tar goes on at {at}, where the tar-split ends"
