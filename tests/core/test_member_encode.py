"""Members made from the matches of another encoder: zlib, gzip and libdeflate read them, whatever the matches say."""

import gzip
import random
import struct
import subprocess
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_core.member_encode import encode_members
from support.contents import contents, small_contents, text
from support.gzip_member import packed
from support.gzips import ENCODERS, Encoder
from support.matches import Match, fault, pack, tokens_of, unpack
from support.pieces import (
    BAD_CUTS,
    fibonacci,
    layer,
    lies,
    matches_like,
    matches_of_zeros,
    misled,
    random_starts,
    small_data,
)

HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
NO_MATCH_BYTES = 18 + 8             # of a member, and what stored blocks add to a few bytes


def check(data: bytes, starts: list[int], matches: bytes, ends: list[int] | None = None, origin: int = 0) -> bytes:
    """Encodes, and holds every member against zlib and the whole against gzip. The blob."""
    blob, offsets = encode_members(data, starts, ends, matches=matches, origin=origin)
    parts = [data[s:e] for s, e in zip(starts, ends or [*starts[1:], len(data)], strict=True)]
    for part, start, end in zip(parts, offsets, [*offsets[1:], len(blob)], strict=True):
        member = zlib.decompressobj(31)
        assert member.decompress(blob[start:end]) == part
        assert member.eof and not member.unused_data
        assert blob.startswith(HEADER, start)
        assert struct.unpack("<II", blob[end - 8 : end]) == (zlib.crc32(part), len(part))
        assert end - start <= NO_MATCH_BYTES + len(part) * 1.005
    assert gzip.decompress(blob) == b"".join(parts)
    return blob


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_the_streams_of_every_encoder_become_members(encoder: Encoder) -> None:
    rng = random.Random(encoder.name)
    for name, data in (small_contents() if encoder.slow else contents()).items():
        got, matches, _ = tokens_of(encoder.encode(data))
        assert got == data, name
        check(data, random_starts(rng, len(data), 12), matches)


@pytest.mark.parametrize("name", contents())
def test_gzip_and_libdeflate_read_members(name: str) -> None:
    deflate = pytest.importorskip("deflate")
    data = contents()[name]
    blob = check(data, [0, len(data) // 3], tokens_of(packed(data))[1])
    assert subprocess.run(["gzip", "-dc"], input=blob, capture_output=True, check=True).stdout == data
    whole = check(data, [0], tokens_of(packed(data))[1])
    if data:
        assert bytes(deflate.gzip_decompress(whole)) == data


@pytest.mark.parametrize("distance", [700, 5000, 60_000])
def test_members_are_about_as_small_as_those_of_zlib(distance: int) -> None:
    data, _, matches = layer()
    starts = list(range(0, len(data), distance))
    ours = len(check(data, starts, matches))
    theirs = sum(len(packed(data[s:e])) for s, e in zip(starts, [*starts[1:], len(data)], strict=True))
    assert ours < theirs * 1.02


def test_one_member_is_smaller_than_what_it_was_made_from() -> None:
    data, stream, matches = layer()
    assert len(check(data, [0], matches)) < len(stream)


@pytest.mark.parametrize("seed", range(5))
def test_a_member_depends_on_nothing_but_its_own_bytes_and_matches(seed: int) -> None:
    data, _, matches = layer()
    starts = random_starts(random.Random(seed), len(data), 300)
    blob, offsets = encode_members(data, starts, matches=matches)
    for start, end, begin, stop in zip(
        starts, [*starts[1:], len(data)], offsets, [*offsets[1:], len(blob)], strict=True
    ):
        alone = encode_members(data[start:end], [0], matches=matches, origin=start)[0]
        assert alone == blob[begin:stop], (start, end)


def test_origins_are_modulo_4_gib() -> None:
    data, matches, _ = tokens_of(packed(contents()["ELF"]))
    wanted = check(data, [0, 90_000], matches)
    for origin in (2**32 - 50_000, 2**32, 2**40 + 7):
        moved = pack((pos + origin, length, distance) for pos, length, distance in unpack(matches))
        assert check(data, [0, 90_000], moved, origin=origin) == wanted


def test_bytes_between_members_are_left_out() -> None:
    data, matches, _ = tokens_of(packed(contents()["mixed tar"]))
    check(data, [10, 5000, 100_000], matches, [4000, 99_999, 100_000])
    assert encode_members(data, [], [], matches=matches) == (b"", [])


def test_matches_over_a_start_are_found_again_in_the_member() -> None:
    noise = random.Random(1).randbytes(3000)
    data = noise * 3
    records = tokens_of(packed(data))[1]
    assert len(check(data, [0, 3000], records)) < 2 * len(noise) + 300
    assert len(check(data, [0, 3000], b"")) > 3 * len(noise)


def test_a_match_over_an_end_is_cut() -> None:
    data = b"abc" * 200
    run: list[Match] = [(3, 258, 3), (261, 258, 3), (519, 81, 3)]
    assert fault(data, run) is None
    for start in (259, 260, 261, 262, 263, 264, 300):
        check(data, [0, start], pack(run))
        assert len(encode_members(data, [0, start], matches=pack(run))[0]) < 80


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7, 8, 9, 16, 17, 257, 258, 259, 2047, 2048, 2049, 65534, 65536, 131_071])
def test_every_size_of_member(n: int) -> None:
    for data in (bytes(n), random.Random(n).randbytes(n), text(max(n, 1), n)[:n]):
        check(data, [0], tokens_of(packed(data))[1])
        check(data, [0], b"")
        check(data, list(range(min(n, 300) + 1)), tokens_of(packed(data))[1])


