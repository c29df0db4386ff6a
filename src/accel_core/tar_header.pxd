"""One 512 byte tar header block: its fields, checksum and numbers, read as Go's archive/tar reads them.

::

      0 name[100]  100 mode[8]  108 uid[8]  116 gid[8]  124 size[12]  136 mtime[12]  148 checksum[8]
    156 typeflag   157 linkname[100]  257 magic[6]  263 version[2]
    265 uname[32]  297 gname[32]  329 devmajor[8]  337 devminor[8]          not in V7
    345 prefix[155]                                                         ustar ("ustar\\0")
    345 prefix[131]  476 atime[12]  488 ctime[12]  508 "tar\\0"             star (ustar that ends so)
    345 atime[12]  357 ctime[12]  386 sparse[4 x (12 + 12)]  482 more  483 realsize[12]   GNU ("ustar  \\0")
"""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef enum:
    BLOCK_BYTES = 512

cdef enum HeaderFormat:
    FORMAT_V7 = 1
    FORMAT_USTAR
    FORMAT_STAR
    FORMAT_GNU


cdef struct Text:                   # borrowed bytes
    const uint8_t *p
    Py_ssize_t n


cdef struct Header:                 # texts point into the block
    HeaderFormat format
    uint8_t typeflag
    int64_t mode, uid, gid, size, mtime, devmajor, devminor
    int32_t mtime_ns                # only PAX has fractions
    Text prefix, name, linkname, uname, gname


