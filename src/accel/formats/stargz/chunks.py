"""Chunks: the pieces of files that are compressed on their own, as parallel columns."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

DIGEST_BYTES = 32


def _column() -> "array[int]":
    return array("q")


@dataclass(slots=True)
class ChunkTable:
    """One row a chunk, in the order of the blob. All numbers are bytes; digests are SHA-256, 32 bytes each.

    ``entry`` is the row of the file in its ``EntryTable``; ``toc_json.NO_PREFETCH`` or ``PREFETCH`` for the
    landmark. ``blob_offset`` is where the chunk's members or frame begin, ``end_offset`` where the last one ends.
    ``inner_offset`` is where in the decompressed bytes from ``blob_offset`` on the chunk begins; empty where every
    chunk has a member or frame of its own.
    """

    entry: "array[int]" = field(default_factory=_column)
    chunk_offset: "array[int]" = field(default_factory=_column)
    chunk_size: "array[int]" = field(default_factory=_column)
    blob_offset: "array[int]" = field(default_factory=_column)
    end_offset: "array[int]" = field(default_factory=_column)
    inner_offset: "array[int]" = field(default_factory=_column)
    digests: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self.entry)

    def append(
        self, entry: int, chunk_offset: int, chunk_size: int, blob_offset: int, end_offset: int, digest: bytes
    ) -> None:
        """Adds the chunk ``[chunk_offset, chunk_offset + chunk_size)`` of a file."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a SHA-256 digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        self.entry.append(entry)
        self.chunk_offset.append(chunk_offset)
        self.chunk_size.append(chunk_size)
        self.blob_offset.append(blob_offset)
        self.end_offset.append(end_offset)
        self.digests += digest

    def extend(
        self,
        entry: Sequence[int],
        chunk_offset: Sequence[int],
        chunk_size: Sequence[int],
        blob_offset: Sequence[int],
        end_offset: Sequence[int],
        digests: bytes,
        inner_offset: Sequence[int] = (),
    ) -> None:
        """Adds many chunks at once; the columns are of one length, ``inner_offset`` may always be empty."""
        n = len(entry)
        columns = (entry, chunk_offset, chunk_size, blob_offset, end_offset, inner_offset or entry)
        if any(len(column) != n for column in columns) or len(digests) != n * DIGEST_BYTES:
            raise ValueError("the columns of chunks differ in length")
        self.entry.extend(entry)
        self.chunk_offset.extend(chunk_offset)
        self.chunk_size.extend(chunk_size)
        self.blob_offset.extend(blob_offset)
        self.end_offset.extend(end_offset)
        self.inner_offset.extend(inner_offset)
        self.digests += digests

    def members(self) -> list[int]:
        """The first chunk of each member or frame, and behind them how many chunks there are."""
        inner = self.inner_offset
        return [*(i for i in range(len(self)) if not i or not inner or not inner[i]), len(self)]

    def blob_range(self, first: int, last: int) -> tuple[int, int]:
        """Where in the blob the bytes are that chunks ``first`` to ``last``, of one member or frame, are read from."""
        return self.blob_offset[first], self.end_offset[last]

    def inner_end(self, i: int) -> int:
        """Where in what its member or frame holds chunk ``i`` ends."""
        return (self.inner_offset[i] if self.inner_offset else 0) + self.chunk_size[i]

    def digest(self, i: int) -> bytes:
        """The digest of chunk ``i``."""
        return bytes(self.digests[DIGEST_BYTES * i : DIGEST_BYTES * (i + 1)])
