"""Digests of what streams by: of each chunk, of files that have several, of the whole tar."""

from array import array

from accel.convert.full.batches import Batch
from accel.formats.stargz import CHUNK_BYTES
from accel_core.sha256 import Sha256, sha256, sha256_ranges

Pairs = list[tuple[Sha256, bytes | memoryview]]  # what is to be hashed by whom, see update_all


def chunk_digests(batch: Batch) -> bytes:
    """SHA-256 of each chunk, 32 bytes each, one after the other."""
    return sha256_ranges(batch.data, array("q", batch.starts), array("q", batch.ends))


class FileDigests:
    """SHA-256 of each file that has several chunks, by its row; of the others, that of their chunk is the same."""

    def __init__(self) -> None:
        self._hashes: dict[int, Sha256] = {}
        self._several: set[int] = set()

    def pairs(self, batch: Batch) -> Pairs:
        """What of the next batch is to be hashed."""
        view = memoryview(batch.data)
        found: Pairs = []
        for row, offset, start, end in zip(
            batch.rows, batch.chunk_offsets, batch.starts, batch.ends, strict=True
        ):
            if offset:
                self._several.add(row)
            elif end - start < CHUNK_BYTES:
                continue  # all of its file
            else:
                self._hashes[row] = sha256()
            found.append((self._hashes[row], view[start:end]))
        return found

    def finish(self) -> dict[int, bytes]:
        """The digests."""
        return {row: self._hashes[row].digest() for row in self._several}
