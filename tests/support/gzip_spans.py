"""Reading a gzip blob back through its checkpoints, one span at a time."""

from accel_core import inflate_span
from accel_core.gzip_index import GzipIndexed


def assert_every_span_inflates(index: GzipIndexed, blob: bytes, data: bytes) -> None:
    """Each span of ``blob``, inflated from its own bytes and window alone, is its part of ``data``."""
    points = index.checkpoints
    assert index.comp_size == len(blob)
    assert points.uncomp_offset[0] == 0
    uncomp_ends = [*points.uncomp_offset[1:], len(data)]
    # A span may need a byte of the next one: its last bits.
    comp_ends = [*points.comp_offset[1:], len(blob)]
    for i, (start, end) in enumerate(zip(points.uncomp_offset, uncomp_ends, strict=True)):
        comp = blob[points.span_start(i) : comp_ends[i]]
        assert inflate_span(comp, points.bits[i], points.window(i), end - start) == data[start:end], i
