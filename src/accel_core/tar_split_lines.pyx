"""A tar stream to the lines of a tar-split, in pieces of any size (what they say: ``accel.formats.stargz.tar_split``).

Between two contents everything is kept until the next member is known, so that its headers and the padding before
them become one line; what is too long for that lies behind the archive. The lines are those of tar-split's own packer,
byte for byte (but for U+2028 and U+2029 in names, which Go escapes).
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memmove

from accel_core.crc64 cimport crc64
from accel_core.entries cimport EntryRow, EntryTable
from accel_core.json_write cimport (
    ESCAPED_MAX, Out, put, put_base64, put_bytes, put_number, put_text, reserve,
)
from accel_core.tar_header cimport BLOCK_BYTES, FORMAT_GNU, FORMAT_STAR, header_format, parse_number
from accel_core.utf8 cimport is_utf8

cdef enum:
    SEGMENT_BYTES = 1 << 20
    END_BYTES = 2 * BLOCK_BYTES
    # Padding, bodies of x, L and K with their headers and padding, a header and its sparse map: at most 1 MiB each
    MAX_HEADER_BYTES = 5 << 20
    LINE_ROOM = 96                  # keys, numbers and quotes of a line


cdef struct Times:              # of one header, in seconds
    int64_t member              # how many came before
    int64_t atime
    int64_t ctime


@cython.final
cdef class TarSplitLines:
    """Lines of one tar. ``position`` is where in it the next byte given belongs."""

    cdef readonly int64_t position
    cdef readonly bint tail_is_odd          # what is behind the end mark is no blocks of zeros; known once finished
    cdef readonly bint padding_is_cut       # the archive ends inside the padding of the last member
    cdef Out times                  # Times
    cdef Out kept                   # since the last content
    cdef Out out
    cdef int64_t n_lines
    cdef int64_t n_members
    cdef int64_t content_left       # of the member being read
    cdef uint64_t crc
    cdef Out name                   # of that member, ready to write
    cdef int64_t content_size
    cdef bint in_content
    cdef bint in_tail               # behind the last member

    def __dealloc__(self):
        free(self.kept.p)
        free(self.out.p)
        free(self.name.p)
        free(self.times.p)

    # Kernel. False: no memory

    cdef bint put_segment(self, Py_ssize_t n) noexcept nogil:
        """A line for the first ``n`` bytes that were kept."""
        if not reserve(&self.out, LINE_ROOM + (n + 2) // 3 * 4):
            return False
        put(&self.out, b'{"type":2,"payload":')
        put_base64(&self.out, self.kept.p, n)
        put(&self.out, b',"position":')
        put_number(&self.out, self.n_lines)
        put(&self.out, b"}\n")
        self.n_lines += 1
        memmove(self.kept.p, self.kept.p + n, self.kept.n - n)
        self.kept.n -= n
        return True

    cdef bint begin_member(self, const EntryRow *row, const uint8_t *arena) noexcept nogil:
        cdef const uint8_t *name = arena + row.name.pos
        cdef Py_ssize_t n = row.name.len
        if self.kept.n and not self.put_segment(self.kept.n):
            return False
        self.name.n = 0
        if not reserve(&self.name, LINE_ROOM + ESCAPED_MAX * n):
            return False
        if is_utf8(name, n):
            put(&self.name, b'"name":')
            put_text(&self.name, name, n)
        else:
            put(&self.name, b'"name_raw":')
            put_base64(&self.name, name, n)
        self.content_left = self.content_size = row.stored_size
        self.crc = 0
        self.in_content = True
        return True

    cdef bint end_member(self) noexcept nogil:
        cdef uint8_t[8] crc
        cdef int k
        if not reserve(&self.out, LINE_ROOM + self.name.n):
            return False
        put(&self.out, b'{"type":1,')
        put_bytes(&self.out, self.name.p, self.name.n)
        if self.content_size:
            for k in range(8):
                crc[k] = <uint8_t>(self.crc >> (56 - 8 * k))
            put(&self.out, b',"size":')
            put_number(&self.out, self.content_size)
            put(&self.out, b',"payload":')
            put_base64(&self.out, crc, 8)
        else:
            put(&self.out, b',"payload":null')
        put(&self.out, b',"position":')
        put_number(&self.out, self.n_lines)
        put(&self.out, b"}\n")
        self.n_lines += 1
        self.n_members += 1
        self.in_content = False
        return True

    cdef bint keep(self, const uint8_t *p, Py_ssize_t n) noexcept nogil:
        if not reserve(&self.kept, n):
            return False
        put_bytes(&self.kept, p, n)
        while self.kept.n > MAX_HEADER_BYTES:
            if not self.put_tail():
                return False
        return True

    cdef bint put_tail(self) noexcept nogil:
        """A line of bytes behind the last member: its padding and the end mark, then a MiB at a time."""
        cdef Py_ssize_t n = SEGMENT_BYTES
        if not self.in_tail:
            n = <Py_ssize_t>(-self.content_size & (BLOCK_BYTES - 1)) + END_BYTES
        if n > self.kept.n:
            n = self.kept.n
        if self.in_tail and (n % BLOCK_BYTES or not is_zero(self.kept.p, n)):
            self.tail_is_odd = True
        self.in_tail = True
        return self.put_segment(n)

    cdef bint advance(
        self, const uint8_t *at, const uint8_t *end, const EntryRow *row, const EntryRow *last, const uint8_t *arena
    ) noexcept nogil:
        """Takes bytes and the rows whose content begins in or just behind them."""
        cdef int64_t step
        cdef bint fine = True
        while fine:
            step = end - at
            if self.in_content:
                if step > self.content_left:
                    step = self.content_left
                if step:
                    self.crc = crc64(self.crc, at, <Py_ssize_t>step)
                self.content_left -= step
                if self.content_left:
                    self.position += step
                    return True
                fine = self.end_member()
            elif row < last and self.position == row.data_offset:
                fine = self.note_times() and self.begin_member(row, arena)
                row += 1
                continue
            elif step == 0:
                return True
            else:
                if row < last and step > row.data_offset - self.position:
                    step = row.data_offset - self.position
                fine = self.keep(at, <Py_ssize_t>step)
            self.position += step
            at += step
        return False

    cdef bint note_times(self) noexcept nogil:
        """Adds the times of the header before a content, if it has any."""
        cdef Times times
        if self.kept.n < BLOCK_BYTES:
            return True
        times.member = self.n_members
        times_of(self.kept.p + self.kept.n - BLOCK_BYTES, &times.atime, &times.ctime)
        if times.atime == 0 and times.ctime == 0:
            return True
        if not reserve(&self.times, sizeof(Times)):
            return False
        put_bytes(&self.times, <const uint8_t *>&times, sizeof(Times))
        return True

    # Doors

    @property
    def header_times(self):
        """``{member: (atime, ctime)}`` in seconds, of members whose GNU or star header has them."""
        cdef const Times *times = <const Times *>self.times.p
        cdef Py_ssize_t i
        found = {}
        for i in range(self.times.n // <Py_ssize_t>sizeof(Times)):
            found[times[i].member] = (times[i].atime, times[i].ctime)
        return found

    def feed(self, const uint8_t[::1] data not None, EntryTable entries not None, Py_ssize_t first, Py_ssize_t end):
        """The lines that the next bytes of the tar complete.

        ``entries[first:end]`` are the members whose content begins in or just behind these bytes and that were not
        given before; nobody may add to ``entries`` meanwhile.

        ValueError for a member whose content does not begin there.
        """
        cdef const uint8_t *at = &data[0] if data.shape[0] else NULL
        cdef const uint8_t *stop = at + data.shape[0]
        cdef bint fine
        if not 0 <= first <= end <= entries.n_rows:
            raise ValueError(f"entries {first} to {end} of {entries.n_rows}")
        self.check(entries, first, end, data.shape[0])
        with nogil:
            fine = self.advance(at, stop, entries.rows + first, entries.rows + end, entries.arena)
        if not fine:
            raise MemoryError
        return self.drain()

    cdef int check(self, EntryTable entries, Py_ssize_t first, Py_ssize_t end, Py_ssize_t n) except -1:
        cdef int64_t at = self.position
        cdef Py_ssize_t i
        cdef const EntryRow *row
        if self.in_content:
            at += self.content_left
        for i in range(first, end):
            row = &entries.rows[i]
            if row.data_offset < at or row.data_offset > self.position + n or row.stored_size < 0:
                raise ValueError(
                    f"entry {i} begins at {row.data_offset}, which is not in [{at}, {self.position + n}]")
            at = row.data_offset + row.stored_size
        return 0

    def finish(self):
        """The last lines, now that there are no more bytes. ValueError inside a member's content."""
        if self.in_content:
            raise ValueError(f"{self.content_left} bytes of a member are missing")
        if not self.in_tail:
            self.padding_is_cut = 0 < self.kept.n < (-self.content_size & (BLOCK_BYTES - 1))
        while self.kept.n:
            if not self.put_tail():
                raise MemoryError
        return self.drain()

    cdef bytes drain(self):
        cdef bytes lines = PyBytes_FromStringAndSize(<const char *>self.out.p, self.out.n)
        self.out.n = 0
        return lines


cdef bint is_zero(const uint8_t *p, Py_ssize_t n) noexcept nogil:
    # Every byte is like the one before it, and the first is zero.
    return n == 0 or (p[0] == 0 and memcmp(p, p + 1, n - 1) == 0)


cdef void times_of(const uint8_t *block, int64_t *atime, int64_t *ctime) noexcept nogil:
    """Access and change time of a GNU or star header, as Go's reader has them; 0 where there is none.

    The block before a member's content is its header, or the last block of an old sparse map, which is neither.
    """
    cdef int at = 345
    cdef int form = header_format(block)
    cdef int64_t value
    atime[0] = ctime[0] = 0
    if form == FORMAT_STAR:
        at = 476
    elif form != FORMAT_GNU:
        return
    # As a pair: a field that is no time shows that the other is none (golang.org/issue/12594).
    if form == FORMAT_STAR or block[at] != 0:
        if not parse_number(block + at, 12, &value):
            return
        atime[0] = value
    if form == FORMAT_STAR or block[at + 12] != 0:
        if not parse_number(block + at + 12, 12, &value):
            atime[0] = 0
            return
        ctime[0] = value
