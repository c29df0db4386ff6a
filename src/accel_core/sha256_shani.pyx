"""SHA-256 blocks by the SHA extensions of x86-64, one stream or two in lockstep.

A round waits for the one before it: ``sha256rnds2`` takes four cycles and the CPU could begin another every other one.
Two streams side by side fill the gap, and cost little more than one (FIPS 180-4 §6.2; Intel SDM, SHA256RNDS2).
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t

from accel_core.sha256_blocks cimport K


cdef extern from "<immintrin.h>" nogil:
    ctypedef struct __m128i:
        pass

    __m128i _mm_add_epi32(__m128i a, __m128i b)
    __m128i _mm_alignr_epi8(__m128i a, __m128i b, const int n)
    __m128i _mm_blend_epi16(__m128i a, __m128i b, const int mask)
    __m128i _mm_loadu_si128(const __m128i *p)
    __m128i _mm_set_epi32(int d, int c, int b, int a)
    __m128i _mm_sha256msg1_epu32(__m128i a, __m128i b)
    __m128i _mm_sha256msg2_epu32(__m128i a, __m128i b)
    __m128i _mm_sha256rnds2_epu32(__m128i cdgh, __m128i abef, __m128i wk)
    __m128i _mm_shuffle_epi32(__m128i a, const int order)
    __m128i _mm_shuffle_epi8(__m128i a, __m128i order)
    void _mm_storeu_si128(__m128i *p, __m128i a)

cdef enum:
    BLOCK = 64


cdef struct State:      # as the instructions want it
    __m128i abef
    __m128i cdgh


cdef inline State unpack(const uint32_t *h) noexcept nogil:
    cdef State s
    cdef __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(<const __m128i *>h), 0xB1)
    cdef __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(<const __m128i *>(h + 4)), 0x1B)
    s.abef = _mm_alignr_epi8(badc, hgfe, 8)
    s.cdgh = _mm_blend_epi16(hgfe, badc, 0xF0)
    return s


cdef inline void pack(uint32_t *h, State s) noexcept nogil:
    cdef __m128i feba = _mm_shuffle_epi32(s.abef, 0x1B)
    cdef __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xB1)
    _mm_storeu_si128(<__m128i *>h, _mm_blend_epi16(feba, dchg, 0xF0))
    _mm_storeu_si128(<__m128i *>(h + 4), _mm_alignr_epi8(dchg, feba, 8))


cdef inline __m128i words(const uint8_t *p) noexcept nogil:
    """Four words of the message, which are big endian."""
    cdef __m128i order = _mm_set_epi32(0x0C0D0E0F, 0x08090A0B, 0x04050607, 0x00010203)
    return _mm_shuffle_epi8(_mm_loadu_si128(<const __m128i *>p), order)


cdef inline void rounds(State *s, __m128i w, const uint32_t *k) noexcept nogil:
    """Four rounds."""
    cdef __m128i wk = _mm_add_epi32(w, _mm_loadu_si128(<const __m128i *>k))
    s.cdgh = _mm_sha256rnds2_epu32(s.cdgh, s.abef, wk)
    s.abef = _mm_sha256rnds2_epu32(s.abef, s.cdgh, _mm_shuffle_epi32(wk, 0x0E))


cdef inline __m128i schedule(__m128i w0, __m128i w1, __m128i w2, __m128i w3) noexcept nogil:
    """The four words after these sixteen."""
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4)), w3)


cdef inline State add(State a, State b) noexcept nogil:
    a.abef = _mm_add_epi32(a.abef, b.abef)
    a.cdgh = _mm_add_epi32(a.cdgh, b.cdgh)
    return a


cdef void one(uint32_t *h, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Take ``n`` blocks into the state ``h``."""
    cdef State s = unpack(h)
    cdef State before
    cdef const uint8_t *end = p + n * BLOCK
    cdef __m128i w0, w1, w2, w3
    cdef int i
    while p < end:
        before = s
        w0 = words(p)
        w1 = words(p + 16)
        w2 = words(p + 32)
        w3 = words(p + 48)
        p += BLOCK
        for i in range(0, 48, 16):
            rounds(&s, w0, K + i)
            w0 = schedule(w0, w1, w2, w3)
            rounds(&s, w1, K + i + 4)
            w1 = schedule(w1, w2, w3, w0)
            rounds(&s, w2, K + i + 8)
            w2 = schedule(w2, w3, w0, w1)
            rounds(&s, w3, K + i + 12)
            w3 = schedule(w3, w0, w1, w2)
        rounds(&s, w0, K + 48)
        rounds(&s, w1, K + 52)
        rounds(&s, w2, K + 56)
        rounds(&s, w3, K + 60)
        s = add(s, before)
    pack(h, s)


cdef void two(uint32_t *h, const uint8_t *p, uint32_t *h2, const uint8_t *p2, Py_ssize_t n) noexcept nogil:
    """Take ``n`` blocks into each of two states, which must not be the same."""
    cdef State s = unpack(h)
    cdef State t = unpack(h2)
    cdef State before, t_before
    cdef const uint8_t *end = p + n * BLOCK
    cdef __m128i w0, w1, w2, w3, v0, v1, v2, v3
    cdef int i
    while p < end:
        before = s
        t_before = t
        w0 = words(p)
        v0 = words(p2)
        w1 = words(p + 16)
        v1 = words(p2 + 16)
        w2 = words(p + 32)
        v2 = words(p2 + 32)
        w3 = words(p + 48)
        v3 = words(p2 + 48)
        p += BLOCK
        p2 += BLOCK
        for i in range(0, 48, 16):
            rounds(&s, w0, K + i)
            rounds(&t, v0, K + i)
            w0 = schedule(w0, w1, w2, w3)
            v0 = schedule(v0, v1, v2, v3)
            rounds(&s, w1, K + i + 4)
            rounds(&t, v1, K + i + 4)
            w1 = schedule(w1, w2, w3, w0)
            v1 = schedule(v1, v2, v3, v0)
            rounds(&s, w2, K + i + 8)
            rounds(&t, v2, K + i + 8)
            w2 = schedule(w2, w3, w0, w1)
            v2 = schedule(v2, v3, v0, v1)
            rounds(&s, w3, K + i + 12)
            rounds(&t, v3, K + i + 12)
            w3 = schedule(w3, w0, w1, w2)
            v3 = schedule(v3, v0, v1, v2)
        rounds(&s, w0, K + 48)
        rounds(&t, v0, K + 48)
        rounds(&s, w1, K + 52)
        rounds(&t, v1, K + 52)
        rounds(&s, w2, K + 56)
        rounds(&t, v2, K + 56)
        rounds(&s, w3, K + 60)
        rounds(&t, v3, K + 60)
        s = add(s, before)
        t = add(t, t_before)
    pack(h, s)
    pack(h2, t)


def one_stream():
    """Capsule of a function, for ``sha256``."""
    return PyCapsule_New(<void *>one, b"one_stream", NULL)


def two_streams():
    """Capsule of a function, for ``sha256``."""
    return PyCapsule_New(<void *>two, b"two_streams", NULL)
