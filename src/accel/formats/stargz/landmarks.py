"""Tar members that an eStargz layer has besides the files: a landmark, and the table of contents as the last one.

::

    .no.prefetch.landmark   header (512), 0x0f and padding (512)    first member: nothing is to be prefetched
    .prefetch.landmark      the same                                behind the last prefetched member
    stargz.index.json       header (512), JSON, padding, 1024 zeros last; the zeros end the archive

All have mode, owner and time 0, so a plain container runtime unpacks them as files nobody may read. The archive's own
end mark is left out: readers of the tar would stop before the TOC. Source: stargz-snapshotter ``docs/estargz.md``.
"""

from accel.formats.stargz.names import LANDMARK_CONTENT, NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK, TOC_NAME

BLOCK_BYTES = 512
LANDMARK_DATA_OFFSET = BLOCK_BYTES  # of the content in the member
MAX_FILE_BYTES = 8**11 - 1  # what 11 octal digits hold


def landmark_member(*, prefetch: bool) -> bytes:
    """The landmark as a tar member of 1024 bytes; its one byte of content begins a gzip member of its own."""
    name = PREFETCH_LANDMARK if prefetch else NO_PREFETCH_LANDMARK
    return _header(name, len(LANDMARK_CONTENT)) + LANDMARK_CONTENT.ljust(BLOCK_BYTES, b"\0")


def toc_member(toc: bytes) -> bytes:
    """The TOC as a tar member, and the end of the archive: the content of the gzip member at the TOC offset."""
    return _header(TOC_NAME, len(toc)) + toc + bytes(-len(toc) % BLOCK_BYTES + 2 * BLOCK_BYTES)


def _header(name: bytes, size: int) -> bytes:
    """A ustar header of a file with nothing but a name and a size."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes do not fit a ustar header")
    zero = b"0000000\0"
    block = (
        name.ljust(100, b"\0") + 3 * zero  # mode, uid, gid
        + b"%011o\0" % size + b"00000000000\0"  # size, mtime
        + 8 * b" " + b"0" + bytes(100)  # checksum as it is summed, type, link name
        + b"ustar\x0000" + bytes(64) + 2 * zero + bytes(167)  # uname, gname, device, prefix and rest
    )  # fmt: skip
    assert len(block) == BLOCK_BYTES
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
