"""CRC-32 by 128-bit carry-less multiplication, eight accumulators wide (x86-64 with PCLMULQDQ and SSE4.1).

Four accumulators are bound by the latency of the multiplication; eight hide it.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t

from accel_core.crc32_clmul cimport __m128i, _mm_cvtsi32_si128, _mm_xor_si128, fold, fold_constants, load, reduce

cdef enum:
    BLOCK = 16
    ROUND = 8 * BLOCK

cdef __m128i K_BLOCK = fold_constants(BLOCK)
cdef __m128i K_ROUND = fold_constants(ROUND)


cdef uint32_t update(uint32_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Remainder after ``n`` more bytes; ``n`` is a positive multiple of 16."""
    cdef const uint8_t *end = p + n
    cdef __m128i k = K_ROUND
    cdef __m128i x0 = _mm_xor_si128(load(p), _mm_cvtsi32_si128(<int>remainder))
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
    return reduce(x0)


def kernel():
    """Capsule with the C entry point; this module must only be imported where the CPU can run it."""
    return PyCapsule_New(<void *>update, b"accel_core.crc32", NULL)
