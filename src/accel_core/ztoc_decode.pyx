"""zTOC to layer index. Nothing in the buffer is trusted; every refusal names the byte that led to it.

Memory is bounded by the buffer's size: a string or record list that several entries share is kept once, and what is
kept of strings may not pass the buffer itself (honest strings do not overlap).
"""

import re

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, UINT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcmp, memcpy, memset

from accel_core.entries cimport ENTRY_SIZE_ON_NON_FILE, EntryRow, EntryTable, PaxRow, StrRef
from accel_core.flatbuf_read cimport (
    FlatReader, FlatSpan, FlatTable, flat_child, flat_field, flat_follow, flat_i32, flat_i64, flat_span, flat_span_at,
    flat_table, load_i32, load_i64,
)
from accel_core.rfc3339 cimport rfc3339_parse
from accel_core.status cimport CORRUPT, NO_MEMORY, OK, Status

from accel_core.checkpoints import Checkpoints
from accel_core.errors import FormatError
from accel_core.layer_index import LayerIndex

cdef enum:
    WINDOW_BYTES = 32768
    CHECKPOINT_BYTES = 8 + 8 + 1 + WINDOW_BYTES     # in, out, bits, window
    ZINFO_HEAD_BYTES = 4 + 8                        # count, span size
    BLOCK_BYTES = 512
    # The least an entry costs: offset to its table, soffset, name, type, uncompressed offset
    ROW_BYTES_MIN = 4 + 4 + 4 + 4 + 8
    RECORD_BYTES_MIN = 4                            # its place in a list; tables and strings may be shared
    MAX_PROBES = 32
    # FileMetadata's fields
    ROW_NAME = 0
    ROW_TYPE = 1
    ROW_OFFSET = 2
    ROW_SIZE = 3
    ROW_LINKNAME = 4
    ROW_MODE = 5
    ROW_UID = 6
    ROW_GID = 7
    ROW_UNAME = 8
    ROW_GNAME = 9
    ROW_MOD_TIME = 10
    ROW_DEVMAJOR = 11
    ROW_DEVMINOR = 12
    ROW_XATTRS = 13

DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


cdef struct Seen:           # what a buffer position gave: a string (pos, len) or a list of records (first, count)
    uint32_t *keys          # buffer position, 0: free
    StrRef *values
    uint64_t size           # a power of two
    uint64_t used


cdef struct Place:          # an entry's place in the tar, to sort by
    int64_t offset
    uint32_t row


cdef int by_offset(const void *a, const void *b) noexcept nogil:
    cdef const Place *x = <const Place *>a
    cdef const Place *y = <const Place *>b
    if x.offset != y.offset:
        return -1 if x.offset < y.offset else 1
    return -1 if x.row < y.row else 1


cdef uint64_t slot_of(const Seen *seen, uint32_t key) noexcept nogil:
    return ((key * <uint64_t>0x9E3779B97F4A7C15) >> 32) & (seen.size - 1)


cdef StrRef *find(const Seen *seen, uint32_t key) noexcept nogil:
    """What ``key`` gave before, NULL if nothing (or, for crafted positions, if it is too hard to find)."""
    cdef uint64_t slot = slot_of(seen, key)
    cdef int _probe
    for _probe in range(MAX_PROBES):
        if seen.keys[slot] == key:
            return &seen.values[slot]
        if seen.keys[slot] == 0:
            return NULL
        slot = (slot + 1) & (seen.size - 1)
    return NULL


cdef void put_in(Seen *seen, uint32_t key, StrRef value) noexcept nogil:
    cdef uint64_t slot = slot_of(seen, key)
    cdef int _probe
    for _probe in range(MAX_PROBES):
        if seen.keys[slot] == 0:
            seen.keys[slot] = key
            seen.values[slot] = value
            seen.used += 1
            return
        slot = (slot + 1) & (seen.size - 1)


cdef int resize(Seen *seen, uint64_t size) noexcept nogil:
    cdef Seen old = seen[0]
    cdef uint64_t i
    seen.keys = <uint32_t *>calloc(size, sizeof(uint32_t))
    seen.values = <StrRef *>malloc(size * sizeof(StrRef))
    if seen.keys is NULL or seen.values is NULL:
        free(seen.keys)
        free(seen.values)
        seen[0] = old
        return -1
    seen.size = size
    seen.used = 0
    for i in range(old.size):
        if old.keys[i]:
            put_in(seen, old.keys[i], old.values[i])
    free(old.keys)
    free(old.values)
    return 0


