"""Layer index to zTOC: the FlatBuffer that SOCI keeps of one layer (SOCI ``ztoc.fbs``).

Back to front, as FlatBuffers are built::

    root | Ztoc | CompressionInfo | digests | zinfo | TOC | row offsets | rows, last to first | tool, version

Two layouts. *Identical* is what the Go builder writes, byte for byte: every string of its own, every field present.
*Shared* holds only what a reader uses, and any string, record or record list once: empty fields are left out (absent
reads as empty), and of the PAX records only ``SCHILY.xattr.*`` stay (the others are applied already or never read).
"""

import struct
from array import array

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcmp, strlen

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.flatbuf_write cimport (
    FlatWriter, align, begin_table, end_table, field_i8, field_i64, field_ref, field_u32, finish, put, put_blob,
    put_refs, put_string, put_u32,
)
from accel_core.rfc3339 cimport RFC3339_MAX, rfc3339_format
from accel_core.tar_pax cimport XATTR_PREFIX_BYTES, is_xattr

from accel_core.errors import LimitError, UnsupportedError

cdef enum:
    WINDOW_BYTES = 32768
    CHECKPOINT_BYTES = 8 + 8 + 1 + WINDOW_BYTES     # in, out, bits, window
    ZINFO_HEAD_BYTES = 4 + 8
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
    N_ROW_FIELDS = 14
    ALGORITHM_GZIP = 1
    ALGORITHM_TAR = 2
    FLATBUFFER_MAX = 0x7fff0000                     # offsets are signed 32 bit, less some alignment
    # The most one row costs beside its strings: 7 strings of (length, NUL, padding) + type and time +
    # 14 fields of 8 bytes and padding + soffset and padding + vtable + row offset + empty record list
    ROW_ROOM = 7 * 8 + 8 + RFC3339_MAX + 14 * 8 + 24 + 8 + 32 + 4 + 8
    # ... and one PAX record: 2 strings + table (2 fields, soffset, vtable) + its offset
    RECORD_ROOM = 2 * 8 + 2 * 4 + 4 + 8 + 4 + 4
    DIGEST_ROOM = 4 + 8                             # string head and padding, offset
    FIXED_ROOM = 512                                # version, the three outer tables and their vtables
    # Give up sharing after so many probes: bounds the time that crafted names can cost.
    MAX_PROBES = 32


cdef struct Interned:       # positions of written objects by the hash of their content
    uint32_t *positions     # 0: free
    uint32_t *hashes
    uint64_t mask


cdef struct Record:         # one PAX record, ready to sort
    const uint8_t *key
    const uint8_t *value
    uint32_t key_len
    uint32_t value_len
    uint32_t order          # in the archive; of equal keys the last counts


cdef struct Strings:        # positions of what a row refers to, 0 where the shared layout leaves it out
    uint32_t name
    uint32_t type
    uint32_t linkname
    uint32_t uname
    uint32_t gname
    uint32_t mod_time
    uint32_t xattrs


# Kernel

cdef const char *type_of(uint8_t typeflag) noexcept nogil:
    """What SOCI calls a tar typeflag; NULL if it has no word for it."""
    if typeflag == c"0":
        return "reg"
    if typeflag == c"1":
        return "hardlink"
    if typeflag == c"2":
        return "symlink"
    if typeflag == c"3":
        return "char"
    if typeflag == c"4":
        return "block"
    if typeflag == c"5":
        return "dir"
    if typeflag == c"6":
        return "fifo"
    return NULL


cdef uint32_t hash_of(const uint8_t *data, int64_t n) noexcept nogil:
    """FNV-1a, finished so that the low bits depend on all bytes."""
    cdef uint32_t h = <uint32_t>2166136261
    cdef int64_t i
    for i in range(n):
        h = (h ^ data[i]) * 16777619
    h ^= h >> 15
    h *= <uint32_t>0x85ebca6b
    return h ^ h >> 13


