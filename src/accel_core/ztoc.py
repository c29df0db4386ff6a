"""zTOCs, what SOCI keeps of one layer: :func:`encode` gives the bytes of a layer index, :func:`decode` the index again."""

from accel_core.ztoc_decode import decode
from accel_core.ztoc_encode import encode

__all__ = ["decode", "encode"]
