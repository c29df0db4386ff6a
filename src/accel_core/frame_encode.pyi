from collections.abc import Sequence

from typing_extensions import Buffer

def encode_frames(
    data: Buffer, starts: Sequence[int], ends: Sequence[int] | None = None, *, matches: Buffer, origin: int = 0
) -> tuple[bytes, list[int]]: ...
