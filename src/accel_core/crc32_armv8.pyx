"""CRC-32 by the CRC instructions of ARMv8 (the gzip polynomial is the one they compute)."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<arm_acle.h>" nogil:
    uint32_t __crc32d(uint32_t crc, uint64_t data)


cdef uint32_t update(uint32_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Remainder after ``n`` more bytes; ``n`` is a positive multiple of 16."""
    cdef const uint8_t *end = p + n
    cdef uint64_t word
    while p < end:
        memcpy(&word, p, 8)
        remainder = __crc32d(remainder, word)
        p += 8
    return remainder


def kernel():
    """Capsule with the C entry point; this module must only be imported where the CPU can run it."""
    return PyCapsule_New(<void *>update, b"accel_core.crc32", NULL)
