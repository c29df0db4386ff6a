"""Columns to entry table (their meaning: ``toc_columns.pxd``). Nothing in them is trusted.

Memory is bounded by the counts that ``join`` is given, which the caller has to limit; time by memory and the columns.
"""

cimport cython
from libc.stdint cimport UINT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.status cimport CORRUPT, NO_MEMORY, OK, Status
from accel_core.tar_header cimport BLOCK_BYTES
from accel_core.toc_columns cimport (
    C_GAP, C_HEADERS, C_KEYS, C_KIND, C_KIND_TEXT, C_KINDS, C_MIDDLE, C_NANOS, C_PREFIX, C_SIZE, C_STORED, C_SUFFIX,
    C_TEXT, C_TIME, C_TIMES, C_VALUE, C_VALUE_TEXT, HAS_LINK, HAS_MTIME, K_DEVMAJOR, K_DEVMINOR, K_FLAGS, K_GID,
    K_GNAME_BYTES, K_KEYS, K_MARKS, K_MODE, K_TYPEFLAG, K_UID, K_UNAME_BYTES, MAX_DIGITS, N_COLUMNS, N_KIND_FIELDS,
    end_of, has_data, is_sound, said, unzigzag,
)

from accel_core.errors import FormatError
from accel_core.toc_split import COLUMNS


cdef struct Column:                 # bytes of text, or planes of n numbers
    const uint8_t *p
    Py_ssize_t n_bytes
    Py_ssize_t n
    int width


cdef struct Time:
    int64_t s
    int32_t ns


cdef struct Kind:
    EntryRow row                    # what its entries begin with
    uint32_t first_key
    uint32_t n_keys
    uint8_t has_link


ROW_BYTES = sizeof(EntryRow) + sizeof(Kind) + sizeof(Time)      # an entry may bring a kind and a time of its own
RECORD_BYTES = sizeof(PaxRow) + sizeof(StrRef)                  # ... and a record a key


cdef int64_t turn(uint64_t code, Py_ssize_t *n_had, Py_ssize_t n) noexcept nogil:
    """Which of ``n`` kinds or times ``code`` stands for, the first ``n_had`` having had a turn; -1 if none."""
    if code > <uint64_t>n_had[0]:
        return -1
    if code:
        return <int64_t>code - 1
    if n_had[0] == n:
        return -1
    n_had[0] += 1
    return n_had[0] - 1


