"""The tar of an eStargz layer that is not just the source's: prefetched files first, and some entries left out.

The source is read again for that: once to fetch what goes to the front, until the last of it has passed, and once for
the rest. What goes to the front waits in a temporary file when it is large.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from accel.convert.full.tar_source import Push, TarSource
from accel.errors import FormatError
from accel.formats.stargz import LANDMARK_DATA_OFFSET, PREFETCH, Order, landmark_member
from accel_core.entries import EntryTable

_SPOOL_BYTES = 32 << 20
_PIECE_BYTES = 1 << 20

Range = tuple[int, int]


def read_reordered(source: TarSource, entries: EntryTable, order: Order, push: Push) -> None:
    """Give ``push`` the tar that ``order`` describes, its landmark included, without an end mark.

    Raises what :meth:`TarSource.read` does; FormatError if the source is another one this time.
    """
    front = _front(order)
    ranges = {row: _range(entries, row) for row in (*front, *order.dropped)}
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        places = _collect(source, [ranges[row] for row in front], spool)
        for row in front:
            _push_range(spool, places[ranges[row]], push)
    push(memoryview(landmark_member(prefetch=bool(front))))
    end = _range(entries, len(entries) - 1)[1] if len(entries) else 0
    rest = RangeFilter(gaps(sorted(ranges.values()), end), push)
    source.read(rest.push)
    if not rest.is_done:
        raise FormatError("the layer is shorter than when it was first read")


def landmark_at(entries: EntryTable, order: Order) -> int:
    """Where the content of the landmark is in the tar that :func:`read_reordered` gives."""
    ranges = (_range(entries, row) for row in _front(order))
    return sum(end - start for start, end in ranges) + LANDMARK_DATA_OFFSET


def _front(order: Order) -> list[int]:
    """The rows before the landmark."""
    return list(order.rows[: order.rows.index(PREFETCH)]) if PREFETCH in order.rows else []


def _range(entries: EntryTable, row: int) -> Range:
    entry = entries[row]
    return entry.header_offset, entry.end_offset


def gaps(ranges: Sequence[Range], end: int) -> list[Range]:
    """What of ``[0, end)`` is in none of ``ranges``, which are sorted and do not overlap."""
    found = []
    at = 0
    for start, stop in ranges:
        if at < start:
            found.append((at, start))
        at = stop
    if at < end:
        found.append((at, end))
    return found


@dataclass(slots=True)
class RangeFilter:
    """Hands on the bytes of a tar that lie in ``ranges``, sorted and disjoint, and their matches."""

    ranges: Sequence[Range]
    hand_on: Push
    position: int = 0
    number: int = 0

    @property
    def is_done(self) -> bool:
        """Whether all ranges have passed."""
        return self.number == len(self.ranges)

    def push(self, data: memoryview, matches: memoryview | None = None, origin: int = 0) -> None:
        """The next bytes of the tar."""
        first, end = self.position, self.position + len(data)
        while not self.is_done and self.ranges[self.number][0] < end:
            start, stop = self.ranges[self.number]
            at = max(start - first, 0)
            if part := data[at : min(stop, end) - first]:
                # Who takes them passes over matches that begin elsewhere; more than once they would be too many.
                self.hand_on(part, matches, origin + at)
                matches = matches and matches[:0]
            if stop > end:
                break
            self.number += 1
        self.position = end


class _Enough(Exception):  # noqa: N818  no error: everything wanted has passed
    """Stops a read."""


def _collect(source: TarSource, wanted: Sequence[Range], spool: IO[bytes]) -> dict[Range, Range]:
    """Write the bytes of ``wanted`` into ``spool``; where each is in there."""
    ranges = sorted(set(wanted))
    at, places = 0, {}
    for start, stop in ranges:
        places[start, stop] = (at, at + stop - start)
        at += stop - start
    if not ranges:
        return places
    collector = RangeFilter(ranges, lambda data, matches=None, origin=0, /: spool.write(data))

    def push(data: memoryview, matches: memoryview | None = None, origin: int = 0) -> None:
        collector.push(data)
        if collector.is_done:
            raise _Enough

    try:
        source.read(push)
    except _Enough:
        pass
    spool.write(bytes(at - spool.tell()))  # padding that the source ended without
    return places


def _push_range(spool: IO[bytes], place: Range, push: Push) -> None:
    start, end = place
    spool.seek(start)
    while start < end:
        piece = spool.read(min(_PIECE_BYTES, end - start))
        push(memoryview(piece))
        start += len(piece)
