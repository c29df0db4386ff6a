"""Where compressed bytes come from: ranges by offset, fetched without the GIL where the kind of source allows it."""

from libc.stdint cimport int64_t, uint8_t


cdef class ByteSource:
    cdef readonly int64_t size

    cdef Py_ssize_t fetch(self, uint8_t *to, Py_ssize_t n, int64_t offset) except -1 nogil