cdef int remember(Seen *seen, uint32_t key, StrRef value) noexcept nogil:
    if 2 * seen.used >= seen.size and resize(seen, 2 * seen.size) < 0:
        return -1
    put_in(seen, key, value)
    return 0


@cython.final
cdef class _Decoder:
    """One zTOC being read: its bytes, the table that is filled, and why it stopped."""

    cdef const uint8_t[::1] view
    cdef FlatReader r
    cdef EntryTable entries
    cdef Seen seen
    cdef const char *what           # the refusal; ``r.bad_at`` says where

    def __cinit__(self, const uint8_t[::1] data not None):
        if data.shape[0] < 8:
            raise FormatError("a zTOC has at least 8 bytes")
        if data.shape[0] > <Py_ssize_t>UINT32_MAX >> 1:
            raise FormatError("a FlatBuffer is smaller than 2 GiB")
        self.view = data
        self.r.data = &data[0]
        self.r.size = data.shape[0]
        self.entries = EntryTable()
        self.what = "a FlatBuffer field points outside the buffer"
        if resize(&self.seen, 1024) < 0:
            raise MemoryError

    def __dealloc__(self):
        free(self.seen.keys)
        free(self.seen.values)

    cdef Status refuse(self, const char *what, int64_t at) noexcept nogil:
        self.what = what
        self.r.bad_at = at
        return CORRUPT

    cdef Status take_rows(self, const FlatSpan *rows) noexcept nogil:
        """All entries, in stored order."""
        cdef int64_t i
        cdef Status status
        if rows.count > self.r.size // ROW_BYTES_MIN:
            return self.refuse("more entries than the zTOC has bytes for", rows.pos - 4)
        for i in range(rows.count):
            status = self.take_row(rows.pos + 4 * i)
            if status != OK:
                return status
        return OK

    cdef Status take_row(self, int64_t pos) noexcept nogil:
        cdef FlatReader *r = &self.r
        cdef FlatTable t
        cdef EntryRow *row
        cdef Status status
        cdef int32_t uid, gid
        if flat_table(r, flat_follow(r, pos), &t) < 0:
            return CORRUPT
        row = self.entries.add_row()
        if row is NULL:
            return NO_MEMORY
        # Strings and records do not move rows; only add_row does.
        if (flat_i64(r, &t, ROW_OFFSET, &row.data_offset) < 0 or flat_i64(r, &t, ROW_SIZE, &row.size) < 0
                or flat_i64(r, &t, ROW_MODE, &row.mode) < 0 or flat_i32(r, &t, ROW_UID, &uid) < 0
                or flat_i32(r, &t, ROW_GID, &gid) < 0 or flat_i64(r, &t, ROW_DEVMAJOR, &row.devmajor) < 0
                or flat_i64(r, &t, ROW_DEVMINOR, &row.devminor) < 0):
            return CORRUPT
        row.uid, row.gid = <uint32_t>uid, <uint32_t>gid
        if row.data_offset < 0 or row.size < 0 or row.size > INT64_MAX - BLOCK_BYTES - row.data_offset:
            return self.refuse("an entry's offset and size are no range", t.pos)
        status = self.take_type(&t, row)
        if status == OK:
            status = self.take_time(&t, row)
        if status == OK:
            status = self.take_string(&t, ROW_NAME, &row.name)
        if status == OK:
            status = self.take_string(&t, ROW_LINKNAME, &row.linkname)
        if status == OK:
            status = self.take_string(&t, ROW_UNAME, &row.uname)
        if status == OK:
            status = self.take_string(&t, ROW_GNAME, &row.gname)
        if status == OK:
            status = self.take_records(&t, row)
        return status

    cdef Status take_type(self, const FlatTable *t, EntryRow *row) noexcept nogil:
        cdef FlatSpan text
        if flat_span(&self.r, t, ROW_TYPE, 1, &text) < 0:
            return CORRUPT
        row.typeflag = typeflag_of(<const char *>self.r.data + text.pos, text.count)
        if row.typeflag == 0:
            return self.refuse("an entry has an unknown type", t.pos)
        if row.typeflag == c"0":
            row.stored_size = row.size
        elif row.size != 0:
            row.flags |= ENTRY_SIZE_ON_NON_FILE
            self.entries.all_flags |= ENTRY_SIZE_ON_NON_FILE
        return OK

    cdef Status take_time(self, const FlatTable *t, EntryRow *row) noexcept nogil:
        cdef FlatSpan text
        if flat_span(&self.r, t, ROW_MOD_TIME, 1, &text) < 0:
            return CORRUPT
        if text.count == 0:
            return OK
        row.has_mtime = 1
        if rfc3339_parse(self.r.data + text.pos, text.count, &row.mtime_s, &row.mtime_ns) < 0:
            return self.refuse("an entry's time is not RFC 3339", text.pos)
        return OK

    cdef Status take_string(self, const FlatTable *t, int field, StrRef *out) noexcept nogil:
        cdef FlatSpan text
        if flat_span(&self.r, t, field, 1, &text) < 0:
            return CORRUPT
        return self.keep(&text, out)

    cdef Status keep(self, const FlatSpan *text, StrRef *out) noexcept nogil:
        """The string in the table's arena; the same string again is the same place."""
        cdef StrRef *known
        if text.count == 0:
            return OK
        known = find(&self.seen, <uint32_t>text.pos)
        if known is not NULL:
            out[0] = known[0]
            return OK
        if text.count > self.r.size - self.entries.n_arena:
            return self.refuse("strings overlap", text.pos)
        if self.entries.add_string(self.r.data + text.pos, text.count, out) < 0:
            return NO_MEMORY
        return OK if remember(&self.seen, <uint32_t>text.pos, out[0]) == 0 else NO_MEMORY

    cdef Status take_records(self, const FlatTable *t, EntryRow *row) noexcept nogil:
        """The entry's PAX records; lists at the same place are the same rows of the table."""
        cdef FlatSpan items
        cdef StrRef *known
        cdef StrRef place
        cdef Status status
        cdef int64_t i
        if flat_span(&self.r, t, ROW_XATTRS, 4, &items) < 0:
            return CORRUPT
        if items.count == 0:
            return OK
        known = find(&self.seen, <uint32_t>items.pos)
        if known is NULL:
            if items.count > self.r.size // RECORD_BYTES_MIN - self.entries.n_pax:
                return self.refuse("lists of records overlap", items.pos)
            place.pos, place.len = <uint32_t>self.entries.n_pax, <uint32_t>items.count
            for i in range(items.count):
                status = self.take_record(items.pos + 4 * i)
                if status != OK:
                    return status
            if remember(&self.seen, <uint32_t>items.pos, place) < 0:
                return NO_MEMORY
        else:
            place = known[0]
            # A string may have been read from the same bytes: crafted, as no list is a string.
            if place.pos > self.entries.n_pax or place.len > self.entries.n_pax - place.pos or place.len != items.count:
                return self.refuse("a list of records overlaps a string", items.pos)
        row.pax_first, row.pax_count = place.pos, place.len
        return OK

    cdef Status take_record(self, int64_t pos) noexcept nogil:
        cdef FlatTable t
        cdef PaxRow *record
        cdef StrRef key, value
        cdef Status status
        memset(&key, 0, sizeof(key))
        memset(&value, 0, sizeof(value))
        if flat_table(&self.r, flat_follow(&self.r, pos), &t) < 0:
            return CORRUPT
        status = self.take_string(&t, 0, &key)
        if status == OK:
            status = self.take_string(&t, 1, &value)
        if status != OK:
            return status
        record = self.entries.add_pax()
        if record is NULL:
            return NO_MEMORY
        record.key, record.value = key, value
        return OK

    cdef Status place_headers(self, int64_t archive_size) noexcept nogil:
        """Fills ``header_offset``: members are contiguous, so each begins where the one before it ends.

        In order of offsets, as readers take it. Entries that overlap or pass the archive's end are refused.
        """
        cdef EntryRow *rows = self.entries.rows
        cdef Py_ssize_t n = self.entries.n_rows, i
        cdef Place *order = NULL
        cdef EntryRow *row
        cdef int64_t next_header = 0
        for i in range(1, n):
            if rows[i].data_offset < rows[i - 1].data_offset:
                order = <Place *>malloc(n * sizeof(Place))
                if order is NULL:
                    return NO_MEMORY
                break
        if order is not NULL:
            for i in range(n):
                order[i].offset, order[i].row = rows[i].data_offset, <uint32_t>i
            qsort(order, n, sizeof(Place), by_offset)
        for i in range(n):
            row = &rows[order[i].row] if order is not NULL else &rows[i]
            if next_header > row.data_offset or row.data_offset + row.stored_size > archive_size:
                free(order)
                return self.refuse("entries overlap or pass the end of the archive", 0)
            row.header_offset = next_header
            next_header = (row.data_offset + row.size + BLOCK_BYTES - 1) & ~<int64_t>(BLOCK_BYTES - 1)
        free(order)
        return OK

    # Doors

    cdef object error(self):
        return FormatError(f"not a usable zTOC: {self.what.decode()} (byte {self.r.bad_at})")

    cdef int check(self, int64_t answer) except -1:
        """Raises the error that a reader's negative answer stands for."""
        if answer < 0:
            raise self.error()
        return 0

    cdef bytes slice(self, const FlatSpan *span):
        return PyBytes_FromStringAndSize(<const char *>self.r.data + span.pos, span.count)

    cdef str text(self, const FlatTable *t, int field):
        cdef FlatSpan span
        self.check(flat_span(&self.r, t, field, 1, &span))
        return self.slice(&span).decode("utf-8", "surrogateescape")

    cdef tuple digests(self, const FlatTable *info, int64_t n_spans):
        cdef FlatSpan items, text
        cdef int64_t i
        self.check(flat_span(&self.r, info, 2, 4, &items))
        if items.count != n_spans:
            raise FormatError(f"not a usable zTOC: {items.count} span digests for {n_spans} spans")
        found = []
        for i in range(items.count):
            self.check(flat_span_at(&self.r, items.pos + 4 * i, 1, &text))
            if text.count != 71 or not DIGEST.fullmatch(self.slice(&text)):
                raise FormatError(f"not a usable zTOC: the digest of span {i} is none (byte {text.pos})")
            found.append(self.slice(&text).decode("ascii"))
        return tuple(found)


