"""Table of tar entries in C memory: fixed rows, PAX records, one arena for all strings.

Filled by ``tar_scan`` (and by index decoders), read by index encoders at C speed and by Python row by row.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t


cdef enum EntryFlag:
    ENTRY_GNU_SPARSE = 1        # typeflag 'S': data is stored sparse, `size` is the logical size
    ENTRY_PAX_SPARSE = 2        # GNU.sparse.* PAX records
    ENTRY_GLOBAL = 4            # a PAX global header ('g'); no file. data_offset = end of its blocks
    ENTRY_SIZE_ON_NON_FILE = 8  # a link, directory, device or fifo whose header claims a size (stored_size is 0)
    ENTRY_UNKNOWN_TYPE = 16     # a typeflag with no meaning in POSIX or GNU tar


cdef struct StrRef:             # bytes in the arena; empty strings have len 0
    uint32_t pos
    uint32_t len


cdef struct PaxRow:
    StrRef key
    StrRef value


cdef struct EntryRow:
    int64_t header_offset       # uncompressed offset of the member's first header block (x, L, K headers included)
    int64_t data_offset         # just after its last header block
    int64_t size                # size field after PAX override (logical size for sparse files), as claimed
    int64_t stored_size         # bytes of data that follow in the tar, unpadded (0 for links, dirs, devices, fifos)
    int64_t mode                # number in the header, type bits kept if the producer put them there
    int64_t uid
    int64_t gid
    int64_t mtime_s             # seconds since the epoch, floor
    int64_t devmajor
    int64_t devminor
    int32_t mtime_ns            # 0 .. 999_999_999
    uint32_t pax_first          # rows [pax_first, pax_first + pax_count) of `pax`
    uint32_t pax_count
    StrRef name                 # raw bytes after PAX / GNU / ustar-prefix rules
    StrRef linkname
    StrRef uname
    StrRef gname
    uint8_t typeflag            # '0'..'7', 'S', 'g'; NUL is reported as '0' ('5' if the name ends in '/')
    uint8_t has_mtime           # 0: the source had none (decoded index with an empty time)
    uint16_t flags              # EntryFlag


@cython.final
cdef class EntryTable:
    cdef EntryRow *rows
    cdef PaxRow *pax
    cdef uint8_t *arena
    cdef Py_ssize_t n_rows, cap_rows
    cdef Py_ssize_t n_pax, cap_pax
    cdef Py_ssize_t n_arena, cap_arena
    cdef readonly uint32_t all_flags        # OR of the flags of all rows

    # Appenders for kernels; NULL / negative when memory ends or the 4 GiB arena is full. They may move the arrays.
    cdef EntryRow *add_row(self) noexcept nogil
    cdef PaxRow *add_pax(self) noexcept nogil
    cdef int add_string(self, const uint8_t *data, Py_ssize_t n, StrRef *out) noexcept nogil    # 0 ok, -1 no room
    cdef bint reserve(self, Py_ssize_t rows, Py_ssize_t pax, Py_ssize_t arena) noexcept nogil
    # add the rows of `other` from `first` on, offsets moved by `base`; -1: no room
    cdef int extend(self, EntryTable other, Py_ssize_t first, int64_t base) noexcept nogil
    cdef bytes string(self, StrRef ref)

    cdef object entry(self, Py_ssize_t i)                   # the Entry of row i, which must exist
    cdef int _take(self, bytes value, StrRef *out) except -1
    cdef int _take_pax(self, list records) except -1
