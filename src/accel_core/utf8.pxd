"""Whether bytes are UTF-8 (RFC 3629)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline bint is_utf8(const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """No overlong forms, no surrogates, nothing above U+10FFFF."""
    cdef Py_ssize_t i = 0, k, n_more
    cdef uint64_t eight
    cdef uint32_t code, least
    while i < n:
        if n - i >= 8:
            memcpy(&eight, p + i, 8)
            if eight & <uint64_t>0x8080808080808080ULL == 0:
                i += 8
                continue
        if p[i] < 0x80:
            i += 1
            continue
        if 0xC2 <= p[i] <= 0xDF:
            n_more, code, least = 1, p[i] & 0x1F, 0x80
        elif 0xE0 <= p[i] <= 0xEF:
            n_more, code, least = 2, p[i] & 0x0F, 0x800
        elif 0xF0 <= p[i] <= 0xF4:
            n_more, code, least = 3, p[i] & 0x07, 0x10000
        else:
            return False
        if n - i <= n_more:
            return False
        for k in range(1, n_more + 1):
            if p[i + k] & 0xC0 != 0x80:
                return False
            code = code << 6 | (p[i + k] & 0x3F)
        if code < least or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            return False
        i += n_more + 1
    return True
