"""A layer scanned once from its start, and in chunks by several threads: all that either says, to be compared."""

from accel_core import LayerScanner
from accel_core.checkpoints import Checkpoints
from accel_core.entries import EntryTable
from accel_core.errors import AccelError
from accel_core.parallel_scan import Plan, scan_parallel

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
    blob: bytes, threads: int, *, span_bytes: int, min_chunk_bytes: int, max_uncomp_bytes: int | None = None
) -> Said:
    try:
        scan = scan_parallel(
            lambda at, n: blob[at : at + n], len(blob), threads=threads, span_bytes=span_bytes,
            min_chunk_bytes=min_chunk_bytes, max_uncomp_bytes=max_uncomp_bytes,
        )  # fmt: skip
        return _facts(*scan.result())
    except AccelError as error:
        return type(error), str(error)


def planned_joints(blob: bytes, threads: int, min_chunk_bytes: int) -> list[int]:
    """Bits at which the chunks of such a scan begin, the first one left out."""
    plan = Plan(lambda at, n: blob[at : at + n], len(blob), threads, min_chunk_bytes)
    joints = []
    while (chunk := plan.take()) is not None:
        joints += [chunk.joint[0]] if chunk.joint is not None else []
    return joints
