"""CRC-32 of gzip for other kernels; the implementation is chosen when ``accel_core.crc32`` is imported."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

# CRC-32 of what ``crc`` covers followed by ``n`` bytes at ``p``; start with 0.
cdef uint32_t crc32(uint32_t crc, const uint8_t *p, Py_ssize_t n) noexcept nogil

# CRC-32 of A + B from those of A and B; ``n_second`` is the length of B in bytes.
cdef uint32_t crc32_combine(uint32_t first, uint32_t second, int64_t n_second) noexcept nogil
