"""Footers: the last bytes of a blob, which say where its table of contents is.

::

    gzip       51  an empty gzip member with the extra field  SG 22 (offset as 16 hex digits) STARGZ
    legacy     47  … with the extra field                     (offset as 16 hex digits) STARGZ
    external   46  … with the extra field                     SG 17 STARGZEXTERNALTOC           the TOC is elsewhere
    zstd       48  a skippable frame of 40: four u64 little endian and the magic GnUlInUx
    containers 72  a skippable frame of 64: seven u64 little endian and the magic GNUlInUx

    u64s: TOC offset, compressed size, uncompressed size, type 1 | tar-split offset, compressed size, uncompressed size

Offsets of zstd footers are those of a skippable frame's content, 8 bytes behind its start; the gzip offset is that
of the gzip member. The TOC of a gzip blob ends where the footer begins. stargz-snapshotter reads all but the last
form; containers/storage reads none and has these numbers from annotations.

Sources: stargz-snapshotter ``estargz/gzip.go``, ``estargz/externaltoc``, ``estargz/zstdchunked``; containers/storage
``minimal.ZstdChunkedFooterData``.
"""

import re
import struct
from dataclasses import dataclass
from typing import Literal

from accel.errors import FormatError, TruncatedError
from accel.formats.stargz.names import TOC_TYPE

FooterKind = Literal["gzip", "legacy", "external", "zstd", "containers"]

GZIP_FOOTER_BYTES = 10 + 2 + 4 + 22 + 5 + 8
LEGACY_FOOTER_BYTES = GZIP_FOOTER_BYTES - 4
EXTERNAL_FOOTER_BYTES = 10 + 2 + 4 + 17 + 5 + 8
FRAME_HEAD_BYTES = 4 + 4
ZSTD_FOOTER_BYTES = FRAME_HEAD_BYTES + 4 * 8 + 8
CONTAINERS_FOOTER_BYTES = FRAME_HEAD_BYTES + 7 * 8 + 8
MAX_FOOTER_BYTES = CONTAINERS_FOOTER_BYTES  # what to fetch of an unknown blob

_GZIP_HEAD = bytes.fromhex("1f8b08040000000000ff")
_GZIP_TAIL = bytes.fromhex("010000ffff") + bytes(8)  # an empty stored block, the CRC and size of nothing
_EXTERNAL = _GZIP_HEAD + struct.pack("<H", 21) + b"SG" + struct.pack("<H", 17) + b"STARGZEXTERNALTOC" + _GZIP_TAIL
_OFFSET = re.compile(rb"([0-9a-f]{16})STARGZ")
_SKIPPABLE = bytes.fromhex("502a4d18")
_ZSTD_MAGIC = b"GnUlInUx"
_CONTAINERS_MAGIC = b"GNUlInUx"
_MAX_OFFSET = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Extent:
    """Where compressed bytes lie in a blob, and how much they are when decompressed."""

    comp_offset: int
    comp_size: int
    uncomp_size: int

    @classmethod
    def parse(cls, text: str) -> "Extent":
        """From an annotation. Raises ValueError."""
        comp_offset, comp_size, uncomp_size = map(int, text.split(":"))
        return cls(comp_offset, comp_size, uncomp_size)

    @property
    def comp_end(self) -> int:
        return self.comp_offset + self.comp_size

    @property
    def position(self) -> str:
        """As annotations have it."""
        return f"{self.comp_offset}:{self.comp_size}:{self.uncomp_size}"


@dataclass(frozen=True, slots=True)
class Footer:
    """A parsed footer. ``toc_offset`` and ``toc_comp_size`` lie within the blob; -1 and 0 if the TOC is elsewhere.

    ``toc_uncomp_size`` is only a claim, None where the footer makes none. ``tar_split`` is None without one.
    """

    kind: FooterKind
    toc_offset: int
    toc_comp_size: int
    toc_uncomp_size: int | None = None
    tar_split: Extent | None = None
    footer_offset: int = 0

    @property
    def is_gzip(self) -> bool:
        """Whether the blob is an eStargz with its TOC in it."""
        return self.kind in ("gzip", "legacy")

    @property
    def toc_position(self) -> str:
        """As annotations have it."""
        return f"{self.toc_offset}:{self.toc_comp_size}:{self.toc_uncomp_size}:{TOC_TYPE}"

    @property
    def data_end(self) -> int:
        """Where the files' data ends at the latest."""
        if self.toc_offset < 0:
            return self.footer_offset
        if self.is_gzip:
            return self.toc_offset
        first = min(self.toc_offset, self.tar_split.comp_offset if self.tar_split else self.toc_offset)
        return first - FRAME_HEAD_BYTES


def gzip_footer(toc_offset: int) -> bytes:
    """The 51 bytes behind the TOC member at ``toc_offset``."""
    return _gzip(b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % toc_offset)


def legacy_footer(toc_offset: int) -> bytes:
    """The 47 bytes that stargz, before eStargz, had."""
    return _gzip(b"%016xSTARGZ" % toc_offset)


