"""The header: facts of the layer, counts, and a row for every section with its size on both sides and its digest.

::

      0  8  magic                 64  4  checkpoints            96  4  bytes of strings of the entries
      8  2  version, 1            68  4  windows               100  4  zero
     10  2  flags                 72  4  windows in a group    104 32  digest of the blob, zeros if not known
     12  4  bytes of the header   76  4  sections              136 32  diffID, zeros if not known
     16  8  comp_size             80  4  entries               168     sections, 44 bytes each:
     24  8  uncomp_size           84  4  kinds                        0  2  kind        4  4  bytes stored
     32  8  archive_size          88  4  times                        2  2  zero        8  4  bytes inflated
     40  8  span_bytes            92  4  PAX records                                   12 32  SHA-256 of the stored
     48  8  members                                          end - 32  SHA-256 of the header up to here
     56  8  trailing_bytes

Little endian. All digests are SHA-256 as raw bytes. Sections follow the header in the order of their rows without gaps,
so every byte of the file is under a digest, and the last one names the whole file.
"""

import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from accel.errors import FormatError, TruncatedError, UnsupportedError
from accel_core.toc_split import COLUMNS

MAGIC = b"\x89ACX\r\n\x1a\n"  # as PNG's: shows text mode and 7-bit transfers
VERSION = 1
WINDOWS_PER_GROUP = 16
MAX_WINDOWS_PER_GROUP = 256
MAX_HEADER_BYTES = 4 << 20  # 95,000 sections: 760,000 windows in groups of 16

FLAG_GZIP = 1
FLAG_DIGEST = 2
FLAG_DIFF_ID = 4

CHECKPOINTS = 1
SPAN_DIGESTS = 2
COLUMN = 16  # the first column of the entries
WINDOW_RUNS = 64
WINDOW_BYTES = 65
IGNORABLE = 0x8000  # kinds from here on may be unknown to a reader, all others must not
SECTION_NAMES = {
    CHECKPOINTS: "checkpoints",
    SPAN_DIGESTS: "span digests",
    **{COLUMN + i: f"entries: {name}" for i, name in enumerate(COLUMNS)},
    WINDOW_RUNS: "runs of windows",
    WINDOW_BYTES: "bytes of windows",
}

_START = struct.Struct("<8sHHI")
_REST = struct.Struct("<6Q 4I 4I 2I 32s 32s")
_ROW = struct.Struct("<HHII32s")
_HASH_BYTES = 32
FIXED_BYTES = _START.size + _REST.size
_DIGEST = re.compile("sha256:([0-9a-f]{64})")


def broken(what: str, start: int, end: int | None = None) -> FormatError:
    """The error for an unusable file, whose bytes from ``start`` (to ``end``) show it."""
    where = f"byte {start}" if end is None else f"bytes {start} to {end}"
    return FormatError(f"not a usable compact index: {what} ({where})")


