"""A stranger's table of contents as a value, once all that it claims has been checked against itself.

What a footer points to is decompressed within limits (:func:`toc_json`), then read (:func:`parse_toc`). Refused,
each by a ``FormatError`` that says which entry: chunks that overlap, go backwards, leave gaps, or lie outside of
the blob's data; sizes that do not add up; chunks without a file or digest; malformed digests, times, attributes and
names with a NUL; paths that come twice; hard links in a circle. Names stay as they are, ``..`` and all: whoever
extracts cleans them.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import zstandard

from accel.errors import DigestMismatch, FormatError, LimitError
from accel.formats.stargz.chunks import ChunkTable
from accel.formats.stargz.footer import Footer
from accel.formats.stargz.landmarks import BLOCK_BYTES
from accel.formats.stargz.names import MAX_TOC_BYTES, TOC_NAME
from accel.formats.stargz.order import HARD_LINK
from accel.oci import check_digest, digest_of
from accel_core.entries import EntryTable
from accel_core.path_survey import cleaned_names, typeflags
from accel_core.tar_scan import TarScanner
from accel_core.toc_read import read
from accel_core.ztoc_survey import clean_name

# Entries and chunks: with their strings some 350 MiB at most beside the JSON, which a million entries would fill twice.
MAX_ROWS = 1 << 20
MAX_WINDOW_BYTES = 128 << 20  # what zstd's own decoder allows
ZSTD_PIECE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Toc:
    """A parsed table of contents.

    ``entries`` have no place in the tar, which a TOC does not tell: their ``data_offset`` counts the contents of
    all files one after the other, ``content_size`` in total, and ``chunks`` say where in the blob a content is.
    Every chunk has a digest; ``file_digests`` are those of whole files of several chunks, by entry.
    ``tar_split_digest`` is "" without a tar-split. ``digest`` is that of the JSON.
    """

    entries: EntryTable = field(repr=False)
    chunks: ChunkTable = field(repr=False)
    file_digests: Mapping[int, bytes] = field(repr=False)
    content_size: int
    tar_split_digest: str
    digest: str


def toc_json(footer: Footer, comp: bytes, *, max_bytes: int = MAX_TOC_BYTES) -> bytes:
    """The JSON from the ``footer.toc_comp_size`` bytes at ``footer.toc_offset``.

    Raises FormatError for bytes that do not decompress to it, LimitError past ``max_bytes`` on either side.
    """
    if footer.kind == "external":
        raise FormatError("the table of contents is not in the blob")
    if footer.kind in ("zstd", "containers"):
        return decompress_frame(comp, "table of contents", max_bytes=max_bytes)
    return external_toc_json(comp, max_bytes=max_bytes)


def external_toc_json(comp: bytes, *, max_bytes: int = MAX_TOC_BYTES) -> bytes:
    """The JSON from an eStargz TOC's gzip member, which holds a tar member; in the blob or in an image of its own."""
    _limit(len(comp), max_bytes)
    decoder = zlib.decompressobj(31)
    try:
        # One more byte than may be tells that there is more; a tar adds two headers and some zeros.
        tar = decoder.decompress(comp, max_bytes + 8 * BLOCK_BYTES)
    except zlib.error as error:
        raise FormatError(f"the table of contents does not inflate: {error}") from error
    if not decoder.eof:
        if decoder.unconsumed_tail:
            _limit(max_bytes + 1, max_bytes)
        raise FormatError("the gzip member of the table of contents is cut short")
    if decoder.unused_data:
        raise FormatError(f"{len(decoder.unused_data)} bytes behind the gzip member of the table of contents")
    scanner = TarScanner(max_entries=1)
    scanner.feed(tar)
    entries = scanner.close()
    if not len(entries) or clean_name(entries[0].name) != TOC_NAME or not entries[0].is_file:
        raise FormatError(f"no {TOC_NAME.decode()} where the footer says")
    _limit(entries[0].size, max_bytes)
    return tar[entries[0].data_offset : entries[0].data_offset + entries[0].stored_size]


def decompress_frame(comp: bytes, what: str, *, max_bytes: int) -> bytes:
    """What one zstd frame holds: a TOC or a tar-split. FormatError and LimitError as :func:`toc_json`."""
    _limit(len(comp), max_bytes)
    try:
        # Not in one call: a frame's own word for its size is what that would allocate. Four bytes can be a block of
        # 128 KiB, so what is decoded past the limit is 8 MiB at most.
        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        out, size = [], 0
        for start in range(0, len(comp), ZSTD_PIECE_BYTES):
            piece = decoder.decompress(comp[start : start + ZSTD_PIECE_BYTES])
            out.append(piece)
            size += len(piece)
            _limit(size, max_bytes)
            if decoder.eof:
                if len(comp) - start > ZSTD_PIECE_BYTES or decoder.unused_data:
                    raise FormatError(f"bytes behind the zstd frame of the {what}")
                return b"".join(out)
    except zstandard.ZstdError as error:
        raise FormatError(f"the {what} does not decompress: {error}") from error
    raise FormatError(f"the zstd frame of the {what} is cut short")


def _limit(n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise LimitError(f"a table of contents of {n_bytes} bytes or more", limit=max_bytes)


def parse_toc(json: bytes, *, data_end: int, digest: str | None = None, max_rows: int = MAX_ROWS) -> Toc:
    """The value of a TOC whose blob has its data in ``[0, data_end)`` (``Footer.data_end``).

    With ``digest`` (the layer's annotation) the JSON must have it, or DigestMismatch.
    """
    got = digest_of(json)
    if digest is not None and check_digest(digest) != got:
        raise DigestMismatch(digest, got, n_bytes=len(json), blob="the table of contents")
    entries, columns, digests, file_digests, tar_split_digest = read(json, data_end=data_end, max_rows=max_rows)
    entry, chunk_offset, chunk_size, blob_offset, end_offset, inner_offset = columns
    chunks = ChunkTable(
        entry, chunk_offset, chunk_size, blob_offset, end_offset, inner_offset, bytearray(digests)
    )
    _check_tree(entries)
    content_size = entries[-1].data_offset + entries[-1].stored_size if len(entries) else 0
    split = ""
    if tar_split_digest:
        split = check_digest(tar_split_digest.decode("ascii", "replace"))
    return Toc(entries, chunks, dict(file_digests), content_size, split, got)


def _check_tree(entries: EntryTable) -> None:
    """Refuses paths that come twice and hard links that lead nowhere but to each other."""
    names = cleaned_names(entries)
    rows = dict(zip(names, range(len(names)), strict=True))
    if len(rows) != len(names):
        for i, name in enumerate(names):
            if rows[name] != i:
                raise FormatError(f"table of contents: {_shown(name)} is there twice (entries {i} and {rows[name]})")
    links: dict[int, int] = {}
    for i, flag in enumerate(typeflags(entries)):
        if flag == HARD_LINK:
            target = rows.get(clean_name(entries[i].linkname))
            if target is not None:
                links[i] = target
    good: set[int] = set()
    for link in links:
        path: set[int] = set()
        at = link
        while at in links and at not in good:
            if at in path:
                raise FormatError(f"table of contents: hard link {_shown(names[at])} leads to itself (entry {at})")
            path.add(at)
            at = links[at]
        good |= path


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace")[:200])
