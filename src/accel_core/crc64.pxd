"""CRC-64 (ISO) for other kernels; the implementation is chosen when ``accel_core.crc64`` is imported."""

from libc.stdint cimport uint8_t, uint64_t

# CRC-64 of what ``crc`` covers followed by ``n`` bytes at ``p``; start with 0.
cdef uint64_t crc64(uint64_t crc, const uint8_t *p, Py_ssize_t n) noexcept nogil
