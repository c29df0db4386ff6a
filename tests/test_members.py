"""Members made by libdeflate: gzip reads them, and they begin where they are said to."""

import gzip
import zlib

import pytest

from accel.members import BEST_LEVEL, compress_members
from accel_core.member_encode import encode_members
from support.contents import small_contents


@pytest.mark.parametrize("name", small_contents())
@pytest.mark.parametrize("level", [1, 6, BEST_LEVEL])
def test_members_hold_what_they_are_said_to(name: str, level: int) -> None:
    data = small_contents()[name]
    starts = [0, len(data) // 5, len(data) // 5, len(data) // 2, len(data)]
    blob, offsets = compress_members(data, starts, level=level)
    assert gzip.decompress(blob) == data
    for start, end, offset in zip(starts, [*starts[1:], len(data)], offsets, strict=True):
        member = zlib.decompressobj(31)
        assert member.decompress(blob[offset:]) == data[start:end]
        assert member.eof


def test_bytes_between_members_are_left_out() -> None:
    blob, offsets = compress_members(b"abcdef", [1, 4], [3, 6])
    assert gzip.decompress(blob) == b"bcef"
    assert len(offsets) == 2


@pytest.mark.parametrize("starts", [[1, 0], [-1], [11]])
def test_what_is_no_row_of_members_is_refused_as_by_the_other_encoder(starts: list[int]) -> None:
    with pytest.raises(ValueError):
        compress_members(bytes(10), starts)
    with pytest.raises(ValueError):
        encode_members(bytes(10), starts, matches=b"")
