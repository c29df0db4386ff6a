"""Where inflate can resume."""

from dataclasses import dataclass

WINDOW_BYTES = 32768


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Resume points of one gzip layer, in stream order.

    zran convention: feed the top ``bits[i]`` bits of byte ``comp_offset[i] - 1``, then bytes from ``comp_offset[i]``.
    ``windows`` is n x 32768 bytes, row i the uncompressed bytes before ``uncomp_offset[i]``, oldest first, zeros in
    front where fewer exist.
    """

    comp_offset: tuple[int, ...]
    uncomp_offset: tuple[int, ...]
    bits: bytes
    windows: bytes | bytearray | memoryview

    def __len__(self) -> int:
        return len(self.bits)

    def window(self, i: int) -> memoryview:
        """The 32768 bytes before checkpoint ``i``."""
        return memoryview(self.windows)[i * WINDOW_BYTES : (i + 1) * WINDOW_BYTES]

    def span_start(self, i: int) -> int:
        """Compressed offset of the first byte needed to inflate span ``i`` (the shared byte included)."""
        return self.comp_offset[i] - (1 if self.bits[i] else 0)
