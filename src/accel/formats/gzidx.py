"""GZIDX, the index of indexed_gzip; rapidgzip reads and writes it too.

::

    off  size
    0    5       "GZIDX"
    5    1       version: 1; 0 before indexed_gzip 1.6
    6    1       flags: 0
    7    8       compressed size
    15   8       uncompressed size; 0: not known
    23   4       spacing of the points, in uncompressed bytes
    27   4       window size, at least 32768
    31   4       number of points
    35   18 each points: u64 compressed offset, u64 uncompressed offset, u8 bits, u8 window follows (not in version 0)
    …            the windows, in order; in version 0 of all points but the first

Integers are little endian. A point where a member begins has no window; indexed_gzip takes bits into account only for
points that have one. It reads without scanning again up to its last point, hence one at the end of the blob. Source:
``zran_export_index`` and ``zran_import_index`` in indexed_gzip's zran.c.
"""

import struct
from array import array
from collections.abc import Iterator
from itertools import accumulate

from typing_extensions import Buffer

from accel.errors import FormatError, TruncatedError
from accel_core.checkpoints import WINDOW_BYTES, Checkpoints
from accel_core.gzip_index import GzipIndex, GzipIndexed, checked

_MAGIC = b"GZIDX"
_HEADER = struct.Struct("<5sBBQQIII")
_POINTS = (struct.Struct("<QQB"), struct.Struct("<QQBB"))  # by version
_MAX_SPACING = 64 << 20  # indexed_gzip allocates four times as much when it reads


def encode(index: GzipIndexed) -> Iterator[bytes | memoryview]:
    """``index`` as GZIDX version 1, in pieces."""
    points = index.checkpoints
    n = len(points)
    uncomp_size = index.uncomp_size or 0
    windows = [points.window(i) if points.uncomp_offset[i] else memoryview(b"") for i in range(n)]
    rows = [
        (points.comp_offset[i], points.uncomp_offset[i], points.bits[i], bool(windows[i] or points.bits[i]))
        for i in range(n)
    ]
    if uncomp_size > points.uncomp_offset[-1]:
        rows.append((index.comp_size, uncomp_size, 0, False))
    spacing = min(max(uncomp_size // n, WINDOW_BYTES), _MAX_SPACING)
    yield _HEADER.pack(_MAGIC, 1, 0, index.comp_size, uncomp_size, spacing, WINDOW_BYTES, len(rows))
    yield b"".join(_POINTS[1].pack(*row) for row in rows)
    for window, bits in zip(windows, points.bits, strict=True):
        if window:
            yield window
        elif bits:
            yield bytes(WINDOW_BYTES)


def decode(data: Buffer, *, comp_size: int) -> GzipIndex:
    """The index in ``data``, of a blob of ``comp_size`` bytes. Its windows are those in ``data``, not copied.

    Raises FormatError (TruncatedError) for what is no such index, or one of another blob.
    """
    view = memoryview(data).cast("B")
    if bytes(view[:5]) != _MAGIC:
        raise FormatError("not a GZIDX index")
    if len(view) < _HEADER.size:
        raise TruncatedError(f"a GZIDX index has at least {_HEADER.size} bytes, not {len(view)}")
    _, version, _, own_comp_size, uncomp_size, _, window_bytes, n = _HEADER.unpack_from(view)
    if version > 1:
        raise FormatError(f"GZIDX version {version} is not known")
    if own_comp_size != comp_size:
        raise FormatError(f"the GZIDX index is of a blob of {own_comp_size} bytes, not {comp_size}")
    if window_bytes < WINDOW_BYTES:
        raise FormatError(f"not a usable GZIDX index: windows of {window_bytes} bytes")
    windows_at = _HEADER.size + n * _POINTS[version].size
    if len(view) < windows_at:
        raise TruncatedError(f"the GZIDX index ends within its {n} points")
    comp_offset, uncomp_offset, bits, has_window = _columns(view[_HEADER.size : windows_at], version)
    windows = view[windows_at:]
    if len(windows) != sum(has_window) * window_bytes:
        raise TruncatedError(f"the GZIDX index has {len(windows)} bytes for {sum(has_window)} windows")
    rows = array("q", (n - 1 if has else -1 for n, has in zip(accumulate(has_window), has_window, strict=True)))
    points = Checkpoints(comp_offset, uncomp_offset, bits, _last_32_kib(windows, window_bytes), rows)
    return checked(GzipIndex(points, comp_size, uncomp_size or None))


def _columns(points: memoryview, version: int) -> tuple["array[int]", "array[int]", bytes, bytes]:
    """Compressed offsets, uncompressed offsets, bits, and 1 where a window follows."""
    layout = _POINTS[version]
    comp_offset = array("Q", (row[0] for row in layout.iter_unpack(points)))
    uncomp_offset = array("Q", (row[1] for row in layout.iter_unpack(points)))
    bits = bytes(row[2] for row in layout.iter_unpack(points))
    if version == 0:
        return comp_offset, uncomp_offset, bits, (b"\0" + b"\1" * len(bits))[: len(bits)]
    return comp_offset, uncomp_offset, bits, bytes(row[3] != 0 for row in layout.iter_unpack(points))


def _last_32_kib(windows: memoryview, window_bytes: int) -> memoryview | bytes:
    if window_bytes == WINDOW_BYTES:
        return windows
    ends = range(window_bytes, len(windows) + 1, window_bytes)
    return b"".join(windows[end - WINDOW_BYTES : end] for end in ends)
