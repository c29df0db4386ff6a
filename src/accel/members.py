"""Bytes into gzip members by libdeflate: for what no gzip stream has matched already, or where only size counts.

Where matches are at hand, ``accel_core.member_encode`` makes members of about this size several times as fast.
"""

from collections.abc import Sequence

from deflate import gzip_compress
from typing_extensions import Buffer

DEFAULT_LEVEL, BEST_LEVEL = 6, 12


def compress_members(
    data: Buffer, starts: Sequence[int], ends: Sequence[int] | None = None, *, level: int = DEFAULT_LEVEL
) -> tuple[bytes, list[int]]:
    """``(blob, offsets)`` as ``accel_core.member_encode.encode_members`` gives them, from the bytes alone.

    ``level`` is libdeflate's, 1 (fast) to 12. The same bytes, level and version of libdeflate give the same members.
    The GIL is released for the most part.
    """
    view = memoryview(data)
    out, offsets, size, before = [], [], 0, 0
    for start, end in zip(starts, [*starts[1:], len(view)] if ends is None else ends, strict=True):
        if not before <= start <= end <= len(view):
            raise ValueError(f"member [{start}, {end}) of {len(view)} bytes, the one before it ends at {before}")
        member = gzip_compress(view[start:end], level)
        out.append(member)
        offsets.append(size)
        size += len(member)
        before = end
    return b"".join(out), offsets
