"""Where compressed bytes come from: ranges by offset, fetched without the GIL where the kind of source allows it.

A file is read with ``pread`` and not mapped: a mapped file that somebody truncates ends the process that reads it.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy
from posix.unistd cimport pread

import os


cdef class ByteSource:
    """``size`` bytes; safe for several threads."""

    cdef Py_ssize_t fetch(self, uint8_t *to, Py_ssize_t n, int64_t offset) except -1 nogil:
        """Put the bytes ``[offset, offset + n)`` at ``to``; fewer than ``n`` only where the source ends."""
        return 0

    def read_at(self, int64_t offset, Py_ssize_t n):
        """The bytes ``[offset, offset + n)``, fewer where the source ends."""
        cdef bytearray out
        cdef uint8_t[::1] view
        cdef Py_ssize_t got
        if offset < 0 or n < 0:
            raise ValueError(f"no range: {n} bytes from {offset}")
        n = <Py_ssize_t>max(0, min(<int64_t>n, self.size - offset))
        if n == 0:
            return b""
        out = bytearray(n)
        view = out
        with nogil:
            got = self.fetch(&view[0], n, offset)
        return bytes(out[:got])


cdef class FileSource(ByteSource):
    """An open file, by its descriptor, which the caller keeps open."""
    cdef int descriptor

    def __cinit__(self, int descriptor):
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    cdef Py_ssize_t fetch(self, uint8_t *to, Py_ssize_t n, int64_t offset) except -1 nogil:
        cdef Py_ssize_t done = 0, got
        while done < n:
            got = pread(self.descriptor, to + done, n - done, offset + done)
            if got == 0:
                break
            if got > 0:
                done += got
            elif errno != EINTR:
                with gil:
                    raise OSError(errno, os.strerror(errno))
        return done


cdef class BufferSource(ByteSource):
    """Bytes in memory, or whatever else offers them as a buffer."""
    cdef const uint8_t[::1] view

    def __cinit__(self, data):
        self.view = data
        self.size = self.view.shape[0]

    cdef Py_ssize_t fetch(self, uint8_t *to, Py_ssize_t n, int64_t offset) except -1 nogil:
        cdef int64_t left = self.size - offset
        cdef Py_ssize_t taken = <Py_ssize_t>(left if left < n else n)
        if taken <= 0:
            return 0
        memcpy(to, &self.view[offset], taken)
        return taken


cdef class CallSource(ByteSource):
    """``read_at(offset, n)`` of somebody else, called with the GIL, by several threads if several read."""
    cdef object call

    def __cinit__(self, call, int64_t size):
        self.call = call
        self.size = size

    cdef Py_ssize_t fetch(self, uint8_t *to, Py_ssize_t n, int64_t offset) except -1 nogil:
        cdef const uint8_t[::1] data
        cdef Py_ssize_t taken
        with gil:
            data = self.call(offset, n)
            taken = min(n, data.shape[0])
            if taken:
                memcpy(to, &data[0], taken)
            return taken