def test_chunks_of_4_mib() -> None:
    data = (contents()["ELF"] + contents()["random"]) * 25
    matches = tokens_of(packed(data, 1))[1]
    check(data, [0, 4 << 20, 8 << 20], matches)


def test_random_bytes_are_stored() -> None:
    data = random.Random(2).randbytes(1_000_000)
    blob = check(data, [0], b"")
    assert len(blob) < len(data) + 18 + 5 * (len(data) // 30_000 + 1)


def test_codewords_of_literals_are_kept_short() -> None:
    data = b"".join(bytes([i]) * n for i, n in enumerate(fibonacci(22)))
    shuffled = bytearray(data)
    random.Random(3).shuffle(shuffled)
    check(bytes(shuffled), [0], b"")


def test_codewords_of_distances_are_kept_short() -> None:
    # In zeros every match is true: distances of 20 symbols, as often as Fibonacci's numbers say.
    distances = [1 << (i // 2) | (i % 2) << (i // 2) >> 1 for i in range(2, 22)]
    wanted = [d for d, n in zip(distances, fibonacci(20), strict=True) for _ in range(n)]
    random.Random(4).shuffle(wanted)
    steps = [(40_000 + 3 * i, 3, distance) for i, distance in enumerate(wanted)]
    data = bytes(40_000 + 3 * len(wanted))
    check(data, [0], pack([(1, 258, 1), *steps]))


@settings(max_examples=150, deadline=None)
@given(steps=matches_of_zeros, starts=st.lists(st.integers(0, 50_000), max_size=8), first=st.integers(-2000, 2000))
def test_any_true_matches_in_any_members(steps: list[Match], starts: list[int], first: int) -> None:
    found = matches_like(steps, first)
    check(bytes(50_000), sorted({0, *starts}), pack(found))


@settings(max_examples=200, deadline=None)
@given(data=small_data, lies=lies, cuts=st.lists(st.integers(0, 300), max_size=4))
def test_matches_may_say_what_they_like(data: bytes, lies: list[Match], cuts: list[int]) -> None:
    starts = sorted({0, *(min(cut, len(data)) for cut in cuts)})
    check(data, starts, pack(lies))
    check(data, starts, pack(sorted(lies)))


@pytest.mark.parametrize("seed", range(10))
def test_matches_of_other_bytes_cost_size_only(seed: int) -> None:
    rng = random.Random(seed)
    other, bent = misled(rng)
    check(other, random_starts(rng, len(other), 30), bent)


def test_records_of_no_use_do_not_cost_much_time() -> None:
    data = random.Random(5).randbytes(40_000)
    check(data, [0], pack([(30_000, 258, 258)]) * 100_000)


def test_matches_may_lie_anywhere_in_memory() -> None:
    data, matches, _ = tokens_of(packed(contents()["ELF"]))
    wanted = check(data, [0], matches)
    assert encode_members(memoryview(b"x" + data)[1:], [0], matches=memoryview(b"x" + matches)[1:])[0] == wanted


@pytest.mark.parametrize(("starts", "ends"), BAD_CUTS)
def test_members_must_be_in_order_and_in_the_data(starts: list[int], ends: list[int] | None) -> None:
    with pytest.raises(ValueError):
        encode_members(bytes(10), starts, ends, matches=b"")


def test_records_must_be_whole() -> None:
    with pytest.raises(ValueError, match="8 bytes each"):
        encode_members(bytes(10), [0], matches=bytes(9))
