"""zTOCs, what SOCI keeps of one layer: :func:`encode` gives a layer index as bytes, :func:`decode` the index again."""

from accel_core.ztoc_decode import decode
from accel_core.ztoc_encode import encode

__all__ = ["decode", "encode"]
