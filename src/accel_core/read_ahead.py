"""A range inflated by several threads, handed out in order."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from typing_extensions import Buffer

PIECE_BYTES = 4 << 20  # small spans are joined to pieces of about this size
MAX_PIECE_BYTES = 16 << 20  # a longer span is not read ahead: its parts depend on each other


class RangeReader(Protocol):
    """What is read: ``size`` bytes by range, from any thread; spans can be read independently of each other."""

    @property
    def size(self) -> int: ...
    def spans(self, start: int, end: int) -> list[tuple[int, int]]: ...
    def read_at(self, offset: int, n: int) -> bytes: ...
    def readinto_at(self, offset: int, into: Buffer) -> int: ...


def stream(reader: RangeReader, start: int, end: int, *, threads: int) -> Iterator[memoryview]:
    """The bytes ``[start, end)`` in pieces of some MiB; ``threads`` of them are inflated ahead.

    A piece is valid until the next one is asked for; then its memory is used again (unless slices of it live on).
    An error is raised where its bytes would have come.
    """
    buffers: list[bytearray] = []
    pending: deque[tuple[Future[int], memoryview]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="inflate")
    try:
        for first, last, alone in _pieces(reader, start, end):
            while pending and (alone or len(pending) > threads):
                yield from _next(pending, buffers)
            buffer = buffers.pop() if buffers else bytearray()
            if len(buffer) < last - first:
                buffer = bytearray(last - first)
            view = memoryview(buffer)[: last - first]
            pending.append((pool.submit(reader.readinto_at, first, view), view))
        while pending:
            yield from _next(pending, buffers)
    finally:
        pool.shutdown(cancel_futures=True)


def _next(pending: deque[tuple[Future[int], memoryview]], buffers: list[bytearray]) -> Iterator[memoryview]:
    """The oldest piece; when the caller is done with it, its memory is free again."""
    future, view = pending.popleft()
    future.result()
    buffer = view.obj
    assert isinstance(buffer, bytearray)
    piece = view.toreadonly()
    try:
        yield piece
    finally:
        for used in (piece, view):
            with suppress(BufferError):
                used.release()
    with suppress(BufferError):
        buffer.append(0)  # refused while somebody keeps a part of it
        buffer.pop()
        buffers.append(buffer)


def _pieces(reader: RangeReader, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """``(start, end, alone)`` of the pieces to read at once; one that is ``alone`` needs what its predecessor left."""
    first = start
    for low, high in reader.spans(start, end):
        if high - low > MAX_PIECE_BYTES:
            if first < low:
                yield first, low, False
            for middle in range(low, high, PIECE_BYTES):
                yield middle, min(middle + PIECE_BYTES, high), True
            first = high
        elif high - first > PIECE_BYTES * 3 // 2:
            if first < low:
                yield first, low, False
            first = low
    if first < end:
        yield first, end, False


class ReadAhead:
    """The stream from ``start`` to the end, in parts of any size."""

    def __init__(self, reader: RangeReader, start: int, threads: int) -> None:
        self._pieces = stream(reader, start, reader.size, threads=threads)
        self._piece = memoryview(b"")
        self._used = 0

    def next_part(self, n_bytes: int) -> memoryview:
        """The next bytes, at least one and at most ``n_bytes``; valid until the next call."""
        if self._used == len(self._piece):
            self._piece, self._used = next(self._pieces), 0
        part = self._piece[self._used : self._used + n_bytes]
        self._used += len(part)
        return part

    def close(self) -> None:
        """Stop the threads."""
        self._pieces.close()  # type: ignore[attr-defined]