cdef uint32_t shared_string(FlatWriter *w, Interned *known, const uint8_t *data, int64_t n) noexcept nogil:
    """Position of the string, written now unless it was before."""
    cdef uint32_t h = hash_of(data, n)
    cdef uint64_t slot = h & known.mask
    cdef uint32_t length = <uint32_t>n
    cdef const uint8_t *at
    cdef int _probe
    for _probe in range(MAX_PROBES):
        if known.positions[slot] == 0:
            known.hashes[slot] = h
            known.positions[slot] = put_string(w, data, n)
            return known.positions[slot]
        if known.hashes[slot] == h:
            at = w.end - known.positions[slot]
            if memcmp(at, &length, 4) == 0 and memcmp(at + 4, data, n) == 0:
                return known.positions[slot]
        slot = (slot + 1) & known.mask
    return put_string(w, data, n)


cdef uint32_t referred(const FlatWriter *w, uint32_t position) noexcept nogil:
    """Position of the object that the offset at ``position`` refers to."""
    cdef const uint8_t *at = w.end - position
    return position - (at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24)


cdef uint32_t put_record(FlatWriter *w, uint32_t key, uint32_t value) noexcept nogil:
    """An Xattr table."""
    begin_table(w, 2)
    field_ref(w, 0, key)
    field_ref(w, 1, value)
    return end_table(w)


cdef uint32_t shared_record(FlatWriter *w, Interned *known, uint32_t key, uint32_t value) noexcept nogil:
    # Layout of the table: soffset, value offset, key offset, as fields are written back to front.
    cdef uint32_t pair[2]
    pair[0], pair[1] = key, value
    cdef uint32_t h = hash_of(<const uint8_t *>pair, 8)
    cdef uint64_t slot = h & known.mask
    cdef uint32_t at
    cdef int _probe
    for _probe in range(MAX_PROBES):
        at = known.positions[slot]
        if at == 0:
            known.positions[slot] = put_record(w, key, value)
            return known.positions[slot]
        if referred(w, at - 4) == value and referred(w, at - 8) == key:
            return at
        slot = (slot + 1) & known.mask
    return put_record(w, key, value)


cdef uint32_t shared_refs(FlatWriter *w, Interned *known, const uint32_t *positions, int64_t n) noexcept nogil:
    cdef uint32_t h = hash_of(<const uint8_t *>positions, 4 * n)
    cdef uint64_t slot = h & known.mask
    cdef uint32_t at, count = <uint32_t>n
    cdef int64_t i
    cdef int _probe
    for _probe in range(MAX_PROBES):
        at = known.positions[slot]
        if at == 0:
            known.hashes[slot] = h
            known.positions[slot] = put_refs(w, positions, n)
            return known.positions[slot]
        if known.hashes[slot] == h and memcmp(w.end - at, &count, 4) == 0:
            i = 0
            while i < n and referred(w, <uint32_t>(at - 4 - 4 * i)) == positions[i]:
                i += 1
            if i == n:
                return at
        slot = (slot + 1) & known.mask
    return put_refs(w, positions, n)


cdef int by_key(const void *a, const void *b) noexcept nogil:
    cdef const Record *x = <const Record *>a
    cdef const Record *y = <const Record *>b
    cdef uint32_t n = x.key_len if x.key_len < y.key_len else y.key_len
    cdef int sign = memcmp(x.key, y.key, n)
    if sign != 0:
        return sign
    if x.key_len != y.key_len:
        return -1 if x.key_len < y.key_len else 1
    return -1 if x.order < y.order else 1


cdef void free_interned(Interned *known) noexcept nogil:
    free(known.positions)
    free(known.hashes)


cdef int make_interned(Interned *known, int64_t n) noexcept nogil:
    """Room for ``n`` objects at half load: 0, or -1 without memory."""
    cdef uint64_t size = 16
    while size < <uint64_t>(2 * n):
        size *= 2
    known.mask = size - 1
    known.positions = <uint32_t *>calloc(size, 4)
    known.hashes = <uint32_t *>calloc(size, 4)
    return 0 if known.positions is not NULL and known.hashes is not NULL else -1


