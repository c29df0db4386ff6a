"""Places inside a gzip stream where a second decoder can start without knowing what came before."""

from libc.stdint cimport int64_t, uint16_t

from accel_core.inflate cimport BlockMark


cdef class Prefix:
    cdef uint16_t *window           # 32 Ki symbols of unknown history, and the n_symbols that follow
    cdef readonly Py_ssize_t n_symbols
    cdef readonly int64_t start_bit     # of the stream; a block begins there
    cdef BlockMark *marks           # boundaries, the joint's the last; `out_pos` counts from the start of the prefix
    cdef Py_ssize_t n_marks, cap_marks

    cdef bint add_mark(self, int64_t bit_pos, int64_t out_pos) noexcept nogil
