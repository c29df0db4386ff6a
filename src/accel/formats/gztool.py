"""gztool's index (.gzi); rapidgzip reads and writes it too.

::

    8   zeros: bgzip takes it for an empty index of its own
    8   "gzipindx" version 0, or "gzipindX" version 1: with line numbers
    4   (version 1) what ends a line: 0 "\\n", 1 "\\r"
    8   number of points n                                          0 while the index grows
    8   the same                                                    while it grows: points so far, 2^64 - 1 for none
    n times:
      8   uncompressed offset
      8   compressed offset
      4   bits
      4   size of the window as stored; 0: no window
      …   the window, a zlib stream of up to 32768 bytes
      8   (version 1) number of the line, from 1
    8   uncompressed size                                           not while it grows
    8   (version 1) number of lines                                 not while it grows

Integers are big endian. The compressed size is not stored. Source: ``serialize_index_to_file`` and
``deserialize_index_from_file`` in gztool.c.
"""

import struct
import zlib
from array import array
from collections.abc import Iterator

from typing_extensions import Buffer

from accel.errors import FormatError, LimitError, TruncatedError, UnsupportedError
from accel_core.checkpoints import WINDOW_BYTES, Checkpoints
from accel_core.gzip_index import GzipIndex, GzipIndexed, checked

_MAGICS = (bytes(8) + b"gzipindx", bytes(8) + b"gzipindX")  # by version
_COUNTS = struct.Struct(">QQ")
_POINT = struct.Struct(">QQII")
_U64 = struct.Struct(">Q")
_NO_POINTS_YET = (1 << 64) - 1
_LEVEL = 1  # sparse windows: 0.10 ms each, 0.25 ms at level 6, which saves an eighth

MAX_WINDOW_BYTES = 1 << 30


def encode(index: GzipIndexed) -> Iterator[bytes]:
    """``index`` as gztool's version 0, in pieces."""
    if index.uncomp_size is None:
        raise UnsupportedError("a gztool index needs the uncompressed size")
    return _pieces(index.checkpoints, index.uncomp_size)


def _pieces(points: Checkpoints, uncomp_size: int) -> Iterator[bytes]:
    yield _MAGICS[0] + _COUNTS.pack(len(points), len(points))
    for i, (comp_offset, uncomp_offset, bits) in enumerate(
        zip(points.comp_offset, points.uncomp_offset, points.bits, strict=True)
    ):
        window = points.window(i) if uncomp_offset else b""
        stored = zlib.compress(window, _LEVEL) if window else b""
        yield _POINT.pack(uncomp_offset, comp_offset, bits, len(stored)) + stored
    yield _U64.pack(uncomp_size)


def decode(data: Buffer, *, comp_size: int, max_window_bytes: int = MAX_WINDOW_BYTES) -> GzipIndex:
    """The index in ``data``, of a blob of ``comp_size`` bytes. Line numbers are left out.

    Raises FormatError (TruncatedError) for what is no such index, or cannot be one of that blob, and LimitError where
    its windows would take more than ``max_window_bytes``.
    """
    reader = _Reader(memoryview(data).cast("B"))
    magic = bytes(reader.take(len(_MAGICS[0])))
    if magic not in _MAGICS:
        raise FormatError("not a gztool index")
    with_lines = magic == _MAGICS[1]
    if with_lines:
        reader.take(4)
    n, expected = reader.numbers(_COUNTS)
    complete = n == expected
    if not complete:
        n = 0 if expected == _NO_POINTS_YET else expected
    comp_offset, uncomp_offset, bits = array("Q"), array("Q"), bytearray()
    windows, rows = bytearray(), array("q")
    for _ in range(n):
        out, comp, n_bits, stored_bytes = reader.numbers(_POINT)
        comp_offset.append(comp)
        uncomp_offset.append(out)
        bits.append(min(n_bits, 255))
        rows.append(len(windows) // WINDOW_BYTES if stored_bytes else -1)
        if stored_bytes:
            if len(windows) + WINDOW_BYTES > max_window_bytes:
                raise LimitError("the windows of the gztool index take too much memory", limit=max_window_bytes)
            windows += _window(reader.take(stored_bytes), reader.at)
        if with_lines:
            reader.numbers(_U64)
    uncomp_size = None
    if complete:
        uncomp_size = reader.numbers(_U64)[0]
        reader.end(8 if with_lines else 0)
    points = Checkpoints(comp_offset, uncomp_offset, bytes(bits), windows, rows)
    return checked(GzipIndex(points, comp_size, uncomp_size))


def _window(stored: memoryview, end: int) -> bytes:
    """The 32768 bytes that are ``stored`` before byte ``end`` of the index, zeros in front."""
    inflate = zlib.decompressobj()
    try:
        window = inflate.decompress(stored, WINDOW_BYTES + 1)
    except zlib.error as error:
        raise FormatError(f"not a usable gztool index: window before byte {end}: {error}") from error
    if len(window) > WINDOW_BYTES or not inflate.eof or inflate.unused_data:
        raise FormatError(f"not a usable gztool index: the window before byte {end} is none")
    return window.rjust(WINDOW_BYTES, b"\0")


class _Reader:
    """Reads on in ``data``; TruncatedError where that ends."""

    def __init__(self, data: memoryview) -> None:
        self.at = 0
        self._data = data

    def take(self, n_bytes: int) -> memoryview:
        if n_bytes > len(self._data) - self.at:
            raise TruncatedError(f"the gztool index ends early: {n_bytes} bytes wanted at byte {self.at}")
        self.at += n_bytes
        return self._data[self.at - n_bytes : self.at]

    def end(self, n_bytes: int) -> None:
        """Nothing may follow but ``n_bytes``."""
        self.take(n_bytes)
        if self.at != len(self._data):
            raise FormatError(f"not a usable gztool index: it goes on at byte {self.at}")

    def numbers(self, what: struct.Struct) -> tuple[int, ...]:
        return what.unpack(self.take(what.size))
