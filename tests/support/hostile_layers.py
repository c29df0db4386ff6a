"""Layers made against the parallel scan: joints that are none, streams without any, work without end, awkward borders.

All are large enough for several chunks of ``CHUNK_BYTES`` compressed bytes, which is little more than a decoder that
starts blind wants to see before it trusts a joint.
"""

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

from support.contents import text
from support.deflate_bits import Bits, canonical_codes, lengths_of
from support.gzip_member import PLAIN_HEADER, header, member, packed
from support.tars import (
    END,
    directory,
    file,
    global_pax,
    gnu_sparse,
    long_link,
    long_name,
    pax,
    symlink,
    tar_of,
)

CHUNK_BYTES = 64 << 10
STORED_BYTES = 65535
SMALL_STORED_BYTES = 936        # no search takes a run of these for stored blocks; ten empty_dynamic_blocks, and 6


def digits(n: int, seed: int) -> bytes:
    """``n`` bytes that deflate to about half, in short matches all over: what a window holds is never known."""
    rng = random.Random(seed)
    return rng.randbytes(n // 2 + 1).hex().encode()[:n]


def files(seed: int, n: int, sizes: list[int], noise: float = 0.2) -> bytes:
    """``n`` members of these sizes, some of random bytes; no end of archive."""
    rng = random.Random(seed)
    made = []
    for i in range(n):
        size = rng.choice(sizes)
        body = rng.randbytes(size) if rng.random() < noise else digits(size, seed + i)
        made.append(file(b"d%d/file%d" % (i % 7, i), body))
    return b"".join(made)


def flushed(data: bytes, cuts: list[int], mode: int = zlib.Z_FULL_FLUSH, level: int = 6) -> bytes:
    """One member with block boundaries at these offsets."""
    packer = zlib.compressobj(level, wbits=31)
    out, start = [], 0
    for cut in cuts:
        out += [packer.compress(data[start:cut]), packer.flush(mode)]
        start = cut
    return b"".join([*out, packer.compress(data[start:]), packer.flush()])


def one_file(deflated_body: bytes, body: bytes, before: bytes = b"") -> bytes:
    """A member whose tar is ``before`` and a file of ``body``, which is given in whole deflate blocks too."""
    head = before + file(b"body", body)[:512]
    tail = bytes(-len(body) % 512) + files(9, 30, [4000]) + END
    packer = zlib.compressobj(6, wbits=-15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(6, wbits=-15)
    rest = last.compress(tail) + last.flush()
    return member(first + deflated_body + rest, head + body + tail)


# --- joints that are none ---------------------------------------------------------------------------------------


def gzip_files_stored(level: int) -> bytes:
    """Compressed files in the layer: real block headers at the wrong level."""
    inner = b"".join(file(b"%d.gz" % i, gzip.compress(digits(150_000, i), 6)) for i in range(8))
    return gzip.compress(inner + END, level, mtime=0)


def false_stream(block: Callable[[int], bytes], n_stored: int, stored_bytes: int = SMALL_STORED_BYTES) -> bytes:
    """Stored blocks whose bytes are themselves a deflate stream that does not end with any of them.

    ``block(n)`` gives byte-aligned deflate blocks of at most n bytes; the false stream then jumps over the end of the
    real block and the next one's header with a stored block of its own.
    """
    out, body = [], []
    for _ in range(n_stored):
        blocks = block(stored_bytes - 6)
        left = stored_bytes - len(blocks) - 5
        jump = b"\0" + struct.pack("<HH", left + 5, (left + 5) ^ 0xFFFF)
        content = blocks + jump + bytes(left)
        out.append(b"\0" + struct.pack("<HH", stored_bytes, stored_bytes ^ 0xFFFF) + content)
        body.append(content)
    return one_file(b"".join(out), b"".join(body), files(1, 3, [5000]))


def believable(n: int) -> bytes:
    """Blocks whose window is known soon, as they have no matches: a joint as good as a real one."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(digits((n - 150) * 19 // 10, 16)) + packer.flush(zlib.Z_FULL_FLUSH)


@cache
def empty_dynamic_blocks() -> bytes:
    """Eight of the shortest dynamic blocks without output, so that they end on a byte."""
    lone_end, precode = lengths_of({256: 1}, 257), lengths_of({0: 1, 1: 2, 18: 2}, 19)
    sent = [(18, 127), (18, 256 - 138 - 11), (1, 0), (0, 0)]
    bits = Bits()
    for _ in range(8):
        bits.dynamic(lone_end, [0], [], lengths=sent, precode=precode, n_precode=18)
    assert bits.bit_length() % 8 == 0
    return bits.done()


def never_known(n: int) -> bytes:
    """Block after block at which a blind decoder may start, and none that tells it anything."""
    return empty_dynamic_blocks() * (n // len(empty_dynamic_blocks()))


# --- streams without joints -------------------------------------------------------------------------------------


def one_dynamic_block(n: int) -> bytes:
    """A layer in a single block, as igzip -0 writes it."""
    body = random.Random(4).randbytes(n).replace(b"\xff", b"\xfe")
    tar = file(b"body", body) + END
    assert b"\xff" not in tar
    # 255 literals and the end of the block, all in 8 bits: the code of byte b is b, its bits reversed.
    litlen = [8] * 255 + [0, 8]
    bits = Bits().dynamic(litlen, [0], [], True, end=False)
    shift = bits.bit_length()
    reversed_bytes = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    end = int(f"{canonical_codes(litlen)[256][0]:08b}"[::-1], 2)
    symbols = int.from_bytes(tar.translate(reversed_bytes) + bytes([end]), "little") << shift
    head = int.from_bytes(bits.done(), "little")
    return member((head | symbols).to_bytes((shift + 8 * len(tar) + 15) // 8, "little"), tar)


def fixed_blocks(tar: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31, 8, zlib.Z_FIXED)
    return packer.compress(tar) + packer.flush()


# --- work without end -------------------------------------------------------------------------------------------


def empty_blocks(kind: str, n_bytes: int) -> bytes:
    """A layer most of which is empty blocks, in front of a file's data."""
    unit = {
        "stored": b"\0\0\0\xff\xff",
        "fixed": Bits().fixed([]).fixed([]).fixed([]).fixed([]).done(),     # 4 times 10 bits
        "dynamic": empty_dynamic_blocks(),
    }[kind]
    data = digits(200_000, 5)
    packer = zlib.compressobj(6, wbits=-15)
    deflated = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return one_file(deflated + unit * (n_bytes // len(unit)), data, files(2, 20, [20_000]))


def bomb(n_bytes: int) -> bytes:
    """1032 : 1."""
    out = io.BytesIO()
    packer = zlib.compressobj(9, wbits=31)
    out.write(packer.compress(files(3, 3, [3000]) + file(b"zeros", size=n_bytes)))
    for _ in range(n_bytes >> 20):
        out.write(packer.compress(bytes(1 << 20)))
    out.write(packer.compress(END) + packer.flush())
    return out.getvalue()


def tiny_members(tar: bytes, size: int) -> bytes:
    return b"".join(packed(tar[i : i + size], 1) for i in range(0, len(tar), size))


def empty_members(n: int) -> bytes:
    tar = files(6, 40, [9000]) + END
    middle = len(tar) // 2
    return packed(tar[:middle]) + packed(b"") * n + packed(tar[middle:])


# --- awkward borders --------------------------------------------------------------------------------------------


def long_headers() -> bytes:
    """Members whose gzip headers are longer than a chunk, full of what looks like members and blocks."""
    tar = files(7, 100, [300, 9000]) + END
    noise = packed(digits(300_000, 8)).replace(b"\0", b"\1")
    size = len(tar) // 4
    heads = [
        PLAIN_HEADER, header(extra=noise[:STORED_BYTES]), header(name=noise), header(comment=noise, header_crc=True),
    ]
    return b"".join(packed(tar[i * size : (i + 1) * size if i < 3 else None], 6, heads[i]) for i in range(4))


def boundaries_at(tar: bytes, phase: int, step: int = 512) -> bytes:
    """Block boundaries all over the archive, each ``phase`` bytes behind a multiple of ``step``."""
    return flushed(tar, list(range(phase, len(tar), step)))


def special_headers(body_bytes: int) -> bytes:
    """Members with all that can stand in front of them, some of it larger than what a chunk keeps of its start."""
    rng = random.Random(10)
    made = []
    for i in range(1, 1 + max(8, 2_000_000 // (body_bytes + 14_000))):
        value = rng.randbytes(body_bytes // 2).hex().encode()
        made += [
            global_pax((b"comment", value[: i * 10])), pax((b"path", b"p/%d" % i), (b"SCHILY.xattr.user.x", value)),
            file(b"short", digits(rng.choice((0, 1, 511, 512, 5000)), i)),
            file(b"noise", rng.randbytes(8000)), long_name(b"l/" * 400 + b"%d" % i),
            long_link(b"t/" * 300), symlink(b"s", b"t"), directory(b"dir/"),
            gnu_sparse(b"sparse", [(k * 4096, 1) for k in range(40)], 1 << 20, bytes(40)),
        ]
    return tar_of(*made)


def wrong_trailers() -> dict[str, bytes]:
    tar = files(11, 200, [9000]) + END
    middle = len(tar) * 3 // 4
    parts = [packed(tar[:middle]), packed(tar[middle:])]
    bad = {}
    for name, part, at in (("CRC", 0, -8), ("size", 0, -4), ("last CRC", 1, -8), ("last size", 1, -1)):
        spoiled = [bytearray(one) for one in parts]
        spoiled[part][at] ^= 1
        bad[f"wrong {name} of a member over chunks"] = b"".join(spoiled)
    return bad


@cache
def hostile_layers() -> dict[str, bytes]:
    """Name -> blob. Most are valid layers; what they mean is for the serial scan and for zlib to say."""
    plain = files(12, 150, [0, 100, 3000, 20_000]) + END
    known = files(17, 70, [0, 100, 40_000], 0.6) + END
    headers = special_headers(100)
    return {
        "gzip files, level 6": gzip_files_stored(6),
        "gzip files, level 0": gzip_files_stored(0),
        "false joints": false_stream(believable, 800),
        "starts without end": false_stream(never_known, 800),
        "false joints in large blocks": false_stream(believable, 12, STORED_BYTES),
        "starts without end in large blocks": false_stream(never_known, 12, STORED_BYTES),
        "one dynamic block": one_dynamic_block(600_000),
        "fixed blocks only": fixed_blocks(plain),
        "stored only": gzip.compress(plain, 0, mtime=0),
        "noise among text": gzip.compress(known, 6, mtime=0),
        "random": gzip.compress(files(13, 5, [150_000], 1.0) + END, 6, mtime=0),
        **{f"empty {kind} blocks": empty_blocks(kind, 250_000) for kind in ("stored", "fixed", "dynamic")},
        "empty members": empty_members(30_000),
        "tiny members": tiny_members(files(12, 30, [10_000]) + END, 40),
        "small members": tiny_members(plain, 5000),
        "long gzip headers": long_headers(),
        **{f"boundaries {n} bytes behind headers": boundaries_at(headers, n) for n in (0, 1, 256, 511)},
        "boundary in the middle of everything": boundaries_at(headers, 100, 700),
        "large special headers": boundaries_at(special_headers(90_000), 300, 4096),
        "larger special headers": gzip.compress(special_headers(900_000), 6, mtime=0),
        "no magic in the headers": gzip.compress(
            b"".join(file(b"v7-%d" % i, digits(5000, i), form="v7") for i in range(200)) + END, 6, mtime=0
        ),
        "archive ends in the middle": gzip.compress(known + known, 6, mtime=0),
        "no archive end": gzip.compress(known[:-1024], 6, mtime=0),
        "cut in a file's data": gzip.compress(known[: len(known) - 4000], 6, mtime=0),
        "zeros behind": gzip.compress(known, 6, mtime=0) + bytes(300_000),
        "garbage behind": gzip.compress(known, 6, mtime=0) + digits(300_000, 14),
        "a tar in a tar": gzip.compress(file(b"inner.tar", known) + known, 6, mtime=0),
        "text": gzip.compress(file(b"text", text(1_500_000, 15)) + plain, 6, mtime=0),
        **wrong_trailers(),
    }
