"""JSON text into a growing buffer. Room is reserved for a piece at a time, so that putting needs no checks."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, strlen

cdef enum:
    NUMBER_MAX = 20
    ESCAPED_MAX = 6                 # \u00XX


cdef struct Out:                    # whoever has it frees p
    uint8_t *p
    Py_ssize_t n, cap


cdef inline bint reserve(Out *out, Py_ssize_t more) noexcept nogil:
    """Room for ``more`` bytes; False if there is no memory."""
    cdef Py_ssize_t cap = out.cap * 2
    cdef uint8_t *moved
    if more <= out.cap - out.n:
        return True
    if cap < out.n + more:
        cap = out.n + more
    moved = <uint8_t *>realloc(out.p, <size_t>cap)
    if moved is NULL:
        return False
    out.p = moved
    out.cap = cap
    return True


cdef inline void put_byte(Out *out, uint8_t byte) noexcept nogil:
    out.p[out.n] = byte
    out.n += 1


cdef inline void put_bytes(Out *out, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    memcpy(out.p + out.n, p, n)
    out.n += n


cdef inline void put(Out *out, const char *literal) noexcept nogil:
    put_bytes(out, <const uint8_t *>literal, <Py_ssize_t>strlen(literal))


cdef inline uint8_t hex_digit(uint8_t value) noexcept nogil:
    return (c'0' if value < 10 else c'a' - 10) + value


cdef inline void put_hex(Out *out, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        put_byte(out, hex_digit(p[i] >> 4))
        put_byte(out, hex_digit(p[i] & 15))


cdef inline void put_text(Out *out, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """A quoted string, at most ESCAPED_MAX bytes for one and the quotes, escaped as Go's encoder does.

    But for U+2028 and U+2029, which Go escapes too; bytes that are no UTF-8 stay.
    """
    cdef Py_ssize_t i
    cdef uint8_t c
    put_byte(out, c'"')
    for i in range(n):
        c = p[i]
        if c < 0x20 or c == c'<' or c == c'>' or c == c'&':
            put(out, b"\\u00")
            put_hex(out, &c, 1)
            continue
        if c == c'"' or c == c'\\':
            put_byte(out, c'\\')
        put_byte(out, c)
    put_byte(out, c'"')


cdef inline void put_number(Out *out, int64_t value) noexcept nogil:
    cdef uint8_t[NUMBER_MAX] digits
    cdef int n = 0
    cdef uint64_t left = <uint64_t>value
    if value < 0:
        put_byte(out, c'-')
        left = 0 - left
    while True:
        digits[n] = <uint8_t>(c'0' + left % 10)
        left //= 10
        n += 1
        if left == 0:
            break
    while n:
        n -= 1
        put_byte(out, digits[n])


cdef inline void put_base64(Out *out, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """A quoted string of 4 bytes for every 3 that begin, and the quotes."""
    cdef const char *alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef uint8_t *to
    cdef Py_ssize_t i = 0
    cdef uint32_t bits
    put_byte(out, c'"')
    to = out.p + out.n
    while i + 3 <= n:
        bits = <uint32_t>p[i] << 16 | <uint32_t>p[i + 1] << 8 | p[i + 2]
        to[0] = alphabet[bits >> 18]
        to[1] = alphabet[bits >> 12 & 63]
        to[2] = alphabet[bits >> 6 & 63]
        to[3] = alphabet[bits & 63]
        to += 4
        i += 3
    if i < n:
        bits = <uint32_t>p[i] << 16
        if i + 1 < n:
            bits |= <uint32_t>p[i + 1] << 8
        to[0] = alphabet[bits >> 18]
        to[1] = alphabet[bits >> 12 & 63]
        to[2] = alphabet[bits >> 6 & 63] if i + 1 < n else c'='
        to[3] = c'='
        to += 4
    out.n = to - out.p
    put_byte(out, c'"')
