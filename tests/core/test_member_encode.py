"""Members re-encoded from the matches of another encoder, against zlib."""

import zlib

import pytest

from accel_core.gzip_tokens import TokenStream
from accel_core.member_encode import encode_members
from support.contents import contents


def tokens(stream: bytes) -> tuple[bytes, bytes]:
    data, matches = [], []

    def on_piece(piece: memoryview, found: memoryview) -> None:
        data.append(bytes(piece))
        matches.append(bytes(found))

    reader = TokenStream(on_piece)
    reader.feed(stream)
    reader.finish()
    return b"".join(data), b"".join(matches)


@pytest.mark.parametrize("name", contents())
def test_members_are_what_zlib_reads(name: str) -> None:
    data = contents()[name]
    packer = zlib.compressobj(6, wbits=31)
    got, matches = tokens(packer.compress(data) + packer.flush())
    assert got == data
    starts = sorted({0, len(data) // 3, len(data) // 2, len(data)})
    blob, offsets = encode_members(data, starts, matches=matches)
    for start, end, offset in zip(starts, [*starts[1:], len(data)], offsets, strict=True):
        member = zlib.decompressobj(31)
        assert member.decompress(blob[offset:]) == data[start:end]
        assert member.eof
