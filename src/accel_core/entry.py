"""One row of an ``EntryTable`` as a Python value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One tar member. Offsets are in the uncompressed tar; strings are raw bytes, never decoded.

    ``header_offset`` is the first block that belongs to the member (PAX and GNU special headers included),
    ``data_offset`` is just after its last header block. ``size`` is what the member claims (the logical size of a
    sparse file), ``stored_size`` how many bytes of data follow in the archive. ``flags`` are the ``FLAG_*`` bits of
    ``accel_core.entries``.
    """

    index: int
    header_offset: int
    data_offset: int
    size: int
    stored_size: int
    mode: int
    uid: int
    gid: int
    mtime_s: int                                # whole seconds since the epoch, rounded down
    mtime_ns: int                               # 0 .. 999_999_999 on top of them
    has_mtime: bool
    devmajor: int
    devminor: int
    name: bytes
    linkname: bytes
    uname: bytes
    gname: bytes
    typeflag: str                               # one character; a V7 NUL is "0", or "5" if the name ends in "/"
    flags: int
    pax: tuple[tuple[bytes, bytes], ...]        # its own records, archive order; of a repeated key only the last

    @property
    def is_file(self) -> bool:
        """True for a regular file: plain, contiguous or sparse."""
        return self.typeflag in "07S"

    @property
    def end_offset(self) -> int:
        """Where the next member's headers start: the end of the data, padded to a 512 byte block."""
        return self.data_offset + (self.stored_size + 511 & ~511)
