"""Tar archives byte by byte: ``tar_of(file(b"a", b"x"), symlink(b"l", b"a"))``, and headers no tool would write."""

from collections.abc import Callable

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
MAGIC = {"v7": b"", "ustar": b"ustar\x0000", "star": b"ustar\x0000", "gnu": b"ustar  \x00"}

Number = int | bytes    # bytes go into the field as they are


def number(value: Number, width: int) -> bytes:
    """A numeric field: octal and NUL if that fits, GNU's base-256 otherwise."""
    if isinstance(value, bytes):
        return value
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return base256(value, width)


def base256(value: int, width: int) -> bytes:
    """GNU's binary number: two's complement, big-endian, top bit set."""
    raw = bytearray((value % (1 << 8 * width)).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


def unsigned_sum(block: bytes) -> int:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:])


def signed_sum(block: bytes) -> int:
    return unsigned_sum(block) - 256 * sum(byte >= 0x80 for byte in block[:148] + block[156:])


def header(
    name: bytes = b"",
    *,
    typeflag: bytes = b"0",
    size: Number = 0,
    mode: Number = 0o644,
    uid: Number = 0,
    gid: Number = 0,
    mtime: Number = 0,
    linkname: bytes = b"",
    form: str = "ustar",
    uname: bytes = b"",
    gname: bytes = b"",
    devmajor: Number = 0,
    devminor: Number = 0,
    prefix: bytes = b"",
    at: dict[int, bytes] | None = None,
    checksum: Callable[[bytes], int] | bytes = unsigned_sum,
) -> bytes:
    """One header block. ``at`` overwrites bytes at offsets; ``checksum`` is how to sum, or the field itself."""
    block = bytearray(BLOCK_BYTES)

    def put(offset: int, value: bytes, width: int) -> None:
        assert len(value) <= width, (offset, value)
        block[offset : offset + len(value)] = value

    put(0, name, 100)
    put(100, number(mode, 8), 8)
    put(108, number(uid, 8), 8)
    put(116, number(gid, 8), 8)
    put(124, number(size, 12), 12)
    put(136, number(mtime, 12), 12)
    put(156, typeflag, 1)
    put(157, linkname, 100)
    if form != "v7":
        put(257, MAGIC[form], 8)
        put(265, uname, 32)
        put(297, gname, 32)
        put(329, number(devmajor, 8), 8)
        put(337, number(devminor, 8), 8)
        put(345, prefix, 155)
    if form == "star":
        put(508, b"tar\0", 4)
    for offset, value in (at or {}).items():
        put(offset, value, BLOCK_BYTES - offset)
    put(148, checksum if isinstance(checksum, bytes) else b"%06o\0 " % checksum(bytes(block)), 8)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)


def file(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    """A regular file; ``fields`` are ``header``'s (``size`` included, to lie about it)."""
    return header(name, **{"size": len(data), **fields}) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, **fields: object) -> bytes:
    return header(name, **{"typeflag": b"5", "mode": 0o755, **fields})  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes, **fields: object) -> bytes:
    return header(name, **{"typeflag": b"2", "linkname": target, "mode": 0o777, **fields})  # type: ignore[arg-type]


def hardlink(name: bytes, target: bytes, **fields: object) -> bytes:
    return header(name, **{"typeflag": b"1", "linkname": target, **fields})  # type: ignore[arg-type]


def special(typeflag: bytes, body: bytes, **fields: object) -> bytes:
    """A header that belongs to the next member, and its body: ``x``, ``g``, ``L`` or ``K``."""
    return header(b"special", **{"typeflag": typeflag, "size": len(body), **fields}) + padded(body)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts its own digits."""
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[bytes, bytes], typeflag: bytes = b"x") -> bytes:
    return special(typeflag, b"".join(record(key, value) for key, value in records))


def global_pax(*records: tuple[bytes, bytes]) -> bytes:
    return pax(*records, typeflag=b"g")


def long_name(name: bytes) -> bytes:
    return special(b"L", name + b"\0", form="gnu")


def long_link(target: bytes) -> bytes:
    return special(b"K", target + b"\0", form="gnu")


def sparse_pairs(fragments: list[tuple[int, int]]) -> bytes:
    """``(offset, length)`` as old GNU headers and extension blocks hold them."""
    return b"".join(number(offset, 12) + number(length, 12) for offset, length in fragments)


def gnu_sparse(name: bytes, fragments: list[tuple[int, int]], logical_size: int, data: bytes) -> bytes:
    """An old GNU sparse file: 4 fragments in the header, 21 in each extension block, then the stored data."""
    extensions = [fragments[i : i + 21] for i in range(4, len(fragments), 21)]
    first = header(
        name, typeflag=b"S", form="gnu", size=len(data),
        at={
            386: sparse_pairs(fragments[:4]),
            482: bytes([bool(extensions)]),
            483: number(logical_size, 12),
        },
    )  # fmt: skip
    blocks = b""
    for i, part in enumerate(extensions):
        blocks += sparse_pairs(part).ljust(504, b"\0") + bytes([i + 1 < len(extensions)]) + bytes(7)
    return first + blocks + padded(data)


def tar_of(*members: bytes, end: bytes = END) -> bytes:
    return b"".join(members) + end
