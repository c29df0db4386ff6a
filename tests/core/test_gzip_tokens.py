"""A gzip stream's matches: true to its bytes, the same however the stream is cut; the verdict on it is zlib's."""

import random
from collections.abc import Iterator
from functools import partial

import pytest

from accel_core import LayerScanner, index
from accel_core.errors import FormatError, TruncatedError
from accel_core.gzip_stream import implementation, implementations, use_implementation
from accel_core.gzip_tokens import TokenStream
from fuzz.mutate import random_gzip
from support.contents import contents, small_contents
from support.deflate_bits import Bits, Step, replay
from support.gzip_cases import invalid_streams, trailing_garbage, truncation_bases, valid_streams
from support.gzip_member import member, packed
from support.gzips import ENCODERS, Encoder
from support.images import random_tar
from support.matches import fault, of_steps, token_verdict, tokens_of, unpack
from support.zlib_oracle import disagreement, zlib_verdict

VALID = valid_streams()
INVALID = invalid_streams()
PIECES = (0, 1, 31, 33, 319, 321, 2047, 65536)


@pytest.fixture(params=implementations(), autouse=True)
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    use_implementation(request.param)
    yield request.param
    use_implementation(implementations()[0])


def test_streams_use_the_decoder_that_was_chosen(decoder: str) -> None:
    assert implementation() == decoder


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_the_matches_of_every_encoder_are_true(encoder: Encoder) -> None:
    rng = random.Random(encoder.name)
    for name, data in (small_contents() if encoder.slow else contents()).items():
        stream = encoder.encode(data)
        got, matches, comp_end = tokens_of(stream)
        assert got == data, name
        assert comp_end == len(stream), name
        assert fault(data, unpack(matches)) is None, name
        assert tokens_of(stream, rng.randrange(100, 5000)) == (got, matches, comp_end), name


@pytest.mark.parametrize("encoder", [one for one in ENCODERS if not one.slow], ids=lambda encoder: encoder.name)
def test_a_scan_for_an_index_hands_on_the_same(encoder: Encoder) -> None:
    stream = encoder.encode(random_tar(5, 400))
    data: list[bytes] = []
    matches: list[bytes] = []

    def sink(piece: memoryview, found: memoryview) -> None:
        data.append(bytes(piece))
        matches.append(bytes(found))

    scanner = LayerScanner(compression="gzip", span_bytes=100_000, sink=sink, matches=True)
    for start in range(0, len(stream), 9997):
        scanner.feed(stream[start : start + 9997])
    found, alone = scanner.finish(), index([stream], span_bytes=100_000)
    assert (b"".join(data), b"".join(matches)) == tokens_of(stream)[:2]
    assert found.checkpoints.comp_offset == alone.checkpoints.comp_offset
    assert bytes(found.checkpoints.windows) == bytes(alone.checkpoints.windows)
    assert found.span_digests == alone.span_digests and list(found.entries) == list(alone.entries)


def random_steps(rng: random.Random, n: int) -> list[Step]:
    steps: list[Step] = [rng.randrange(256)]
    size = 1
    for _ in range(n):
        if rng.random() < 0.5:
            steps.append(rng.randrange(256))
            size += 1
        else:
            length = rng.choice((3, 4, 7, 8, 9, 40, 41, 257, 258, rng.randrange(3, 259)))
            steps.append((length, min(size, rng.choice((1, 2, 7, 8, 300, 32768, rng.randrange(1, 32769))))))
            size += length
    return steps


@pytest.mark.parametrize("seed", range(10))
def test_the_matches_are_those_that_were_written(seed: int) -> None:
    rng = random.Random(seed)
    steps = random_steps(rng, 6000)
    blocks = Bits()
    for start in range(0, len(steps), 1000):
        blocks.fixed(steps[start : start + 1000], start + 1000 >= len(steps))
    data = replay(steps)
    got, matches, _ = tokens_of(member(blocks.done(), data), rng.choice(PIECES[2:]))
    assert got == data
    assert unpack(matches) == of_steps(steps)


def test_as_many_matches_as_can_be_are_kept() -> None:
    steps: list[Step] = [65, 66, *[(3, 2)] * 200_000]
    data = replay(steps)
    _, matches, _ = tokens_of(member(Bits().fixed(steps, True).done(), data))
    assert unpack(matches) == of_steps(steps)


def test_positions_go_on_over_pieces_and_members() -> None:
    first, second = contents()["text"], contents()["ELF"]
    data, matches, _ = tokens_of(packed(first) + packed(second))
    found = unpack(matches)
    assert fault(data, found) is None
    inner = [match for match in found if match[0] >= len(first)]
    assert inner == [(pos + len(first), *rest) for pos, *rest in unpack(tokens_of(packed(second))[1])]
    assert all(pos - distance >= len(first) for pos, _, distance in inner)


