"""Our gzip decoder against zlib: same bytes, same consumed length, same verdict, however the input is cut."""

import random
from collections.abc import Iterator
from functools import partial

import pytest

from accel_core.errors import FormatError, TruncatedError
from accel_core.gzip_stream import implementations, use_implementation
from accel_core.layer_scan import inflate_all
from support.contents import contents, small_contents
from support.gzip_cases import invalid_streams, trailing_garbage, truncation_bases, valid_streams
from support.gzips import ENCODERS, Encoder
from support.verdicts import our_verdict
from support.zlib_oracle import Verdict, disagreement, zlib_verdict

VALID = valid_streams()
GARBAGE = trailing_garbage()
INVALID = invalid_streams()
CUT = truncation_bases()
# Around the decoder's own limits: bytes it wants before a block header, before a round of its loop, in one carry.
PIECES = (0, 1, 2, 3, 7, 31, 32, 33, 285, 319, 320, 321, 2047, 2048, 2049, 65536)


@pytest.fixture(params=implementations(), autouse=True)
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    use_implementation(request.param)
    yield request.param
    use_implementation(implementations()[0])


def assert_agrees(stream: bytes, piece_bytes: int, note: object = "") -> None:
    difference = disagreement(stream, partial(our_verdict, piece_bytes=piece_bytes))
    assert difference is None, (note, piece_bytes)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_streams_of_every_encoder_inflate_as_zlib_says(encoder: Encoder) -> None:
    rng = random.Random(encoder.name)
    for name, data in (small_contents() if encoder.slow else contents()).items():
        stream = encoder.encode(data)
        assert zlib_verdict(stream) == Verdict("whole", data, len(stream)), f"{name}: the encoder is not to be trusted"
        for piece_bytes in (0, rng.choice(PIECES[4:]), rng.randrange(100, 5000)):
            assert_agrees(stream, piece_bytes, name)


@pytest.mark.parametrize("name", VALID)
def test_hand_made_streams_inflate_as_zlib_says(name: str) -> None:
    assert zlib_verdict(VALID[name]).kind == "whole"
    for piece_bytes in PIECES:
        assert_agrees(VALID[name], piece_bytes)


@pytest.mark.parametrize("name", GARBAGE)
def test_what_follows_the_last_member_is_left_alone(name: str) -> None:
    assert zlib_verdict(GARBAGE[name]).kind == "whole"
    for piece_bytes in PIECES:
        assert_agrees(GARBAGE[name], piece_bytes)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_streams_are_rejected_as_by_zlib(name: str) -> None:
    assert zlib_verdict(INVALID[name]).kind == "corrupt"
    for piece_bytes in PIECES:
        assert our_verdict(INVALID[name], piece_bytes).kind == "corrupt", piece_bytes


@pytest.mark.parametrize("name", CUT)
def test_a_stream_cut_at_any_byte_is_truncated(name: str) -> None:
    stream = CUT[name]
    for n in range(len(stream)):
        theirs = zlib_verdict(stream[:n])
        for piece_bytes in (0, 1, 33):
            ours = our_verdict(stream[:n], piece_bytes)
            assert ours.kind == theirs.kind, (n, piece_bytes)
            assert ours.data == theirs.data, (n, piece_bytes)
    assert zlib_verdict(stream).kind == "whole"


@pytest.mark.parametrize("seed", range(20))
def test_streams_with_flipped_bits_get_the_verdict_of_zlib(seed: int) -> None:
    rng = random.Random(seed)
    bases = [*CUT.values(), *[stream for stream in VALID.values() if len(stream) < 2000]]
    for _ in range(300):
        stream = bytearray(rng.choice(bases))
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            bit = rng.randrange(8 * len(stream))
            stream[bit >> 3] ^= 1 << (bit & 7)
        assert_agrees(bytes(stream), rng.choice(PIECES), (seed, stream.hex()))


def test_all_decoders_of_this_machine_were_tried() -> None:
    assert implementations()[-1] == "plain"


def test_an_error_says_where_in_the_stream_it_is() -> None:
    good = VALID["stored, fixed and dynamic members"]
    with pytest.raises(TruncatedError) as cut:
        inflate_all(good[:-1])
    assert cut.value.comp_offset == len(good) - 1
    with pytest.raises(FormatError) as corrupt:
        inflate_all(good + INVALID["wrong CRC"])
    assert corrupt.value.comp_offset is not None
    assert len(good) < corrupt.value.comp_offset <= len(good) + len(INVALID["wrong CRC"])
