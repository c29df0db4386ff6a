"""CRC-64 (ISO): every implementation against one that takes a bit at a time."""

import random
from array import array

import pytest

from accel_core.crc64 import combine, crc64, crc64_ranges, implementations

NAMES = implementations()
DATA = random.Random(1).randbytes(1 << 13)
ONES = (1 << 64) - 1


def by_bits(data: bytes, value: int = 0) -> int:
    """As the polynomial is written, x^64 + x^4 + x^3 + x + 1, on bits in the order they are sent: lowest first."""
    register = int(f"{value ^ ONES:064b}"[::-1], 2)     # most significant coefficient first
    for byte in data:
        for bit in range(8):
            carry = register >> 63 ^ byte >> bit & 1
            register = (register << 1 & ONES) ^ (0x1B if carry else 0)
    return int(f"{register:064b}"[::-1], 2) ^ ONES


@pytest.mark.parametrize("name", NAMES)
def test_the_check_value_of_the_catalogue(name: str) -> None:
    assert crc64(b"123456789", 0, name) == 0xB90956C775A41001 == by_bits(b"123456789")


@pytest.mark.parametrize("name", NAMES)
def test_every_length_up_to_600_equals_bit_by_bit(name: str) -> None:
    wanted = 0
    for n in range(600):
        assert crc64(DATA[:n], 0, name) == wanted, n
        wanted = by_bits(DATA[n : n + 1], wanted)


@pytest.mark.parametrize("name", NAMES)
def test_every_alignment_and_any_seed_equal_bit_by_bit(name: str) -> None:
    rng = random.Random(2)
    view = memoryview(DATA)
    for start in range(17):
        for n in (0, 1, 15, 16, 63, 64, 65, 127, 128, 129, 255, 256, 400):
            seed = rng.choice([0, 1, ONES, rng.getrandbits(64)])
            part = view[start : start + n]
            assert crc64(part, seed, name) == by_bits(bytes(part), seed), (start, n)


@pytest.mark.parametrize("name", NAMES)
def test_any_split_gives_the_crc_of_the_whole(name: str) -> None:
    rng = random.Random(3)
    whole = by_bits(DATA)
    for _ in range(200):
        cut = rng.randrange(len(DATA) + 1)
        first, second = crc64(DATA[:cut], 0, name), crc64(DATA[cut:], 0, name)
        assert crc64(DATA[cut:], first, name) == whole
        assert combine(first, second, len(DATA) - cut) == whole, cut


def test_combining_over_more_bytes_than_there_is_memory() -> None:
    zeros = crc64(bytes(1 << 16))
    n = 1 << 16
    while n < 1 << 40:
        zeros, n = combine(zeros, zeros, n), 2 * n
    assert combine(zeros, 0, 0) == zeros
    assert combine(combine(5, 7, n), 9, n) == combine(5, combine(7, 9, n), 2 * n)


def test_ranges_are_big_endian_crcs_of_their_bytes() -> None:
    rng = random.Random(4)
    starts = array("q", (rng.randrange(len(DATA)) for _ in range(50)))
    ends = array("q", (rng.randrange(start, min(start + 300, len(DATA)) + 1) for start in starts))
    got = crc64_ranges(DATA, starts, ends)
    wanted = [by_bits(DATA[start:end]).to_bytes(8, "big") for start, end in zip(starts, ends, strict=True)]
    assert got == b"".join(wanted)
    assert crc64_ranges(b"", array("q"), array("q")) == b""


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, len(DATA) + 1), (len(DATA) + 1, len(DATA) + 1)])
def test_a_range_outside_of_the_data_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="range"):
        crc64_ranges(DATA, array("q", [start]), array("q", [end]))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(KeyError):
        crc64(b"", 0, "no such")
    with pytest.raises(ValueError, match="negative"):
        combine(1, 2, -1)
    with pytest.raises(ValueError, match="starts"):
        crc64_ranges(b"", array("q", [0]), array("q"))
