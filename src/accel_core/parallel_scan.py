"""One gzip layer indexed by several threads, with the result of one.

Threads take chunks of the compressed blob (``chunk_plan``), the first from its start, the others from joints. The
caller's thread joins the chunks in order (``GzipChunk.absorb``): what does not join is scanned again from the left, and
after a few such failures nobody speculates any more. Results do not depend on the number of threads, on where the
chunks begin, or on luck.

Memory: the index, a megabyte or two for each thread that scans, and for each chunk that is not joined yet what was
decoded blindly before it: 13 MiB on average, at most ``2 * PATIENCE_BYTES`` (48 MiB). There are about as many chunks as
threads.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from accel_core.chunk_plan import NO_STOP, Chunk, ChunkPlan, ReadAt
from accel_core.errors import AccelError, TruncatedError
from accel_core.gzip_chunk import GzipChunk

PIECE_BYTES = 1 << 20
MIN_CHUNK_BYTES = 4 << 20
MAX_FAILURES = 2


class Stopped(AccelError):
    """A worker was told to stop. Never leaves the package."""


@dataclass(frozen=True, slots=True)
class ScanJob:
    """What is scanned, and how; as in ``accel_core.index``. ``read_at`` and ``on_bytes`` are called from any thread."""

    read_at: ReadAt
    comp_size: int
    span_bytes: int
    max_uncomp_bytes: int | None = None
    on_bytes: Callable[[int], object] | None = None


def scan_parallel(
    job: ScanJob, *, threads: int, pool: Executor | None = None, min_chunk_bytes: int = MIN_CHUNK_BYTES
) -> GzipChunk:
    """The finished scan of a gzip blob.

    Errors are those of a serial scan. ``pool`` lends its threads, up to ``threads``; without it they are started here.
    """
    scan = _Scan(job, threads, min_chunk_bytes)
    with nullcontext(pool) if pool is not None else ThreadPoolExecutor(threads, "accel-scan") as lent:
        return scan.run(lent, threads)


def scan_in_chunks(
    job: ScanJob, *, n_chunks: int, min_chunk_bytes: int = MIN_CHUNK_BYTES
) -> GzipChunk:
    """As ``scan_parallel`` would with chunks that all begin together, one after the other in the caller's thread.

    Where the chunks begin depends on nothing but the blob: for tests, and to count what speculation costs.
    """
    return _Scan(job, n_chunks, min_chunk_bytes).run_in_order(n_chunks)


class _Scan:
    def __init__(self, job: ScanJob, threads: int, min_chunk_bytes: int) -> None:
        self._job = job
        # A chunk must hold several checkpoints for its placement to fall into step.
        min_chunk_bytes = max(min_chunk_bytes, job.span_bytes)
        self._plan = ChunkPlan(job.read_at, job.comp_size, threads=threads, min_chunk_bytes=min_chunk_bytes)
        self._stop = threading.Event()
        self._max_uncomp = (1 << 62) if job.max_uncomp_bytes is None else job.max_uncomp_bytes

    def run(self, pool: Executor, threads: int) -> GzipChunk:
        workers: list[Future[None]] = []
        try:
            workers += [pool.submit(self._work) for _ in range(threads)]
            return self._join()
        finally:
            self._stop.set()
            self._plan.close()
            wait([worker for worker in workers if not worker.cancel()])

    def run_in_order(self, n_chunks: int) -> GzipChunk:
        for chunk in [self._plan.take() for _ in range(n_chunks)]:
            if chunk is not None:
                self._scan(chunk)
        return self._join()

    def _work(self) -> None:
        while not self._stop.is_set() and (chunk := self._plan.take()) is not None:
            self._scan(chunk)

    def _scan(self, chunk: Chunk) -> None:
        try:
            joint = None if chunk.joint is None else (chunk.joint.bit, chunk.joint.window)
            scan = GzipChunk(self._job.span_bytes, self._max_uncomp, joint)
            self._scan_to(scan, partial(self._next_stop, chunk))
            chunk.scan.set_result(scan)
        except BaseException as error:
            self._plan.give_up(chunk)
            chunk.scan.set_exception(error)

    def _next_stop(self, chunk: Chunk, upto: int) -> int:
        if self._stop.is_set():
            raise Stopped("another chunk failed")
        return self._plan.read_on(chunk, upto)

    def _join(self) -> GzipChunk:
        """Join the chunks from left to right; scan again what does not join."""
        chunk = self._plan.first
        master = chunk.scan.result()
        failures = 0
        while (following := self._plan.after(chunk)) is not None:
            if not self._absorbed(master, following):
                failures += 1
                if failures == MAX_FAILURES:
                    self._stop.set()
                    self._scan_to(master, lambda upto: NO_STOP)
                    return master
                self._scan_to(master, partial(self._plan.read_on, following))
            chunk = following
            chunk.scan, chunk.joint = Future(), None    # their memory goes when they have been joined
        return master

    def _absorbed(self, master: GzipChunk, chunk: Chunk) -> bool:
        try:
            right = chunk.scan.result()
        except AccelError:      # perhaps of a false joint; if it is real, the scan from the left meets it too
            return False
        prefix = chunk.joint.prefix if chunk.joint is not None else None
        if prefix is not None:
            before = master.comp_offset
            if not master.replay(prefix):
                return False
            if self._job.on_bytes is not None:
                self._job.on_bytes(master.comp_offset - before)
        return master.absorb(right)

    def _scan_to(self, scan: GzipChunk, stop_before: Callable[[int], int]) -> None:
        """Scan on to the bit ``stop_before(end of the next piece)``, or to the end of the blob."""
        job = self._job
        at = scan.comp_offset
        while at < job.comp_size:
            stop_bit = stop_before(min(at + PIECE_BYTES, job.comp_size))
            piece = job.read_at(at, min(PIECE_BYTES, job.comp_size - at))
            if not piece:
                raise TruncatedError("the blob became shorter while it was read", comp_offset=at)
            if scan.scan(piece, stop_bit):
                break
            at += len(piece)
            if job.on_bytes is not None:
                job.on_bytes(len(piece))
        else:
            scan.end()