@cython.final
cdef class _Encoder:
    """One zTOC being written, and the memory that takes."""

    cdef EntryTable entries
    cdef bint share
    cdef FlatWriter w
    cdef uint8_t *buffer
    cdef uint32_t *rows             # position of each row's table
    cdef Record *records            # PAX records of the row being written
    cdef uint32_t *record_at        # positions of their tables
    cdef Interned strings           # what the shared layout has written already
    cdef Interned pairs
    cdef Interned lists

    def __cinit__(self, EntryTable entries not None, bint share, int64_t other_room):
        cdef int64_t longest = 0
        cdef int64_t room = other_room + rows_room(entries, &longest)
        if room > FLATBUFFER_MAX:
            raise LimitError(f"a zTOC of {len(entries)} entries may be {room} bytes long", limit=FLATBUFFER_MAX)
        self.entries = entries
        self.share = share
        self.w.room = room
        self.w.align = 1
        # Only rows differ in their fields; records, and the outer tables, have one form each.
        self.w.room_vtables = entries.n_rows + 8
        self.w.vtables = <uint32_t *>malloc(4 * self.w.room_vtables)
        self.buffer = <uint8_t *>malloc(room)
        self.rows = <uint32_t *>malloc(4 * (entries.n_rows + 1))
        self.records = <Record *>malloc(sizeof(Record) * (longest + 1))
        self.record_at = <uint32_t *>malloc(4 * (longest + 1))
        if not (self.w.vtables and self.buffer and self.rows and self.records and self.record_at):
            raise MemoryError
        self.w.end = self.buffer + room
        if share and (make_interned(&self.strings, entries.n_rows + 2 * entries.n_pax) < 0
                      or make_interned(&self.pairs, entries.n_pax) < 0
                      or make_interned(&self.lists, entries.n_pax) < 0):
            raise MemoryError

    def __dealloc__(self):
        free(self.w.vtables)
        free(self.buffer)
        free(self.rows)
        free(self.records)
        free(self.record_at)
        free_interned(&self.strings)
        free_interned(&self.pairs)
        free_interned(&self.lists)

    cdef Py_ssize_t put_rows(self) noexcept nogil:
        """Writes all rows, last to first. -1, or the row whose typeflag SOCI has no word for."""
        cdef Py_ssize_t i
        for i in range(self.entries.n_rows - 1, -1, -1):
            if type_of(self.typeflag(i)) is NULL:
                return i
            self.rows[i] = self.put_shared_row(i) if self.share else self.put_identical_row(i)
        return -1

    cdef uint8_t typeflag(self, Py_ssize_t i) noexcept nogil:
        # A contiguous file is a file to every reader; only the Go builder refuses it.
        cdef uint8_t flag = self.entries.rows[i].typeflag
        return c"0" if flag == c"7" and self.share else flag

    cdef uint32_t put_identical_row(self, Py_ssize_t i) noexcept nogil:
        cdef FlatWriter *w = &self.w
        cdef EntryRow *row = &self.entries.rows[i]
        cdef const char *type_name = type_of(row.typeflag)
        cdef uint8_t time[RFC3339_MAX]
        cdef Strings at
        cdef uint32_t key, value
        cdef Py_ssize_t n, k
        at.name = self.put_text(row.name)
        at.type = put_string(w, type_name, strlen(type_name))
        at.linkname = self.put_text(row.linkname)
        at.uname = self.put_text(row.uname)
        at.gname = self.put_text(row.gname)
        at.mod_time = put_string(w, time, rfc3339_format(row.mtime_s, row.mtime_ns, time) if row.has_mtime else 0)
        n = self.sorted_records(row)
        for k in range(n):
            key = put_string(w, self.records[k].key, self.records[k].key_len)
            value = put_string(w, self.records[k].value, self.records[k].value_len)
            self.record_at[k] = put_record(w, key, value)
        at.xattrs = put_refs(w, self.record_at, n)
        begin_table(w, N_ROW_FIELDS)
        field_ref(w, ROW_NAME, at.name)
        field_ref(w, ROW_TYPE, at.type)
        field_i64(w, ROW_OFFSET, row.data_offset)
        field_i64(w, ROW_SIZE, row.size)
        field_ref(w, ROW_LINKNAME, at.linkname)
        field_i64(w, ROW_MODE, row.mode)
        field_u32(w, ROW_UID, <uint32_t>row.uid)
        field_u32(w, ROW_GID, <uint32_t>row.gid)
        field_ref(w, ROW_UNAME, at.uname)
        field_ref(w, ROW_GNAME, at.gname)
        field_ref(w, ROW_MOD_TIME, at.mod_time)
        field_i64(w, ROW_DEVMAJOR, row.devmajor)
        field_i64(w, ROW_DEVMINOR, row.devminor)
        field_ref(w, ROW_XATTRS, at.xattrs)
        return end_table(w)

    cdef uint32_t put_shared_row(self, Py_ssize_t i) noexcept nogil:
        cdef FlatWriter *w = &self.w
        cdef EntryRow *row = &self.entries.rows[i]
        cdef uint8_t typeflag = self.typeflag(i)
        cdef const char *type_name = type_of(typeflag)
        cdef uint8_t time[RFC3339_MAX]
        cdef int time_bytes = rfc3339_format(row.mtime_s, row.mtime_ns, time) if row.has_mtime else 0
        cdef Strings at
        at.name = self.share_text(row.name)
        at.type = shared_string(w, &self.strings, <const uint8_t *>type_name, strlen(type_name))
        at.linkname = self.share_text(row.linkname)
        at.uname = self.share_text(row.uname)
        at.gname = self.share_text(row.gname)
        at.mod_time = shared_string(w, &self.strings, time, time_bytes) if time_bytes else 0
        at.xattrs = self.share_records(row)
        # No padding: 64-bit fields first, behind one offset if that puts them on a multiple of 8 (from the end).
        align(w, 4, 0)
        cdef bint shift = (w.used & 4) != 0
        begin_table(w, N_ROW_FIELDS)
        if shift:
            field_ref(w, ROW_TYPE, at.type)
        field_i64(w, ROW_OFFSET, row.data_offset)
        # A claimed size of what has no data would make readers look for the next header in the wrong place.
        field_i64(w, ROW_SIZE, row.size if typeflag == c"0" else 0)
        field_i64(w, ROW_MODE, row.mode)
        field_i64(w, ROW_DEVMAJOR, row.devmajor)
        field_i64(w, ROW_DEVMINOR, row.devminor)
        if not shift:
            field_ref(w, ROW_TYPE, at.type)
        field_u32(w, ROW_UID, <uint32_t>row.uid)
        field_u32(w, ROW_GID, <uint32_t>row.gid)
        self.refer(ROW_NAME, at.name)
        self.refer(ROW_LINKNAME, at.linkname)
        self.refer(ROW_UNAME, at.uname)
        self.refer(ROW_GNAME, at.gname)
        self.refer(ROW_MOD_TIME, at.mod_time)
        self.refer(ROW_XATTRS, at.xattrs)
        return end_table(w)

    cdef void refer(self, int field, uint32_t position) noexcept nogil:
        if position:
            field_ref(&self.w, field, position)

    cdef uint32_t put_text(self, StrRef text) noexcept nogil:
        return put_string(&self.w, self.entries.arena + text.pos, text.len)

    cdef uint32_t share_text(self, StrRef text) noexcept nogil:
        return shared_string(&self.w, &self.strings, self.entries.arena + text.pos, text.len) if text.len else 0

    cdef uint32_t share_records(self, const EntryRow *row) noexcept nogil:
        """Position of the row's list of extended attributes, 0 if it has none."""
        cdef Py_ssize_t n = self.sorted_records(row), kept = 0, k
        cdef Record *record
        cdef uint32_t key, value
        for k in range(n):
            record = &self.records[k]
            if record.key_len > XATTR_PREFIX_BYTES and is_xattr(record.key, record.key_len):
                key = shared_string(&self.w, &self.strings, record.key, record.key_len)
                value = shared_string(&self.w, &self.strings, record.value, record.value_len)
                self.record_at[kept] = shared_record(&self.w, &self.pairs, key, value)
                kept += 1
        return shared_refs(&self.w, &self.lists, self.record_at, kept) if kept else 0

    cdef Py_ssize_t sorted_records(self, const EntryRow *row) noexcept nogil:
        """Fills ``records`` in byte order of keys, of a repeated key the last; how many."""
        cdef Py_ssize_t n = row.pax_count, k, kept = 0
        cdef PaxRow *source
        cdef Record *record
        for k in range(n):
            source = &self.entries.pax[row.pax_first + k]
            record = &self.records[k]
            record.key, record.key_len = self.entries.arena + source.key.pos, source.key.len
            record.value, record.value_len = self.entries.arena + source.value.pos, source.value.len
            record.order = <uint32_t>k
        if n > 1:
            qsort(self.records, n, sizeof(Record), by_key)
        for k in range(n):
            if k + 1 < n and same_key(&self.records[k], &self.records[k + 1]):
                continue
            self.records[kept] = self.records[k]
            kept += 1
        return kept

    cdef uint32_t put_zinfo(
        self, tuple comp_offset, tuple uncomp_offset, const uint8_t[::1] bits, const uint8_t[::1] windows,
        int64_t span_bytes,
    ) except? 0:
        """The gzip checkpoint blob: i32 count, i64 span size, then per checkpoint i64 in, i64 out, u8 bits, window."""
        cdef FlatWriter *w = &self.w
        cdef Py_ssize_t n = bits.shape[0], i
        cdef int64_t number
        cdef int32_t count = <int32_t>n
        cdef int64_t zinfo_bytes = ZINFO_HEAD_BYTES + n * CHECKPOINT_BYTES
        align(w, 4, zinfo_bytes)
        for i in range(n - 1, -1, -1):
            put(w, &windows[i * WINDOW_BYTES], WINDOW_BYTES)
            put(w, &bits[i], 1)
            number = uncomp_offset[i]
            put(w, &number, 8)
            number = comp_offset[i]
            put(w, &number, 8)
        put(w, &span_bytes, 8)
        put(w, &count, 4)
        put_u32(w, <uint32_t>zinfo_bytes)
        return <uint32_t>w.used

    cdef uint32_t put_bytes(self, bytes data) noexcept:
        return put_blob(&self.w, <const char *>data, len(data))

    cdef uint32_t put_name(self, bytes text) noexcept:
        return put_string(&self.w, <const char *>text, len(text))

    cdef bytes finished(self):
        if self.w.full:
            raise AssertionError("the zTOC is longer than was computed")
        return PyBytes_FromStringAndSize(<const char *>self.w.end - self.w.used, self.w.used)


