"""One batch of tar compressed as a piece of a blob: gzip members or zstd frames, each chunk on its own.

::

    batch        headers | chunk | padding headers | chunk | padding
    gzip         member  | member                  | member
    zstd         frame   | frame | frame           | frame | frame

A gzip member holds a chunk and what follows it up to the next one, as the reference writer has it; or, if that is
asked for, further chunks as long as it is short. In zstd a chunk is alone in its frame, as podman's reader wants it.
"""

import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from accel.convert.full.batches import Batch
from accel.members import DEFAULT_LEVEL, compress_members
from accel_core.frame_encode import encode_frames
from accel_core.member_encode import encode_members

DEFAULT_ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """A piece of a blob, and where in it the member or frame of each chunk of the batch starts and ends.

    ``inners`` is where each chunk begins in what its member holds; empty if it is always 0.
    """

    data: bytes
    starts: Sequence[int]
    ends: Sequence[int]
    inners: Sequence[int] = ()


class GzipEncoder:
    """Batches to gzip members. Entries only: what is behind them is left out.

    With a ``level``, libdeflate's, every member is compressed afresh. Without, the matches that come with a batch are
    used again, so that hardly anything has to be searched for; a batch without them is compressed at the usual level.

    A chunk begins a member of its own unless the last one holds less than ``min_chunk_bytes`` so far.
    """

    def __init__(self, level: int | None, min_chunk_bytes: int = 0) -> None:
        self._level = level or DEFAULT_LEVEL
        self._uses_matches = level is None
        self._min_chunk_bytes = min_chunk_bytes

    def encode(self, batch: Batch, alone: int | None = None) -> Encoded:
        """The members of a batch. The chunk at ``alone`` in its data, if there is one, begins a member anyhow."""
        cuts = [0]
        member_of: list[int] = []  # of each chunk: the number of its member ...
        inners: list[int] = []  # ... and where it begins in that
        for start in batch.starts:
            if start and (not member_of or start == alone or start - cuts[-1] >= self._min_chunk_bytes):
                cuts.append(start)
            member_of.append(len(cuts) - 1)
            inners.append(start - cuts[-1])
        view = memoryview(batch.data)[: batch.entry_bytes]
        if self._uses_matches and batch.matches is not None:
            data, offsets = encode_members(view, cuts, matches=batch.matches, origin=batch.origin)
        else:
            data, offsets = compress_members(view, cuts, level=self._level)
        offsets.append(len(data))
        starts, ends = [offsets[i] for i in member_of], [offsets[i + 1] for i in member_of]
        return Encoded(data, starts, ends, inners if self._min_chunk_bytes else ())

    def encode_whole(self, data: bytes) -> Encoded:
        """All of ``data`` as one member."""
        return Encoded(compress_members(data, [0], level=self._level)[0], (), ())


class ZstdEncoder:
    """Batches to zstd frames, with their size and without a checksum.

    With a ``level``, zstd's, every frame is compressed afresh. Without, as ``GzipEncoder``.
    """

    def __init__(self, level: int | None) -> None:
        self._level = level or DEFAULT_ZSTD_LEVEL
        self._uses_matches = level is None
        self._per_thread = threading.local()

    def encode(self, batch: Batch) -> Encoded:
        """The frames of a batch: all of its bytes."""
        cuts = [0]
        frame_of = []  # the number of each chunk's frame
        for start, end in zip(batch.starts, batch.ends, strict=True):
            if start > cuts[-1]:
                cuts.append(start)
            frame_of.append(len(cuts) - 1)
            cuts.append(end)
        if cuts[-1] < len(batch.data):
            cuts.append(len(batch.data))
        if self._uses_matches and batch.matches is not None:
            data, offsets = encode_frames(
                batch.data, cuts[:-1], cuts[1:], matches=batch.matches, origin=batch.origin
            )
        else:
            data, offsets = self._compress(batch.data, cuts)
        offsets.append(len(data))
        return Encoded(data, [offsets[i] for i in frame_of], [offsets[i + 1] for i in frame_of])

    def _compress(self, data: bytes, cuts: list[int]) -> tuple[bytes, list[int]]:
        segments = array("Q")
        for start, end in zip(cuts, cuts[1:], strict=False):
            segments.extend((start, end - start))
        source = zstandard.BufferWithSegments(data, segments.tobytes())
        found = self._compressor().multi_compress_to_buffer(source)
        frames, offsets, size = [found[i] for i in range(len(found))], [], 0
        for frame in frames:
            offsets.append(size)
            size += len(frame)
        return b"".join([frame.tobytes() for frame in frames]), offsets

    def empty_frame(self) -> bytes:
        """A frame that holds nothing."""
        return self._compressor().compress(b"")

    def _compressor(self) -> zstandard.ZstdCompressor:
        # One for each thread: they may not be shared while they work.
        found: zstandard.ZstdCompressor | None = getattr(self._per_thread, "compressor", None)
        if found is None:
            found = zstandard.ZstdCompressor(level=self._level, write_checksum=False, write_content_size=True)
            self._per_thread.compressor = found
        return found
