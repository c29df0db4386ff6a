"""CRC-32 by 512-bit carry-less multiplication, eight accumulators wide (x86-64 with VPCLMULQDQ and AVX-512)."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t

from accel_core.clmul cimport __m128i, _mm_xor_si128, fold, load
from accel_core.crc32_clmul cimport _mm_cvtsi32_si128, fold_constants, reduce


cdef extern from "<immintrin.h>" nogil:
    ctypedef struct __m512i:
        pass

    __m512i _mm512_broadcast_i32x4(__m128i a)
    __m512i _mm512_clmulepi64_epi128(__m512i a, __m512i b, const int halves)
    __m128i _mm512_extracti32x4_epi32(__m512i a, const int i)
    __m512i _mm512_loadu_si512(const void *p)
    __m512i _mm512_ternarylogic_epi64(__m512i a, __m512i b, __m512i c, const int table)
    __m512i _mm512_xor_si512(__m512i a, __m512i b)
    __m512i _mm512_zextsi128_si512(__m128i a)

cdef enum:
    BLOCK = 16
    LINE = 64
    ROUND = 8 * LINE
    XOR3 = 0x96         # truth table of a ^ b ^ c

cdef __m128i K_BLOCK = fold_constants(BLOCK)
cdef __m128i K_LINE = fold_constants(LINE)
cdef __m128i K_ROUND = fold_constants(ROUND)


cdef inline __m512i fold_line(__m512i x, __m512i k, __m512i onto) noexcept nogil:
    return _mm512_ternarylogic_epi64(
        _mm512_clmulepi64_epi128(x, k, 0x00), _mm512_clmulepi64_epi128(x, k, 0x11), onto, XOR3
    )


cdef inline __m512i load_line(const uint8_t *p) noexcept nogil:
    return _mm512_loadu_si512(p)


cdef uint32_t update(uint32_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Remainder after ``n`` more bytes; ``n`` is a positive multiple of 16."""
    cdef const uint8_t *end = p + n
    cdef __m128i x = _mm_cvtsi32_si128(<int>remainder)
    cdef __m128i k128
    cdef __m512i k, x0, x1, x2, x3, x4, x5, x6, x7
    if n >= LINE:
        x0 = _mm512_xor_si512(load_line(p), _mm512_zextsi128_si512(x))
        if n >= ROUND:
            x1 = load_line(p + 1 * LINE)
            x2 = load_line(p + 2 * LINE)
            x3 = load_line(p + 3 * LINE)
            x4 = load_line(p + 4 * LINE)
            x5 = load_line(p + 5 * LINE)
            x6 = load_line(p + 6 * LINE)
            x7 = load_line(p + 7 * LINE)
            p += ROUND
            k = _mm512_broadcast_i32x4(K_ROUND)
            while end - p >= ROUND:
                x0 = fold_line(x0, k, load_line(p))
                x1 = fold_line(x1, k, load_line(p + 1 * LINE))
                x2 = fold_line(x2, k, load_line(p + 2 * LINE))
                x3 = fold_line(x3, k, load_line(p + 3 * LINE))
                x4 = fold_line(x4, k, load_line(p + 4 * LINE))
                x5 = fold_line(x5, k, load_line(p + 5 * LINE))
                x6 = fold_line(x6, k, load_line(p + 6 * LINE))
                x7 = fold_line(x7, k, load_line(p + 7 * LINE))
                p += ROUND
            k = _mm512_broadcast_i32x4(K_LINE)
            x0 = fold_line(fold_line(fold_line(x0, k, x1), k, x2), k, x3)
            x0 = fold_line(fold_line(fold_line(fold_line(x0, k, x4), k, x5), k, x6), k, x7)
        else:
            p += LINE
        k = _mm512_broadcast_i32x4(K_LINE)
        while end - p >= LINE:
            x0 = fold_line(x0, k, load_line(p))
            p += LINE
        k128 = K_BLOCK
        x = fold(_mm512_extracti32x4_epi32(x0, 0), k128, _mm512_extracti32x4_epi32(x0, 1))
        x = fold(fold(x, k128, _mm512_extracti32x4_epi32(x0, 2)), k128, _mm512_extracti32x4_epi32(x0, 3))
    else:
        x = _mm_xor_si128(load(p), x)
        p += BLOCK
    k128 = K_BLOCK
    while p < end:
        x = fold(x, k128, load(p))
        p += BLOCK
    return reduce(x)


def kernel():
    """Capsule with the C entry point; this module must only be imported where the CPU can run it."""
    return PyCapsule_New(<void *>update, b"accel_core.crc32", NULL)
