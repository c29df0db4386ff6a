"""One batch of tar compressed as a piece of a blob: gzip members or zstd frames, each chunk on its own.

::

    batch        headers | chunk | padding headers | chunk | padding
    gzip         member  | member                  | member
    zstd         frame   | frame | frame           | frame | frame

A gzip member holds a chunk and what follows it up to the next one, as the reference writer has it; as long as it is
short, further chunks too. Before a member of n chunks come n - 1 members of nothing. The last chunk's offset is that of
the member, those of the others are those of the empty ones in turn: from any of them on, the same bytes decompress, and
no two chunks have an offset in common, which is what the reference's ``VerifyTOC`` asks for.

::

    chunk 1      chunk 2      chunk 3
    empty member empty member headers | chunk 1 | padding headers | chunk 2 | padding headers | chunk 3 | padding

In zstd a chunk is alone in its frame, as podman's reader wants it.
"""

import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from accel.convert.full.batches import Batch
from accel.formats.stargz import EMPTY_MEMBER
from accel.members import DEFAULT_LEVEL, compress_members
from accel_core.frame_encode import encode_frames
from accel_core.member_encode import encode_members

DEFAULT_ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """A piece of a blob, and where in it the members or the frame of each chunk of the batch start and end.

    ``inners`` is where in what they hold each chunk begins; empty if it is always 0.
    """

    data: bytes
    starts: Sequence[int]
    ends: Sequence[int]
    inners: Sequence[int] = ()


class GzipEncoder:
    """Batches to gzip members. Entries only: what is behind them is left out.

    With a ``level``, libdeflate's, every member is compressed afresh. Without, the matches that come with a batch are
    used again, so that hardly anything has to be searched for; a batch without them is compressed at the usual level.

    A chunk begins a member of its own unless it and what the last one holds so far are less than ``min_chunk_bytes``
    each: whoever wants a small file fetches no large one.
    """

    def __init__(self, level: int | None, min_chunk_bytes: int = 0) -> None:
        self._level = level or DEFAULT_LEVEL
        self._uses_matches = level is None
        self._min_chunk_bytes = min_chunk_bytes

    def encode(self, batch: Batch, alone: int | None = None) -> Encoded:
        """The members of a batch. The chunk at ``alone`` in its data, if there is one, begins a member anyhow."""
        cuts, n_chunks, inners = self._members(batch, alone)
        view = memoryview(batch.data)[: batch.entry_bytes]
        if self._uses_matches and batch.matches is not None:
            data, offsets = encode_members(view, cuts, matches=batch.matches, origin=batch.origin)
        else:
            data, offsets = compress_members(view, cuts, level=self._level)
        return _with_offsets_of_their_own(data, [*offsets, len(data)], n_chunks, inners)

    def _members(self, batch: Batch, alone: int | None) -> tuple[list[int], list[int], list[int]]:
        """Where each member begins, how many chunks it has, and where in its member each chunk begins."""
        cuts, n_chunks = [0], [0]
        inners: list[int] = []
        for start, end in zip(batch.starts, batch.ends, strict=True):
            is_large = max(start - cuts[-1], end - start) >= self._min_chunk_bytes
            if start and (not inners or start == alone or is_large):
                cuts.append(start)
                n_chunks.append(0)
            n_chunks[-1] += 1
            inners.append(start - cuts[-1])
        return cuts, n_chunks, inners

    def encode_whole(self, data: bytes) -> Encoded:
        """All of ``data`` as one member."""
        return Encoded(compress_members(data, [0], level=self._level)[0], (), ())


def _with_offsets_of_their_own(
    data: bytes, offsets: Sequence[int], n_chunks: Sequence[int], inners: Sequence[int]
) -> Encoded:
    """The members between ``offsets`` of ``data``, with empty ones before those that hold several chunks."""
    pieces: list[bytes | memoryview] = []
    starts: list[int] = []
    ends: list[int] = []
    size = 0
    view = memoryview(data)
    for n, start, end in zip(n_chunks, offsets, offsets[1:], strict=False):
        empty = EMPTY_MEMBER * (n - 1)  # none for n = 0 either: headers alone
        starts += range(size, size + n * len(EMPTY_MEMBER), len(EMPTY_MEMBER))
        size += len(empty) + end - start
        ends += [size] * n
        pieces += [empty, view[start:end]]
    return Encoded(b"".join(pieces), starts, ends, inners)


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
