"""Are sparse windows those bytes that are needed, and no others?"""

from typing import Literal

from accel_core import index, inflate_span
from accel_core.checkpoints import WINDOW_BYTES
from accel_core.window_use import WINDOW_USE_BYTES, WindowUse


def window_fault(blob: bytes, tar: bytes, span_bytes: int, placement: Literal["adaptive", "soci"]) -> str | None:
    """What is wrong with a sparse window of the layer; None if each span inflates whatever stands for what is gone."""
    full, sparse = (
        index([blob], span_bytes=span_bytes, placement=placement, sparse_windows=sparse_windows)
        for sparse_windows in (False, True)
    )
    points = sparse.checkpoints
    if points.comp_offset != full.checkpoints.comp_offset:
        return "sparse windows move checkpoints"
    for i in range(sparse.n_spans):
        (comp_start, comp_end), (start, end) = sparse.span_comp(i), sparse.span_uncomp(i)
        used = bytearray(b"\xff") * WINDOW_BYTES
        WindowUse().sparsify(blob[comp_start : comp_start + WINDOW_USE_BYTES], points.bits[i], used)
        kept = bytes(points.window(i)) or bytes(WINDOW_BYTES)
        if _number(kept) != _number(full.checkpoints.window(i)) & _number(used):
            return f"window {i} is not what is used"
        gone = _number(b"\xaa" * WINDOW_BYTES) & ~_number(used)
        poisoned = (_number(kept) | gone).to_bytes(WINDOW_BYTES, "little")
        end = end if i + 1 < sparse.n_spans else len(tar)
        if inflate_span(blob[comp_start:comp_end], points.bits[i], poisoned, end - start) != tar[start:end]:
            return f"span {i} needs bytes that its sparse window lacks"
    return None


def _number(window: bytes | bytearray | memoryview) -> int:
    return int.from_bytes(window, "little")
