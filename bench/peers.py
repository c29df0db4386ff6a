"""Other people's gzip decoders and index builders, each as a call over a layer: those of ``accel bench``.

``ACCEL_BENCH_LIBDEFLATE`` names a library to take instead of the installed one, which may be old.
"""

import os

from accel.bench import decoders as known
from accel.bench.builders import SPACING as SPACING
from accel.bench.builders import index_builders as index_builders
from accel.bench.decoders import PIECE_BYTES as PIECE_BYTES
from accel.bench.decoders import streaming as streaming
from accel.bench.peers import module as module
from accel.bench.timing import Call as Call

LIBDEFLATE = os.environ.get("ACCEL_BENCH_LIBDEFLATE")


class Libdeflate(known.Libdeflate):
    """libdeflate over ctypes."""

    def __init__(self) -> None:
        super().__init__(LIBDEFLATE)


def decoders(blob: bytes, n_out: int) -> dict[str, Call]:
    """Inflate and check the CRC; nothing is kept. What is not installed is left out."""
    return known.decoders(blob, n_out, LIBDEFLATE)
