"""The table of contents: one JSON object, an entry for each tar member and each further chunk of a file.

``{"version":1,"entries":[…]}``, no byte behind it. Keys, left out where 0 or empty:

==============  =====================================================================================================
name            the raw tar name; that of the file again in chunks
type            ``dir reg symlink hardlink char block fifo chunk``
size            of a regular file
linkName        of hard links and symlinks, raw
mode uid gid    numbers of the header, as they are
modtime         RFC 3339, UTC. eStargz: whole seconds, half a second up. zstd: exactly what the header says
accesstime      zstd only: of the header or its PAX records ``atime`` and ``ctime``
changetime
devMajor        eStargz: of devices. zstd: of every entry whose header has them, for readers compare
devMinor
xattrs          PAX records ``SCHILY.xattr.KEY``: ``{KEY: base64}``
digest          SHA-256 of the whole file. Of an empty one only in eStargz
offset          where the gzip members or the zstd frame of the (first) chunk begin
innerOffset     eStargz only: where in what they hold the chunk begins, if it is not the first in there
endOffset       zstd only: where the last frame of the file ends
chunkOffset     where in the file the chunk begins
chunkSize       of each chunk of a file that has several; a single chunk is the file
chunkDigest     SHA-256 of the chunk, of every chunk
==============  =====================================================================================================

userName and groupName, which eStargz has, are not written: no file system made from a TOC shows them.

Text is UTF-8 as far as names are: a TOC of the zstd dialect holds the bytes of other names as they are, since
containers/storage compares them with the tar. Sources: stargz-snapshotter ``docs/estargz.md``, ``estargz/types.go``;
containers/storage ``minimal.FileMetadata`` and ``ensureTOCMatchesTarSplit``.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

from accel.formats.stargz.chunks import ChunkTable
from accel_core.entries import FLAG_GLOBAL, EntryTable
from accel_core.path_survey import typeflags
from accel_core.toc_json import write


def estargz_toc(
    entries: EntryTable, chunks: ChunkTable, file_digests: Mapping[int, bytes], rows: Sequence[int] | None = None
) -> bytes:
    """The TOC of an eStargz layer that holds ``rows`` of ``entries`` in this order.

    By default all rows but PAX global headers; ``rows`` may hold ``toc_json.NO_PREFETCH`` or ``PREFETCH`` for the
    landmark. ``chunks`` are in the same order, for every file that is not empty; ``file_digests`` has the digest of
    each file of several chunks by its row. ValueError if these do not fit each other, or for an entry that a TOC
    has no word for (see ``refuse``).
    """
    return _write(entries, rows, chunks, file_digests)


def zstd_toc(
    entries: EntryTable,
    chunks: ChunkTable,
    file_digests: Mapping[int, bytes],
    tar_split_digest: str,
    *,
    header_times: Mapping[int, tuple[int, int]] | None = None,
) -> bytes:
    """The TOC of a zstd layer for both readers: as :func:`estargz_toc`, in the dialect of containers/storage.

    ``tar_split_digest`` is that of the compressed tar-split. ``header_times`` are access and change time, in
    seconds, of the rows whose GNU or star header has them (``TarSplit.header_times``).
    """
    times = sorted((row, atime, ctime) for row, (atime, ctime) in (header_times or {}).items())
    return _write(entries, None, chunks, file_digests, times, tar_split_digest, zstd=True)


def _write(
    entries: EntryTable,
    rows: Sequence[int] | None,
    chunks: ChunkTable,
    file_digests: Mapping[int, bytes],
    header_times: Iterable[tuple[int, int, int]] = (),
    tar_split_digest: str = "",
    *,
    zstd: bool = False,
) -> bytes:
    return write(
        entries,
        array("q", _all_rows(entries) if rows is None else rows),
        chunk_entry=chunks.entry,
        chunk_offset=chunks.chunk_offset,
        chunk_size=chunks.chunk_size,
        blob_offset=chunks.blob_offset,
        end_offset=chunks.end_offset,
        inner_offset=chunks.inner_offset,
        digests=chunks.digests,
        file_digests=file_digests,
        zstd=zstd,
        header_times=header_times,
        tar_split_digest=tar_split_digest,
    )


def _all_rows(entries: EntryTable) -> Iterable[int]:
    """Rows of members; PAX global headers are none."""
    if not entries.all_flags & FLAG_GLOBAL:
        return range(len(entries))
    flags = typeflags(entries)
    return (i for i in range(len(entries)) if flags[i] != ord("g"))
