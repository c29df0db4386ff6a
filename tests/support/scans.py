"""A layer scanned once from its start, and in chunks by several threads: all that either says, to be compared."""

from accel_core import LayerScanner
from accel_core.checkpoints import Checkpoints
from accel_core.chunk_plan import ChunkPlan
from accel_core.entries import EntryTable
from accel_core.errors import AccelError
from accel_core.find_joint import JointSearch
from accel_core.parallel_scan import ScanJob, scan_in_chunks, scan_parallel

Said = tuple[object, ...]       # facts, or the error's type and text


def _facts(checkpoints: Checkpoints, entries: EntryTable, *numbers: int) -> Said:
    windows = [bytes(checkpoints.window(i)) for i in range(len(checkpoints))]
    return (checkpoints.comp_offset, checkpoints.uncomp_offset, checkpoints.bits, windows, list(entries), *numbers)


def said_by_one_scan(blob: bytes, *, span_bytes: int, max_uncomp_bytes: int | None = None) -> Said:
    scanner = LayerScanner(
        compression="gzip", span_bytes=span_bytes, max_uncomp_bytes=max_uncomp_bytes, digest=False, span_digests=False
    )
    try:
        scanner.feed(blob)
        index = scanner.finish()
    except AccelError as error:
        return type(error), str(error)
    return _facts(
        index.checkpoints, index.entries, index.archive_size, index.uncomp_size, index.members, index.trailing_bytes
    )


def said_by_threads(
    blob: bytes,
    threads: int,
    *,
    span_bytes: int,
    min_chunk_bytes: int,
    max_uncomp_bytes: int | None = None,
    in_order: bool = False,
) -> Said:
    """By so many threads; ``in_order`` by none, but with so many chunks (which makes it the same every time)."""
    job = ScanJob(lambda at, n: blob[at : at + n], len(blob), span_bytes, max_uncomp_bytes=max_uncomp_bytes)
    try:
        if in_order:
            scan = scan_in_chunks(job, n_chunks=threads, min_chunk_bytes=min_chunk_bytes)
        else:
            scan = scan_parallel(job, threads=threads, min_chunk_bytes=min_chunk_bytes)
        return _facts(*scan.result())
    except AccelError as error:
        return type(error), str(error)


def planned_joints(blob: bytes, n_chunks: int, min_chunk_bytes: int) -> list[int]:
    """Bits at which so many chunks begin, the first one left out."""
    plan = ChunkPlan(lambda at, n: blob[at : at + n], len(blob), threads=n_chunks, min_chunk_bytes=min_chunk_bytes)
    chunks = [plan.take() for _ in range(n_chunks)]
    return [chunk.joint.bit for chunk in chunks if chunk is not None and chunk.joint is not None]


def joint_in(blob: bytes, start: int = 0) -> tuple[int, bytes | None] | None:
    """The first joint behind ``start``: its bit, and its window unless it is a member's start."""
    search = JointSearch(start, len(blob), 4 * len(blob))
    search.feed(blob[start:])
    found = search.joint()
    return None if found is None else found[:2]
