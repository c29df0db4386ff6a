"""The compact index: all of a layer's index in one small file, of which a reader loads only what it needs.

::

    header │ sections, each one zstd frame, back to back
    ───────┼──────────────┬──────────────┬──────────────────────────┬─────────────────────────────────────
    sizes  │ checkpoints  │ span digests │ entries: 17 columns      │ windows: groups of 16
    counts │              │              │ kinds, times, names, …   │ runs 0 │ bytes 0 │ runs 1 │ bytes 1 …
    digest of every section

:func:`encode` and :func:`decode` are exact: what goes in comes out. :func:`open_compact` reads the header; checkpoints,
entries and windows follow when they are asked for. ``docs/compact-format.md`` has the bytes.
"""

from accel.formats.compact.encode import encode
from accel.formats.compact.header import MAGIC
from accel.formats.compact.index import DEFAULT_MAX_BYTES, CompactIndex, decode, open_compact

__all__ = ["DEFAULT_MAX_BYTES", "MAGIC", "CompactIndex", "decode", "encode", "open_compact"]