def cut_short(what: str, end: int) -> TruncatedError:
    """The error for a file of which only the bytes up to ``end`` are there."""
    return TruncatedError(f"not a usable compact index: {what} (byte {end})")


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section lies and what its bytes must be."""

    offset: int
    stored_bytes: int
    raw_bytes: int
    sha256: bytes

    @property
    def end(self) -> int:
        return self.offset + self.stored_bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says before any section is read. Sizes are those of ``LayerIndex``, counts those of its parts."""

    compression: Literal["gzip", "tar"]
    comp_size: int
    uncomp_size: int
    archive_size: int
    span_bytes: int
    members: int
    trailing_bytes: int
    n_checkpoints: int
    n_windows: int
    windows_per_group: int
    n_entries: int
    n_kinds: int
    n_times: int
    n_records: int
    string_bytes: int
    digest: str | None
    diff_id: str | None
    # By kind, and number among those of its kind.
    sections: Mapping[tuple[int, int], Section] = field(default_factory=dict)

    @property
    def n_groups(self) -> int:
        return -(-self.n_windows // self.windows_per_group)

    @property
    def n_spans(self) -> int:
        return self.n_checkpoints if self.compression == "gzip" else -(-self.comp_size // self.span_bytes)

    def wrong(self) -> str | None:
        """What cannot be, None if nothing."""
        sizes = (self.comp_size, self.uncomp_size, self.archive_size, self.span_bytes, self.trailing_bytes)
        if not all(0 <= size < 1 << 63 for size in (*sizes, self.members)) or self.span_bytes == 0:
            return "a size is out of range"
        if self.archive_size > self.uncomp_size:
            return "the archive is larger than the layer"
        if (self.compression == "gzip") != (self.n_checkpoints > 0):
            return f"{self.n_checkpoints} checkpoints in a {self.compression} layer"
        if self.n_windows > self.n_checkpoints:
            return "more windows than checkpoints"
        if not 0 < self.windows_per_group <= MAX_WINDOWS_PER_GROUP:
            return f"groups of {self.windows_per_group} windows"
        return None


def pack_header(header: Header, sections: Sequence[tuple[int, bytes, int]]) -> bytes:
    """The header of a file with ``sections``, each (kind, stored bytes, inflated size)."""
    flags = (
        FLAG_GZIP * (header.compression == "gzip")
        | FLAG_DIGEST * (header.digest is not None)
        | FLAG_DIFF_ID * (header.diff_id is not None)
    )
    header_bytes = FIXED_BYTES + len(sections) * _ROW.size + _HASH_BYTES
    try:
        packed = _START.pack(MAGIC, VERSION, flags, header_bytes) + _REST.pack(
            header.comp_size, header.uncomp_size, header.archive_size, header.span_bytes,
            header.members, header.trailing_bytes,
            header.n_checkpoints, header.n_windows, header.windows_per_group, len(sections),
            header.n_entries, header.n_kinds, header.n_times, header.n_records,
            header.string_bytes, 0,
            raw_digest(header.digest), raw_digest(header.diff_id),
        )  # fmt: skip
        packed += b"".join(
            _ROW.pack(kind, 0, len(stored), raw_bytes, hashlib.sha256(stored).digest())
            for kind, stored, raw_bytes in sections
        )
    except struct.error as error:
        raise UnsupportedError(f"the layer is too large for a compact index: {error}") from None
    if header_bytes > MAX_HEADER_BYTES:
        raise UnsupportedError(f"the layer is too large for a compact index: a header of {header_bytes} bytes")
    return packed + hashlib.sha256(packed).digest()


def header_bytes_of(start: bytes, file_bytes: int) -> int:
    """Size of the header of a file that begins with ``start``. Refuses other files and versions."""
    if start[: len(MAGIC)] != MAGIC[: len(start)]:
        raise broken("it does not begin as one", 0)
    if len(start) < FIXED_BYTES:
        raise cut_short("it ends inside the header", len(start))
    _, version, _, header_bytes = _START.unpack_from(start)
    if version != VERSION:
        raise UnsupportedError(f"a compact index of version {version}; this reads version {VERSION}")
    if not FIXED_BYTES + _HASH_BYTES <= header_bytes <= MAX_HEADER_BYTES:
        raise broken(f"a header of {header_bytes} bytes", 12)
    if header_bytes > file_bytes:
        raise cut_short("it ends inside the header", file_bytes)
    return int(header_bytes)


def parse_header(data: bytes, file_bytes: int) -> Header:
    """The header in ``data``, which is as long as :func:`header_bytes_of` said."""
    if hashlib.sha256(data[:-_HASH_BYTES]).digest() != data[-_HASH_BYTES:]:
        raise broken("its header is damaged", 0, len(data))
    flags = _START.unpack_from(data)[2]
    if flags & ~(FLAG_GZIP | FLAG_DIGEST | FLAG_DIFF_ID):
        raise UnsupportedError(f"a compact index with unknown flags {flags:#x}")
    (
        comp_size, uncomp_size, archive_size, span_bytes, members, trailing_bytes,
        n_checkpoints, n_windows, windows_per_group, n_sections,
        n_entries, n_kinds, n_times, n_records, string_bytes, zero,
        digest, diff_id,
    ) = _REST.unpack_from(data, _START.size)  # fmt: skip
    if zero or len(data) != FIXED_BYTES + n_sections * _ROW.size + _HASH_BYTES:
        raise broken(f"a header of {len(data)} bytes for {n_sections} sections", 0)
    header = Header(
        compression="gzip" if flags & FLAG_GZIP else "tar",
        comp_size=comp_size,
        uncomp_size=uncomp_size,
        archive_size=archive_size,
        span_bytes=span_bytes,
        members=members,
        trailing_bytes=trailing_bytes,
        n_checkpoints=n_checkpoints,
        n_windows=n_windows,
        windows_per_group=windows_per_group,
        n_entries=n_entries,
        n_kinds=n_kinds,
        n_times=n_times,
        n_records=n_records,
        string_bytes=string_bytes,
        digest=f"sha256:{digest.hex()}" if flags & FLAG_DIGEST else None,
        diff_id=f"sha256:{diff_id.hex()}" if flags & FLAG_DIFF_ID else None,
        sections=_sections(data, file_bytes),
    )
    wrong = header.wrong()
    if wrong:
        raise broken(wrong, 16)
    _check_kinds(header)
    return header


def _sections(data: bytes, file_bytes: int) -> dict[tuple[int, int], Section]:
    offset = len(data)
    found: dict[tuple[int, int], Section] = {}
    n_of_kind: dict[int, int] = {}
    for kind, zero, stored_bytes, raw_bytes, sha256 in _ROW.iter_unpack(data[FIXED_BYTES:-_HASH_BYTES]):
        if zero or stored_bytes == 0 or raw_bytes == 0:
            raise broken("an impossible row in the table of sections", FIXED_BYTES)
        n = n_of_kind.get(kind, 0)
        n_of_kind[kind] = n + 1
        found[kind, n] = Section(offset, stored_bytes, raw_bytes, sha256)
        offset += stored_bytes
    if offset > file_bytes:
        raise cut_short("it ends inside a section", file_bytes)
    if offset < file_bytes:
        raise broken("it goes on after its last section", offset)
    return found


def _check_kinds(header: Header) -> None:
    """Refuses unknown kinds that matter, kinds that are there twice, and groups of windows that are missing."""
    n_groups = {WINDOW_RUNS: 0, WINDOW_BYTES: 0}
    for kind, n in header.sections:
        if kind in n_groups:
            n_groups[kind] += 1
        elif kind < IGNORABLE and kind not in SECTION_NAMES:
            raise UnsupportedError(f"a compact index with an unknown section of kind {kind}")
        elif kind < IGNORABLE and n:
            raise broken(f"two sections with {SECTION_NAMES[kind]}", header.sections[kind, n].offset)
    if n_groups != {WINDOW_RUNS: header.n_groups, WINDOW_BYTES: header.n_groups}:
        raise broken(f"{n_groups[WINDOW_RUNS]} groups for {header.n_windows} windows", FIXED_BYTES)


def raw_digest(digest: str | None) -> bytes:
    """The 32 bytes of a SHA-256 digest, zeros for none."""
    if digest is None:
        return bytes(_HASH_BYTES)
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise UnsupportedError(f"a compact index holds SHA-256 digests only, not {digest}")
    return bytes.fromhex(match[1])