cdef bint same_key(const Record *a, const Record *b) noexcept nogil:
    return a.key_len == b.key_len and memcmp(a.key, b.key, a.key_len) == 0


cdef int64_t rows_room(EntryTable entries, int64_t *longest) noexcept nogil:
    """Bytes that the rows take at most; ``longest`` gets the largest number of PAX records of one row."""
    cdef int64_t room = 0
    cdef Py_ssize_t i, k
    cdef EntryRow *row
    cdef PaxRow *record
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        room += ROW_ROOM + <int64_t>row.name.len + row.linkname.len + row.uname.len + row.gname.len
        for k in range(<Py_ssize_t>row.pax_count):
            record = &entries.pax[row.pax_first + k]
            room += RECORD_ROOM + <int64_t>record.key.len + record.value.len
        if row.pax_count > longest[0]:
            longest[0] = row.pax_count
        if room > FLATBUFFER_MAX:
            break
    return room


# Door

def encode(index, *, str tool not None, bint share=True):
    """The zTOC of a :class:`accel_core.layer_index.LayerIndex`, as bytes.

    ``tool`` is the build tool identifier. ``share=False`` gives the Go builder's exact bytes, which need every row as
    the archive has it; ``share=True`` the small layout (module docstring), where contiguous files are written as files
    and what has no data as having size 0. Times are UTC; uid and gid are cut to 32 bits, as the schema has it.

    Raises UnsupportedError for an entry that SOCI has no word for (naming it), LimitError past 2 GiB, ValueError for
    checkpoints or digests that do not fit each other.
    """
    cdef EntryTable entries = index.entries
    cdef bytes tool_text = tool.encode("utf-8", "surrogateescape")
    cdef list digests = [text.encode("ascii") for text in index.span_digests]
    checkpoints = index.checkpoints
    cdef Py_ssize_t n_spans = len(digests)
    cdef bint gzip = index.compression == "gzip"
    cdef bytes zinfo = b""
    cdef int64_t zinfo_bytes
    if gzip:
        n_checkpoints = len(checkpoints.bits)
        if not (n_checkpoints == n_spans == len(checkpoints.comp_offset) == len(checkpoints.uncomp_offset)):
            raise ValueError(f"{n_spans} digests for {n_checkpoints} checkpoints")
        if n_spans == 0 or memoryview(checkpoints.windows).nbytes != n_spans * WINDOW_BYTES:
            raise ValueError(f"windows of {n_spans} checkpoints are not {n_spans} x {WINDOW_BYTES} bytes")
        zinfo_bytes = ZINFO_HEAD_BYTES + n_spans * CHECKPOINT_BYTES
    else:
        if index.span_bytes < 1 or n_spans != -(-index.comp_size // index.span_bytes) or n_spans == 0:
            raise ValueError(f"{n_spans} digests for {index.comp_size} bytes in spans of {index.span_bytes}")
        zinfo = tar_zinfo(index.comp_size, index.span_bytes)
        zinfo_bytes = len(zinfo)
    other_room = FIXED_ROOM + len(tool_text) + zinfo_bytes + sum([len(text) + DIGEST_ROOM for text in digests])
    cdef _Encoder e = _Encoder(entries, share, other_room)
    cdef FlatWriter *w = &e.w

    cdef uint32_t version_at = e.put_name(b"0.9")
    cdef uint32_t tool_at = e.put_name(tool_text)
    cdef Py_ssize_t odd
    with nogil:
        odd = e.put_rows()
    if odd >= 0:
        entry = entries[odd]
        raise UnsupportedError(
            f"SOCI has no word for tar entries of type {entry.typeflag!r} (entry {odd}, {entry.name!r})"
        )
    cdef uint32_t rows_at = put_refs(w, e.rows, entries.n_rows)
    begin_table(w, 1)
    field_ref(w, 0, rows_at)
    cdef uint32_t toc_at = end_table(w)

    cdef uint32_t zinfo_at
    if gzip:
        zinfo_at = e.put_zinfo(
            checkpoints.comp_offset, checkpoints.uncomp_offset, checkpoints.bits, checkpoints.windows, index.span_bytes
        )
    else:
        zinfo_at = e.put_bytes(zinfo)
    cdef uint32_t[::1] digest_at = array("I", [0]) * n_spans
    cdef Py_ssize_t i
    for i in range(n_spans):
        digest_at[i] = e.put_name(digests[i])
    cdef uint32_t digests_at = put_refs(w, &digest_at[0], n_spans)

    begin_table(w, 4)
    field_u32(w, 1, <uint32_t>(n_spans - 1))
    field_ref(w, 2, digests_at)
    field_ref(w, 3, zinfo_at)
    field_i8(w, 0, ALGORITHM_GZIP if gzip else ALGORITHM_TAR, ALGORITHM_GZIP)
    cdef uint32_t info_at = end_table(w)

    begin_table(w, 6)
    field_ref(w, 0, version_at)
    field_ref(w, 1, tool_at)
    field_ref(w, 4, toc_at)
    field_i64(w, 2, index.comp_size)
    field_i64(w, 3, index.archive_size)
    field_ref(w, 5, info_at)
    finish(w, end_table(w))
    return e.finished()


def tar_zinfo(int64_t size, int64_t span_bytes):
    """The checkpoint blob of an uncompressed layer: a FlatBuffer ``TarZinfo {version: 2, span_size, size}``."""
    # root 20 | padding | vtable at 10: 10 bytes, object of 28, fields at 24, 12, 4 | soffset 10 | size, span, 0, 2
    return struct.pack("<iiHHHHHHiqqii", 20, 0, 0, 10, 28, 24, 12, 4, 10, size, span_bytes, 0, 2)
