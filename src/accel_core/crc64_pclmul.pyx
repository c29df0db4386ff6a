"""CRC-64 (ISO) by carry-less multiplication (x86-64 with PCLMULQDQ and SSE4.1).

The product of two 64-bit halves comes out one power short (127 bits for 128), hence the odd exponents: to move an
accumulator D bits, multiply its low half by x^(D + 63) and its high half by x^(D - 1), both mod P.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t, uint64_t

from accel_core.clmul cimport BLOCK, ROUND, __m128i, _mm_set_epi64x, fold_blocks
from accel_core.crc64_poly cimport x_power


cdef extern from "<immintrin.h>" nogil:
    void _mm_storeu_si128(__m128i *p, __m128i a)


cdef __m128i constants(int distance_bytes) noexcept nogil:
    """The two multipliers that move an accumulator over ``distance_bytes``."""
    return _mm_set_epi64x(<int64_t>x_power(8 * distance_bytes - 1), <int64_t>x_power(8 * distance_bytes + 63))


cdef __m128i K_BLOCK = constants(BLOCK)
cdef __m128i K_ROUND = constants(ROUND)


cdef void update(uint64_t remainder, const uint8_t *p, Py_ssize_t n, uint8_t *out) noexcept nogil:
    """Folds ``n`` bytes, a positive multiple of 16, into the 16 bytes at ``out``."""
    cdef __m128i first = _mm_set_epi64x(0, <int64_t>remainder)
    _mm_storeu_si128(<__m128i *>out, fold_blocks(first, p, n, K_ROUND, K_BLOCK))


def kernel():
    """Capsule with the C entry point; this module must only be imported where the CPU can run it."""
    return PyCapsule_New(<void *>update, b"accel_core.crc64", NULL)
