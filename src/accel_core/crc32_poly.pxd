"""Arithmetic modulo the CRC-32 polynomial of gzip (RFC 1952 §8), on 32-bit remainders whose bit 31 is x^0."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    POLYNOMIAL = 0xEDB88320


cdef inline uint32_t multiply(uint32_t a, uint32_t b) noexcept nogil:
    """a * b mod P, without branches."""
    cdef uint32_t product = 0
    cdef int _i
    for _i in range(32):
        product ^= b & (0 - (a >> 31))
        a <<= 1
        b = (b >> 1) ^ (<uint32_t>POLYNOMIAL & (0 - (b & 1)))
    return product


cdef inline uint32_t x_power(uint64_t n) noexcept nogil:
    """x^n mod P by squaring."""
    cdef uint32_t power = <uint32_t>0x80000000U
    cdef uint32_t square = <uint32_t>0x40000000U
    while n:
        if n & 1:
            power = multiply(power, square)
        square = multiply(square, square)
        n >>= 1
    return power
