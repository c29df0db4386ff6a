"""Kernels: bytes in, indexes and bytes out. Knows layers, not images."""

from accel_core.checkpoints import Checkpoints
from accel_core.entries import EntryTable
from accel_core.entry import Entry
from accel_core.errors import AccelError, FormatError, LimitError, TruncatedError, UnsupportedError
from accel_core.indexed_file import IndexedFile, open_indexed
from accel_core.indexed_reader import IndexedReader
from accel_core.indexing import index, index_parallel, n_cpus
from accel_core.inflate_at import inflate_span
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import DEFAULT_SPAN_BYTES, LayerScanner

__all__ = [
    "DEFAULT_SPAN_BYTES",
    "AccelError",
    "Checkpoints",
    "Entry",
    "EntryTable",
    "FormatError",
    "IndexedFile",
    "IndexedReader",
    "LayerIndex",
    "LayerScanner",
    "LimitError",
    "TruncatedError",
    "UnsupportedError",
    "index",
    "index_parallel",
    "inflate_span",
    "n_cpus",
    "open_indexed",
]
