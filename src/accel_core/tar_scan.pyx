"""One pass over a tar stream, in pieces of any size, to the table of its members.

Meaning follows the reader of Go's archive/tar (1.25), because zTOCs hold what that reader yields. Where it gives up on
an archive that can be walked safely, this scan goes on and flags the row: unknown typeflags (data as their size says,
like a regular file), and sparse files (only the bytes stored matter for the walk; their maps are not validated).

A PAX global header is a row of its own and its records apply to nothing else: Go does not carry them over to later
members, and SOCI's reader, which parses each member's headers alone, could not. As in Go it also uses up pending PAX
and GNU special headers.

::

    [x] [L] [K] header [sparse extension ...] data padding | ... | zeros zeros
    ^ header_offset                           ^ data_offset                   ^ archive_size
"""

cimport cython
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from accel_core.entries cimport (
    ENTRY_GLOBAL,
    ENTRY_GNU_SPARSE,
    ENTRY_PAX_SPARSE,
    ENTRY_SIZE_ON_NON_FILE,
    ENTRY_UNKNOWN_TYPE,
    EntryRow,
    EntryTable,
    PaxRow,
    StrRef,
)
from accel_core.status cimport CORRUPT, END, LIMIT, NO_MEMORY, OK, TRUNCATED
from accel_core.tar_header cimport (
    BLOCK_BYTES,
    FORMAT_GNU,
    Header,
    Text,
    checksum_fits,
    field_text,
    parse_header,
    parse_number,
    sum_bytes,
)
from accel_core.tar_pax cimport (
    KEY_SPARSE_NUMBYTES,
    KEY_SPARSE_OFFSET,
    PaxRecord,
    merge_records,
    merge_sparse,
    parse_record,
)

from accel_core.errors import FormatError, LimitError, TruncatedError

MAX_ENTRIES = 4 << 20               # 128 bytes a row: at most 512 MiB
MAX_STRING_BYTES = 512 << 20

cdef enum:
    MAX_BODY_BYTES = 1 << 20        # Go's and libarchive's limit for special headers and sparse maps
    # One member's strings can pass the limit before it is tested: 3 bodies, a prefix, and 16 bytes a record of >= 5.
    MAX_MEMBER_BYTES = 8 << 20
    FEW_RECORDS = 16


cdef inline bint is_header_only(uint8_t typeflag) noexcept nogil:
    """Links, devices, directories and fifos: no data, whatever their size field says."""
    return 0x31 <= typeflag <= 0x36         # '1' .. '6'


cdef inline bint is_known(uint8_t typeflag) noexcept nogil:
    return 0x30 <= typeflag <= 0x37 or typeflag == 0x53     # '0' .. '7', 'S'


cdef inline int64_t padding_of(int64_t size) noexcept nogil:
    return -size & (BLOCK_BYTES - 1)


cdef int copy_body(const Body *source, Body *target) except -1:
    if source.cap:
        target.p = <uint8_t *>malloc(source.cap)
        if target.p is NULL:
            raise MemoryError()
        memcpy(target.p, source.p, source.n)
    target.n = source.n
    target.cap = source.cap
    return 0


cdef inline bint replaces(const PaxRecord *later, const PaxRecord *earlier) noexcept nogil:
    """True if the keys are the same, and not one of the two that sparse 0.0 repeats to make a list."""
    return (
        later.key.n == earlier.key.n
        and memcmp(later.key.p, earlier.key.p, later.key.n) == 0
        and later.known != KEY_SPARSE_OFFSET
        and later.known != KEY_SPARSE_NUMBYTES
    )


cdef inline bint has_comma(Text text) noexcept nogil:
    return memchr(text.p, 0x2C, text.n) is not NULL


cdef inline bint ends_in_slash(const Header *h) noexcept nogil:
    if h.name.n == 0:
        return h.prefix.n > 0               # joined by a slash
    return h.name.p[h.name.n - 1] == 0x2F


