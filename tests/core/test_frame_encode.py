"""Frames made from the matches of another encoder: libzstd reads them, whatever the matches say."""

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_core.frame_encode import encode_frames
from support.contents import contents, small_contents, text
from support.gzip_member import packed
from support.gzips import ENCODERS, Encoder, missing
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
from support.zstd_frames import MAX_BLOCK, frame

FRAME_BYTES = 10 + 3                # of a frame's header and a block's
SMALL_FRAME = 8 << 20


def check(data: bytes, starts: list[int], matches: bytes, ends: list[int] | None = None, origin: int = 0) -> bytes:
    """Encodes, and holds every frame against libzstd, headers and content. The blob."""
    blob, offsets = encode_frames(data, starts, ends, matches=matches, origin=origin)
    parts = [data[s:e] for s, e in zip(starts, ends or [*starts[1:], len(data)], strict=True)]
    reader = zstandard.ZstdDecompressor()
    for part, start, end in zip(parts, offsets, [*offsets[1:], len(blob)], strict=True):
        one = blob[start:end]
        parameters = zstandard.get_frame_parameters(one)
        assert parameters.content_size == len(part)
        assert (parameters.dict_id, parameters.has_checksum) == (0, False)
        said = frame(one)
        assert said.size == len(part)
        assert said.single_segment == (len(part) <= SMALL_FRAME)
        assert reader.decompress(one) == part
        stream = reader.decompressobj()
        assert stream.decompress(one) == part
        assert stream.eof
        assert not stream.unused_data
        assert len(one) <= FRAME_BYTES + len(part) * 1.0003
    return blob


def modes_of(blob: bytes, offsets: list[int]) -> frozenset[str]:
    """All that occur in the frames."""
    found = [frame(blob[start:end]).modes for start, end in zip(offsets, [*offsets[1:], len(blob)], strict=True)]
    return frozenset[str]().union(*found)


def modes_in(data: bytes, matches: bytes | None = None) -> frozenset[str]:
    """Those of one checked frame."""
    return frame(check(data, [0], tokens_of(packed(data))[1] if matches is None else matches)).modes


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_the_streams_of_every_encoder_become_frames(encoder: Encoder) -> None:
    rng = random.Random(encoder.name)
    for name, data in (small_contents() if encoder.slow else contents()).items():
        got, matches, _ = tokens_of(encoder.encode(data))
        assert got == data, name
        check(data, [0], matches)
        check(data, random_starts(rng, len(data), 12), matches)


