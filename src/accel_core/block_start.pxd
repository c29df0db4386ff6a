"""Where in the middle of a deflate stream a block may begin."""

from libc.stdint cimport int64_t, uint8_t

cdef enum:
    START_AHEAD = 16        # bytes behind the last place looked at that must be readable

cdef int64_t next_dynamic(const uint8_t *data, int64_t bit, int64_t end_bit) noexcept nogil
cdef Py_ssize_t behind_stored(const uint8_t *data, Py_ssize_t at, Py_ssize_t end) noexcept nogil
