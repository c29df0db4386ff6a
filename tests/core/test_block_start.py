"""Places where a block may begin are found bit for bit as the format's own words have it."""

import random
import struct
import zlib
from functools import cache

import pytest

from accel_core.block_start import dynamic_start, stored_start
from support.contents import text

UNSEEN = 16     # bytes at the end that are not looked at


def bits_at(data: bytes, bit: int, n: int) -> int:
    return int.from_bytes(data[bit >> 3 : (bit + n + 7 >> 3) + 1], "little") >> (bit & 7) & ((1 << n) - 1)


def may_begin(data: bytes, bit: int) -> bool:
    """RFC 1951 §3.2.7, field by field: not the last block, dynamic, counts in range, a complete code lengths code."""
    final, kind, n_literals, n_distances, n_lengths = (
        bits_at(data, bit + at, n) for at, n in ((0, 1), (1, 2), (3, 5), (8, 5), (13, 4))
    )
    if final or kind != 2 or n_literals > 29 or n_distances > 29:
        return False
    lengths = [bits_at(data, bit + 17 + 3 * i, 3) for i in range(4 + n_lengths)]
    return sum(2.0**-length for length in lengths if length) == 1.0


@cache
def inputs() -> dict[str, bytes]:
    rng = random.Random(3)
    packer = zlib.compressobj(6, wbits=-15, memLevel=1)     # small blocks
    compressed = packer.compress(text(60_000, 1)) + packer.flush()
    return {
        "random": rng.randbytes(20_000),
        "deflate": compressed,
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "every byte": bytes(range(256)) * 4,
        "few bits": bytes(rng.choice((0, 4, 32, 36, 1)) for _ in range(4000)),
    }


@pytest.mark.parametrize("name", inputs())
def test_dynamic_blocks_may_begin_where_the_format_allows_it(name: str) -> None:
    data = inputs()[name]
    wanted = [bit for bit in range(8 * (len(data) - UNSEEN)) if may_begin(data, bit)]
    found, bit = [], dynamic_start(data)
    while bit >= 0:
        found.append(bit)
        bit = dynamic_start(data, bit + 1)
    assert found == wanted
    assert bool(found) == (name not in ("zeros", "ones"))


def test_a_search_may_begin_at_any_bit() -> None:
    data = inputs()["deflate"]
    wanted = [bit for bit in range(8 * (len(data) - UNSEEN)) if may_begin(data, bit)]
    for bit in range(0, wanted[-1] + 2, 3):
        assert dynamic_start(data, bit) == next((place for place in wanted if place >= bit), -1)
    assert dynamic_start(b"") == dynamic_start(bytes(UNSEEN)) == -1
    with pytest.raises(ValueError, match="-1"):
        dynamic_start(data, -1)


def stored_blocks(*sizes: int) -> bytes:
    """As zlib writes them, not the last ones, of random bytes."""
    rng = random.Random(sum(sizes))
    return b"".join(struct.pack("<BHH", 0, n, n ^ 0xFFFF) + rng.randbytes(n) for n in sizes)


def test_stored_blocks_are_known_by_those_that_follow_them() -> None:
    noise = random.Random(5).randbytes(3000)
    for sizes in ((5000, 5000, 5000), (65_535, 1024, 30_000, 7), (1024,) * 5):
        assert stored_start(noise + stored_blocks(*sizes)) == len(noise) + 5 + sizes[0]
    level_0 = zlib.compressobj(0, wbits=-15)
    data = random.Random(6).randbytes(300_000)
    blob = level_0.compress(data) + level_0.flush()
    first = stored_start(blob)
    assert zlib.decompressobj(-15).decompress(blob[first:]) == data[first - 5 :]
    second = stored_start(blob, 6)
    assert zlib.decompressobj(-15).decompress(blob[second:]) == data[second - 10 :]


@pytest.mark.parametrize(
    "blocks",
    [
        b"",
        stored_blocks(5000, 5000),
        stored_blocks(5000, 5000, 1023),
        stored_blocks(0) * 3000,
        stored_blocks(5000, 5000, 5000).replace(b"\0\x88\x13", b"\1\x88\x13"),
        b"\x88\x13\x77\xec" + bytes(5000) + b"\0\x88\x13\x78\xec" + bytes(5000),
    ],
    ids=["nothing", "two", "a small one", "empty ones", "last ones", "wrong complement"],
)
def test_anything_else_is_no_run_of_stored_blocks(blocks: bytes) -> None:
    assert stored_start(random.Random(8).randbytes(2000) + blocks) == -1
