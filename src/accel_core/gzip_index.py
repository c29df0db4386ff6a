"""What every index file of a gzip blob says: where inflate can resume, and how long the blob is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Protocol

from accel_core.checkpoints import Checkpoints
from accel_core.errors import FormatError

MAX_BYTES_PER_BIT = 129     # a match makes at most 258 bytes of at least 2 bits


class GzipIndexed(Protocol):
    """What such a file is made from: a ``GzipIndex``, or a ``LayerIndex`` of a gzip layer."""

    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def comp_size(self) -> int: ...
    @property
    def uncomp_size(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class GzipIndex:
    """What can be read from one. The first checkpoint is at uncompressed offset 0."""

    checkpoints: Checkpoints
    comp_size: int              # bytes of the gzip blob
    uncomp_size: int | None     # bytes it inflates to; None: the file does not say


def checked(index: GzipIndex) -> GzipIndex:
    """``index``, from a stranger, without points at the end of the blob: those only say where it ends.

    Offsets that go back, lie outside the blob or grow faster than deflate can are a FormatError.
    """
    points = index.checkpoints
    if len(points) == 0 or points.uncomp_offset[0] != 0:
        raise FormatError("the index has no checkpoint at the start")
    if max(points.bits) > 7:
        raise FormatError("the index has a checkpoint that shares more than 7 bits")
    points = _first(points, _n_before_end(index))
    uncomp_size = points.uncomp_offset[-1] if index.uncomp_size is None else index.uncomp_size
    if points.comp_offset[0] == 0 and points.bits[0]:
        raise FormatError("the index has a checkpoint before the start", comp_offset=0)
    at_bit = (8 * offset - bits for offset, bits in zip(points.comp_offset, points.bits, strict=True))
    places = zip(at_bit, points.uncomp_offset, strict=True)
    for (bit, offset), (next_bit, next_offset) in pairwise(chain(places, [(8 * index.comp_size, uncomp_size)])):
        if next_bit < bit or not 0 <= next_offset - offset <= MAX_BYTES_PER_BIT * (next_bit - bit):
            raise FormatError(
                f"the index claims {next_offset - offset} bytes in {next_bit - bit} bits",
                comp_offset=bit >> 3,
                uncomp_offset=offset,
            )
    return replace(index, checkpoints=points)


def _n_before_end(index: GzipIndex) -> int:
    points = index.checkpoints
    n = len(points)
    while n > 1 and (
        points.comp_offset[n - 1] == index.comp_size or points.uncomp_offset[n - 1] == index.uncomp_size
    ):
        n -= 1
    return n


def _first(points: Checkpoints, n: int) -> Checkpoints:
    if n == len(points):
        return points
    rows: Sequence[int] = range(n) if points.rows is None else points.rows[:n]
    return Checkpoints(points.comp_offset[:n], points.uncomp_offset[:n], points.bits[:n], points.windows, rows)
