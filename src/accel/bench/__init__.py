"""accel beside its peers, on the user's own layer and machine.

::

    layer       a file, an image's largest gzip layer, or one made here (synthetic)
    peers       who there is: versions, how to get them      decoders, builders   their calls
    contenders  all calls of a run: accel's and theirs        checksums            CRC-32
    timing      interleaved rounds                            counters             cycles
    stages      cost of each stage a byte                     sizes                index files
    run         -> report -> plot                             machine              what was measured on

Nothing is installed or downloaded but the layer; what is missing is reported.
"""

from accel.bench.layer import (
    QUICK_BYTES,
    SYNTHETIC_BYTES,
    BenchLayer,
    file_layer,
    image_layer,
    is_file_name,
    synthetic_layer,
    work_folder,
)
from accel.bench.machine import Machine, describe_machine
from accel.bench.options import GROUPS, BenchOptions, Group, thread_counts
from accel.bench.report import BenchReport, IndexSize, PeerState, Row
from accel.bench.run import run_bench
from accel.bench.stages import Stage

__all__ = [
    "GROUPS",
    "QUICK_BYTES",
    "SYNTHETIC_BYTES",
    "BenchLayer",
    "BenchOptions",
    "BenchReport",
    "Group",
    "IndexSize",
    "Machine",
    "PeerState",
    "Row",
    "Stage",
    "describe_machine",
    "file_layer",
    "image_layer",
    "is_file_name",
    "run_bench",
    "synthetic_layer",
    "thread_counts",
    "work_folder",
]
