"""128-bit folding steps shared by the carry-less-multiply CRC kernels. Needs PCLMULQDQ and SSE4.1.

Bit i of a 128-bit accumulator is the coefficient of x^(127 - i), so its low half carries the higher powers. Which two
multipliers move an accumulator over a distance depends on the CRC: see ``crc32_clmul`` and ``crc64_pclmul``.
"""

from libc.stdint cimport int64_t, uint8_t

cdef enum:
    BLOCK = 16
    ROUND = 8 * BLOCK


cdef extern from "<immintrin.h>" nogil:
    ctypedef struct __m128i:
        pass

    __m128i _mm_clmulepi64_si128(__m128i a, __m128i b, const int halves)
    __m128i _mm_loadu_si128(const __m128i *p)
    __m128i _mm_set_epi64x(int64_t high, int64_t low)
    __m128i _mm_xor_si128(__m128i a, __m128i b)


cdef inline __m128i load(const uint8_t *p) noexcept nogil:
    return _mm_loadu_si128(<const __m128i *>p)


cdef inline __m128i fold(__m128i x, __m128i constants, __m128i onto) noexcept nogil:
    """``x`` moved by the distance of ``constants``, added to ``onto``."""
    return _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(x, constants, 0x00), _mm_clmulepi64_si128(x, constants, 0x11)), onto
    )


cdef inline __m128i fold_blocks(
    __m128i x0, const uint8_t *p, Py_ssize_t n, __m128i over_round, __m128i over_block
) noexcept nogil:
    """``n`` bytes at ``p``, a positive multiple of 16, folded into one accumulator; ``x0`` is added to the first block.

    Eight accumulators wide: four are bound by the latency of the multiplication, eight hide it.
    """
    cdef const uint8_t *end = p + n
    cdef __m128i x1, x2, x3, x4, x5, x6, x7
    x0 = _mm_xor_si128(load(p), x0)
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
            x0 = fold(x0, over_round, load(p))
            x1 = fold(x1, over_round, load(p + 1 * BLOCK))
            x2 = fold(x2, over_round, load(p + 2 * BLOCK))
            x3 = fold(x3, over_round, load(p + 3 * BLOCK))
            x4 = fold(x4, over_round, load(p + 4 * BLOCK))
            x5 = fold(x5, over_round, load(p + 5 * BLOCK))
            x6 = fold(x6, over_round, load(p + 6 * BLOCK))
            x7 = fold(x7, over_round, load(p + 7 * BLOCK))
            p += ROUND
        x0 = fold(fold(fold(x0, over_block, x1), over_block, x2), over_block, x3)
        x0 = fold(fold(fold(fold(x0, over_block, x4), over_block, x5), over_block, x6), over_block, x7)
    else:
        p += BLOCK
    while p < end:
        x0 = fold(x0, over_block, load(p))
        p += BLOCK
    return x0
