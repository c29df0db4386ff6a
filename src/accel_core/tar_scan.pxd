"""Resumable scan of a tar stream. ``scan`` takes pieces of any size, ``finish`` says that there are no more."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from accel_core.entries cimport EntryTable, StrRef
from accel_core.tar_header cimport Header, Text
from accel_core.tar_pax cimport PaxRecord

cdef enum Await:            # what the next bytes are
    AWAIT_HEADER
    AWAIT_ZEROS             # one zero block seen: a second one ends the archive
    AWAIT_SPARSE            # an extension block of an old GNU sparse header
    AWAIT_BODY              # the body of a PAX or GNU special header

cdef struct Body:           # of a special header, at most 1 MiB
    uint8_t *p
    Py_ssize_t n
    Py_ssize_t cap


@cython.final
cdef class TarScanner:
    cdef EntryTable entries         # grows while scanning; rows[n_rows - 1] is the member the next data byte belongs to
    cdef readonly int64_t position  # bytes seen, those after the end of the archive too
    cdef readonly int64_t archive_size      # just after the end mark, or where the data ends; -1 until END
    cdef int status                 # Status; OK until the scan is over, then it stays

    # Status: OK, END (archive over, the rest is ignored), CORRUPT, LIMIT, NO_MEMORY
    cdef int scan(self, const uint8_t *data, Py_ssize_t n) noexcept nogil
    # Status: END, TRUNCATED, or what scan() said
    cdef int finish(self) noexcept nogil
    # True in front of a header that belongs to no special header before it (or in the data and padding before it)
    cdef bint between_members(self) noexcept nogil
    # go on where `other` is, which began `base` bytes after the start of this archive, without its first rows; it is of
    # no use afterwards
    cdef int adopt(self, TarScanner other, Py_ssize_t first_row, int64_t base) except -1
    # a scanner in the same state, with no rows yet: it can look ahead, and be adopted (base 0) if what it saw is right
    cdef TarScanner fork(self)
    # the exception for a status that is neither OK nor END
    cdef object error(self)

    # Private
    cdef Await awaited
    cdef int64_t skip               # bytes of data and padding left to pass over ...
    cdef int64_t padding            # ... of which the last ones, up to this many, are padding
    cdef Py_ssize_t n_block
    cdef uint8_t block[512]         # a header block that came in pieces
    cdef uint8_t kept[512]          # the header whose body or extension blocks are being read
    cdef int64_t member_offset      # first header block of the member being read; -1 between members
    cdef int n_sparse_blocks
    cdef uint8_t special            # typeflag of the body being read: x, g, L or K
    cdef Py_ssize_t body_left
    cdef Body pax
    cdef Body longname
    cdef Body longlink
    cdef PaxRecord *records         # of the body in `pax`
    cdef Py_ssize_t n_records, cap_records
    cdef Py_ssize_t max_entries
    cdef Py_ssize_t max_string_bytes
    cdef const char *what           # of a failure
    cdef int64_t where              # its offset; the limit if that was reached
    cdef bint busy

    cdef Body *body_of(self, uint8_t special) noexcept nogil
    cdef void fail(self, int status, const char *what, int64_t where) noexcept nogil
    cdef void take_block(self, const uint8_t *block) noexcept nogil
    cdef void begin_special(self, const uint8_t *block, Header *h) noexcept nogil
    cdef void end_special(self) noexcept nogil
    cdef void parse_records(self) noexcept nogil
    cdef void begin_sparse(self, const uint8_t *block, Header *h) noexcept nogil
    cdef void take_sparse_block(self, const uint8_t *block) noexcept nogil
    cdef void add_global(self) noexcept nogil
    cdef void add_member(self, Header *h) noexcept nogil
    cdef void add_row(self, Header *h, int64_t data_offset, int64_t stored_size, int flags) noexcept nogil
    cdef bint add_text(self, Text prefix, Text text, StrRef *out) noexcept nogil
    cdef bint add_shared(self, Text text, StrRef earlier, StrRef *out) noexcept nogil
    cdef bint add_records(self, uint32_t earlier_first, uint32_t earlier_count) noexcept nogil