def external_footer() -> bytes:
    """The 46 bytes of a blob whose TOC is in another image."""
    return _EXTERNAL


def _gzip(extra: bytes) -> bytes:
    return _GZIP_HEAD + struct.pack("<H", len(extra)) + extra + _GZIP_TAIL


def skippable_frame(content: bytes) -> bytes:
    """A zstd frame that decompresses to nothing (RFC 8878 §3.1.2)."""
    return _SKIPPABLE + struct.pack("<I", len(content)) + content


def zstd_footer(toc: Extent) -> bytes:
    """The frame of stargz-snapshotter's footer, 48 bytes."""
    return skippable_frame(struct.pack("<4Q", *_numbers(toc), TOC_TYPE) + _ZSTD_MAGIC)


def containers_footer(toc: Extent, tar_split: Extent) -> bytes:
    """The frame of containers/storage's footer, 72 bytes."""
    numbers = (*_numbers(toc), TOC_TYPE, *_numbers(tar_split))
    return skippable_frame(struct.pack("<7Q", *numbers) + _CONTAINERS_MAGIC)


def _numbers(extent: Extent) -> tuple[int, int, int]:
    return extent.comp_offset, extent.comp_size, extent.uncomp_size


def parse_footer(tail: bytes, blob_size: int) -> Footer | None:
    """What the last bytes of a blob of ``blob_size`` say; None if they are no footer of any kind.

    ``tail`` is ``MAX_FOOTER_BYTES`` long, or the whole of a shorter blob. Raises FormatError for a footer that points
    outside of the blob or has another type.
    """
    if len(tail) < min(MAX_FOOTER_BYTES, blob_size):
        raise TruncatedError(f"{len(tail)} bytes are too few to look for a footer in", comp_offset=blob_size)
    if tail.endswith(_CONTAINERS_MAGIC) or tail.endswith(_ZSTD_MAGIC):
        return _parse_zstd(tail, blob_size)
    if tail.endswith(_EXTERNAL):
        return Footer("external", -1, 0, footer_offset=blob_size - EXTERNAL_FOOTER_BYTES)
    if not tail.endswith(_GZIP_TAIL):
        return None
    kinds: tuple[tuple[FooterKind, int, bytes], ...] = (
        ("gzip", GZIP_FOOTER_BYTES, b"SG" + struct.pack("<H", 22)),
        ("legacy", LEGACY_FOOTER_BYTES, b""),
    )
    for kind, n_bytes, subfield in kinds:
        head = _GZIP_HEAD + struct.pack("<H", len(subfield) + 22) + subfield
        footer = tail[-n_bytes:]
        # Time, extra flags and system of a gzip header say nothing: writers differ.
        if len(footer) < n_bytes or footer[:4] != head[:4] or footer[10 : len(head)] != head[10:]:
            continue
        match = _OFFSET.fullmatch(footer[len(head) : -len(_GZIP_TAIL)])
        if match is None:
            raise FormatError("the footer's TOC offset is no number", comp_offset=blob_size - n_bytes)
        toc_offset = int(match[1], 16)
        if not 0 < toc_offset < blob_size - n_bytes:
            raise FormatError(
                f"the footer says the TOC is at {toc_offset} of {blob_size} bytes", comp_offset=blob_size - n_bytes
            )
        return Footer(kind, toc_offset, blob_size - n_bytes - toc_offset, footer_offset=blob_size - n_bytes)
    return None


def _parse_zstd(tail: bytes, blob_size: int) -> Footer:
    is_containers = tail.endswith(_CONTAINERS_MAGIC)
    n_bytes = CONTAINERS_FOOTER_BYTES if is_containers else ZSTD_FOOTER_BYTES
    at = blob_size - n_bytes
    frame = tail[-n_bytes:]
    if len(frame) < n_bytes or frame[:8] != _SKIPPABLE + struct.pack("<I", n_bytes - FRAME_HEAD_BYTES):
        raise FormatError("the footer is not in a skippable frame", comp_offset=max(at, 0))
    numbers = struct.unpack_from("<7Q" if is_containers else "<4Q", frame, FRAME_HEAD_BYTES)
    toc = _extent("TOC", numbers[:3], at)
    if numbers[3] != TOC_TYPE:
        raise FormatError(f"the footer says the TOC is of type {numbers[3]}", comp_offset=at)
    tar_split = _extent("tar-split", numbers[4:], at) if is_containers and numbers[4] else None
    kind: FooterKind = "containers" if is_containers else "zstd"
    return Footer(kind, toc.comp_offset, toc.comp_size, toc.uncomp_size, tar_split, at)


def _extent(what: str, numbers: tuple[int, ...], end: int) -> Extent:
    offset, comp_size, uncomp_size = numbers
    if not FRAME_HEAD_BYTES < offset <= end or not 0 < comp_size <= end - offset or uncomp_size > _MAX_OFFSET:
        raise FormatError(
            f"the footer says the {what} is {comp_size} bytes at {offset}, which end at {end} at most", comp_offset=end
        )
    return Extent(offset, comp_size, uncomp_size)
