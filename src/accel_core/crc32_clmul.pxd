"""What CRC-32 adds to the folding steps of ``clmul``. Needs PCLMULQDQ and SSE4.1.

The product of two halves comes out one power short (127 bits for 128), hence the odd exponents: to move an accumulator
D bits to the left, multiply its low half by x^(D + 31) and its high half by x^(D - 33), both mod P and held in the low
32 bits of their lanes.
"""

from libc.stdint cimport uint32_t

from accel_core.clmul cimport __m128i, _mm_clmulepi64_si128, _mm_set_epi64x, _mm_xor_si128
from accel_core.crc32_poly cimport x_power


cdef extern from "<immintrin.h>" nogil:
    __m128i _mm_cvtsi32_si128(int value)
    __m128i _mm_srli_si128(__m128i a, const int n_bytes)
    __m128i _mm_and_si128(__m128i a, __m128i b)
    int _mm_extract_epi32(__m128i a, const int i)


cdef inline __m128i fold_constants(int distance_bytes) noexcept nogil:
    """The two multipliers that move an accumulator over ``distance_bytes``."""
    return _mm_set_epi64x(x_power(8 * distance_bytes - 33), x_power(8 * distance_bytes + 31))


cdef inline uint32_t reduce(__m128i x) noexcept nogil:
    """x * x^32 mod P: the remainder of a message that was folded into ``x``."""
    cdef __m128i low32 = _mm_set_epi64x(0, 0xFFFFFFFF)
    cdef __m128i x63_x95 = _mm_set_epi64x(0xB8BC6765, 0xCCAA009E)      # x^63 mod P, x^95 mod P
    cdef __m128i mu_p = _mm_set_epi64x(0x1F7011641, 0x1DB710641)       # floor(x^64 / P), P: 33 bits each
    cdef __m128i t
    # 128 + 32 -> 96 bits: the low half times x^96, the high half already in place.
    x = _mm_xor_si128(_mm_clmulepi64_si128(x, x63_x95, 0x00), _mm_srli_si128(x, 8))
    # 96 -> 64 bits: the lowest 32 bits times x^64.
    x = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(x, low32), x63_x95, 0x10), _mm_srli_si128(x, 4))
    # 64 -> 32 bits: Barrett, quotient estimate times P.
    t = _mm_clmulepi64_si128(_mm_and_si128(x, low32), mu_p, 0x10)
    t = _mm_clmulepi64_si128(_mm_and_si128(t, low32), mu_p, 0x00)
    return <uint32_t>_mm_extract_epi32(_mm_xor_si128(x, t), 1)