cdef uint8_t typeflag_of(const char *text, int64_t n) noexcept nogil:
    """The tar typeflag of SOCI's word, 0 if it is none."""
    if n == 3 and memcmp(text, b"reg", 3) == 0:
        return c"0"
    if n == 8 and memcmp(text, b"hardlink", 8) == 0:
        return c"1"
    if n == 7 and memcmp(text, b"symlink", 7) == 0:
        return c"2"
    if n == 4 and memcmp(text, b"char", 4) == 0:
        return c"3"
    if n == 5 and memcmp(text, b"block", 5) == 0:
        return c"4"
    if n == 3 and memcmp(text, b"dir", 3) == 0:
        return c"5"
    if n == 4 and memcmp(text, b"fifo", 4) == 0:
        return c"6"
    return 0


def decode(data):
    """``(index, version, tool)`` of a zTOC given as any buffer of bytes.

    ``index`` is a :class:`accel_core.layer_index.LayerIndex`; its ``uncomp_size`` is the size of the archive (a zTOC
    does not say what follows it), ``digest`` and ``diff_id`` are None, ``header_offset`` of entries is worked out. The
    first checkpoint of a version 1 zinfo, which is not stored, is the one readers assume. ``version`` and ``tool`` are
    free text.

    Raises FormatError for anything a reader could not use: fields outside the buffer, entries that overlap, checkpoints
    that do not advance, wrong numbers of checkpoints or digests.
    """
    cdef const uint8_t[::1] view = data
    cdef _Decoder d = _Decoder(view)
    cdef FlatReader *r = &d.r
    cdef FlatTable root, toc, info
    cdef FlatSpan rows, zinfo
    cdef int64_t comp_size = 0, archive_size = 0
    cdef int32_t max_span = 0
    cdef Status status
    memset(&toc, 0, sizeof(toc))
    memset(&info, 0, sizeof(info))
    d.check(flat_table(r, flat_follow(r, 0), &root))
    version, tool = d.text(&root, 0), d.text(&root, 1)
    d.check(flat_i64(r, &root, 2, &comp_size))
    d.check(flat_i64(r, &root, 3, &archive_size))
    if comp_size < 1 or archive_size < 0:
        raise FormatError(f"not a usable zTOC: sizes {comp_size} (compressed) and {archive_size} (archive)")
    d.check(flat_child(r, &root, 4, &toc))
    d.check(flat_child(r, &root, 5, &info))
    d.check(flat_span(r, &toc, 0, 4, &rows))
    with nogil:
        status = d.take_rows(&rows)
        if status == OK:
            status = d.place_headers(archive_size)
    if status == NO_MEMORY:
        raise MemoryError
    if status != OK:
        raise d.error()

    d.check(flat_i32(r, &info, 1, &max_span))
    d.check(flat_span(r, &info, 3, 1, &zinfo))
    algorithm_at = flat_field(r, &info, 0, 1)
    d.check(algorithm_at)
    algorithm = view[algorithm_at] if algorithm_at else 1
    if algorithm == 1:
        span_bytes, checkpoints = gzip_checkpoints(view, zinfo.pos, zinfo.count, comp_size)
        n_spans = len(checkpoints)
    elif algorithm == 2:
        span_bytes, n_spans = tar_spans(d.slice(&zinfo), comp_size)
        checkpoints = Checkpoints((), (), b"", b"")
    else:
        raise FormatError(f"not a usable zTOC: unknown compression algorithm {algorithm}")
    if max_span != n_spans - 1:
        raise FormatError(f"not a usable zTOC: last span is {max_span}, but there are {n_spans} spans")
    index = LayerIndex(
        compression="gzip" if algorithm == 1 else "tar",
        comp_size=comp_size,
        uncomp_size=archive_size if algorithm == 1 else comp_size,
        archive_size=archive_size,
        span_bytes=span_bytes,
        checkpoints=checkpoints,
        span_digests=d.digests(&info, n_spans),
        entries=d.entries,
    )
    return index, version, tool


