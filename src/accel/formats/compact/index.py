"""Reading a compact index: as a whole, or only what is asked for."""

from dataclasses import replace
from functools import cached_property

from typing_extensions import Buffer

from accel.errors import FormatError, LimitError
from accel.formats.compact.checkpoints import ROW_BYTES, LazyCheckpoints, parse_checkpoints
from accel.formats.compact.header import (
    CHECKPOINTS,
    COLUMN,
    SPAN_DIGESTS,
    WINDOW_BYTES,
    WINDOW_RUNS,
    Header,
    header_bytes_of,
    parse_header,
)
from accel.formats.compact.sections import SectionReader
from accel_core import checkpoints as core
from accel_core import toc_join
from accel_core.chunk_plan import ReadAt
from accel_core.entries import EntryTable
from accel_core.layer_index import LayerIndex
from accel_core.toc_split import COLUMNS
from accel_core.window_runs import unpack

DEFAULT_MAX_BYTES = 1 << 30
START_BYTES = 16 << 10  # the header of nearly every layer, in one read
# In memory, about: two numbers and three references, next to the columns they come from; a string and a reference.
CHECKPOINT_BYTES = 160
DIGEST_BYTES = 160


class CompactIndex:
    """An open compact index. Parts are read and checked on first use and kept; windows a few groups at a time.

    ``header`` has the sizes, counts and digests. Everything may raise FormatError for a file that is damaged or lies,
    and whatever ``read_at`` raises.
    """

    def __init__(self, read_at: ReadAt, header: Header, max_bytes: int) -> None:
        self.header = header
        self._sections = SectionReader(read_at, header)
        self._max_bytes = max_bytes

    @cached_property
    def checkpoints(self) -> core.Checkpoints:
        """The checkpoints; their windows are read when asked for."""
        if self.header.compression == "tar":
            return core.Checkpoints((), (), b"", b"")
        n = self.header.n_checkpoints
        self._bounded(n * CHECKPOINT_BYTES, "checkpoints")
        data = self._sections.read(CHECKPOINTS, max_raw_bytes=n * ROW_BYTES)
        with self._sections.blaming((CHECKPOINTS, 0)):
            columns = parse_checkpoints(data, self.header)
        return LazyCheckpoints(
            *columns,
            n_groups=self.header.n_groups,
            per_group=self.header.windows_per_group,
            read_group=self._read_group,
        )

    @cached_property
    def span_digests(self) -> tuple[str, ...]:
        """Of each span; empty if the index has none."""
        if (SPAN_DIGESTS, 0) not in self.header.sections:
            return ()
        n = self.header.n_spans
        self._bounded(n * DIGEST_BYTES, "span digests")
        data = self._sections.read(SPAN_DIGESTS, max_raw_bytes=32 * n)
        with self._sections.blaming((SPAN_DIGESTS, 0)):
            if len(data) != 32 * n:
                raise FormatError(f"{len(data)} bytes for {n} spans")
        return tuple(f"sha256:{data[i : i + 32].hex()}" for i in range(0, len(data), 32))

    @cached_property
    def entries(self) -> EntryTable:
        """The table of contents."""
        header = self.header
        table_bytes = (
            header.n_entries * toc_join.ROW_BYTES + header.n_records * toc_join.RECORD_BYTES + header.string_bytes
        )
        left = self._max_bytes - self._bounded(table_bytes, "entries")
        columns: list[Buffer] = []
        for i in range(len(COLUMNS)):
            column = self._sections.read(COLUMN + i, max_raw_bytes=left)
            columns.append(column)
            left -= len(column)
        with self._sections.blaming(*((COLUMN + i, 0) for i in range(len(COLUMNS)))):
            return toc_join.join(
                columns,
                entries=header.n_entries,
                kinds=header.n_kinds,
                times=header.n_times,
                records=header.n_records,
                string_bytes=header.string_bytes,
                archive_size=header.archive_size,
            )

    def layer_index(self) -> LayerIndex:
        """All of it as a layer index, whose checkpoints still read their windows when asked for."""
        header = self.header
        return LayerIndex(
            compression=header.compression,
            comp_size=header.comp_size,
            uncomp_size=header.uncomp_size,
            archive_size=header.archive_size,
            span_bytes=header.span_bytes,
            checkpoints=self.checkpoints,
            span_digests=self.span_digests,
            entries=self.entries,
            digest=header.digest,
            diff_id=header.diff_id,
            members=header.members,
            trailing_bytes=header.trailing_bytes,
        )

    def _read_group(self, group: int) -> bytes:
        """The windows of one group, one behind the other."""
        n = min(self.header.windows_per_group, self.header.n_windows - group * self.header.windows_per_group)
        # A run covers at least one byte, and is written in four.
        runs = self._sections.read(WINDOW_RUNS, group, max_raw_bytes=4 * n * core.WINDOW_BYTES)
        kept = self._sections.read(WINDOW_BYTES, group, max_raw_bytes=n * core.WINDOW_BYTES)
        with self._sections.blaming((WINDOW_RUNS, group), (WINDOW_BYTES, group)):
            return unpack(runs, kept, n)

    def _bounded(self, n_bytes: int, what: str) -> int:
        if n_bytes > self._max_bytes:
            raise LimitError(f"a compact index with {n_bytes} bytes of {what}", limit=self._max_bytes)
        return n_bytes


def open_compact(read_at: ReadAt, size: int, *, max_bytes: int = DEFAULT_MAX_BYTES) -> CompactIndex:
    """A compact index of ``size`` bytes that ``read_at(offset, n_bytes)`` gives, of which only the header is read.

    Whatever the file says, no part of it gets to use more than ``max_bytes`` of memory (LimitError). FormatError for a
    file that is none, UnsupportedError for one of a later version.
    """
    start = read_at(0, min(size, START_BYTES))
    header_bytes = header_bytes_of(start, size)
    if header_bytes > len(start):
        start += read_at(len(start), header_bytes - len(start))
    return CompactIndex(read_at, parse_header(start[:header_bytes], size), max_bytes)


def decode(data: Buffer, *, max_bytes: int = DEFAULT_MAX_BYTES) -> LayerIndex:
    """The layer index in ``data``, with all its windows; errors as of :func:`open_compact`."""
    view = memoryview(data).cast("B")
    opened = open_compact(lambda offset, n: bytes(view[offset : offset + n]), view.nbytes, max_bytes=max_bytes)
    window_bytes = opened.header.n_windows * core.WINDOW_BYTES
    if window_bytes > max_bytes:
        raise LimitError(f"a compact index with {window_bytes} bytes of windows", limit=max_bytes)
    index = opened.layer_index()
    points = index.checkpoints
    if not len(points):
        return index
    eager = core.Checkpoints(points.comp_offset, points.uncomp_offset, points.bits, points.windows, points.rows)
    return replace(index, checkpoints=eager)
