"""Matches of a gzip stream: got from ours, unpacked, packed, and checked against the bytes they are said to repeat."""

import struct
from collections.abc import Iterable

from accel_core.errors import FormatError, TruncatedError
from accel_core.gzip_tokens import TokenStream
from support.deflate_bits import Step
from support.zlib_oracle import Verdict

Match = tuple[int, int, int]        # position, length, distance


def tokens_of(stream: bytes, piece_bytes: int = 0) -> tuple[bytes, bytes, int]:
    """Bytes, records, and where the last member ends, of a stream fed in pieces (0: at once)."""
    data: list[bytes] = []
    matches: list[bytes] = []

    def on_piece(piece: memoryview, found: memoryview) -> None:
        data.append(bytes(piece))
        matches.append(bytes(found))

    tokens = TokenStream(on_piece)
    piece_bytes = piece_bytes or len(stream) or 1
    for start in range(0, len(stream), piece_bytes):
        tokens.feed(stream[start : start + piece_bytes])
    tokens.finish()
    return b"".join(data), b"".join(matches), tokens.comp_end


def token_verdict(stream: bytes, piece_bytes: int = 0) -> Verdict:
    """That of ``TokenStream``, in the terms of ``zlib_oracle``."""
    try:
        data, _, comp_end = tokens_of(stream, piece_bytes)
    except TruncatedError:
        return Verdict("cut")
    except FormatError as error:
        return Verdict("corrupt", comp_end=error.comp_offset or 0)
    return Verdict("whole", data, comp_end)


def unpack(matches: bytes) -> list[Match]:
    return list(struct.iter_unpack("<IHH", matches))


def pack(matches: Iterable[Match]) -> bytes:
    return b"".join(struct.pack("<IHH", pos & 0xFFFFFFFF, length, distance) for pos, length, distance in matches)


def of_steps(steps: Iterable[Step]) -> list[Match]:
    """The matches among literals and matches, by definition."""
    pos, found = 0, []
    for step in steps:
        if isinstance(step, tuple):
            found.append((pos, *step))
            pos += step[0]
        else:
            pos += 1
    return found


def fault(data: bytes, matches: list[Match]) -> str | None:
    """What is wrong with the matches of these bytes; None if nothing is."""
    end = 0
    for pos, length, distance in matches:
        if pos < end or not 3 <= length <= 258 or not 1 <= distance <= min(pos, 32768) or pos + length > len(data):
            return f"({pos}, {length}, {distance}) behind {end} of {len(data)}"
        repeated = (data[pos - distance : pos] * (length // distance + 1))[:length]
        if data[pos : pos + length] != repeated:
            return f"({pos}, {length}, {distance}) is not true"
        end = pos + length
    return None