cdef tuple gzip_checkpoints(const uint8_t[::1] data, int64_t pos, int64_t n_bytes, int64_t comp_size):
    """``(span_bytes, Checkpoints)`` of a zinfo blob: i32 count, i64 span size, then in, out, bits, window of each.

    The version shows in the length: version 1 does not store the first checkpoint.
    """
    if n_bytes < ZINFO_HEAD_BYTES:
        raise FormatError(f"not a usable zTOC: a zinfo of {n_bytes} bytes (byte {pos})")
    cdef const uint8_t *p = &data[pos]
    cdef int64_t count = load_i32(p)
    cdef int64_t span_bytes = load_i64(p + 4)
    cdef int64_t stored = (n_bytes - ZINFO_HEAD_BYTES) // CHECKPOINT_BYTES
    if n_bytes != ZINFO_HEAD_BYTES + stored * CHECKPOINT_BYTES or count < 1 or stored not in (count, count - 1):
        raise FormatError(f"not a usable zTOC: a zinfo of {n_bytes} bytes for {count} checkpoints (byte {pos})")
    cdef bint implied_first = stored == count - 1
    # The implied one: right after a bare gzip header, nothing before it.
    comp_offset, uncomp_offset, bits = [10] * implied_first, [0] * implied_first, bytearray(int(implied_first))
    cdef bytes windows = PyBytes_FromStringAndSize(NULL, count * WINDOW_BYTES)
    cdef char *out = PyBytes_AS_STRING(windows)
    if implied_first:
        memset(out, 0, WINDOW_BYTES)
        out += WINDOW_BYTES
    p += ZINFO_HEAD_BYTES
    cdef int64_t _i
    for _i in range(stored):
        comp_offset.append(load_i64(p))
        uncomp_offset.append(load_i64(p + 8))
        bits.append(p[16])
        memcpy(out, p + 17, WINDOW_BYTES)
        out += WINDOW_BYTES
        p += CHECKPOINT_BYTES
    checkpoints = Checkpoints(tuple(comp_offset), tuple(uncomp_offset), bytes(bits), windows)
    check_advance(checkpoints, comp_size, pos)
    return span_bytes, checkpoints


