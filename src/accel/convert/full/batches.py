"""A tar on its way through, cut into batches that every format compresses on its own."""

from collections.abc import Callable
from dataclasses import dataclass

from accel_core.entries import EntryTable
from accel_core.tar_batches import TarBatches

BATCH_BYTES = 4 << 20
CHUNK_BYTES = 4 << 20  # of a file, compressed on its own: what the reference writers use
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of tar from ``start`` on, and the chunks of files in it.

    The lists have an item for each chunk: the row of its entry, its offset in the file, where it starts and ends in
    ``data``. ``entry_bytes`` of the data belong to entries; what is behind is end-of-archive mark and trailing bytes.
    """

    start: int
    data: bytes | bytearray
    entry_bytes: int
    rows: list[int]
    chunk_offsets: list[int]
    starts: list[int]
    ends: list[int]


class Cutter:
    """Takes a tar in pieces of any size and hands on its batches, which depend on the tar alone.

    Memory: a batch, which is at most two chunks and the headers of one entry, and a piece of 1 MiB.
    """

    def __init__(self, on_batch: Callable[[Batch], object]) -> None:
        self._on_batch = on_batch
        self._cuts = TarBatches(batch_bytes=BATCH_BYTES, chunk_bytes=CHUNK_BYTES)
        self._held = bytearray()
        self._start = 0

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

    def push(self, data: bytes | memoryview) -> None:
        """The next bytes. Raises FormatError, LimitError, and what ``on_batch`` raises."""
        view = memoryview(data)
        for first in range(0, len(view), _PIECE_BYTES):
            piece = view[first : first + _PIECE_BYTES]
            self._cuts.feed(piece)
            self._held += piece
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
        data, self._held = self._held, self._held[n_bytes:]
        del data[n_bytes:]
        self._start = end
        entry_bytes = max(0, min(self._cuts.entries_end - start, n_bytes))
        self._on_batch(Batch(start, data, entry_bytes, *self._cuts.chunks(start, end)))