@pytest.mark.parametrize("name", VALID)
def test_hand_made_streams_are_read_as_by_zlib(name: str) -> None:
    wanted = zlib_verdict(VALID[name])
    for piece_bytes in PIECES:
        data, matches, _ = tokens_of(VALID[name], piece_bytes)
        assert data == wanted.data
        assert fault(data, unpack(matches)) is None


@pytest.mark.parametrize("seed", range(40))
def test_made_up_streams_are_read_as_by_zlib(seed: int) -> None:
    stream = random_gzip(random.Random(seed))
    wanted = zlib_verdict(stream)
    if wanted.kind == "whole":
        data, matches, _ = tokens_of(stream, PIECES[seed % len(PIECES)])
        assert data == wanted.data
        assert fault(data, unpack(matches)) is None


@pytest.mark.parametrize("name", INVALID)
def test_invalid_streams_are_rejected(name: str) -> None:
    for piece_bytes in PIECES:
        assert token_verdict(INVALID[name], piece_bytes).kind == "corrupt", piece_bytes


@pytest.mark.parametrize("name", trailing_garbage())
def test_what_follows_the_last_member_is_left_alone(name: str) -> None:
    assert disagreement(trailing_garbage()[name], token_verdict) is None


@pytest.mark.parametrize("name", truncation_bases())
def test_a_stream_cut_at_any_byte_is_truncated(name: str) -> None:
    stream = truncation_bases()[name]
    for n in range(len(stream)):
        assert token_verdict(stream[:n], 33).kind == zlib_verdict(stream[:n]).kind, n


@pytest.mark.parametrize("seed", range(10))
def test_streams_with_flipped_bits_get_the_verdict_of_zlib(seed: int) -> None:
    rng = random.Random(seed)
    bases = [*truncation_bases().values(), *[stream for stream in VALID.values() if len(stream) < 2000]]
    for _ in range(200):
        stream = bytearray(rng.choice(bases))
        for _ in range(rng.choice((1, 1, 2, 5))):
            bit = rng.randrange(8 * len(stream))
            stream[bit >> 3] ^= 1 << (bit & 7)
        difference = disagreement(bytes(stream), partial(token_verdict, piece_bytes=rng.choice(PIECES)))
        assert difference is None, stream.hex()


def test_an_error_says_where_in_the_stream_it_is() -> None:
    good = VALID["stored, fixed and dynamic members"]
    with pytest.raises(TruncatedError) as cut:
        tokens_of(good[:-1])
    assert cut.value.comp_offset == len(good) - 1
    with pytest.raises(FormatError) as corrupt:
        tokens_of(good + INVALID["wrong CRC"])
    assert len(good) < (corrupt.value.comp_offset or 0) <= len(good) + len(INVALID["wrong CRC"])


def test_views_are_of_no_use_after_the_call() -> None:
    kept: list[memoryview] = []
    tokens = TokenStream(lambda data, matches: kept.extend((data, matches)))
    tokens.feed(packed(contents()["text"]))
    tokens.finish()
    assert kept
    for view in kept:
        with pytest.raises(ValueError, match="released"):
            bytes(view)


def test_what_the_callback_raises_ends_the_stream() -> None:
    def on_piece(data: memoryview, matches: memoryview) -> None:
        raise KeyError("mine")

    tokens = TokenStream(on_piece)
    with pytest.raises(KeyError, match="mine"):
        tokens.feed(packed(bytes(1 << 20)))
    with pytest.raises(ValueError, match="ended"):
        tokens.feed(b"more")
    with pytest.raises(ValueError, match="ended"):
        tokens.finish()


def test_a_callback_cannot_feed_its_own_stream() -> None:
    stream = packed(contents()["text"])
    tokens = TokenStream(lambda data, matches: tokens.feed(stream))
    with pytest.raises(ValueError, match="ended"):
        tokens.feed(stream)
        tokens.finish()


def test_nothing_in_nothing_out() -> None:
    tokens = TokenStream(lambda data, matches: pytest.fail("there is nothing to hand on"))
    tokens.feed(b"")
    with pytest.raises(TruncatedError):
        tokens.finish()
    assert tokens.uncomp_size == 0


@pytest.mark.slow
def test_positions_wrap_at_4_gib(decoder: str) -> None:
    if decoder != implementations()[0]:
        pytest.skip("once is enough")
    zeros = packed(bytes(1 << 26))
    pieces = 0

    def on_piece(data: memoryview, matches: memoryview) -> None:
        nonlocal pieces
        first = int.from_bytes(matches[:4], "little")
        assert (first - tokens.uncomp_size) % 2**32 < 258
        pieces += 1

    tokens = TokenStream(on_piece)
    for _ in range(65):
        tokens.feed(zeros)
    tokens.finish()
    assert tokens.uncomp_size == 65 << 26
    assert pieces > 1 << 14
