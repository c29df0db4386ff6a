"""Other people's gzip decoders and index builders, each as a call over a layer: those of ``accel bench``.

libdeflate is the library that ``ACCEL_BENCH_LIBDEFLATE`` names, else the one that ``setup.py`` built, else the
system's, which may be old.
"""

import os
from functools import cache

import programs

from accel.bench import decoders as known
from accel.bench.builders import BUILDERS
from accel.bench.builders import SPACING as SPACING
from accel.bench.builders import index_builders as index_builders
from accel.bench.decoders import PIECE_BYTES as PIECE_BYTES
from accel.bench.decoders import streaming as streaming
from accel.bench.peers import module as module
from accel.bench.timing import Call as Call

BUILT, BUILT_VERSION = programs.newest_libdeflate()
LIBDEFLATE = os.environ.get("ACCEL_BENCH_LIBDEFLATE") or BUILT


class Libdeflate(known.Libdeflate):
    """libdeflate over ctypes."""

    def __init__(self) -> None:
        super().__init__(LIBDEFLATE)


def decoders(blob: bytes, n_out: int) -> dict[str, Call]:
    """Inflate and check the CRC; nothing is kept. What is not installed is left out."""
    return known.decoders(blob, n_out, LIBDEFLATE)


@cache
def versions() -> dict[str, str]:
    """Version of each peer that is installed, by the name of its rows."""
    found = {one.label: one.peer.version() for one in (*known.known_decoders(LIBDEFLATE), *BUILDERS)}
    found["rapidgzip -P1"] = found["rapidgzip"]
    if BUILT and LIBDEFLATE == BUILT:
        found["libdeflate"] = BUILT_VERSION
    return {label: version for label, version in found.items() if version}
