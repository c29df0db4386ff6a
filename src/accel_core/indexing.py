"""``accel_core.index``: a layer from wherever it is, to its index."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Literal, Protocol

from typing_extensions import Buffer

from accel_core.chunk_plan import ReadAt
from accel_core.errors import FormatError, LimitError
from accel_core.gzip_chunk import GzipChunk
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import DEFAULT_SPAN_BYTES, LayerScanner
from accel_core.parallel_scan import MIN_CHUNK_BYTES, ScanJob, scan_parallel
from accel_core.range_digests import SIDE_BY_SIDE, range_digests
from accel_core.window_use import WINDOW_USE_BYTES, WindowUse

PIECE_BYTES = 1 << 20


class Readable(Protocol):
    """A binary file, pipe or response."""

    def read(self, n_bytes: int, /) -> bytes:
        """Up to ``n_bytes``; empty at the end."""


Source = str | os.PathLike[str] | Readable | Iterable[Buffer]


def index(
    source: Source,
    *,
    compression: Literal["auto", "gzip", "tar"] = "auto",
    span_bytes: int = DEFAULT_SPAN_BYTES,
    placement: Literal["adaptive", "soci"] = "adaptive",
    digest: bool = True,
    span_digests: bool = True,
    sparse_windows: bool = False,
    diff_id: bool = False,
    max_uncomp_bytes: int | None = None,
    threads: int = 1,
    blob: str | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> LayerIndex:
    """Index a layer blob in one pass: a path, a binary file object, or pieces of any size.

    ``on_bytes`` is called with the number of compressed bytes done since the last call; what it raises stops the work.
    ``blob`` names the layer in errors (default: the path). With ``threads`` > 1 a gzip layer at a path is scanned in
    chunks, if it is large enough, its placement is adaptive and no diffID is asked for (``on_bytes`` is then called
    from any thread); the result is the same. The other options are those of ``LayerScanner``, and so are the errors;
    OSError if the path cannot be read.
    """
    if blob is None and isinstance(source, str | os.PathLike):
        blob = os.fspath(source)
    try:
        if threads > 1 and isinstance(source, str | os.PathLike) and placement == "adaptive" and not diff_id:
            with open(source, "rb", buffering=0) as file:
                comp_size = os.fstat(file.fileno()).st_size
                read_at = _reader(file.fileno())
                if comp_size >= 2 * MIN_CHUNK_BYTES and compression != "tar" and read_at(0, 2) == b"\x1f\x8b":
                    return index_parallel(
                        read_at,
                        comp_size,
                        threads=threads,
                        span_bytes=span_bytes,
                        digest=digest,
                        span_digests=span_digests,
                        sparse_windows=sparse_windows,
                        max_uncomp_bytes=max_uncomp_bytes,
                        on_bytes=on_bytes,
                    )
        scanner = LayerScanner(
            compression=compression,
            span_bytes=span_bytes,
            placement=placement,
            digest=digest,
            span_digests=span_digests,
            sparse_windows=sparse_windows,
            diff_id=diff_id,
            max_uncomp_bytes=max_uncomp_bytes,
        )
        for piece in _pieces(source):
            scanner.feed(piece)
            if on_bytes is not None:
                on_bytes(memoryview(piece).nbytes)
        return scanner.finish()
    except (FormatError, LimitError) as error:
        error.blob = error.blob or blob
        raise


def n_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def index_parallel(
    read_at: ReadAt,
    comp_size: int,
    *,
    threads: int,
    pool: Executor | None = None,
    span_bytes: int = DEFAULT_SPAN_BYTES,
    digest: bool = True,
    span_digests: bool = True,
    sparse_windows: bool = False,
    max_uncomp_bytes: int | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> LayerIndex:
    """The index of a gzip layer of ``comp_size`` bytes that ``read_at(offset, n_bytes)`` gives, made by ``threads``.

    ``read_at`` and ``on_bytes`` are called from any thread. ``pool`` lends the threads; several layers may share it,
    and the one that asked first is served first. Same result and errors as ``index``.
    """
    job = ScanJob(read_at, comp_size, span_bytes, max_uncomp_bytes, on_bytes)
    with nullcontext(pool) if pool is not None else ThreadPoolExecutor(threads, "accel-index") as lent:
        stop = threading.Event()
        blob_digest = lent.submit(range_digests, read_at, [(0, comp_size)], stop) if digest else None
        try:
            scan = scan_parallel(job, threads=threads, pool=lent)
            checkpoints, entries, archive_size, uncomp_size, members, trailing_bytes = scan.result()
            index = LayerIndex(
                compression="gzip",
                comp_size=comp_size,
                uncomp_size=uncomp_size,
                archive_size=archive_size,
                span_bytes=span_bytes,
                checkpoints=checkpoints,
                span_digests=(),
                entries=entries,
                digest=blob_digest.result()[0] if blob_digest is not None else None,
                members=members,
                trailing_bytes=trailing_bytes,
            )
            spans = range(len(checkpoints))
            if sparse_windows:
                shares = [spans[first::threads] for first in range(threads)]
                list(lent.map(partial(_sparsify, read_at, scan, index), shares))
            if span_digests:
                ranges = [index.span_comp(span) for span in spans]
                groups = [ranges[first : first + SIDE_BY_SIDE] for first in range(0, len(ranges), SIDE_BY_SIDE)]
                index = replace(index, span_digests=tuple(chain(*lent.map(partial(range_digests, read_at), groups))))
            return index
        finally:
            stop.set()
            if blob_digest is not None:
                blob_digest.cancel()


def _sparsify(read_at: ReadAt, scan: GzipChunk, index: LayerIndex, spans: Iterable[int]) -> None:
    use = WindowUse()
    for span in spans:
        start = index.checkpoints.span_start(span)
        n_bytes = min(WINDOW_USE_BYTES, index.comp_size - start)
        scan.sparsify(span, use, read_at(start, n_bytes))


def _reader(fd: int) -> ReadAt:
    return lambda offset, n_bytes: os.pread(fd, n_bytes, offset)


def _pieces(source: Source) -> Iterator[Buffer]:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb", buffering=0) as file:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")
    elif hasattr(source, "read"):
        yield from iter(lambda: source.read(PIECE_BYTES), b"")
    else:
        yield from source