cdef int check_advance(checkpoints, int64_t comp_size, int64_t pos) except -1:
    """Refuses checkpoints that do not start at 0, do not advance, or pass the end of the blob."""
    cdef int64_t last_start = 0, last_out = -1
    for i in range(len(checkpoints)):
        comp, out, bits = checkpoints.comp_offset[i], checkpoints.uncomp_offset[i], checkpoints.bits[i]
        if bits > 7 or not 0 < comp <= comp_size or comp <= last_start or out <= last_out or (i == 0 and out != 0):
            raise FormatError(
                f"not a usable zTOC: checkpoint {i} (compressed {comp}, uncompressed {out}, bits {bits}) does not "
                f"follow from the one before it (byte {pos})",
                comp_offset=comp, uncomp_offset=out,
            )
        last_start, last_out = comp - (bits > 0), out
    return 0


cdef tuple tar_spans(bytes zinfo, int64_t comp_size):
    """``(span_bytes, number of spans)`` of an uncompressed layer's zinfo, a FlatBuffer of its own."""
    cdef FlatReader r
    cdef FlatTable t
    cdef int64_t span_bytes = 0, size = 0
    r.data, r.size, r.bad_at = <const uint8_t *><const char *>zinfo, len(zinfo), 0
    if (len(zinfo) < 8 or flat_table(&r, flat_follow(&r, 0), &t) < 0 or flat_i64(&r, &t, 1, &span_bytes) < 0
            or flat_i64(&r, &t, 2, &size) < 0):
        raise FormatError(f"not a usable zTOC: its tar zinfo has a field outside of it (byte {r.bad_at} of it)")
    if span_bytes < 1 or size != comp_size:
        raise FormatError(f"not a usable zTOC: a tar zinfo of {size} bytes in spans of {span_bytes}, layer {comp_size}")
    return span_bytes, (size - 1) // span_bytes + 1
