"""The last bytes of a blob that streams by, for whoever learns late what they mean."""

from collections import deque
from collections.abc import Iterator

SMALL_BYTES = 65536     # pieces below this are gathered: a piece of one byte must not cost an object


class HeldBytes:
    """Bytes of a stream from an offset on that its owner moves up. Copies only what it must keep of borrowed buffers.

    ``end`` is the stream offset behind the last byte added.
    """

    def __init__(self, start: int = 0) -> None:
        self.end = start
        self._pieces: deque[tuple[int, bytes | bytearray | memoryview]] = deque()     # with their stream offsets

    def add(self, piece: memoryview) -> None:
        """Take the next bytes of the stream; they may be borrowed until ``settle``."""
        if len(piece) < SMALL_BYTES and self._pieces:
            last = self._pieces[-1][1]
            if isinstance(last, bytearray) and len(last) < SMALL_BYTES:
                last += piece
                self.end += len(piece)
                return
        self._pieces.append((self.end, bytearray(piece) if len(piece) < SMALL_BYTES else piece))
        self.end += len(piece)

    def settle(self, start: int) -> None:
        """Forget what lies before ``start``, and borrow nothing any more."""
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) <= start:
            self._pieces.popleft()
        if self._pieces and isinstance(last := self._pieces[-1][1], memoryview):
            first = self._pieces.pop()[0]
            if not isinstance(last.obj, bytes):     # its owner may change it
                kept = max(start - first, 0)
                first, last = first + kept, last[kept:]
            self._pieces.append((first, last if isinstance(last.obj, bytes) else bytes(last)))

    def views(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes ``[start, end)``, all of them held, in pieces. Let go of each before the next ``add``."""
        for first, piece in self._pieces:
            if first >= end:
                return
            if first + len(piece) > start:
                yield memoryview(piece)[max(start - first, 0) : end - first]
