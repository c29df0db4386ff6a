"""bgzip's index (.gzi): where the blocks of a BGZF blob start. Blocks need no window, so it holds nothing else.

::

    8       number of rows
    16 each rows: u64 compressed offset of the block's gzip header, u64 uncompressed offset

Integers are little endian. The first block (0, 0) and blocks without data have no row.

A BGZF blob is gzip members of at most 64 KiB, each naming its size in an extra field (SAM specification §4.1)::

    1f 8b 08 04 | MTIME XFL OS | 06 00 | "BC" 02 00 | u16 size of the member - 1 | deflate | CRC-32 | u32 inflated size

Sources: ``bgzf_index_dump_hfile``, ``bgzf_index_add_block`` and ``check_header`` in htslib's bgzf.c.
"""

import struct
import sys
from array import array
from collections.abc import Callable

from typing_extensions import Buffer

from accel.errors import FormatError, TruncatedError, UnsupportedError
from accel_core.checkpoints import Checkpoints
from accel_core.gzip_index import GzipIndex, GzipIndexed, checked

_HEADER_BYTES = 18
_MIN_BLOCK_BYTES = _HEADER_BYTES + 2 + 4 + 4  # the shortest deflate stream; CRC-32, inflated size
_MAX_BLOCK_DATA = 1 << 16
_U64 = struct.Struct("<Q")
_NO_BLOCKS = (1 << 64) - 1  # bgzip's number of rows where no block has data: none, less the first one

ReadAt = Callable[[int, int], bytes]


def block_starts(read_at: ReadAt) -> GzipIndex:
    """A checkpoint for each block of a BGZF blob, found by hopping from header to header; nothing is inflated.

    ``read_at(offset, n_bytes)`` gives bytes of the blob, fewer only at its end; offsets rise. Every hop must land on
    another such header, the last one on the end of the blob. Raises UnsupportedError if the blob is not BGZF,
    TruncatedError if it ends within a block.
    """
    comp_offset, uncomp_offset = array("Q", [_HEADER_BYTES]), array("Q", [0])
    at = uncomp_size = 0
    header = read_at(0, _HEADER_BYTES)
    while header or at == 0:
        end = at + _block_bytes(header, at)
        seam = read_at(end - 4, 4 + _HEADER_BYTES)
        if len(seam) < 4:
            raise TruncatedError("the BGZF blob ends within a block", comp_offset=at)
        n_bytes = int.from_bytes(seam[:4], "little")
        if n_bytes > _MAX_BLOCK_DATA:
            raise FormatError(f"a BGZF block of {n_bytes} bytes", comp_offset=at, uncomp_offset=uncomp_size)
        if n_bytes and uncomp_size:
            comp_offset.append(at + _HEADER_BYTES)
            uncomp_offset.append(uncomp_size)
        uncomp_size += n_bytes
        at, header = end, seam[4:]
    return GzipIndex(_without_windows(comp_offset, uncomp_offset), at, uncomp_size)


def _block_bytes(header: bytes, at: int) -> int:
    """The size of the block that ``header``, at ``at``, begins."""
    if header[:4] != b"\x1f\x8b\x08\x04" or header[10:16] != b"\x06\x00BC\x02\x00" or len(header) < _HEADER_BYTES:
        raise UnsupportedError(f"not BGZF, which bgzip writes: no block header at compressed offset {at}")
    n_bytes = int.from_bytes(header[16:18], "little") + 1
    if n_bytes < _MIN_BLOCK_BYTES:
        raise FormatError(f"a BGZF block of {n_bytes} compressed bytes", comp_offset=at)
    return n_bytes


def encode(index: GzipIndexed) -> bytes:
    """``index``, of block starts, as bgzip writes it. Raises UnsupportedError for other checkpoints."""
    points = index.checkpoints
    has_windows = any(len(points.window(i)) for i in range(len(points)))
    if has_windows or any(points.bits) or points.comp_offset[0] != _HEADER_BYTES:
        raise UnsupportedError("a bgzip index holds the blocks of a BGZF blob, and nothing else")
    rows = array("Q", bytes(16 * (len(points) - 1)))
    rows[0::2] = array("Q", [offset - _HEADER_BYTES for offset in points.comp_offset[1:]])
    rows[1::2] = array("Q", points.uncomp_offset[1:])
    n = _NO_BLOCKS if index.uncomp_size == 0 else len(points) - 1
    return _U64.pack(n) + _little_endian(rows).tobytes()


def decode(data: Buffer, *, comp_size: int) -> GzipIndex:
    """The index in ``data``, of a blob of ``comp_size`` bytes; how many they inflate to, it does not say.

    Raises FormatError (TruncatedError) for what is no such index, or cannot be one of that blob.
    """
    view = memoryview(data).cast("B")
    if len(view) < _U64.size:
        raise TruncatedError(f"a bgzip index has at least {_U64.size} bytes, not {len(view)}")
    n = _U64.unpack_from(view)[0]
    uncomp_size = None
    if n == _NO_BLOCKS:
        n = uncomp_size = 0
    if len(view) != _U64.size + 16 * n:  # it has no magic bytes: nothing else tells it from other files
        raise FormatError(f"not a bgzip index: {len(view)} bytes for {n} rows")
    rows = _little_endian(array("Q", view[_U64.size :].tobytes()))
    comp_offset, uncomp_offset = array("Q", [0]) + rows[0::2], array("Q", [0]) + rows[1::2]
    if max(comp_offset) > comp_size:
        raise FormatError("the bgzip index is of a longer blob", comp_offset=max(comp_offset))
    for i in range(len(comp_offset)):
        comp_offset[i] += _HEADER_BYTES
    return checked(GzipIndex(_without_windows(comp_offset, uncomp_offset), comp_size, uncomp_size))


def _without_windows(comp_offset: "array[int]", uncomp_offset: "array[int]") -> Checkpoints:
    n = len(comp_offset)
    return Checkpoints(comp_offset, uncomp_offset, bytes(n), b"", (-1,) * n)


def _little_endian(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
