"""One gzip layer indexed by several threads, with the result of one.

Threads take chunks of the compressed blob, the first from its start, the others from joints (``find_joint``), largest
first so that they end together. The caller's thread joins the chunks in order (``GzipChunk.absorb``): what does not
join is scanned again from the left, and after a few such failures nobody speculates any more. Results do not depend
on the number of threads, on the sizes of the chunks, or on luck.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from accel_core.errors import AccelError, TruncatedError
from accel_core.find_joint import find_joint
from accel_core.gzip_chunk import GzipChunk, OutOfStep

ReadAt = Callable[[int, int], bytes]

PIECE_BYTES = 1 << 20
MIN_CHUNK_BYTES = 8 << 20
SEARCH_BYTES = 1 << 20          # compressed bytes in which a joint must begin to show
JOINT_BYTES = (4 << 20, 16 << 20)   # compressed bytes read to find one: at first, and at most
MAX_FAILURES = 3
NO_STOP = (1 << 63) - 1

Joint = tuple[int, bytes | None]


class Stopped(AccelError):
    """A worker was told to stop. Never leaves the package."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """From ``joint`` (None: the start of the stream) to the bit ``stop`` (NO_STOP: its end)."""

    joint: Joint | None
    stop: int
    scan: "Future[GzipChunk]"


class Plan:
    """Hands out chunks from left to right, each with the joint where the next one begins."""

    def __init__(self, read_at: ReadAt, comp_size: int, threads: int, min_chunk_bytes: int) -> None:
        self._read_at = read_at
        self._comp_size = comp_size
        self._threads = threads
        self._min_chunk_bytes = min_chunk_bytes
        self._lock = threading.Lock()
        self._next: Joint | None = None
        self._over = False
        self._taken: deque[Chunk] = deque()     # and not joined yet
        self._changed = threading.Condition()

    def take(self) -> Chunk | None:
        """The next chunk; None when there is none left. Finding its end takes some milliseconds."""
        with self._lock:
            if self._over:
                return None
            start = self._next
            self._next = self._joint_after(0 if start is None else start[0] >> 3)
            chunk = Chunk(start, NO_STOP if self._next is None else self._next[0], Future())
            self._over = self._next is None
            with self._changed:     # still locked: they queue in the order of the stream
                self._taken.append(chunk)
                self._changed.notify_all()
        return chunk

    def in_order(self, workers: list["Future[None]"]) -> Iterator[Chunk]:
        """The chunks from left to right, as they are taken; the last one reaches the end of the stream."""
        stop = 0
        while stop != NO_STOP:
            with self._changed:
                while not self._taken and not all(worker.done() for worker in workers):
                    self._changed.wait()
            if not self._taken:
                for worker in workers:
                    worker.result()     # one of them could not go on: its error
            stop = self._taken[0].stop
            yield self._taken.popleft()     # nobody keeps it: its memory goes when it has been joined

    def worker_done(self, _: "Future[None]") -> None:
        """A worker takes no more chunks: who waits for one may have to stop waiting."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more."""
        with self._lock:
            self._over = True

    def _joint_after(self, start: int) -> Joint | None:
        """The joint that ends the chunk which starts at byte ``start``."""
        left = self._comp_size - start
        size = max(self._min_chunk_bytes, int(left / (1.5 * self._threads)))
        at = start + size
        while self._comp_size - at >= self._min_chunk_bytes:
            for n_bytes in JOINT_BYTES:
                joint = find_joint(self._read_at(at, min(n_bytes, self._comp_size - at)), 0, SEARCH_BYTES)
                if joint is not None:
                    return at * 8 + joint[0], joint[1]
            at += size
        return None


def scan_parallel(
    read_at: ReadAt,
    comp_size: int,
    *,
    threads: int,
    span_bytes: int,
    max_uncomp_bytes: int | None = None,
    min_chunk_bytes: int = MIN_CHUNK_BYTES,
    on_bytes: Callable[[int], object] | None = None,
) -> GzipChunk:
    """The finished scan of a gzip blob of ``comp_size`` bytes that ``read_at(offset, n)`` gives.

    Errors are those of a serial scan. ``on_bytes`` may be called from any thread.
    """
    max_uncomp = (1 << 62) if max_uncomp_bytes is None else max_uncomp_bytes
    stop = threading.Event()

    def run(scan: GzipChunk, stop_bit: int, may_stop: bool = False) -> GzipChunk:
        _scan_to(scan, stop_bit, read_at, comp_size, stop if may_stop else None, on_bytes)
        return scan

    def work() -> None:
        while not stop.is_set() and (chunk := plan.take()) is not None:
            try:
                chunk.scan.set_result(run(GzipChunk(span_bytes, max_uncomp, chunk.joint), chunk.stop, True))
            except BaseException as error:
                chunk.scan.set_exception(error)

    # A chunk must hold several checkpoints for its placement to fall into step.
    plan = Plan(read_at, comp_size, threads, max(min_chunk_bytes, 3 * span_bytes))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="accel-scan")
    try:
        workers = [pool.submit(work) for _ in range(threads)]
        for worker in workers:
            worker.add_done_callback(plan.worker_done)
        return _join(plan, workers, run, stop)
    except OutOfStep:
        stop.set()
        return run(GzipChunk(span_bytes, max_uncomp), NO_STOP)
    finally:
        stop.set()
        plan.close()
        pool.shutdown()


def _join(
    plan: Plan,
    workers: list["Future[None]"],
    run: Callable[[GzipChunk, int], GzipChunk],
    stop: threading.Event,
) -> GzipChunk:
    """Join the chunks from left to right; scan again what does not join."""
    master: GzipChunk | None = None
    failures = 0
    for chunk in plan.in_order(workers):
        if master is None:
            master = chunk.scan.result()
        elif not _absorbed(master, chunk):
            failures += 1
            if failures == MAX_FAILURES:
                plan.close()
                stop.set()
                return run(master, NO_STOP)
            run(master, chunk.stop)
    assert master is not None
    return master


def _absorbed(master: GzipChunk, chunk: Chunk) -> bool:
    try:
        return master.absorb(chunk.scan.result())
    except OutOfStep:
        raise
    except AccelError:      # perhaps of a false joint; if it is real, the scan from the left meets it too
        return False


def _scan_to(
    scan: GzipChunk,
    stop_bit: int,
    read_at: ReadAt,
    comp_size: int,
    stop: threading.Event | None,
    on_bytes: Callable[[int], object] | None,
) -> None:
    at = scan.comp_offset
    while at < comp_size:
        if stop is not None and stop.is_set():
            raise Stopped("another chunk failed")
        piece = read_at(at, min(PIECE_BYTES, comp_size - at))
        if not piece:
            raise TruncatedError("the blob became shorter while it was read", comp_offset=at)
        if scan.scan(piece, stop_bit):
            return
        at += len(piece)
        if on_bytes is not None:
            on_bytes(len(piece))
    scan.end()