@pytest.mark.parametrize("name", contents())
def test_the_zstd_command_reads_frames_one_behind_the_other(name: str) -> None:
    if shutil.which("zstd") is None:
        missing("zstd")
    data = contents()[name]
    blob = check(data, [0, len(data) // 3, len(data) // 3], tokens_of(packed(data))[1])
    assert subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True).stdout == data


@pytest.mark.parametrize("distance", [5000, 60_000])
def test_frames_are_about_as_small_as_those_of_libzstd(distance: int) -> None:
    data, _, matches = layer()
    starts = list(range(0, len(data), distance))
    ours = len(check(data, starts, matches))
    writer = zstandard.ZstdCompressor(level=3, write_checksum=False)
    theirs = sum(len(writer.compress(data[s:e])) for s, e in zip(starts, [*starts[1:], len(data)], strict=True))
    assert ours < theirs * 1.02


def test_one_frame_is_about_as_small_as_what_it_was_made_from() -> None:
    data, stream, matches = layer()
    assert len(check(data, [0], matches)) < len(stream) * 1.01


@pytest.mark.parametrize("seed", range(5))
def test_a_frame_depends_on_nothing_but_its_own_bytes_and_matches(seed: int) -> None:
    data, _, matches = layer()
    starts = random_starts(random.Random(seed), len(data), 300)
    blob, offsets = encode_frames(data, starts, matches=matches)
    for start, end, begin, stop in zip(
        starts, [*starts[1:], len(data)], offsets, [*offsets[1:], len(blob)], strict=True
    ):
        alone = encode_frames(data[start:end], [0], matches=matches, origin=start)[0]
        assert alone == blob[begin:stop], (start, end)


def test_origins_are_modulo_4_gib() -> None:
    data, matches, _ = tokens_of(packed(contents()["ELF"]))
    wanted = check(data, [0, 90_000], matches)
    for origin in (2**32 - 50_000, 2**32, 2**40 + 7):
        moved = pack((pos + origin, length, distance) for pos, length, distance in unpack(matches))
        assert check(data, [0, 90_000], moved, origin=origin) == wanted


def test_bytes_between_frames_are_left_out() -> None:
    data, matches, _ = tokens_of(packed(contents()["mixed tar"]))
    check(data, [10, 5000, 100_000], matches, [4000, 99_999, 100_000])
    assert encode_frames(data, [], [], matches=matches) == (b"", [])


def test_matches_over_a_start_are_found_again_in_the_frame() -> None:
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
        assert len(encode_frames(data, [0, start], matches=pack(run))[0]) < 60


SIZES = [
    0, 1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 127, 128, 255, 256, 257, 258, 259, 1023, 1024, 4095, 4096, 16_383, 16_384,
    65_535, 65_536, 65_791, 65_792, MAX_BLOCK - 1, MAX_BLOCK, MAX_BLOCK + 1, 2 * MAX_BLOCK, 2 * MAX_BLOCK + 1,
]  # fmt: skip


@pytest.mark.parametrize("n", SIZES)
def test_every_size_of_frame(n: int) -> None:
    for data in (bytes(n), random.Random(n).randbytes(n), text(max(n, 1), n)[:n]):
        matches = tokens_of(packed(data))[1]
        check(data, [0], matches)
        check(data, [0], b"")
        check(data, list(range(min(n, 300) + 1)), matches)


def test_small_frames_of_every_size() -> None:
    tar = contents()["mixed tar"]
    for n in range(301):
        for data in (bytes(n), random.Random(n).randbytes(n), text(max(n, 1), n)[:n], tar[:n], tar[300 : 300 + n]):
            check(data, [0], tokens_of(packed(data))[1])


def test_frames_of_more_than_a_window_that_every_decoder_has() -> None:
    data = (contents()["ELF"] + contents()["random"]) * 25
    matches = tokens_of(packed(data, 1))[1]
    check(data, [0], matches)
    check(data, [0, 4 << 20, 8 << 20], matches)
    for n in (SMALL_FRAME, SMALL_FRAME + 1):
        check(bytes(n), [0], b"")


def test_random_bytes_are_stored() -> None:
    data = random.Random(2).randbytes(1_000_000)
    assert modes_in(data, b"") == {"raw block"}


# --- every way to write a block ----------------------------------------------------------------------------------

def skewed_bytes(n_symbols: int) -> bytes:
    """Shuffled; the codewords of a code without a limit have up to ``n_symbols`` - 1 bits."""
    data = bytearray(b"".join(bytes([i]) * n for i, n in enumerate(fibonacci(n_symbols))))
    random.Random(3).shuffle(data)
    return bytes(data)


def noise(n: int, alphabet: int, first: int = 0, seed: int = 6) -> bytes:
    rng = random.Random(seed)
    return bytes(first + rng.randrange(alphabet) for _ in range(n))


def of_matches(matches: list[Match]) -> tuple[bytes, bytes]:
    """Bytes in which they are true, random where they say nothing, and records."""
    rng = random.Random(9)
    out = bytearray()
    for pos, length, distance in matches:
        out += rng.randbytes(pos - len(out))
        for _ in range(length):
            out.append(out[-distance])
    return bytes(out), pack(matches)


def test_literals_of_every_kind() -> None:
    assert "raw literals" in modes_in(*of_matches([(100, 200, 50), (350, 100, 7)]))
    # In the second block literals are of one value, matches reach back into the first.
    data = bytearray(random.Random(12).randbytes(MAX_BLOCK))
    records = []
    for _ in range(100):
        data += b"x"
        records.append((len(data), 20, 20_000))
        data += data[-20_000 : -20_000 + 20]
    assert "RLE literals" in modes_in(bytes(data), pack(records))
    small, large = modes_in(noise(1000, 3), b""), modes_in(noise(2000, 3), b"")
    assert {"compressed literals", "1 streams", "direct weights", "no sequences"} <= small
    assert {"compressed literals", "4 streams", "direct weights"} <= large
    assert "FSE weights" in modes_in(skewed_text(2000), b"")
    assert "treeless literals" in modes_in(noise(MAX_BLOCK + 3000, 4), b"")
    treeless = noise(MAX_BLOCK + 600, 4)
    assert {"treeless literals", "1 streams", "4 streams"} <= modes_in(treeless, b"")


def skewed_text(n: int) -> bytes:
    return text(n, 8) + bytes(range(97, 123)) + b"\xe9\xff"


@pytest.mark.parametrize("alphabet", [1, 2, 3, 4, 5, 16, 127, 128, 129, 130, 200, 255, 256])
@pytest.mark.parametrize("n", [40, 256, 1023, 1024, 20_000, 140_000])
def test_every_size_of_alphabet(alphabet: int, n: int) -> None:
    for first in {0, 256 - alphabet}:
        data = noise(n, alphabet, first)
        check(data, [0], b"")
        rare = bytearray(data)          # and one that nearly always occurs
        for i in range(len(rare)):
            if i % 8:
                rare[i] = first
        check(bytes(rare), [0], b"")


@pytest.mark.parametrize("n_symbols", range(2, 26))
def test_codewords_of_literals_are_kept_short(n_symbols: int) -> None:
    check(skewed_bytes(n_symbols), [0], b"")


def test_sequences_with_predefined_tables() -> None:
    modes = modes_in(*of_matches(matches_like([(20 + i % 3, 5 + i % 4, 3 + i) for i in range(12)])))
    assert {"few sequences", "predefined literal lengths", "predefined offsets", "predefined match lengths"} <= modes


def test_sequences_that_are_all_the_same_take_no_bits() -> None:
    modes = modes_in(*of_matches(matches_like([(9, 7, 1)] * 300)))
    assert {"RLE literal lengths", "RLE offsets", "RLE match lengths"} <= modes


def test_sequences_with_tables_of_their_own_that_are_used_again() -> None:
    rng = random.Random(10)
    lits, lengths, distances = (1, 2, 2, 3), (3, 4, 4, 5, 9), (40, 41, 600, 7)
    kinds = [(rng.choice(lits), rng.choice(lengths), rng.choice(distances)) for _ in range(60_000)]
    modes = modes_in(*of_matches(matches_like([(700, 3, 600), *kinds])))
    for table in ("literal lengths", "offsets", "match lengths"):
        assert {f"FSE {table}", f"repeat {table}"} <= modes


def test_numbers_of_sequences_have_one_two_or_three_bytes() -> None:
    for n, mode in ((127, "few"), (128, "many"), (32_511, "many"), (32_512, "very many"), (40_000, "very many")):
        kinds = [(0, 3, 1 + i % 2) for i in range(n)]
        records = pack((3 + pos, length, distance) for pos, length, distance in matches_like(kinds))
        assert f"{mode} sequences" in modes_in(bytes(3 + 3 * n) + b"x", records)


def test_a_run_becomes_a_block_of_few_bytes() -> None:
    assert modes_in(bytes(1000)) == {"RLE block"}
    assert modes_in(bytes(1_000_000)) == {"RLE block"}
    assert len(check(b"abc" * 100_000, [0], tokens_of(packed(b"abc" * 100_000))[1])) < 100


def test_blocks_that_are_stored_do_not_count_for_what_is_used_again() -> None:
    rng = random.Random(11)
    parts = [text(MAX_BLOCK, 1), rng.randbytes(2 * MAX_BLOCK), text(MAX_BLOCK, 1), bytes(MAX_BLOCK), text(MAX_BLOCK, 2)]
    modes = modes_in(b"".join(parts))
    assert {"raw block", "RLE block", "compressed block"} <= modes
    # Matches in blocks that are too dear all the same, and others behind them:
    rare, often = [(5000, 3, 30 * i) for i in range(9, 69)], [(7, 9, 4000), (1, 5, 2999)] * 20_000
    assert {"raw block", "compressed block"} <= modes_in(*of_matches(matches_like(rare + often)))


def frequencies(kinds: int) -> Iterator[int]:
    """``i`` as often as Fibonacci's numbers say, shuffled."""
    wanted = [i for i, n in enumerate(fibonacci(kinds)) for _ in range(n)]
    random.Random(4).shuffle(wanted)
    return iter(wanted)


def test_rare_codes_among_sequences() -> None:
    # In zeros every match is true: distances and lengths of all codes, as often as Fibonacci's numbers say.
    steps = [(0, 3, 1 << i % 16) for i in frequencies(21)]
    check(bytes(40_000) + bytes(3 * len(steps)), [0], pack((40_000 + p, m, d) for p, m, d in matches_like(steps)))
    steps = [(1 << i % 13, 3 + (1 << i % 9) % 256, 1 + i) for i in frequencies(20)]
    size = sum(n_lits + length for n_lits, length, _ in steps)
    check(bytes(100 + size), [0], pack((100 + p, m, d) for p, m, d in matches_like(steps)))


@pytest.mark.parametrize("seed", range(20))
def test_distances_that_come_back(seed: int) -> None:
    rng = random.Random(seed)
    some = [rng.randrange(1, 400) for _ in range(rng.randrange(1, 6))]
    some += [d - 1 for d in some if d > 1]
    kinds = [(rng.choice((0, 0, 1, 3)), rng.randrange(3, 12), rng.choice(some)) for _ in range(2000)]
    data, matches = of_matches(matches_like([(500, 3, 1), *kinds]))
    assert fault(data, unpack(matches)) is None
    check(data, [0], matches)
    check(data, [0, 300, 5000], matches)


# --- matches that are not to be believed -------------------------------------------------------------------------

@settings(max_examples=150, deadline=None)
@given(steps=matches_of_zeros, starts=st.lists(st.integers(0, 50_000), max_size=8), first=st.integers(-2000, 2000))
def test_any_true_matches_in_any_frames(steps: list[Match], starts: list[int], first: int) -> None:
    found = matches_like(steps, first)
    check(bytes(49_999) + b"x", sorted({0, *starts}), pack(found))


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
    assert encode_frames(memoryview(b"x" + data)[1:], [0], matches=memoryview(b"x" + matches)[1:])[0] == wanted


def test_empty_frames_are_the_same_everywhere() -> None:
    wanted = struct.pack("<IBB", 0xFD2FB528, 1 << 5, 0) + b"\x01\0\0"
    assert encode_frames(b"", [0], matches=b"") == (wanted, [0])
    assert encode_frames(b"abc", [1, 1], [1, 1], matches=pack([(0, 3, 1)])) == (2 * wanted, [0, len(wanted)])


@pytest.mark.parametrize(("starts", "ends"), BAD_CUTS)
def test_frames_must_be_in_order_and_in_the_data(starts: list[int], ends: list[int] | None) -> None:
    with pytest.raises(ValueError):
        encode_frames(bytes(10), starts, ends, matches=b"")


def test_records_must_be_whole() -> None:
    with pytest.raises(ValueError, match="8 bytes each"):
        encode_frames(bytes(10), [0], matches=bytes(9))
