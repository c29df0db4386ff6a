"""gzip members written field by field (RFC 1952), right or wrong."""

import struct
import zlib

FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = 1, 2, 4, 8, 16
PLAIN_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def header(
    *,
    flags: int = 0,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    header_crc: bool = False,
    method: int = 8,
    break_crc: bool = False,
) -> bytes:
    """A member header; flag bits of the given fields are set, ``flags`` adds others."""
    flags |= FEXTRA * (extra is not None) | FNAME * (name is not None) | FCOMMENT * (comment is not None)
    flags |= FHCRC * header_crc
    out = b"\x1f\x8b" + bytes((method, flags)) + b"\x01\x02\x03\x04\x00\x03"
    if extra is not None:
        out += struct.pack("<H", len(extra)) + extra
    if name is not None:
        out += name + b"\0"
    if comment is not None:
        out += comment + b"\0"
    if header_crc:
        out += struct.pack("<H", (zlib.crc32(out) ^ break_crc) & 0xFFFF)
    return out


def member(deflated: bytes, data: bytes, head: bytes = PLAIN_HEADER) -> bytes:
    """One member with the right trailer for ``data``."""
    return head + deflated + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def deflate(data: bytes, level: int = 6) -> bytes:
    """Raw deflate by zlib."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def packed(data: bytes, level: int = 6, head: bytes = PLAIN_HEADER) -> bytes:
    """One member, deflated by zlib."""
    return member(deflate(data, level), data, head)


def bgzf(data: bytes) -> bytes:
    """A BGZF blob: members that say their size, an empty one at the end."""
    out = b""
    for block in [*(data[start : start + 65280] for start in range(0, len(data), 65280)), b""]:
        deflated = deflate(block)
        size = struct.pack("<H", 18 + len(deflated) + 8 - 1)
        out += member(deflated, block, header(extra=b"BC\2\0" + size))
    return out
