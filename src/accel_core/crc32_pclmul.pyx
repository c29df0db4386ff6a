"""CRC-32 by 128-bit carry-less multiplication (x86-64 with PCLMULQDQ and SSE4.1)."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t

from accel_core.clmul cimport BLOCK, ROUND, __m128i, fold_blocks
from accel_core.crc32_clmul cimport _mm_cvtsi32_si128, fold_constants, reduce

cdef __m128i K_BLOCK = fold_constants(BLOCK)
cdef __m128i K_ROUND = fold_constants(ROUND)


cdef uint32_t update(uint32_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Remainder after ``n`` more bytes; ``n`` is a positive multiple of 16."""
    return reduce(fold_blocks(_mm_cvtsi32_si128(<int>remainder), p, n, K_ROUND, K_BLOCK))


def kernel():
    """Capsule with the C entry point; this module must only be imported where the CPU can run it."""
    return PyCapsule_New(<void *>update, b"accel_core.crc32", NULL)
