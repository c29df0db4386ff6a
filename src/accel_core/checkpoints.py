"""Where inflate can resume."""

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_BYTES = 32768


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Resume points of one gzip layer, in stream order.

    zran convention: feed the top ``bits[i]`` bits of byte ``comp_offset[i] - 1``, then bytes from ``comp_offset[i]``.
    ``windows`` is n x 32768 bytes; row ``rows[i]`` (row i without ``rows``) the uncompressed bytes before
    ``uncomp_offset[i]``, oldest first, zeros in front where fewer exist. ``rows[i]`` is -1 where none of them is
    needed. A *sparse* window has zeros also for the bytes that nothing behind the checkpoint refers to.
    """

    comp_offset: Sequence[int]
    uncomp_offset: Sequence[int]
    bits: bytes
    windows: bytes | bytearray | memoryview
    rows: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.bits)

    def window(self, i: int) -> memoryview:
        """The 32768 bytes before checkpoint ``i``; empty if none are needed."""
        row = i if self.rows is None else self.rows[i]
        if row < 0:
            return memoryview(b"")
        return memoryview(self.windows)[row * WINDOW_BYTES : (row + 1) * WINDOW_BYTES]

    def span_start(self, i: int) -> int:
        """Compressed offset of the first byte needed to inflate span ``i`` (the shared byte included)."""
        return self.comp_offset[i] - (1 if self.bits[i] else 0)
