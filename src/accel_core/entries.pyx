"""Table of tar entries: rows of fixed size, PAX records, and one arena that holds every string."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from accel_core.entry import Entry

FLAG_GNU_SPARSE = ENTRY_GNU_SPARSE
FLAG_PAX_SPARSE = ENTRY_PAX_SPARSE
FLAG_GLOBAL = ENTRY_GLOBAL
FLAG_SIZE_ON_NON_FILE = ENTRY_SIZE_ON_NON_FILE
FLAG_UNKNOWN_TYPE = ENTRY_UNKNOWN_TYPE


cdef void *grown(void *array, Py_ssize_t *cap, Py_ssize_t need, size_t item_bytes) noexcept nogil:
    """``array`` with room for ``need`` items (at least doubled when it has to grow), or NULL and nothing changed."""
    cdef Py_ssize_t wanted = cap[0] * 2
    if wanted < need:
        wanted = need
    if wanted < 64:
        wanted = 64
    cdef void *moved = realloc(array, <size_t>wanted * item_bytes)
    if moved is not NULL:
        cap[0] = wanted
    return moved


cdef inline void move(StrRef *ref, Py_ssize_t by) noexcept nogil:
    if ref.len:                     # empty strings stay (0, 0)
        ref.pos += <uint32_t>by


@cython.final
cdef class EntryTable:
    """The members of one tar archive, in archive order: ``len()``, ``[i]`` and iteration give ``Entry`` values."""

    def __dealloc__(self):
        free(self.rows)
        free(self.pax)
        free(self.arena)

    # Appenders

    cdef EntryRow *add_row(self) noexcept nogil:
        cdef void *moved
        if self.n_rows == self.cap_rows:
            moved = grown(self.rows, &self.cap_rows, self.n_rows + 1, sizeof(EntryRow))
            if moved is NULL:
                return NULL
            self.rows = <EntryRow *>moved
        cdef EntryRow *row = &self.rows[self.n_rows]
        memset(row, 0, sizeof(EntryRow))
        self.n_rows += 1
        return row

    cdef PaxRow *add_pax(self) noexcept nogil:
        cdef void *moved
        if self.n_pax >= <Py_ssize_t>UINT32_MAX:        # EntryRow.pax_first has 32 bits
            return NULL
        if self.n_pax == self.cap_pax:
            moved = grown(self.pax, &self.cap_pax, self.n_pax + 1, sizeof(PaxRow))
            if moved is NULL:
                return NULL
            self.pax = <PaxRow *>moved
        cdef PaxRow *row = &self.pax[self.n_pax]
        memset(row, 0, sizeof(PaxRow))
        self.n_pax += 1
        return row

    cdef int add_string(self, const uint8_t *data, Py_ssize_t n, StrRef *out) noexcept nogil:
        cdef void *moved
        if n == 0:
            out.pos = 0
            out.len = 0
            return 0
        if n > <Py_ssize_t>UINT32_MAX - self.n_arena:   # StrRef.pos has 32 bits
            return -1
        if n > self.cap_arena - self.n_arena:
            moved = grown(self.arena, &self.cap_arena, self.n_arena + n, 1)
            if moved is NULL:
                return -1
            self.arena = <uint8_t *>moved
        memcpy(self.arena + self.n_arena, data, n)
        out.pos = <uint32_t>self.n_arena
        out.len = <uint32_t>n
        self.n_arena += n
        return 0

    cdef bint reserve(self, Py_ssize_t rows, Py_ssize_t pax, Py_ssize_t arena) noexcept nogil:
        cdef void *moved
        if self.n_pax > <Py_ssize_t>UINT32_MAX - pax or self.n_arena > <Py_ssize_t>UINT32_MAX - arena:
            return False
        if rows > self.cap_rows - self.n_rows:
            moved = grown(self.rows, &self.cap_rows, self.n_rows + rows, sizeof(EntryRow))
            if moved is NULL:
                return False
            self.rows = <EntryRow *>moved
        if pax > self.cap_pax - self.n_pax:
            moved = grown(self.pax, &self.cap_pax, self.n_pax + pax, sizeof(PaxRow))
            if moved is NULL:
                return False
            self.pax = <PaxRow *>moved
        if arena > self.cap_arena - self.n_arena:
            moved = grown(self.arena, &self.cap_arena, self.n_arena + arena, 1)
            if moved is NULL:
                return False
            self.arena = <uint8_t *>moved
        return True

    cdef int extend(self, EntryTable other, Py_ssize_t first, int64_t base) noexcept nogil:
        cdef Py_ssize_t i
        cdef EntryRow *row
        cdef PaxRow *record
        if not self.reserve(other.n_rows, other.n_pax, other.n_arena):
            return -1
        for i in range(first, other.n_rows):
            row = &self.rows[self.n_rows + i - first]
            row[0] = other.rows[i]
            row.header_offset += base
            row.data_offset += base
            row.pax_first += <uint32_t>self.n_pax
            move(&row.name, self.n_arena)
            move(&row.linkname, self.n_arena)
            move(&row.uname, self.n_arena)
            move(&row.gname, self.n_arena)
        for i in range(other.n_pax):
            record = &self.pax[self.n_pax + i]
            record[0] = other.pax[i]
            move(&record.key, self.n_arena)
            move(&record.value, self.n_arena)
        if other.n_arena:
            memcpy(self.arena + self.n_arena, other.arena, other.n_arena)
        self.n_rows += other.n_rows - first
        self.n_pax += other.n_pax
        self.n_arena += other.n_arena
        self.all_flags |= other.all_flags
        return 0

    cdef bytes string(self, StrRef ref):
        if ref.len == 0:
            return b""
        return PyBytes_FromStringAndSize(<const char *>self.arena + ref.pos, ref.len)

    # Doors

    def __len__(self):
        return self.n_rows

    def __getitem__(self, Py_ssize_t index):
        cdef Py_ssize_t i = index + self.n_rows if index < 0 else index
        if not 0 <= i < self.n_rows:
            raise IndexError(f"entry {index} of {self.n_rows}")
        return self.entry(i)

    def __iter__(self):
        cdef Py_ssize_t i = 0
        while i < self.n_rows:
            yield self.entry(i)
            i += 1

    cdef object entry(self, Py_ssize_t i):
        cdef EntryRow row = self.rows[i]
        cdef PaxRow record
        cdef Py_ssize_t k
        records = []
        for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
            record = self.pax[k]
            records.append((self.string(record.key), self.string(record.value)))
        return Entry(
            i, row.header_offset, row.data_offset, row.size, row.stored_size, row.mode, row.uid, row.gid,
            row.mtime_s, row.mtime_ns, row.has_mtime != 0, row.devmajor, row.devminor,
            self.string(row.name), self.string(row.linkname), self.string(row.uname), self.string(row.gname),
            chr(row.typeflag), row.flags, tuple(records),
        )

    def append(
        self, *, bytes name not None, str typeflag not None = "0", int64_t header_offset=0, int64_t data_offset=0,
        int64_t size=0, stored_size=None, int64_t mode=0o644, int64_t uid=0, int64_t gid=0, int64_t mtime_s=0,
        int32_t mtime_ns=0, bint has_mtime=True, int64_t devmajor=0, int64_t devminor=0, bytes linkname not None = b"",
        bytes uname not None = b"", bytes gname not None = b"", uint16_t flags=0, pax=(),
    ):
        """Adds one row, for tests and decoders.

        ``stored_size`` is ``size`` if not given (0 for links, directories, devices and fifos). Raises OverflowError for
        a number that does not fit, ValueError for a typeflag that is not one byte or nanoseconds outside a second.
        """
        if len(typeflag) != 1 or ord(typeflag) > 255:
            raise ValueError(f"typeflag {typeflag!r} is not one byte")
        if not 0 <= mtime_ns < 1_000_000_000:
            raise ValueError(f"mtime_ns {mtime_ns} is not within a second")
        # All that can raise comes before the table changes: a refused append leaves no half row.
        cdef uint8_t flag = ord(typeflag)
        cdef int64_t stored = (0 if typeflag in "123456" else size) if stored_size is None else stored_size
        cdef list records = []
        for key, value in pax:
            if not (isinstance(key, bytes) and isinstance(value, bytes)):
                raise TypeError("PAX keys and values are bytes")
            records.append((key, value))
        cdef Py_ssize_t pax_first = self.n_pax
        cdef EntryRow row
        memset(&row, 0, sizeof(row))
        self._take(name, &row.name)
        self._take(linkname, &row.linkname)
        self._take(uname, &row.uname)
        self._take(gname, &row.gname)
        self._take_pax(records)
        row.pax_first, row.pax_count = <uint32_t>pax_first, <uint32_t>(self.n_pax - pax_first)
        row.header_offset, row.data_offset, row.size, row.stored_size = header_offset, data_offset, size, stored
        row.mode, row.uid, row.gid, row.typeflag, row.flags = mode, uid, gid, flag, flags
        row.mtime_s, row.mtime_ns, row.has_mtime = mtime_s, mtime_ns, has_mtime
        row.devmajor, row.devminor = devmajor, devminor
        cdef EntryRow *room = self.add_row()
        if room is NULL:
            raise MemoryError
        room[0] = row
        self.all_flags |= row.flags

    cdef int _take(self, bytes value, StrRef *out) except -1:
        if self.add_string(<const uint8_t *><const char *>value, len(value), out) < 0:
            raise MemoryError("no room for strings")
        return 0

    cdef int _take_pax(self, list records) except -1:
        cdef StrRef key, value
        cdef PaxRow *record
        for k, v in records:
            self._take(k, &key)
            self._take(v, &value)
            record = self.add_pax()
            if record is NULL:
                raise MemoryError
            record.key, record.value = key, value
        return 0
