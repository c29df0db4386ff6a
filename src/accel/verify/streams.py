"""Pieces that let one pass over a layer feed several checks, each with bounded memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence


class RangeHasher:
    """SHA-256 of ranges of a stream that is fed in order. Ranges are sorted and do not overlap."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._ranges = ranges
        self._next = 0
        self._hash = hashlib.sha256()
        self._position = 0
        self.digests: list[str | None] = [None] * len(ranges)  # None: the stream has not reached its end

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the stream."""
        view = memoryview(data)
        start, end = self._position, self._position + len(view)
        self._position = end
        while self._next < len(self._ranges):
            first, last = self._ranges[self._next]
            if first >= end and last > end:
                return
            self._hash.update(view[max(first - start, 0) : max(min(last, end) - start, 0)])
            if last > end:
                return
            self.digests[self._next] = self._hash.hexdigest()
            self._hash = hashlib.sha256()
            self._next += 1


class SpanCutter:
    """Cuts compressed spans out of a blob that streams by; ``on_span(number, bytes)`` gets each once it is whole.

    Neighbouring spans may share a byte. Holds one span and one chunk.
    """

    def __init__(self, spans: Sequence[tuple[int, int]], on_span: Callable[[int, bytes], None]) -> None:
        self._spans = spans
        self._on_span = on_span
        self._next = 0
        self._held = bytearray()
        self._start = 0  # blob offset of _held[0]

    def update(self, chunk: bytes) -> None:
        """Take the next bytes of the blob."""
        self._held += chunk
        while self._next < len(self._spans):
            first, last = self._spans[self._next]
            if self._start + len(self._held) < last:
                self._drop(first)
                return
            self._on_span(self._next, bytes(self._held[first - self._start : last - self._start]))
            self._next += 1
        self._drop(self._start + len(self._held))

    @property
    def n_done(self) -> int:
        """Spans handed out so far."""
        return self._next

    def _drop(self, upto: int) -> None:
        n_bytes = min(max(upto - self._start, 0), len(self._held))
        del self._held[:n_bytes]
        self._start += n_bytes


def tapped(chunks: Iterable[bytes], *taps: Callable[[bytes], object]) -> Iterator[bytes]:
    """The same chunks, each shown to ``taps`` first."""
    for chunk in chunks:
        data = bytes(chunk)
        for tap in taps:
            tap(data)
        yield data


class PullFile:
    """Chunks as a file to read from, which is how :mod:`tarfile` wants them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, n_bytes: int) -> bytes:
        """Up to ``n_bytes``; fewer only at the end."""
        parts = []
        while n_bytes > 0:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._left = memoryview(chunk)
            parts.append(bytes(self._left[:n_bytes]))
            self._left = self._left[len(parts[-1]) :]
            n_bytes -= len(parts[-1])
        return b"".join(parts)

    def drain(self) -> None:
        """Read to the end."""
        self._left = memoryview(b"")
        for _ in self._chunks:
            pass
