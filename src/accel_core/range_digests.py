"""SHA-256 of ranges of a blob that can be read anywhere."""

import threading
from collections.abc import Callable, Sequence

from accel_core.errors import TruncatedError
from accel_core.sha256 import sha256, update_all

SIDE_BY_SIDE = 16           # ranges that are hashed fastest together
PIECE_BYTES = 1 << 20       # of all of them, read at a time: stays in L2


def range_digests(
    read_at: Callable[[int, int], bytes], ranges: Sequence[tuple[int, int]], stop: threading.Event | None = None
) -> list[str]:
    """The digests of ``[start, end)`` each; something else once ``stop`` is set and nobody wants them any more.

    Raises TruncatedError where ``read_at(offset, n_bytes)`` has nothing to give.
    """
    hashes = [sha256() for _ in ranges]
    at = [start for start, _ in ranges]
    n_bytes = PIECE_BYTES // max(1, len(ranges))
    while not (stop is not None and stop.is_set()):
        pairs = []
        for i, (_, end) in enumerate(ranges):
            if at[i] < end:
                piece = read_at(at[i], min(n_bytes, end - at[i]))
                if not piece:
                    raise TruncatedError("the blob became shorter while it was read", comp_offset=at[i])
                pairs.append((hashes[i], piece))
                at[i] += len(piece)
        if not pairs:
            break
        update_all(pairs)
    return [f"sha256:{one.hexdigest()}" for one in hashes]
