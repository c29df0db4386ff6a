"""A tar on its way through, cut into batches that every format compresses on its own."""

from collections.abc import Callable
from dataclasses import dataclass

from accel.formats.stargz import CHUNK_BYTES
from accel_core.entries import EntryTable
from accel_core.gzip_tokens import MATCH_BYTES
from accel_core.tar_batches import TarBatches

BATCH_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20
_HALF, _WHOLE = 1 << 31, 1 << 32


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of tar from ``start`` on, and the chunks of files in it.

    The lists have an item for each chunk: the row of its entry, its offset in the file, where it starts and ends in
    ``data``. ``entry_bytes`` of the data belong to entries; what is behind is end-of-archive mark and trailing bytes.
    ``matches`` are those that a gzip source had there, as ``accel_core.gzip_tokens`` gives them, if all are known;
    ``origin`` is where the batch begins in the stream that they count from.
    """

    start: int
    data: bytes
    entry_bytes: int
    rows: list[int]
    chunk_offsets: list[int]
    starts: list[int]
    ends: list[int]
    matches: bytes | None = None
    origin: int = 0


class Held:
    """Bytes that wait for the rest of their batch. Appending moves none of them: the room is kept and used again."""

    def __init__(self) -> None:
        self._room = bytearray(_PIECE_BYTES)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: memoryview) -> None:
        """``data`` behind what there is."""
        end = self._size + len(data)
        if end > len(self._room):
            self._room += bytes(max(end - len(self._room), len(self._room)))
        with memoryview(self._room) as room:
            room[self._size : end] = data
        self._size = end

    def take(self, start: int, end: int) -> bytes:
        """A stretch. It is gone then, and what was in front of it too."""
        with memoryview(self._room) as room:
            taken = bytes(room[start:end])
            room[: self._size - end] = room[end : self._size]
        self._size -= end
        return taken

    def u32(self, at: int) -> int:
        """The four bytes at ``at``, little endian."""
        return int.from_bytes(self._room[at : at + 4], "little")


class Cutter:
    """Takes a tar in pieces of any size and hands on its batches, which depend on the tar alone.

    Memory: a batch, which is at most two chunks and the headers of one entry, and a piece of 1 MiB.
    """

    def __init__(self, on_batch: Callable[[Batch], object]) -> None:
        self._on_batch = on_batch
        self._cuts = TarBatches(batch_bytes=BATCH_BYTES, chunk_bytes=CHUNK_BYTES)
        self._held = Held()
        self._start = 0
        self._matches = MatchBuffer()

    @property
    def position(self) -> int:
        """Bytes taken."""
        return self._cuts.position

    @property
    def entries(self) -> EntryTable:
        """Those found so far; not to be read while ``push`` runs in another thread."""
        return self._cuts.entries

    def n_entries_until(self, offset: int) -> int:
        """How many entries' data begins at ``offset`` or before it."""
        return self._cuts.n_entries_until(offset)

    def push(self, data: bytes | memoryview, matches: memoryview | None = None, origin: int = 0) -> None:
        """The next bytes. Raises FormatError, LimitError, and what ``on_batch`` raises.

        ``matches`` are those that begin in ``data``, perhaps with some before it, which is at ``origin`` in the stream
        that they count from.
        """
        self._matches.add(self._cuts.position, matches, origin)
        view = memoryview(data)
        for first in range(0, len(view), _PIECE_BYTES):
            piece = view[first : first + _PIECE_BYTES]
            self._cuts.feed(piece)
            self._held.append(piece)
            self._cut()

    def close(self) -> EntryTable:
        """The entries, after the last batch was handed on. Raises TruncatedError if the tar may not end here."""
        entries = self._cuts.close()
        self._cut()
        if self._held:
            self._hand_on(self._cuts.position)
        return entries

    def _cut(self) -> None:
        while (cut := self._cuts.next_cut()) is not None:
            self._hand_on(cut)

    def _hand_on(self, end: int) -> None:
        start, n_bytes = self._start, end - self._start
        data = self._held.take(0, n_bytes)
        self._start = end
        entry_bytes = max(0, min(self._cuts.entries_end - start, n_bytes))
        chunks = self._cuts.chunks(start, end)
        self._on_batch(Batch(start, data, entry_bytes, *chunks, *self._matches.take(start, end)))


class MatchBuffer:
    """Matches of the bytes that no batch has got yet.

    A batch gets its matches if all of its bytes came with them, and from one place of the stream: where bytes of
    another place follow, matches would reach back over the seam.
    """

    def __init__(self) -> None:
        self._records = Held()
        # Where in the tar each stretch begins, and how far its stream is ahead of it; None for bytes without matches.
        self._stretches: list[tuple[int, int | None]] = []

    def add(self, position: int, matches: memoryview | None, origin: int) -> None:
        """The matches of the next bytes, which are at ``position`` in the tar (None: not known)."""
        shift = None if matches is None else origin - position
        if not self._stretches or self._stretches[-1][1] != shift:
            self._stretches.append((position, shift))
        if matches is not None:
            self._records.append(matches)

    def take(self, start: int, end: int) -> tuple[bytes | None, int]:
        """Those that begin in the bytes ``[start, end)`` of the tar, and where ``start`` is for them."""
        ours = [stretch for stretch in self._stretches if stretch[0] < end]
        rest = self._stretches[len(ours) :]
        shift = ours[-1][1]
        self._stretches = [(end, shift), *rest]
        if shift is None:
            return None, 0
        origin = start + shift
        last = self._index(origin, origin + end - start)
        first = self._index(origin, origin) if len(ours) == 1 else last
        taken = self._records.take(first * MATCH_BYTES, last * MATCH_BYTES)
        return (taken if len(ours) == 1 else None), origin

    def _index(self, origin: int, offset: int) -> int:
        """How many records begin before ``offset``, which is at most 2^31 from ``origin``."""
        low, high = 0, len(self._records) // MATCH_BYTES
        while low < high:
            middle = (low + high) // 2
            at = self._records.u32(middle * MATCH_BYTES)
            # Positions count modulo 2^32.
            if (at - offset + _HALF) % _WHOLE < _HALF:
                low = middle + 1
            else:
                high = middle
        return low
