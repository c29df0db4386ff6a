"""Arithmetic modulo the CRC-64 polynomial of ISO 3309, x^64 + x^4 + x^3 + x + 1, on remainders whose bit 63 is x^0."""

from libc.stdint cimport uint64_t


cdef inline uint64_t times_x(uint64_t a) noexcept nogil:
    return (a >> 1) ^ (<uint64_t>0xD800000000000000ULL & (0 - (a & 1)))


cdef inline uint64_t multiply(uint64_t a, uint64_t b) noexcept nogil:
    """a * b mod P, without branches."""
    cdef uint64_t product = 0
    cdef int _i
    for _i in range(64):
        product ^= b & (0 - (a >> 63))
        a <<= 1
        b = times_x(b)
    return product


cdef inline uint64_t x_power(uint64_t n) noexcept nogil:
    """x^n mod P by squaring."""
    cdef uint64_t power = <uint64_t>0x8000000000000000ULL
    cdef uint64_t square = <uint64_t>0x4000000000000000ULL
    while n:
        if n & 1:
            power = multiply(power, square)
        square = multiply(square, square)
        n >>= 1
    return power
