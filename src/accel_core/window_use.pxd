"""Which bytes of a window the data behind a checkpoint refers to."""

from libc.stdint cimport uint8_t

from accel_core.inflate cimport Inflater
from accel_core.status cimport Status

cdef enum:
    USE_BYTES = 65536       # compressed bytes that are looked at; 32 KiB of output take 11 KB in most layers


cdef class WindowUse:
    cdef Inflater *inf
    cdef uint8_t *comp              # USE_BYTES of input, and zeros behind them
    cdef uint8_t *used              # 0xFF for each byte of the window that is referred to

    cdef Status find(self, const uint8_t *comp, Py_ssize_t n, int bits) noexcept nogil
    cdef bint keep_used(self, uint8_t *window) noexcept nogil
    cdef bint use(self, comp, int bits, uint8_t *window) except? True
