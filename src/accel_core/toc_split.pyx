"""Entry table to columns (their meaning: ``toc_columns.pxd``)."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.tar_header cimport BLOCK_BYTES
from accel_core.toc_columns cimport (
    C_GAP, C_HEADERS, C_KEYS, C_KIND, C_KIND_TEXT, C_KINDS, C_MIDDLE, C_NANOS, C_PREFIX, C_SIZE, C_STORED, C_SUFFIX,
    C_TEXT, C_TIME, C_TIMES, C_VALUE, C_VALUE_TEXT, HAS_LINK, HAS_MTIME, K_DEVMAJOR, K_DEVMINOR, K_FLAGS, K_GID,
    K_GNAME_BYTES, K_MARKS, K_MODE, K_TYPEFLAG, K_UID, K_UNAME_BYTES, MAX_DIGITS, N_COLUMNS, N_KIND_FIELDS, end_of,
    has_data, is_sound, said, zigzag,
)

from accel_core.errors import FormatError, UnsupportedError

cdef enum:
    MAX_PROBES = 32
    MAX_RECORDS = 1 << 26           # more than a tar scan can give; only crafted tables that share records have more

COLUMNS = (
    "kinds", "PAX keys", "text of kinds", "times", "nanoseconds", "kind of each entry", "time of each entry",
    "gaps between entries", "header sizes", "sizes", "stored sizes", "string prefixes", "string suffixes",
    "string middles", "text of strings", "PAX values", "text of PAX values",
)


cdef struct Growing:                # bytes, or numbers of 8 bytes
    uint8_t *p
    Py_ssize_t n, cap


cdef struct Seen:                   # the rows that showed a kind or time first, to be found by their hash
    uint32_t *slots                 # number of the kind or time + 1; 0: free
    uint32_t *rows
    uint32_t count
    uint64_t mask


cdef inline uint64_t mix(uint64_t h, uint64_t v) noexcept nogil:
    h = (h ^ v) * <uint64_t>0x9E3779B97F4A7C15
    return h ^ h >> 29


cdef uint64_t mix_bytes(uint64_t h, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        h = (h ^ p[i]) * <uint64_t>0x100000001B3
    return mix(h, <uint64_t>n)


cdef uint64_t kind_field(const EntryRow *row, int field) noexcept nogil:
    if field == K_TYPEFLAG:
        return row.typeflag
    if field == K_FLAGS:
        return row.flags
    if field == K_MARKS:
        return (HAS_MTIME if row.has_mtime else 0) | (HAS_LINK if row.linkname.len else 0)
    if field == K_MODE:
        return <uint64_t>row.mode
    if field == K_UID:
        return <uint64_t>row.uid
    if field == K_GID:
        return <uint64_t>row.gid
    if field == K_DEVMAJOR:
        return <uint64_t>row.devmajor
    if field == K_DEVMINOR:
        return <uint64_t>row.devminor
    if field == K_UNAME_BYTES:
        return row.uname.len
    if field == K_GNAME_BYTES:
        return row.gname.len
    return row.pax_count


@cython.final
cdef class _Splitter:
    """The columns of one table while they grow; number columns hold 8 bytes a value until they are packed."""

    cdef EntryTable entries
    cdef int64_t archive_size
    cdef Growing columns[N_COLUMNS]
    cdef Seen kinds
    cdef Seen times
    cdef uint64_t string_bytes      # what ``join`` will put into the arena
    cdef Py_ssize_t n_records
    cdef bint no_memory

    def __cinit__(self, EntryTable entries not None, int64_t archive_size):
        self.entries = entries
        self.archive_size = archive_size
        if self.open_seen(&self.kinds) < 0 or self.open_seen(&self.times) < 0:
            raise MemoryError

    def __dealloc__(self):
        cdef int c
        for c in range(N_COLUMNS):
            free(self.columns[c].p)
        free(self.kinds.slots)
        free(self.kinds.rows)
        free(self.times.slots)
        free(self.times.rows)

    cdef int open_seen(self, Seen *seen) noexcept nogil:
        cdef uint64_t size = 64
        while size < 2 * <uint64_t>self.entries.n_rows:
            size *= 2
        seen.mask = size - 1
        seen.slots = <uint32_t *>calloc(size, sizeof(uint32_t))
        seen.rows = <uint32_t *>malloc((self.entries.n_rows + 1) * sizeof(uint32_t))
        return -1 if seen.slots is NULL or seen.rows is NULL else 0

    # A survey before anything is compared or copied: tables that share strings may say more than can be written.

    cdef Py_ssize_t unsound_row(self) noexcept nogil:
        """The first entry that lies outside the archive, -1 if none does."""
        cdef Py_ssize_t i
        for i in range(self.entries.n_rows):
            if not is_sound(&self.entries.rows[i], self.archive_size):
                return i
        return -1

    cdef bint fits(self) noexcept nogil:
        """True if all strings fit an arena when none is shared."""
        cdef Py_ssize_t i
        cdef uint32_t k
        cdef EntryRow *row
        cdef uint64_t n_bytes = 0
        for i in range(self.entries.n_rows):
            row = &self.entries.rows[i]
            n_bytes += <uint64_t>row.name.len + row.linkname.len + row.uname.len + row.gname.len
            self.n_records += row.pax_count
            if n_bytes > UINT32_MAX or self.n_records > MAX_RECORDS:
                return False
            for k in range(row.pax_count):
                n_bytes += <uint64_t>self.entries.pax[row.pax_first + k].key.len + MAX_DIGITS
                n_bytes += self.entries.pax[row.pax_first + k].value.len
        return n_bytes <= UINT32_MAX

    # Columns

    cdef void text(self, int c, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef Growing *out = &self.columns[c]
        cdef Py_ssize_t cap
        cdef uint8_t *moved
        if n > out.cap - out.n:
            cap = 2 * out.cap + n + 1024
            moved = <uint8_t *>realloc(out.p, cap)
            if moved is NULL:
                self.no_memory = True
                return
            out.p, out.cap = moved, cap
        if n:
            memcpy(out.p + out.n, data, n)
        out.n += n

    cdef void number(self, int c, uint64_t value) noexcept nogil:
        self.text(c, <const uint8_t *>&value, sizeof(value))

    cdef bytes packed(self, int c):
        """Column ``c`` as it is stored."""
        cdef Growing *column = &self.columns[c]
        if c == C_KIND_TEXT or c == C_TEXT or c == C_VALUE_TEXT:
            return PyBytes_FromStringAndSize(<const char *>column.p, column.n)
        cdef const uint64_t *values = <const uint64_t *>column.p
        cdef Py_ssize_t n = column.n // <Py_ssize_t>sizeof(uint64_t), i
        cdef uint64_t used = 0
        for i in range(n):
            used |= values[i]
        cdef int width = 0, plane
        while width < 8 and used >> <uint64_t>(8 * width):
            width += 1
        cdef bytes out = PyBytes_FromStringAndSize(NULL, n * width)
        cdef uint8_t *p = <uint8_t *>PyBytes_AS_STRING(out)
        for plane in range(width):
            for i in range(n):
                p[i] = <uint8_t>(values[i] >> <uint64_t>(8 * plane))
            p += n
        return out

    # Kinds and times: numbered in the order in which entries show them

    cdef bint same_text(self, StrRef a, StrRef b) noexcept nogil:
        return a.len == b.len and (
            a.len == 0 or a.pos == b.pos or memcmp(self.entries.arena + a.pos, self.entries.arena + b.pos, a.len) == 0
        )

    cdef bint same_kind(self, const EntryRow *a, const EntryRow *b) noexcept nogil:
        cdef uint32_t k
        cdef int field
        for field in range(N_KIND_FIELDS):
            if kind_field(a, field) != kind_field(b, field):
                return False
        if not (self.same_text(a.uname, b.uname) and self.same_text(a.gname, b.gname)):
            return False
        if a.pax_first == b.pax_first:
            return True
        for k in range(a.pax_count):
            if not self.same_text(self.entries.pax[a.pax_first + k].key, self.entries.pax[b.pax_first + k].key):
                return False
        return True

    cdef uint64_t hash_kind(self, const EntryRow *row) noexcept nogil:
        cdef uint64_t h = 0
        cdef int field
        for field in range(N_KIND_FIELDS):
            h = mix(h, kind_field(row, field))
        h = mix_bytes(h, self.entries.arena + row.uname.pos, row.uname.len)
        return mix_bytes(h, self.entries.arena + row.gname.pos, row.gname.len)

    cdef uint64_t kind_of(self, Py_ssize_t i) noexcept nogil:
        """What stands for the kind of row ``i``: 0 if it is a new one, which is then remembered."""
        cdef EntryRow *row = &self.entries.rows[i]
        cdef uint64_t slot = self.hash_kind(row) & self.kinds.mask
        cdef uint32_t number
        cdef int _probe
        for _probe in range(MAX_PROBES):
            number = self.kinds.slots[slot]
            if number == 0:
                return remember(&self.kinds, i, slot)
            if self.same_kind(row, &self.entries.rows[self.kinds.rows[number - 1]]):
                return number
            slot = (slot + 1) & self.kinds.mask
        return remember(&self.kinds, i, slot)

    cdef uint64_t time_of(self, Py_ssize_t i) noexcept nogil:
        """The same for its time."""
        cdef EntryRow *row = &self.entries.rows[i]
        cdef EntryRow *other
        cdef uint64_t slot = mix(mix(0, <uint64_t>row.mtime_s), <uint64_t>row.mtime_ns) & self.times.mask
        cdef uint32_t number
        cdef int _probe
        for _probe in range(MAX_PROBES):
            number = self.times.slots[slot]
            if number == 0:
                return remember(&self.times, i, slot)
            other = &self.entries.rows[self.times.rows[number - 1]]
            if row.mtime_s == other.mtime_s and row.mtime_ns == other.mtime_ns:
                return number
            slot = (slot + 1) & self.times.mask
        return remember(&self.times, i, slot)

    cdef void put_kinds(self) noexcept nogil:
        """KINDS, KEYS and KIND TEXT."""
        cdef uint32_t k, j
        cdef int field
        cdef EntryRow *row
        cdef StrRef key
        for field in range(N_KIND_FIELDS):
            for k in range(self.kinds.count):
                self.number(C_KINDS, kind_field(&self.entries.rows[self.kinds.rows[k]], field))
        for k in range(self.kinds.count):
            row = &self.entries.rows[self.kinds.rows[k]]
            self.text(C_KIND_TEXT, self.entries.arena + row.uname.pos, row.uname.len)
            self.text(C_KIND_TEXT, self.entries.arena + row.gname.pos, row.gname.len)
            for j in range(row.pax_count):
                key = self.entries.pax[row.pax_first + j].key
                self.number(C_KEYS, key.len)
                self.text(C_KIND_TEXT, self.entries.arena + key.pos, key.len)
        self.string_bytes += <uint64_t>self.columns[C_KIND_TEXT].n

    cdef void put_times(self) noexcept nogil:
        """TIMES and NANOS."""
        cdef uint32_t k
        cdef uint64_t before = 0
        cdef EntryRow *row
        for k in range(self.times.count):
            row = &self.entries.rows[self.times.rows[k]]
            self.number(C_TIMES, zigzag(<uint64_t>row.mtime_s - before))
            self.number(C_NANOS, <uint64_t>row.mtime_ns)
            before = <uint64_t>row.mtime_s

    # Entries

    cdef void put_entries(self) noexcept nogil:
        cdef Py_ssize_t i
        cdef EntryRow *row
        cdef uint64_t before = 0, implied
        cdef StrRef model
        model.pos = model.len = 0
        for i in range(self.entries.n_rows):
            row = &self.entries.rows[i]
            implied = <uint64_t>row.size if has_data(row.typeflag) else 0
            self.number(C_KIND, self.kind_of(i))
            self.number(C_TIME, self.time_of(i))
            self.number(C_GAP, zigzag(<uint64_t>row.header_offset - before))
            self.number(C_HEADERS, zigzag(<uint64_t>(row.data_offset - row.header_offset) - BLOCK_BYTES))
            self.number(C_SIZE, <uint64_t>row.size)
            self.number(C_STORED, zigzag(<uint64_t>row.stored_size - implied))
            self.put_string(model, row.name)
            if row.linkname.len:
                self.put_string(row.name, row.linkname)
            self.put_values(row)
            before = end_of(row)
            model = row.name

    cdef void put_string(self, StrRef model, StrRef string) noexcept nogil:
        cdef const uint8_t *a = self.entries.arena + model.pos
        cdef const uint8_t *b = self.entries.arena + string.pos
        cdef Py_ssize_t prefix = 0, suffix = 0
        cdef Py_ssize_t n = string.len, shared = model.len if model.len < string.len else string.len
        while prefix < shared and a[prefix] == b[prefix]:
            prefix += 1
        while suffix < shared - prefix and a[model.len - 1 - suffix] == b[n - 1 - suffix]:
            suffix += 1
        self.number(C_PREFIX, <uint64_t>prefix)
        self.number(C_SUFFIX, <uint64_t>suffix)
        self.number(C_MIDDLE, <uint64_t>(n - prefix - suffix))
        self.text(C_TEXT, b + prefix, n - prefix - suffix)
        self.string_bytes += string.len

    cdef void put_values(self, EntryRow *row) noexcept nogil:
        cdef uint32_t k
        cdef StrRef value
        for k in range(row.pax_count):
            value = self.entries.pax[row.pax_first + k].value
            if self.is_said(row, &self.entries.pax[row.pax_first + k]):
                self.number(C_VALUE, 0)
            else:
                self.number(C_VALUE, <uint64_t>value.len + 1)
                self.text(C_VALUE_TEXT, self.entries.arena + value.pos, value.len)
                self.string_bytes += value.len

    cdef bint is_said(self, EntryRow *row, const PaxRow *record) noexcept nogil:
        """True if the record's value is what the entry's own field says; a number then costs the arena its digits."""
        cdef uint8_t digits[MAX_DIGITS]
        cdef Py_ssize_t n = 0
        cdef StrRef *text = said(row, self.entries.arena + record.key.pos, record.key.len, digits, &n)
        if text is not NULL:
            return self.same_text(text[0], record.value)
        if n == 0 or n != record.value.len or memcmp(digits, self.entries.arena + record.value.pos, n) != 0:
            return False
        self.string_bytes += <uint64_t>n
        return True


cdef uint64_t remember(Seen *seen, Py_ssize_t i, uint64_t slot) noexcept nogil:
    """0, for "new". A slot in use (too many probes: crafted numbers) is taken over, which costs bytes, not truth."""
    seen.rows[seen.count] = <uint32_t>i
    seen.count += 1
    seen.slots[slot] = seen.count
    return 0


def split(EntryTable entries not None, int64_t archive_size):
    """``((kinds, times, records, string_bytes), columns)``: the counts that ``join`` wants, and all columns in order.

    FormatError for an entry outside the archive; UnsupportedError for more strings or records than one table holds.
    """
    cdef _Splitter s = _Splitter(entries, archive_size)
    cdef Py_ssize_t unsound
    cdef bint fits = False
    with nogil:
        unsound = s.unsound_row()
        if unsound < 0:
            fits = s.fits()
        if fits:
            s.put_entries()
            s.put_kinds()
            s.put_times()
    if unsound >= 0:
        raise FormatError(
            f"entry {unsound} lies outside the archive of {archive_size} bytes",
            uncomp_offset=entries.rows[unsound].header_offset,
        )
    if not fits:
        raise UnsupportedError(f"the entries have 4 GiB of strings or more, or more than {MAX_RECORDS} PAX records")
    if s.no_memory:
        raise MemoryError
    return (s.kinds.count, s.times.count, s.n_records, s.string_bytes), [s.packed(c) for c in range(N_COLUMNS)]