cdef int by_key(const void *left, const void *right) noexcept nogil:
    cdef const PaxRecord *a = <const PaxRecord *>left
    cdef const PaxRecord *b = <const PaxRecord *>right
    if a.key.n != b.key.n:
        return -1 if a.key.n < b.key.n else 1
    cdef int order = memcmp(a.key.p, b.key.p, a.key.n)
    if order != 0:
        return order
    return -1 if a.seq < b.seq else 1


cdef int by_place(const void *left, const void *right) noexcept nogil:
    return -1 if (<const PaxRecord *>left).seq < (<const PaxRecord *>right).seq else 1


cdef void mark_superseded(PaxRecord *records, Py_ssize_t n) noexcept nogil:
    """Marks every record whose key comes again later. Sorts when there are many: a header can hold 200,000."""
    cdef Py_ssize_t i, k
    if n <= FEW_RECORDS:
        for i in range(n):
            for k in range(i + 1, n):
                if replaces(&records[k], &records[i]):
                    records[i].superseded = 1
                    break
        return
    qsort(records, n, sizeof(PaxRecord), by_key)
    for i in range(n - 1):
        records[i].superseded = replaces(&records[i + 1], &records[i])
    qsort(records, n, sizeof(PaxRecord), by_place)


@cython.final
cdef class TarScanner:
    """Scans one tar stream: ``feed`` its pieces, then ``close``.

    ``max_entries`` and ``max_string_bytes`` (names, links and PAX records, 16 bytes a record counted too) bound the
    memory that a hostile archive can claim.
    """

    def __cinit__(self, *, Py_ssize_t max_entries=MAX_ENTRIES, Py_ssize_t max_string_bytes=MAX_STRING_BYTES):
        if max_entries < 0 or not 0 <= max_string_bytes <= <Py_ssize_t>UINT32_MAX - MAX_MEMBER_BYTES:
            raise ValueError("limits are 0 or more, and strings stay below 4 GiB")
        self.entries = EntryTable()
        self.archive_size = -1
        self.status = OK
        self.awaited = AWAIT_HEADER
        self.member_offset = -1
        self.max_entries = max_entries
        self.max_string_bytes = max_string_bytes

    def __dealloc__(self):
        free(self.pax.p)
        free(self.longname.p)
        free(self.longlink.p)
        free(self.records)

    # Kernel

    cdef int scan(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef const uint8_t *p = data
        cdef const uint8_t *end = data + n
        cdef Py_ssize_t step
        cdef Body *body
        while p < end and self.status == OK:
            step = end - p
            if self.skip:
                if step > self.skip:
                    step = <Py_ssize_t>self.skip
                self.skip -= step
                self.position += step
            elif self.awaited == AWAIT_BODY:
                if step > self.body_left:
                    step = self.body_left
                body = self.body_of(self.special)
                memcpy(body.p + body.n, p, step)
                body.n += step
                self.body_left -= step
                self.position += step
                if self.body_left == 0:
                    self.end_special()
            elif self.n_block == 0 and step >= BLOCK_BYTES:
                step = BLOCK_BYTES
                self.position += step
                self.take_block(p)
            else:
                if step > BLOCK_BYTES - self.n_block:
                    step = BLOCK_BYTES - self.n_block
                memcpy(self.block + self.n_block, p, step)
                self.n_block += step
                self.position += step
                if self.n_block == BLOCK_BYTES:
                    self.n_block = 0
                    self.take_block(self.block)
            p += step
        if self.status == END:
            self.position += end - p
        return self.status

    cdef int finish(self) noexcept nogil:
        if self.status != OK:
            return self.status
        if self.n_block or self.awaited == AWAIT_SPARSE:
            self.fail(TRUNCATED, b"tar ends inside a header", self.position)
        elif self.awaited == AWAIT_BODY:
            self.fail(TRUNCATED, b"tar ends inside a PAX or GNU special header", self.position)
        elif self.skip > self.padding:
            self.fail(TRUNCATED, b"tar ends inside the data of a member", self.position)
        else:
            # Between members or in padding, after special headers that belong to nothing, after one zero block: legal.
            self.status = END
            self.archive_size = self.position
        return self.status

    cdef bint between_members(self) noexcept nogil:
        return self.status == OK and self.awaited == AWAIT_HEADER and self.member_offset < 0 and self.n_block == 0

    cdef int adopt(self, TarScanner other, Py_ssize_t first_row, int64_t base) except -1:
        cdef Body pax = self.pax, longname = self.longname, longlink = self.longlink
        cdef PaxRecord *records = self.records
        cdef Py_ssize_t cap_records = self.cap_records
        if self.entries.extend(other.entries, first_row, base) < 0:
            raise MemoryError()
        copy_state(other, self, base)
        self.pax, self.longname, self.longlink = other.pax, other.longname, other.longlink
        other.pax, other.longname, other.longlink = pax, longname, longlink
        # The records point into the body of `pax`.
        self.records, self.n_records, self.cap_records = other.records, other.n_records, other.cap_records
        other.records, other.n_records, other.cap_records = records, 0, cap_records
        return 0

    cdef TarScanner fork(self):
        cdef TarScanner other = TarScanner(
            max_entries=self.max_entries - self.entries.n_rows, max_string_bytes=self.max_string_bytes)
        copy_state(self, other, 0)
        copy_body(&self.pax, &other.pax)
        copy_body(&self.longname, &other.longname)
        copy_body(&self.longlink, &other.longlink)
        if self.n_records:
            other.parse_records()
        return other

    cdef void fail(self, int status, const char *what, int64_t where) noexcept nogil:
        self.status = status
        self.what = what
        self.where = where

    cdef void take_block(self, const uint8_t *block) noexcept nogil:
        cdef Header h
        cdef int64_t offset = self.position - BLOCK_BYTES
        cdef const char *wrong
        if self.awaited == AWAIT_SPARSE:
            self.take_sparse_block(block)
            return
        cdef int64_t total = sum_bytes(block)
        if total == 0:
            if self.awaited == AWAIT_ZEROS:
                self.status = END
                self.archive_size = self.position
            self.awaited = AWAIT_ZEROS
            return
        if self.awaited == AWAIT_ZEROS:
            self.fail(CORRUPT, b"one zero block in tar, then another header", offset)
            return
        if not checksum_fits(block, total):
            self.fail(CORRUPT, b"tar header checksum does not match", offset)
            return
        wrong = parse_header(block, &h)
        if wrong is NULL and h.size < 0 and not is_header_only(h.typeflag):
            wrong = b"negative size in tar header"
        if wrong is not NULL:
            self.fail(CORRUPT, wrong, offset)
            return
        if self.member_offset < 0:
            self.member_offset = offset
        if self.body_of(h.typeflag) is not NULL:
            self.begin_special(block, &h)
        elif h.typeflag == 0x53:                            # 'S'
            self.begin_sparse(block, &h)
        else:
            self.add_member(&h)

    # Special headers: their bodies are kept until the member they belong to; of each kind the last one counts

    cdef Body *body_of(self, uint8_t special) noexcept nogil:
        if special == 0x78 or special == 0x67:              # 'x', 'g'
            return &self.pax
        if special == 0x4C:                                 # 'L'
            return &self.longname
        if special == 0x4B:                                 # 'K'
            return &self.longlink
        return NULL

    cdef void begin_special(self, const uint8_t *block, Header *h) noexcept nogil:
        cdef Body *body = self.body_of(h.typeflag)
        cdef uint8_t *moved
        if h.size > MAX_BODY_BYTES:
            self.fail(CORRUPT, b"PAX or GNU special header over 1 MiB", self.position - BLOCK_BYTES)
            return
        if h.size > body.cap:
            moved = <uint8_t *>realloc(body.p, <size_t>h.size)
            if moved is NULL:
                self.fail(NO_MEMORY, NULL, self.position)
                return
            body.p = moved
            body.cap = <Py_ssize_t>h.size
        body.n = 0
        self.body_left = <Py_ssize_t>h.size
        self.special = h.typeflag
        memcpy(self.kept, block, BLOCK_BYTES)
        self.awaited = AWAIT_BODY
        if h.size == 0:
            self.end_special()

    cdef void end_special(self) noexcept nogil:
        cdef Body *body = self.body_of(self.special)
        self.awaited = AWAIT_HEADER
        self.skip = self.padding = padding_of(body.n)
        if body != &self.pax:
            if body.n:
                body.n = field_text(body.p, body.n).n
            return
        self.parse_records()
        if self.status == OK and self.special == 0x67:      # 'g'
            self.add_global()

    cdef void parse_records(self) noexcept nogil:
        """Fills ``records`` from the body in ``pax``."""
        cdef Py_ssize_t at = 0, length
        cdef Py_ssize_t n_repeated = 0
        cdef PaxRecord *record
        cdef PaxRecord *moved
        cdef Py_ssize_t cap
        self.n_records = 0
        while at < self.pax.n:
            if self.n_records == self.cap_records:
                cap = 2 * self.cap_records + 16
                moved = <PaxRecord *>realloc(self.records, <size_t>cap * sizeof(PaxRecord))
                if moved is NULL:
                    self.fail(NO_MEMORY, NULL, self.position)
                    return
                self.records = moved
                self.cap_records = cap
            record = &self.records[self.n_records]
            memset(record, 0, sizeof(PaxRecord))
            length = parse_record(self.pax.p + at, self.pax.n - at, record)
            if length and (record.known == KEY_SPARSE_OFFSET or record.known == KEY_SPARSE_NUMBYTES):
                # Sparse 0.0: pairs, offset first. Go refuses anything else.
                if (n_repeated & 1) != (record.known == KEY_SPARSE_NUMBYTES) or has_comma(record.value):
                    length = 0
                n_repeated += 1
            if length == 0:
                self.fail(CORRUPT, b"bad PAX record", self.position - self.pax.n + at)
                return
            record.seq = <uint32_t>self.n_records
            self.n_records += 1
            at += length
        mark_superseded(self.records, self.n_records)

    # Old GNU sparse files: up to four fragments in the header, more in extension blocks before the data

    cdef void begin_sparse(self, const uint8_t *block, Header *h) noexcept nogil:
        memcpy(self.kept, block, BLOCK_BYTES)
        self.n_sparse_blocks = 0
        if h.format != FORMAT_GNU:
            self.fail(CORRUPT, b"sparse file in a tar header that is not GNU's", self.position - BLOCK_BYTES)
        elif block[482]:
            self.awaited = AWAIT_SPARSE
        else:
            self.add_member(h)

    cdef void take_sparse_block(self, const uint8_t *block) noexcept nogil:
        cdef Header h
        self.n_sparse_blocks += 1
        if self.n_sparse_blocks >= MAX_BODY_BYTES // BLOCK_BYTES:
            self.fail(CORRUPT, b"sparse map over 1 MiB", self.position - BLOCK_BYTES)
        elif block[504] == 0:
            self.awaited = AWAIT_HEADER
            parse_header(self.kept, &h)
            self.add_member(&h)

    # Rows

    cdef void add_global(self) noexcept nogil:
        cdef Header h
        parse_header(self.kept, &h)
        h.size = 0
        self.longname.n = self.longlink.n = 0
        self.add_row(&h, self.position + self.skip, 0, ENTRY_GLOBAL)

    cdef void add_member(self, Header *h) noexcept nogil:
        """Applies the special headers that came before to ``h``, adds its row, and sets up the skip over its data."""
        cdef int64_t stored_size
        cdef int flags = 0
        cdef bint sparse = False
        cdef const char *wrong = merge_records(self.records, self.n_records, h)
        if self.longname.n:                                 # GNU's win over PAX's, as in Go
            h.name.p, h.name.n, h.prefix.n = self.longname.p, self.longname.n, 0
        if self.longlink.n:
            h.linkname.p, h.linkname.n = self.longlink.p, self.longlink.n
        if h.typeflag == 0:                                 # V7: a directory is a file whose name ends in a slash
            h.typeflag = 0x35 if ends_in_slash(h) else 0x30
        stored_size = 0 if is_header_only(h.typeflag) else h.size
        if wrong is NULL and stored_size < 0:
            wrong = b"negative size in PAX header"
        if wrong is NULL and stored_size > INT64_MAX - (BLOCK_BYTES - 1) - self.position:
            wrong = b"member ends beyond 2**63 bytes"
        if wrong is NULL and h.typeflag == 0x53:
            flags = ENTRY_GNU_SPARSE
            if not parse_number(self.kept + 483, 12, &h.size) or h.size < 0:
                wrong = b"bad size of sparse file in tar header"
        elif wrong is NULL:
            wrong = merge_sparse(self.records, self.n_records, h, &sparse)
            if sparse and is_header_only(h.typeflag):
                wrong = b"sparse map of a member without data"
        if wrong is not NULL:
            self.fail(CORRUPT, wrong, self.member_offset)
            return
        if sparse:
            flags |= ENTRY_PAX_SPARSE
        if is_header_only(h.typeflag) and h.size != 0:
            flags |= ENTRY_SIZE_ON_NON_FILE
        if not is_known(h.typeflag):
            flags |= ENTRY_UNKNOWN_TYPE
        self.padding = padding_of(stored_size)
        self.skip = stored_size + self.padding
        self.add_row(h, self.position, stored_size, flags)

    cdef void add_row(self, Header *h, int64_t data_offset, int64_t stored_size, int flags) noexcept nogil:
        cdef EntryRow *row
        cdef EntryRow earlier
        cdef Text no_prefix
        memset(&no_prefix, 0, sizeof(no_prefix))
        if self.entries.n_rows >= self.max_entries:
            self.fail(LIMIT, b"too many tar entries", self.max_entries)
            return
        memset(&earlier, 0, sizeof(earlier))
        if self.entries.n_rows:
            earlier = self.entries.rows[self.entries.n_rows - 1]
        row = self.entries.add_row()
        if row is NULL:
            self.fail(NO_MEMORY, NULL, self.position)
            return
        row.header_offset, row.data_offset = self.member_offset, data_offset
        row.size, row.stored_size = h.size, stored_size
        row.mode, row.uid, row.gid = h.mode, h.uid, h.gid
        row.mtime_s, row.mtime_ns, row.has_mtime = h.mtime, h.mtime_ns, 1
        row.devmajor, row.devminor = h.devmajor, h.devminor
        row.typeflag, row.flags = h.typeflag, flags
        self.entries.all_flags |= <uint32_t>flags
        # Records first: a long name is one of their values, and is not stored twice.
        if not (
            self.add_records(earlier.pax_first, earlier.pax_count)
            and self.add_text(h.prefix, h.name, &row.name)
            and self.add_text(no_prefix, h.linkname, &row.linkname)
            and self.add_shared(h.uname, earlier.uname, &row.uname)
            and self.add_shared(h.gname, earlier.gname, &row.gname)
        ):
            self.fail(NO_MEMORY, NULL, self.position)
        elif self.entries.n_arena + self.entries.n_pax * <Py_ssize_t>sizeof(PaxRow) > self.max_string_bytes:
            self.fail(LIMIT, b"too many bytes of names and PAX records in tar", self.max_string_bytes)
        self.member_offset = -1
        self.n_records = self.longname.n = self.longlink.n = 0

    cdef bint add_records(self, uint32_t earlier_first, uint32_t earlier_count) noexcept nogil:
        """Adds the PAX records that count to the last row; keys as in the row before, at the same place, are shared."""
        cdef EntryRow *row = &self.entries.rows[self.entries.n_rows - 1]
        cdef PaxRow *out
        cdef StrRef earlier
        cdef Py_ssize_t i
        row.pax_first = <uint32_t>self.entries.n_pax
        for i in range(self.n_records):
            if self.records[i].superseded:
                continue
            memset(&earlier, 0, sizeof(earlier))
            if row.pax_count < earlier_count:
                earlier = self.entries.pax[earlier_first + row.pax_count].key
            out = self.entries.add_pax()
            if out is NULL or not self.add_shared(self.records[i].key, earlier, &out.key):
                return False
            if self.entries.add_string(self.records[i].value.p, self.records[i].value.n, &out.value) < 0:
                return False
            row.pax_count += 1
        return True

    cdef bint add_shared(self, Text text, StrRef earlier, StrRef *out) noexcept nogil:
        """Adds a text, or refers to ``earlier`` if that is the same."""
        if text.n and text.n == earlier.len and memcmp(text.p, self.entries.arena + earlier.pos, text.n) == 0:
            out[0] = earlier
            return True
        return self.entries.add_string(text.p, text.n, out) == 0

    cdef bint add_text(self, Text prefix, Text text, StrRef *out) noexcept nogil:
        """Adds ``prefix/text`` (``text`` without a prefix), or refers to the last row's PAX value it came from."""
        cdef EntryRow *row = &self.entries.rows[self.entries.n_rows - 1]
        cdef Py_ssize_t i
        cdef uint32_t k = row.pax_first
        cdef StrRef part
        for i in range(self.n_records):
            if self.records[i].superseded:
                continue
            if text.n and self.records[i].value.p == text.p:
                out[0] = self.entries.pax[k].value
                return True
            k += 1
        if prefix.n == 0:
            return self.entries.add_string(text.p, text.n, out) == 0
        if self.entries.add_string(prefix.p, prefix.n, out) < 0:
            return False
        if self.entries.add_string(<const uint8_t *>b"/", 1, &part) < 0:
            return False
        if self.entries.add_string(text.p, text.n, &part) < 0:
            return False
        out.len += <uint32_t>(1 + text.n)                   # the arena is contiguous
        return True

    # Doors

    cdef object error(self):
        if self.status == NO_MEMORY:
            return MemoryError("no memory for the table of tar entries")
        what = self.what.decode()
        if self.status == LIMIT:
            return LimitError(what, limit=self.where)
        kind = TruncatedError if self.status == TRUNCATED else FormatError
        return kind(what, uncomp_offset=self.where)

    @property
    def n_entries(self):
        """Members found so far."""
        return self.entries.n_rows

    def feed(self, const uint8_t[::1] data not None):
        """True once the archive has ended, after which more data is ignored.

        Raises FormatError with the offset of what is wrong, LimitError, or RuntimeError if another thread is feeding.
        """
        cdef Py_ssize_t n = data.shape[0]
        cdef const uint8_t *p
        cdef int status = self.status
        if self.busy:
            raise RuntimeError("another thread is feeding this scanner")
        if n:
            p = &data[0]
            self.busy = True
            with nogil:
                status = self.scan(p, n)
            self.busy = False
        if status != OK and status != END:
            raise self.error()
        return status == END

    def close(self):
        """The table, now that there is no more data. Raises TruncatedError if the archive may not end here."""
        if self.busy:
            raise RuntimeError("another thread is feeding this scanner")
        if self.finish() != END:
            raise self.error()
        return self.entries


cdef void copy_state(TarScanner source, TarScanner target, int64_t base) noexcept:
    """All but the rows, the limits and what is kept of special headers; offsets moved by ``base``."""
    target.position = source.position + base
    target.archive_size = source.archive_size + base if source.archive_size >= 0 else -1
    target.status = source.status
    target.awaited = source.awaited
    target.skip = source.skip
    target.padding = source.padding
    target.n_block = source.n_block
    memcpy(target.block, source.block, BLOCK_BYTES)
    memcpy(target.kept, source.kept, BLOCK_BYTES)
    target.member_offset = source.member_offset + base if source.member_offset >= 0 else -1
    target.n_sparse_blocks = source.n_sparse_blocks
    target.special = source.special
    target.body_left = source.body_left
