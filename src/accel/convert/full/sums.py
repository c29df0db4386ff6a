"""Digests of what streams by: of each chunk, of files that have several, of the whole tar."""

import hashlib
from typing import Protocol

from accel.convert.full.batches import CHUNK_BYTES, Batch


class Hash(Protocol):
    """What of a hashlib object is needed here."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


def chunk_digests(batch: Batch) -> bytes:
    """SHA-256 of each chunk, 32 bytes each, one after the other."""
    view = memoryview(batch.data)
    return b"".join(
        hashlib.sha256(view[start:end]).digest() for start, end in zip(batch.starts, batch.ends, strict=True)
    )


class FileDigests:
    """SHA-256 of each file that has several chunks, by its row; of the others, that of their chunk is the same."""

    def __init__(self) -> None:
        self._by_row: dict[int, bytes] = {}
        self._row = -1
        self._n_chunks = 0
        self._hash: Hash = hashlib.sha256()

    def add(self, batch: Batch) -> None:
        """The next batch of the tar."""
        view = memoryview(batch.data)
        for row, offset, start, end in zip(
            batch.rows, batch.chunk_offsets, batch.starts, batch.ends, strict=True
        ):
            if not offset and end - start < CHUNK_BYTES:
                continue  # all of its file
            if not offset:
                self._end()
                self._row, self._hash = row, hashlib.sha256()
            self._hash.update(view[start:end])
            self._n_chunks += 1

    def finish(self) -> dict[int, bytes]:
        """The digests."""
        self._end()
        return self._by_row

    def _end(self) -> None:
        if self._n_chunks > 1:
            self._by_row[self._row] = self._hash.digest()
        self._n_chunks = 0
