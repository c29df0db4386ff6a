"""Batches to the blobs of each format: what is compressed by whom, what is written in order, and what comes at the end.

::

    eStargz       landmark | batches without end mark | TOC member | footer      a tar of its own: diffID changes
    zstd:chunked  batches, all bytes | TOC, tar-split, footer                    the same tar
    plain gzip    batches, all bytes                       the same tar, for what eStargz cannot hold

For one writer, ``look``, ``pairs`` and ``add`` are called batch by batch in the order of the tar, ``look`` before the
batch is compressed, from the thread that reads; ``encode`` from any thread, for several batches at a time. What
``pairs`` gives is hashed by the caller: hashing several things together takes less time than one after the other.
"""

from dataclasses import dataclass
from typing import Protocol

from accel.convert.full.batches import Batch
from accel.convert.full.encode import Encoded, GzipEncoder, ZstdEncoder
from accel.convert.full.sums import Pairs, chunk_digests
from accel.formats.stargz import (
    ESTARGZ_LAYER,
    LANDMARK_DATA_OFFSET,
    NO_PREFETCH,
    ZSTD_LAYER,
    ChunkTable,
    TarSplit,
    TarSplitWriter,
    estargz_annotations,
    estargz_end,
    estargz_toc,
    landmark_member,
    toc_member,
    toc_size_refusal,
    zstd_end,
    zstd_refusal,
    zstd_toc,
)
from accel.oci import Descriptor
from accel.stores import StagedBlob
from accel_core.entries import EntryTable
from accel_core.sha256 import sha256, update_all

_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class Written:
    """A finished blob: its descriptor, and the digest of the tar in it."""

    descriptor: Descriptor
    diff_id: str
    reason: str = ""  # why it is not loaded lazily by one of the readers it is made for


class Writer(Protocol):
    """One blob being written."""

    def look(self, batch: Batch, entries: EntryTable, n_entries: int) -> None:
        """A batch, and how many of ``entries`` begin their data until its end. Nobody adds to ``entries`` meanwhile."""

    def encode(self, batch: Batch) -> Encoded:
        """The batch compressed."""

    def pairs(self, batch: Batch, encoded: Encoded) -> Pairs:
        """What is to be hashed before it is added."""

    def add(self, batch: Batch, encoded: Encoded, digests: bytes) -> None:
        """Write it; ``digests`` are those of its chunks."""


class _BlobFile:
    """A staged blob, its digest and its size."""

    def __init__(self, staged: StagedBlob) -> None:
        self._staged = staged
        self.hash = sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append, and hash."""
        self.hash.update(data)
        self.append(data)

    def append(self, data: bytes) -> None:
        """Append what the caller has hashed."""
        self._staged.write(data)
        self.size += len(data)

    def descriptor(self, media_type: str, annotations: dict[str, str]) -> Descriptor:
        digest = f"sha256:{self.hash.hexdigest()}"
        return Descriptor(media_type, digest, self.size, annotations=annotations)


def _add_chunks(chunks: ChunkTable, batch: Batch, encoded: Encoded, digests: bytes, comp_offset: int) -> None:
    chunks.extend(
        batch.rows,
        batch.chunk_offsets,
        [end - start for start, end in zip(batch.starts, batch.ends, strict=True)],
        [comp_offset + start for start in encoded.starts],
        [comp_offset + end for end in encoded.ends],
        digests,
        encoded.inners,
    )


class PlainGzipWriter:
    """The same tar in gzip, for whoever unpacks it whole."""

    def __init__(self, staged: StagedBlob, encoder: GzipEncoder) -> None:
        self._file = _BlobFile(staged)
        self._encoder = encoder
        self._tar = sha256()

    def look(self, batch: Batch, entries: EntryTable, n_entries: int) -> None: ...

    def encode(self, batch: Batch) -> Encoded:
        return self._encoder.encode_whole(batch.data)

    def pairs(self, batch: Batch, encoded: Encoded) -> Pairs:
        return [(self._tar, batch.data), (self._file.hash, encoded.data)]

    def add(self, batch: Batch, encoded: Encoded, digests: bytes) -> None:
        self._file.append(encoded.data)

    def finish(self, reason: str) -> Written:
        """The layer; ``reason`` is why it is no eStargz."""
        if not self._file.size:
            self._file.write(self._encoder.encode_whole(b"").data)
        descriptor = self._file.descriptor(ESTARGZ_LAYER, {})
        return Written(descriptor, f"sha256:{self._tar.hexdigest()}", reason)


class EstargzWriter:
    """An eStargz blob.

    Without ``landmark_at`` it begins with the landmark that says that nothing is to be prefetched; else the tar that
    comes holds its own, whose content is there: readers prefetch up to the member that this begins.
    """

    def __init__(self, staged: StagedBlob, encoder: GzipEncoder, *, landmark_at: int | None = None) -> None:
        self._file = _BlobFile(staged)
        self._encoder = encoder
        self._tar = sha256()
        self._tar_size = 0
        self._chunks = ChunkTable()
        self._landmark_at = landmark_at
        if landmark_at is None:
            self._add_landmark()

    def _add_landmark(self) -> None:
        at = LANDMARK_DATA_OFFSET
        data = landmark_member(prefetch=False)
        batch = Batch(0, data, len(data), [NO_PREFETCH], [0], [at], [at + 1])
        encoded = self.encode(batch)
        update_all(self.pairs(batch, encoded))
        self.add(batch, encoded, chunk_digests(batch))

    def look(self, batch: Batch, entries: EntryTable, n_entries: int) -> None: ...

    def encode(self, batch: Batch) -> Encoded:
        alone = None if self._landmark_at is None else self._landmark_at - batch.start
        return self._encoder.encode(batch, alone)

    def pairs(self, batch: Batch, encoded: Encoded) -> Pairs:
        return [(self._tar, memoryview(batch.data)[: batch.entry_bytes]), (self._file.hash, encoded.data)]

    def add(self, batch: Batch, encoded: Encoded, digests: bytes) -> None:
        _add_chunks(self._chunks, batch, encoded, digests, self._file.size)
        self._tar_size += batch.entry_bytes
        self._file.append(encoded.data)

    def finish(self, entries: EntryTable, file_digests: dict[int, bytes]) -> Written:
        """The blob's end, and its layer. ``entries`` are those of the tar that was given."""
        if self._tar_size % _BLOCK_BYTES:  # the source ended within the padding of its last file
            pad = bytes(-self._tar_size % _BLOCK_BYTES)
            self._append(pad, self._encoder.encode_whole(pad).data)
        rows = range(len(entries))
        toc = estargz_toc(
            entries, self._chunks, file_digests, [NO_PREFETCH, *rows] if self._landmark_at is None else rows
        )
        toc_offset = self._file.size
        member = toc_member(toc)
        self._append(member, self._encoder.encode_whole(member).data)
        self._file.write(estargz_end(toc_offset))
        descriptor = self._file.descriptor(ESTARGZ_LAYER, estargz_annotations(toc, self._tar_size))
        return Written(descriptor, f"sha256:{self._tar.hexdigest()}")

    def _append(self, tar: bytes | memoryview, comp: bytes) -> None:
        self._tar.update(tar)
        self._tar_size += len(tar)
        self._file.write(comp)