@cython.final
cdef class _Joiner:
    """One table of contents being read: its columns, the table that is filled, and why it stopped."""

    cdef list held                  # the columns' buffers
    cdef Column columns[N_COLUMNS]
    cdef EntryTable entries
    cdef Py_ssize_t n_rows, n_kinds, n_times, n_records, string_bytes       # as declared
    cdef Py_ssize_t n_keys, n_links
    cdef int64_t archive_size
    cdef Kind *kinds
    cdef StrRef *keys
    cdef Time *times
    cdef Py_ssize_t n_strings       # names and links done
    cdef const char *what           # the refusal, in ``column``, at ``row`` (-1: at none)
    cdef int column
    cdef Py_ssize_t row

    def __cinit__(
        self, list columns not None, Py_ssize_t n_rows, Py_ssize_t n_kinds, Py_ssize_t n_times, Py_ssize_t n_records,
        Py_ssize_t string_bytes, int64_t archive_size,
    ):
        cdef const uint8_t[::1] view
        cdef int c
        if len(columns) != N_COLUMNS:
            raise ValueError(f"{len(columns)} columns, not {N_COLUMNS}")
        for count in (n_rows, n_kinds, n_times, n_records, string_bytes):
            if not 0 <= count <= <Py_ssize_t>UINT32_MAX:
                raise ValueError(f"a count of {count} does not fit 32 bits")
        if archive_size < 0:
            raise ValueError(f"an archive of {archive_size} bytes")
        self.n_rows, self.n_kinds, self.n_times, self.n_records = n_rows, n_kinds, n_times, n_records
        self.string_bytes, self.archive_size = string_bytes, archive_size
        self.held = []
        for c in range(N_COLUMNS):
            view = columns[c]
            self.held.append(view)
            self.columns[c].n_bytes = view.shape[0]
            if view.shape[0]:
                self.columns[c].p = &view[0]
        self.entries = EntryTable()
        self.row = -1

    def __dealloc__(self):
        free(self.kinds)
        free(self.keys)
        free(self.times)

    cdef Status refuse(self, int column, const char *what) noexcept nogil:
        self.column = column
        self.what = what
        return CORRUPT

    # Columns

    cdef Status open(self, int c, Py_ssize_t n) noexcept nogil:
        """Makes column ``c`` one of ``n`` numbers."""
        cdef Column *column = &self.columns[c]
        column.n = n
        if column.n_bytes == 0:
            return OK
        if n == 0 or column.n_bytes % n != 0 or column.n_bytes // n > 8:
            return self.refuse(c, b"its length is not that of as many numbers as there are")
        column.width = <int>(column.n_bytes // n)
        return OK

    cdef uint64_t at(self, int c, Py_ssize_t i) noexcept nogil:
        cdef const Column *column = &self.columns[c]
        cdef const uint8_t *p = column.p
        cdef uint64_t value = 0
        cdef int plane
        if column.width:
            p += i
        for plane in range(column.width):
            value |= <uint64_t>p[0] << <uint64_t>(8 * plane)
            p += column.n
        return value

    cdef Status add(self, int c, const uint8_t *p, uint64_t n, StrRef *out) noexcept nogil:
        """A string for the table, because of column ``c``. The arena has room for what was declared and never moves."""
        if n > <uint64_t>(self.string_bytes - self.entries.n_arena):
            return self.refuse(c, b"there are more strings than declared")
        return OK if self.entries.add_string(p, <Py_ssize_t>n, out) == 0 else NO_MEMORY

    cdef Status take_text(self, int c, uint64_t n, StrRef *out) noexcept nogil:
        """The next ``n`` bytes of text column ``c`` as a string of the table."""
        cdef Column *column = &self.columns[c]
        if n > <uint64_t>column.n_bytes:
            return self.refuse(c, b"it ends inside a string")
        cdef Status status = self.add(c, column.p, n, out)
        column.p += n
        column.n_bytes -= <Py_ssize_t>n
        return status

    # Kinds and times

    cdef Status take_kinds(self) noexcept nogil:
        cdef uint64_t f[N_KIND_FIELDS]
        cdef Py_ssize_t k
        cdef int field
        cdef Kind *kind
        cdef Status status = self.open(C_KINDS, self.n_kinds * N_KIND_FIELDS)
        if status != OK:
            return status
        for k in range(self.n_kinds):
            for field in range(N_KIND_FIELDS):
                f[field] = self.at(C_KINDS, field * self.n_kinds + k)
            if f[K_TYPEFLAG] > 0xFF or f[K_FLAGS] > 0xFFFF or f[K_MARKS] > (HAS_MTIME | HAS_LINK):
                return self.refuse(C_KINDS, b"a type or flag is none")
            if f[K_UNAME_BYTES] > UINT32_MAX or f[K_GNAME_BYTES] > UINT32_MAX:
                return self.refuse(C_KINDS, b"a name is longer than any string")
            # Every kind has its turn, so there are no more keys than records.
            if f[K_KEYS] > <uint64_t>(self.n_records - self.n_keys):
                return self.refuse(C_KINDS, b"there are more keys than records")
            kind = &self.kinds[k]
            kind.row.typeflag, kind.row.flags = <uint8_t>f[K_TYPEFLAG], <uint16_t>f[K_FLAGS]
            kind.row.has_mtime = (f[K_MARKS] & HAS_MTIME) != 0
            kind.has_link = (f[K_MARKS] & HAS_LINK) != 0
            kind.row.mode, kind.row.uid, kind.row.gid = <int64_t>f[K_MODE], <int64_t>f[K_UID], <int64_t>f[K_GID]
            kind.row.devmajor, kind.row.devminor = <int64_t>f[K_DEVMAJOR], <int64_t>f[K_DEVMINOR]
            kind.row.uname.len, kind.row.gname.len = <uint32_t>f[K_UNAME_BYTES], <uint32_t>f[K_GNAME_BYTES]
            kind.first_key, kind.n_keys = <uint32_t>self.n_keys, <uint32_t>f[K_KEYS]
            self.n_keys += kind.n_keys
        return OK

    cdef Status take_kind_text(self) noexcept nogil:
        cdef Py_ssize_t k
        cdef uint32_t j
        cdef Kind *kind
        cdef Status status = self.open(C_KEYS, self.n_keys)
        for k in range(self.n_kinds):
            kind = &self.kinds[k]
            if status == OK:
                status = self.take_text(C_KIND_TEXT, kind.row.uname.len, &kind.row.uname)
            if status == OK:
                status = self.take_text(C_KIND_TEXT, kind.row.gname.len, &kind.row.gname)
            for j in range(kind.first_key, kind.first_key + kind.n_keys):
                if status != OK:
                    return status
                status = self.take_text(C_KIND_TEXT, self.at(C_KEYS, j), &self.keys[j])
        return status

    cdef Status take_times(self) noexcept nogil:
        cdef Py_ssize_t k
        cdef uint64_t s = 0, ns
        cdef Status status = self.open(C_TIMES, self.n_times)
        if status == OK:
            status = self.open(C_NANOS, self.n_times)
        if status != OK:
            return status
        for k in range(self.n_times):
            s += unzigzag(self.at(C_TIMES, k))
            ns = self.at(C_NANOS, k)
            if ns > 999_999_999:
                return self.refuse(C_NANOS, b"one is not within a second")
            self.times[k].s, self.times[k].ns = <int64_t>s, <int32_t>ns
        return OK

    # Entries

    cdef Status begin_rows(self) noexcept nogil:
        """All rows as their kinds and times say; ``pax_first`` holds the number of the kind until records come."""
        cdef Py_ssize_t i, kinds_had = 0, times_had = 0, n_records = 0
        cdef int64_t k, t
        cdef EntryRow *row
        cdef Status status = self.open(C_KIND, self.n_rows)
        if status == OK:
            status = self.open(C_TIME, self.n_rows)
        if status != OK:
            return status
        for i in range(self.n_rows):
            self.row = i
            k = turn(self.at(C_KIND, i), &kinds_had, self.n_kinds)
            if k < 0:
                return self.refuse(C_KIND, b"no such kind")
            t = turn(self.at(C_TIME, i), &times_had, self.n_times)
            if t < 0:
                return self.refuse(C_TIME, b"no such time")
            n_records += self.kinds[k].n_keys
            if n_records > self.n_records:
                return self.refuse(C_KIND, b"there are more records than declared")
            row = self.entries.add_row()
            if row is NULL:
                return NO_MEMORY
            row[0] = self.kinds[k].row
            row.mtime_s, row.mtime_ns, row.pax_first = self.times[t].s, self.times[t].ns, <uint32_t>k
            self.entries.all_flags |= row.flags
            self.n_links += self.kinds[k].has_link
        self.row = -1
        if kinds_had != self.n_kinds or times_had != self.n_times or n_records != self.n_records:
            return self.refuse(C_KIND, b"there are fewer kinds, times or records than declared")
        return OK

    cdef Status open_rows(self) noexcept nogil:
        cdef int c
        cdef Status status = self.open(C_VALUE, self.n_records)
        for c in range(C_GAP, C_STORED + 1):
            if status == OK:
                status = self.open(c, self.n_rows)
        for c in range(C_PREFIX, C_MIDDLE + 1):
            if status == OK:
                status = self.open(c, self.n_rows + self.n_links)
        return status

    cdef Status finish_rows(self) noexcept nogil:
        cdef Py_ssize_t i
        cdef uint64_t before = 0
        cdef EntryRow *row
        cdef const Kind *kind
        cdef StrRef model
        cdef Status status
        model.pos = model.len = 0
        for i in range(self.n_rows):
            self.row = i
            row = &self.entries.rows[i]
            kind = &self.kinds[row.pax_first]
            if not self.place(row, i, before):
                return self.refuse(C_GAP, b"the entry lies outside the archive")
            before = end_of(row)
            status = self.take_string(model, &row.name)
            if status == OK and kind.has_link:
                status = self.take_string(row.name, &row.linkname)
            if status == OK:
                status = self.take_records(row, kind)
            if status != OK:
                return status
            model = row.name
        self.row = -1
        return OK

    cdef bint place(self, EntryRow *row, Py_ssize_t i, uint64_t before) noexcept nogil:
        """Fills offsets and sizes; False if they are impossible."""
        cdef uint64_t header = before + unzigzag(self.at(C_GAP, i))
        cdef uint64_t size = self.at(C_SIZE, i)
        row.header_offset = <int64_t>header
        row.data_offset = <int64_t>(header + BLOCK_BYTES + unzigzag(self.at(C_HEADERS, i)))
        row.size = <int64_t>size
        row.stored_size = <int64_t>((size if has_data(row.typeflag) else 0) + unzigzag(self.at(C_STORED, i)))
        return is_sound(row, self.archive_size)

    cdef Status take_string(self, StrRef model, StrRef *out) noexcept nogil:
        cdef uint64_t prefix = self.at(C_PREFIX, self.n_strings)
        cdef uint64_t suffix = self.at(C_SUFFIX, self.n_strings)
        cdef uint64_t middle = self.at(C_MIDDLE, self.n_strings)
        cdef Column *text = &self.columns[C_TEXT]
        cdef uint8_t *p
        self.n_strings += 1
        if prefix > model.len or suffix > model.len - prefix:
            return self.refuse(C_PREFIX, b"more is shared than there is")
        if middle > <uint64_t>text.n_bytes:
            return self.refuse(C_TEXT, b"it ends inside a string")
        # No overflow: the first two together are below 2**32, the third within a buffer.
        if prefix + suffix + middle > <uint64_t>(self.string_bytes - self.entries.n_arena):
            return self.refuse(C_TEXT, b"there are more strings than declared")
        if prefix + suffix + middle == 0:
            return OK
        # As in ``add``: the arena has room and never moves.
        p = self.entries.arena + self.entries.n_arena
        out.pos, out.len = <uint32_t>self.entries.n_arena, <uint32_t>(prefix + middle + suffix)
        memcpy(p, self.entries.arena + model.pos, prefix)
        if middle:
            memcpy(p + prefix, text.p, middle)
        memcpy(p + prefix + middle, self.entries.arena + model.pos + model.len - suffix, suffix)
        self.entries.n_arena += out.len
        text.p += middle
        text.n_bytes -= <Py_ssize_t>middle
        return OK

    cdef Status take_records(self, EntryRow *row, const Kind *kind) noexcept nogil:
        cdef uint32_t k
        cdef uint64_t code
        cdef PaxRow *record
        cdef Status status
        row.pax_first, row.pax_count = <uint32_t>self.entries.n_pax, kind.n_keys
        for k in range(kind.n_keys):
            code = self.at(C_VALUE, self.entries.n_pax)
            record = self.entries.add_pax()
            if record is NULL:
                return NO_MEMORY
            record.key = self.keys[kind.first_key + k]
            status = self.take_text(C_VALUE_TEXT, code - 1, &record.value) if code else self.take_said(row, record)
            if status != OK:
                return status
        return OK

    cdef Status take_said(self, EntryRow *row, PaxRow *record) noexcept nogil:
        cdef uint8_t digits[MAX_DIGITS]
        cdef Py_ssize_t n = 0
        cdef StrRef *text = said(row, self.entries.arena + record.key.pos, record.key.len, digits, &n)
        if text is not NULL:
            record.value = text[0]
            return OK
        if n == 0:
            return self.refuse(C_VALUE, b"no field says the value of this key")
        return self.add(C_VALUE, digits, <uint64_t>n, &record.value)

    cdef Status check_end(self) noexcept nogil:
        if self.columns[C_KIND_TEXT].n_bytes or self.columns[C_TEXT].n_bytes or self.columns[C_VALUE_TEXT].n_bytes:
            return self.refuse(C_TEXT, b"text is left over")
        if self.entries.n_arena != self.string_bytes:
            return self.refuse(C_TEXT, b"there are fewer strings than declared")
        return OK

    cdef Status run(self) noexcept nogil:
        cdef Status status
        if self.n_kinds > self.n_rows or self.n_times > self.n_rows:
            return self.refuse(C_KINDS, b"there are more kinds or times than entries")
        self.kinds = <Kind *>calloc(self.n_kinds + 1, sizeof(Kind))
        self.times = <Time *>malloc((self.n_times + 1) * sizeof(Time))
        self.keys = <StrRef *>malloc((self.n_records + 1) * sizeof(StrRef))
        if self.kinds is NULL or self.times is NULL or self.keys is NULL:
            return NO_MEMORY
        if not self.entries.reserve(self.n_rows, self.n_records, self.string_bytes):
            return NO_MEMORY
        status = self.take_kinds()
        if status == OK:
            status = self.take_kind_text()
        if status == OK:
            status = self.take_times()
        if status == OK:
            status = self.begin_rows()
        if status == OK:
            status = self.open_rows()
        if status == OK:
            status = self.finish_rows()
        return self.check_end() if status == OK else status


def join(list columns not None, *, entries, kinds, times, records, string_bytes, archive_size):
    """The entry table of ``columns``. FormatError, naming column and entry, if they are not what ``split`` gives.

    Memory: ``entries`` x ``ROW_BYTES``, ``records`` x ``RECORD_BYTES``, ``string_bytes``.
    """
    cdef _Joiner j = _Joiner(columns, entries, kinds, times, records, string_bytes, archive_size)
    cdef Status status
    with nogil:
        status = j.run()
    if status == NO_MEMORY:
        raise MemoryError
    if status != OK:
        where = f" (entry {j.row})" if j.row >= 0 else ""
        raise FormatError(f"{COLUMNS[j.column]}: {j.what.decode()}{where}")
    return j.entries
