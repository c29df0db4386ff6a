"""Who scans what of one gzip stream: work is taken where most of it is left.

The first thread begins at the start of the blob and would go on to its end. The next ones begin at equal distances, at
joints (``find_joint``) that they look for first. Whoever has nothing left to do takes the second half of the largest
stretch that is left to another: so all end together, however fast each of them was and whether they began together or
not, and few joints are needed.

::

    start                                                     end
    |== 1 ==>...............................................|      one thread
    |== 1 =====>.............|== 2 ==>......................|      another has come
    |== 1 =================>.|== 2 ===========>..|== 1 =>...|      the first one was faster
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from accel_core.errors import AccelError
from accel_core.find_joint import JointSearch, Prefix
from accel_core.gzip_chunk import GzipChunk

ReadAt = Callable[[int, int], bytes]

# How long decoding stays blind depends on where it begins. In the big layer of the bench: 2.5 MiB of output for half
# of all starts, 6.4 MiB on average, 25 MiB for 1 in 20. Near a bad start lie others: to begin anew there costs more.
PATIENCE_BYTES = 24 << 20       # of output, kept as two bytes each: what a thread takes at most. It gets ...
PATIENCE_SHARE = 16             # ... this part of the chunk's compressed bytes ...
LEAST_PATIENCE_BYTES = 8 << 20  # ... or this, if that is more
SEARCH_BYTES = 1 << 20          # compressed bytes in which a block must begin
READ_BYTES = 256 << 10          # read to find a joint, at a time, so that who waits for the end waits for little ...
MAX_READ_BYTES = 16 << 20       # ... and doubled up to this if one block is as long
MAX_FRUITLESS = 3               # after as many searches in vain, one after the other, nobody looks any more
NO_STOP = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Joint:
    """Where a chunk begins: a gzip member, or a block with its history and what was decoded blindly before it."""

    bit: int
    window: bytes | None
    prefix: Prefix | None

    @property
    def stop_bit(self) -> int:
        """Where the chunk before ends."""
        return self.bit if self.prefix is None else self.prefix.start_bit


class Chunk:
    """From ``joint`` (None: the start of the stream) to the bit ``stop`` (NO_STOP: its end)."""

    def __init__(self, end: int, stop: int) -> None:
        self.joint: Joint | None = None
        self.stop = stop
        self.end = end                  # byte where it ends or, while the next chunk looks for its joint, is going to
        self.read_to = 0                # bytes before this are being scanned, or have been
        self.taken = False              # somebody looks for its joint, or scans it
        self.begun = False              # it is being scanned, or has been: the chunk before must stop at its joint
        self.next: Chunk | None = None
        self.previous: Chunk | None = None
        self.scan: Future[GzipChunk] = Future()


class ChunkPlan:
    """The chunks of a blob of ``comp_size`` bytes, in the order of the stream. For any number of threads."""

    def __init__(self, read_at: ReadAt, comp_size: int, *, threads: int, min_chunk_bytes: int) -> None:
        self._read_at = read_at
        self._min_chunk_bytes = min_chunk_bytes
        self._lock = threading.Lock()
        self._closed = False
        self._fruitless = 0
        self.first = Chunk(comp_size, NO_STOP)
        n_chunks = max(1, min(threads, comp_size // min_chunk_bytes))
        for number in range(n_chunks - 1, 0, -1):
            self._insert_behind(self.first, comp_size * number // n_chunks)

    def take(self) -> Chunk | None:
        """A chunk to scan; None when nothing is left that is worth sharing."""
        while (chunk := self._offered()) is not None:
            if chunk is self.first:
                return chunk
            try:
                joint = self._find_joint(chunk)
            except (MemoryError, OSError, AccelError):  # whoever scans these bytes will say so
                joint = None
            with self._lock:
                if joint is not None and self._begin(chunk, joint):
                    self._fruitless = 0
                    return chunk
                self._unlink(chunk)
                self._fruitless += 1
        return None

    def read_on(self, chunk: Chunk, upto: int) -> int:
        """The bit where to stop, for the thread that is going to scan the bytes of ``chunk`` before ``upto``."""
        with self._lock:
            chunk.read_to = max(chunk.read_to, upto)
            return chunk.stop

    def after(self, chunk: Chunk) -> Chunk | None:
        """The chunk that follows ``chunk``, which has been scanned; None at the end of the stream."""
        with self._lock:
            following = chunk.next
            while following is not None and not following.begun:
                following = following.next
            return following

    def give_up(self, chunk: Chunk) -> None:
        """Nobody shall help with ``chunk``: it cannot be scanned."""
        with self._lock:
            chunk.read_to = chunk.end

    def close(self) -> None:
        """Share no more."""
        with self._lock:
            self._closed = True

    def _offered(self) -> Chunk | None:
        """The first chunk that nobody has taken, or else half of the largest stretch left."""
        with self._lock:
            largest, most = None, 2 * self._min_chunk_bytes - 1
            chunk: Chunk | None = self.first
            while chunk is not None and not self._closed and self._fruitless < MAX_FRUITLESS:
                if not chunk.taken:
                    chunk.taken = True
                    chunk.begun = chunk is self.first
                    return chunk
                left = chunk.end - chunk.read_to
                if chunk.begun and left > most:
                    largest, most = chunk, left
                chunk = chunk.next
            if chunk is not None or largest is None:
                return None
            new = self._insert_behind(largest, largest.end - most // 2)
            new.taken = True
            return new

    def _insert_behind(self, chunk: Chunk, at: int) -> Chunk:
        new = Chunk(chunk.end, chunk.stop)
        new.read_to = chunk.end = at
        new.previous, new.next = chunk, chunk.next
        if chunk.next is not None:
            chunk.next.previous = new
        chunk.next = new
        return new

    def _find_joint(self, chunk: Chunk) -> Joint | None:
        search = JointSearch(chunk.read_to, SEARCH_BYTES, self._patience(chunk.end - chunk.read_to))
        n_bytes = READ_BYTES
        while n_bytes <= MAX_READ_BYTES and not self._closed:
            start = search.comp_offset
            data = self._read_at(start, min(n_bytes, chunk.end - start))
            if search.feed(data) or start + len(data) == chunk.end:
                break
            n_bytes = READ_BYTES if search.comp_offset > start else 2 * n_bytes
        found = search.joint()
        return None if found is None else Joint(*found)

    def _patience(self, comp_bytes: int) -> int:
        """How many bytes to decode blindly for a chunk: no large part of it, and less where searches were in vain."""
        share = min(max(comp_bytes // PATIENCE_SHARE, LEAST_PATIENCE_BYTES), PATIENCE_BYTES)
        return min(share >> 2 * self._fruitless, comp_bytes)

    def _begin(self, chunk: Chunk, joint: Joint) -> bool:
        """Let the chunks before stop at the joint; False if it is too late for that, or too near to the end."""
        stopping = []
        before = chunk.previous
        while before is not None:
            stopping.append(before)
            if before.begun:
                break
            before = before.previous
        at = joint.bit >> 3
        if joint.bit >= chunk.stop or chunk.end - at < self._min_chunk_bytes // 2:
            return False
        if 8 * stopping[-1].read_to > joint.stop_bit:
            return False
        for before in stopping:
            before.stop = joint.stop_bit
        chunk.begun = True
        chunk.joint = joint
        chunk.read_to = at
        return True

    def _unlink(self, chunk: Chunk) -> None:
        before = chunk.previous
        assert before is not None
        before.end, before.next = chunk.end, chunk.next
        if chunk.next is not None:
            chunk.next.previous = before