cdef inline Text field_text(const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """The field up to its first NUL, or all of it."""
    cdef Text text
    cdef const void *nul = memchr(p, 0, n)
    text.p = p
    text.n = n if nul is NULL else <const uint8_t *>nul - p
    return text


cdef inline bint is_ascii(Text text) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(text.n):
        if text.p[i] >= 0x80:
            return False
    return True


cdef inline bint is_pad(uint8_t c) noexcept nogil:
    return c == 0x20 or c == 0


cdef inline bint parse_octal(const uint8_t *p, Py_ssize_t n, int64_t *out) noexcept nogil:
    """Spaces and NULs off both ends, then octal digits up to a NUL; nothing left is 0. False if it is no number.

    Fields have at most 12 digits, 36 bits: no overflow.
    """
    cdef Py_ssize_t i = 0
    cdef int64_t value = 0
    while i < n and is_pad(p[i]):
        i += 1
    while n > i and is_pad(p[n - 1]):
        n -= 1
    while i < n and p[i] != 0:
        if p[i] < 0x30 or p[i] > 0x37:
            return False
        value = value << 3 | (p[i] - 0x30)
        i += 1
    out[0] = value
    return True


cdef inline bint parse_base256(const uint8_t *p, Py_ssize_t n, int64_t *out) noexcept nogil:
    """Big-endian two's complement whose top bit marks the encoding. False if 64 bits cannot hold it."""
    cdef uint8_t inverted = 0xFF if p[0] & 0x40 else 0      # -a - 1 == ~a: a negative number is read inverted
    cdef uint64_t value = (p[0] ^ inverted) & 0x7F
    cdef Py_ssize_t i
    for i in range(1, n):
        if value >> 56:
            return False
        value = value << 8 | <uint8_t>(p[i] ^ inverted)
    if value > <uint64_t>INT64_MAX:
        return False
    out[0] = ~<int64_t>value if inverted else <int64_t>value
    return True


cdef inline bint parse_number(const uint8_t *p, Py_ssize_t n, int64_t *out) noexcept nogil:
    if p[0] & 0x80:
        return parse_base256(p, n, out)
    return parse_octal(p, n, out)


cdef inline uint64_t sum_bytes(const uint8_t *block) noexcept nogil:
    """Sum of the 512 bytes; 0 only for a block of zeros."""
    # Bytes are added in four 16 bit lanes: 64 words x 2 bytes x 255 = 32640 fits.
    cdef uint64_t lanes = 0, word
    cdef int i
    for i in range(0, BLOCK_BYTES, 8):
        memcpy(&word, block + i, 8)
        lanes += (word & <uint64_t>0x00FF00FF00FF00FFULL) + (word >> 8 & <uint64_t>0x00FF00FF00FF00FFULL)
    return (lanes & 0xFFFF) + (lanes >> 16 & 0xFFFF) + (lanes >> 32 & 0xFFFF) + (lanes >> 48)


cdef inline bint checksum_fits(const uint8_t *block, uint64_t total) noexcept nogil:
    """True if the checksum field holds the sum of the header's bytes, itself read as spaces, unsigned or signed."""
    cdef int64_t wanted
    cdef int64_t unsigned_sum = <int64_t>total + 8 * 0x20
    cdef int64_t n_high = 0
    cdef int i
    if not parse_octal(block + 148, 8, &wanted):
        return False
    for i in range(148, 156):
        unsigned_sum -= block[i]
    if wanted == unsigned_sum:
        return True
    # A signed sum is what old tars on machines with signed chars wrote: 256 less for each byte with its top bit set.
    for i in range(BLOCK_BYTES):
        if block[i] & 0x80 and not 148 <= i < 156:
            n_high += 1
    return wanted == unsigned_sum - 256 * n_high


cdef extern from *:
    """
    #include <string.h>
    #if defined(__SSE2__)
      #include <emmintrin.h>
    #endif
    /* First p in [start, end - 512] with "ustar" at p + 257, or NULL. */
    __attribute__((unused))     /* in most modules that cimport this file */
    static const uint8_t *accel_find_ustar(const uint8_t *start, const uint8_t *end) {
        const uint8_t *p = start + 257, *stop = end - 255;     /* p + 255 is the end of the block */
    #if defined(__SSE2__)
        const __m128i u = _mm_set1_epi8('u'), r = _mm_set1_epi8('r');
        while (p + 20 <= stop) {
            __m128i both = _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)p), u),
                                         _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p + 4)), r));
            unsigned hits = (unsigned)_mm_movemask_epi8(both);
            while (hits) {
                const uint8_t *q = p + __builtin_ctz(hits);
                if (memcmp(q, "ustar", 5) == 0) return q - 257;
                hits &= hits - 1;
            }
            p += 16;
        }
    #endif
        for (; p <= stop; p++)
            if (*p == 'u' && memcmp(p, "ustar", 5) == 0) return p - 257;
        return NULL;
    }
    """
    const uint8_t *find_ustar "accel_find_ustar"(const uint8_t *start, const uint8_t *end) noexcept nogil


cdef inline HeaderFormat header_format(const uint8_t *block) noexcept nogil:
    if memcmp(block + 257, b"ustar\0", 6) == 0:
        return FORMAT_STAR if memcmp(block + 508, b"tar\0", 4) == 0 else FORMAT_USTAR
    if memcmp(block + 257, b"ustar  \0", 8) == 0:
        return FORMAT_GNU
    return FORMAT_V7


cdef inline bint gnu_time_fits(const uint8_t *field) noexcept nogil:
    cdef int64_t ignored
    return field[0] == 0 or parse_number(field, 12, &ignored)


cdef inline const char *parse_header(const uint8_t *block, Header *h) noexcept nogil:
    """Fills ``h`` from a block with a good checksum. NULL, or what is wrong."""
    cdef int64_t ignored
    h.format = header_format(block)
    h.typeflag = block[156]
    h.name = field_text(block, 100)
    h.linkname = field_text(block + 157, 100)
    h.prefix.n = h.uname.n = h.gname.n = 0
    h.prefix.p = h.uname.p = h.gname.p = block
    h.devmajor = h.devminor = 0
    h.mtime_ns = 0
    if not parse_number(block + 100, 8, &h.mode):
        return b"bad mode in tar header"
    if not (parse_number(block + 108, 8, &h.uid) and parse_number(block + 116, 8, &h.gid)):
        return b"bad uid or gid in tar header"
    if not parse_number(block + 124, 12, &h.size):
        return b"bad size in tar header"
    if not parse_number(block + 136, 12, &h.mtime):
        return b"bad mtime in tar header"
    if h.format == FORMAT_V7:
        return NULL

    h.uname = field_text(block + 265, 32)
    h.gname = field_text(block + 297, 32)
    if not (parse_number(block + 329, 8, &h.devmajor) and parse_number(block + 337, 8, &h.devminor)):
        return b"bad device number in tar header"
    if h.format == FORMAT_USTAR:
        h.prefix = field_text(block + 345, 155)
    elif h.format == FORMAT_STAR:
        h.prefix = field_text(block + 345, 131)
        if not (parse_number(block + 476, 12, &ignored) and parse_number(block + 488, 12, &ignored)):
            return b"bad atime or ctime in star header"
    elif not (gnu_time_fits(block + 345) and gnu_time_fits(block + 357)):
        # Go before 1.8 put a ustar prefix where GNU keeps atime and ctime (golang.org/issue/12594). Its readers take
        # what is no time but ASCII text for one, and our names have to be theirs.
        h.prefix = field_text(block + 345, 155)
        if not is_ascii(h.prefix):
            h.prefix.n = 0
    return NULL