class ZstdWriter:
    """A zstd:chunked blob, which holds the source's tar as it is; ``for_stargz``: not for podman."""

    def __init__(self, staged: StagedBlob, encoder: ZstdEncoder, *, for_stargz: bool) -> None:
        self._for_stargz = for_stargz
        self._file = _BlobFile(staged)
        self._encoder = encoder
        self._tar = sha256()
        self._tar_size = 0
        self._chunks = ChunkTable()
        self._split_writer = TarSplitWriter()
        self._split: TarSplit | None = None
        self._n_entries = 0

    def look(self, batch: Batch, entries: EntryTable, n_entries: int) -> None:
        self._split_writer.add(batch.data, entries, self._n_entries, n_entries)
        self._n_entries = n_entries

    def encode(self, batch: Batch) -> Encoded:
        return self._encoder.encode(batch)

    def pairs(self, batch: Batch, encoded: Encoded) -> Pairs:
        return [(self._tar, batch.data), (self._file.hash, encoded.data)]

    def add(self, batch: Batch, encoded: Encoded, digests: bytes) -> None:
        _add_chunks(self._chunks, batch, encoded, digests, self._file.size)
        self._tar_size += len(batch.data)
        self._file.append(encoded.data)

    @property
    def diff_id(self) -> str:
        """The digest of the tar given so far."""
        return f"sha256:{self._tar.hexdigest()}"

    def refusal(self, entries: EntryTable) -> str:
        """Why the reader that it is for would not take it, "" if it would; to be asked once all is added."""
        self._split = self._split_writer.finish()
        refusal = zstd_refusal(entries, self._split)
        return refusal.stargz if self._for_stargz else refusal.containers

    def finish(self, entries: EntryTable, file_digests: dict[int, bytes], refusal: str) -> Written:
        """The blob's end, and its layer. With a ``refusal`` the blob ends with its data: a plain zstd layer."""
        if not self._tar_size:
            self._file.write(self._encoder.empty_frame())
        split = self._split
        if refusal or split is None:
            return self._plain(refusal)
        toc = zstd_toc(entries, self._chunks, file_digests, split.digest, header_times=split.header_times)
        if refusal := toc_size_refusal(max(len(toc), split.uncomp_size)):
            return self._plain(refusal)
        end = zstd_end(self._file.size, toc, split)
        self._file.write(end.data)
        if self._for_stargz:
            annotations = end.stargz_annotations(self._tar_size)
        else:
            annotations = end.containers_annotations()
        return Written(self._file.descriptor(ZSTD_LAYER, annotations), self.diff_id)

    def _plain(self, reason: str) -> Written:
        return Written(self._file.descriptor(ZSTD_LAYER, {}), self.diff_id, reason)
