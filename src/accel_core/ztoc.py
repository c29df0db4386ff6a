"""zTOCs, what SOCI keeps of one layer: :func:`encode` gives a layer index as bytes, :func:`decode` the index again."""

from accel_core.checkpoints import WINDOW_BYTES
from accel_core.ztoc_decode import decode
from accel_core.ztoc_encode import encode

__all__ = ["CHECKPOINT_BYTES", "decode", "encode"]

CHECKPOINT_BYTES = 8 + 8 + 1 + WINDOW_BYTES  # of each: comp_offset, uncomp_offset, bits, window
