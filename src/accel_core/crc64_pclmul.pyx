"""CRC-64 (ISO) by carry-less multiplication, eight accumulators wide (x86-64 with PCLMULQDQ and SSE4.1).

Bit i of a 128-bit accumulator is the coefficient of x^(127 - i), so its low half carries the higher powers. The product
of two 64-bit halves comes out one power short (127 bits for 128), hence the odd exponents: to move an accumulator D
bits, multiply its low half by x^(D + 63) and its high half by x^(D - 1), both mod P.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t, uint64_t

from accel_core.crc64_poly cimport x_power


cdef extern from "<immintrin.h>" nogil:
    ctypedef struct __m128i:
        pass

    __m128i _mm_clmulepi64_si128(__m128i a, __m128i b, const int halves)
    __m128i _mm_loadu_si128(const __m128i *p)
    void _mm_storeu_si128(__m128i *p, __m128i a)
    __m128i _mm_set_epi64x(int64_t high, int64_t low)
    __m128i _mm_xor_si128(__m128i a, __m128i b)

cdef enum:
    BLOCK = 16
    ROUND = 8 * BLOCK


cdef __m128i constants(int distance_bytes) noexcept nogil:
    """The two multipliers that move an accumulator over ``distance_bytes``."""
    return _mm_set_epi64x(<int64_t>x_power(8 * distance_bytes - 1), <int64_t>x_power(8 * distance_bytes + 63))


cdef inline __m128i load(const uint8_t *p) noexcept nogil:
    return _mm_loadu_si128(<const __m128i *>p)


cdef inline __m128i fold(__m128i x, __m128i k, __m128i onto) noexcept nogil:
    """``x`` moved by the distance of ``k``, added to ``onto``."""
    return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), onto)


cdef __m128i K_BLOCK = constants(BLOCK)
cdef __m128i K_ROUND = constants(ROUND)


cdef void update(uint64_t remainder, const uint8_t *p, Py_ssize_t n, uint8_t *out) noexcept nogil:
    """Folds ``n`` bytes, a positive multiple of 16, into the 16 bytes at ``out``."""
    cdef const uint8_t *end = p + n
    cdef __m128i k = K_ROUND
    cdef __m128i x0 = _mm_xor_si128(load(p), _mm_set_epi64x(0, <int64_t>remainder))
    cdef __m128i x1, x2, x3, x4, x5, x6, x7
    if n >= ROUND:
        x1 = load(p + 1 * BLOCK)
        x2 = load(p + 2 * BLOCK)
        x3 = load(p + 3 * BLOCK)
        x4 = load(p + 4 * BLOCK)
        x5 = load(p + 5 * BLOCK)
        x6 = load(p + 6 * BLOCK)
        x7 = load(p + 7 * BLOCK)
        p += ROUND
        while end - p >= ROUND:
            x0 = fold(x0, k, load(p))
            x1 = fold(x1, k, load(p + 1 * BLOCK))
            x2 = fold(x2, k, load(p + 2 * BLOCK))
            x3 = fold(x3, k, load(p + 3 * BLOCK))
            x4 = fold(x4, k, load(p + 4 * BLOCK))
            x5 = fold(x5, k, load(p + 5 * BLOCK))
            x6 = fold(x6, k, load(p + 6 * BLOCK))
            x7 = fold(x7, k, load(p + 7 * BLOCK))
            p += ROUND
        k = K_BLOCK
        x0 = fold(fold(fold(x0, k, x1), k, x2), k, x3)
        x0 = fold(fold(fold(fold(x0, k, x4), k, x5), k, x6), k, x7)
    else:
        p += BLOCK
    k = K_BLOCK
    while p < end:
        x0 = fold(x0, k, load(p))
        p += BLOCK
    _mm_storeu_si128(<__m128i *>out, x0)


def kernel():
    """Capsule with the C entry point; this module must only be imported where the CPU can run it."""
    return PyCapsule_New(<void *>update, b"accel_core.crc64", NULL)
