"""SHA-256 blocks of sixteen streams at a time, a word of each in one AVX-512 register (FIPS 180-4 §6.2)."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t

from accel_core.sha256_blocks cimport LANES, K


cdef extern from "<immintrin.h>" nogil:
    ctypedef struct __m512i:
        pass

    __m512i _mm512_add_epi32(__m512i a, __m512i b)
    __m512i _mm512_loadu_si512(const void *p)
    __m512i _mm512_ror_epi32(__m512i a, const int n)
    __m512i _mm512_set1_epi32(int a)
    __m512i _mm512_set4_epi32(int d, int c, int b, int a)
    __m512i _mm512_shuffle_epi8(__m512i a, __m512i order)
    __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, const int order)
    __m512i _mm512_srli_epi32(__m512i a, const unsigned int n)
    void _mm512_storeu_si512(void *p, __m512i a)
    __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, const int table)
    __m512i _mm512_unpackhi_epi32(__m512i a, __m512i b)
    __m512i _mm512_unpackhi_epi64(__m512i a, __m512i b)
    __m512i _mm512_unpacklo_epi32(__m512i a, __m512i b)
    __m512i _mm512_unpacklo_epi64(__m512i a, __m512i b)

cdef enum:
    BLOCK = 64
    XOR3 = 0x96         # truth tables: a ^ b ^ c, a ? b : c, the majority
    CHOOSE = 0xCA
    MAJORITY = 0xE8


cdef inline __m512i add(__m512i a, __m512i b) noexcept nogil:
    return _mm512_add_epi32(a, b)


cdef inline __m512i xor3(__m512i a, __m512i b, __m512i c) noexcept nogil:
    return _mm512_ternarylogic_epi32(a, b, c, XOR3)


cdef inline void transpose(__m512i *w) noexcept nogil:
    """Sixteen rows of sixteen words become columns."""
    cdef __m512i t[16]
    cdef int i
    for i in range(0, 16, 2):
        t[i] = _mm512_unpacklo_epi32(w[i], w[i + 1])
        t[i + 1] = _mm512_unpackhi_epi32(w[i], w[i + 1])
    for i in range(0, 16, 4):
        w[i] = _mm512_unpacklo_epi64(t[i], t[i + 2])
        w[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2])
        w[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3])
        w[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3])
    for i in range(4):
        t[i] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0x88)
        t[i + 4] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0xDD)
        t[i + 8] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0x88)
        t[i + 12] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0xDD)
    for i in range(4):
        w[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88)
        w[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD)
        w[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88)
        w[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD)


cdef inline void load(__m512i *w, const uint8_t **p, Py_ssize_t at) noexcept nogil:
    """Words of the next block of every stream; they are big endian."""
    cdef __m512i order = _mm512_set4_epi32(0x0C0D0E0F, 0x08090A0B, 0x04050607, 0x00010203)
    cdef int i
    for i in range(LANES):
        w[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(p[i] + at), order)
    transpose(w)


cdef inline void extend(__m512i *w) noexcept nogil:
    """The sixteen words of the schedule after these."""
    cdef __m512i early, late
    cdef int i
    for i in range(16):
        early, late = w[(i + 1) & 15], w[(i + 14) & 15]
        early = xor3(_mm512_ror_epi32(early, 7), _mm512_ror_epi32(early, 18), _mm512_srli_epi32(early, 3))
        late = xor3(_mm512_ror_epi32(late, 17), _mm512_ror_epi32(late, 19), _mm512_srli_epi32(late, 10))
        w[i] = add(add(w[i], early), add(w[(i + 9) & 15], late))


cdef inline void one_round(
    __m512i a, __m512i b, __m512i c, __m512i *d, __m512i e, __m512i f, __m512i g, __m512i *h, __m512i w, uint32_t k
) noexcept nogil:
    cdef __m512i t = add(add(h[0], w), _mm512_set1_epi32(<int>k))
    t = add(t, _mm512_ternarylogic_epi32(e, f, g, CHOOSE))
    t = add(t, xor3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25)))
    d[0] = add(d[0], t)
    t = add(t, _mm512_ternarylogic_epi32(a, b, c, MAJORITY))
    h[0] = add(t, xor3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22)))


cdef inline void eight_rounds(__m512i *s, const __m512i *w, const uint32_t *k) noexcept nogil:
    """The words of the state change places: after eight rounds each is back in its own."""
    one_round(s[0], s[1], s[2], &s[3], s[4], s[5], s[6], &s[7], w[0], k[0])
    one_round(s[7], s[0], s[1], &s[2], s[3], s[4], s[5], &s[6], w[1], k[1])
    one_round(s[6], s[7], s[0], &s[1], s[2], s[3], s[4], &s[5], w[2], k[2])
    one_round(s[5], s[6], s[7], &s[0], s[1], s[2], s[3], &s[4], w[3], k[3])
    one_round(s[4], s[5], s[6], &s[7], s[0], s[1], s[2], &s[3], w[4], k[4])
    one_round(s[3], s[4], s[5], &s[6], s[7], s[0], s[1], &s[2], w[5], k[5])
    one_round(s[2], s[3], s[4], &s[5], s[6], s[7], s[0], &s[1], w[6], k[6])
    one_round(s[1], s[2], s[3], &s[4], s[5], s[6], s[7], &s[0], w[7], k[7])


cdef void sixteen(uint32_t *h, const uint8_t **p, Py_ssize_t n) noexcept nogil:
    """Take ``n`` blocks at each of the pointers into the states; ``h`` has word 0 of every state, then word 1, …"""
    cdef __m512i s[8]
    cdef __m512i before[8]
    cdef __m512i w[16]
    cdef Py_ssize_t at = 0
    cdef int i, k
    for i in range(8):
        s[i] = _mm512_loadu_si512(h + i * LANES)
    while at < n * BLOCK:
        load(w, p, at)
        at += BLOCK
        for i in range(8):
            before[i] = s[i]
        for k in range(0, 64, 16):
            if k:
                extend(w)
            eight_rounds(s, w, K + k)
            eight_rounds(s, w + 8, K + k + 8)
        for i in range(8):
            s[i] = add(s[i], before[i])
    for i in range(8):
        _mm512_storeu_si512(h + i * LANES, s[i])


def sixteen_streams():
    """Capsule of the function, for ``sha256``."""
    return PyCapsule_New(<void *>sixteen, b"sixteen_streams", NULL)
