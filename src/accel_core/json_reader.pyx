"""JSON text from a stranger (RFC 8259), value by value, for kernels that know what they expect.

Strict as Python's ``json``, but: numbers that are asked for are whole and of 64 bits, half a surrogate pair is an
error, and bytes that are no UTF-8 pass. Nesting deeper than MAX_DEPTH is refused.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, strlen

cdef enum:
    MAX_DEPTH = 64


cdef class JsonReader:
    """``begin``, then one call a token; after a failure ``what`` says which and ``p`` is near it."""

    def __dealloc__(self):
        free(self.text)

    cdef int begin(self, const uint8_t *data, Py_ssize_t n) except -1:
        self.text = <uint8_t *>malloc(<size_t>n + 1)
        if self.text is NULL:
            raise MemoryError
        self.start = self.p = data
        self.end = data + n
        return 0

    cdef bint fail(self, const char *what) noexcept nogil:
        if self.what is NULL:
            self.what = what
        return False

    cdef uint8_t peek(self) noexcept nogil:
        """The next byte that is no white space; 0 at the end."""
        while self.p < self.end and (self.p[0] == 0x20 or self.p[0] == 0x0A or self.p[0] == 0x0D or self.p[0] == 0x09):
            self.p += 1
        return self.p[0] if self.p < self.end else 0

    cdef bint take(self, uint8_t byte) noexcept nogil:
        if self.peek() != byte:
            return self.fail(b"not the JSON of a table of contents")
        self.p += 1
        return True

    cdef bint literal(self, const char *word) noexcept nogil:
        cdef Py_ssize_t n = <Py_ssize_t>strlen(word)
        if self.end - self.p < n or memcmp(self.p, word, n) != 0:
            return self.fail(b"not JSON")
        self.p += n
        return True

    cdef int hex4(self) noexcept nogil:
        """Four hex digits; -1 if they are none."""
        cdef int value = 0, i
        cdef uint8_t c
        if self.end - self.p < 4:
            return -1
        for i in range(4):
            c = self.p[i]
            if c'0' <= c <= c'9':
                value = value << 4 | (c - c'0')
            elif c'a' <= (c | 0x20) <= c'f':
                value = value << 4 | ((c | 0x20) - c'a' + 10)
            else:
                return -1
        self.p += 4
        return value

    cdef bint escape(self, uint8_t *text, Py_ssize_t *n) noexcept nogil:
        """What follows a backslash; writes no more than it reads."""
        cdef uint8_t c
        cdef int code, low
        if self.p == self.end:
            return self.fail(b"a string does not end")
        c = self.p[0]
        self.p += 1
        if c == c'u':
            code = self.hex4()
            if 0xD800 <= code < 0xDC00 and self.end - self.p >= 6 and self.p[0] == c'\\' and self.p[1] == c'u':
                self.p += 2
                low = self.hex4()
                if not 0xDC00 <= low < 0xE000:
                    return self.fail(b"half of a surrogate pair in a string")
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            if code < 0 or 0xD800 <= code < 0xE000:
                return self.fail(b"a bad \\u escape in a string")
            n[0] += put_utf8(text + n[0], code)
            return True
        if c == c'"' or c == c'\\' or c == c'/':
            text[n[0]] = c
        elif c == c'b':
            text[n[0]] = 8
        elif c == c'f':
            text[n[0]] = 12
        elif c == c'n':
            text[n[0]] = 10
        elif c == c'r':
            text[n[0]] = 13
        elif c == c't':
            text[n[0]] = 9
        else:
            return self.fail(b"an unknown escape in a string")
        n[0] += 1
        return True

    cdef bint string(self) noexcept nogil:
        """A string into ``text``, which has room for the whole document."""
        cdef Py_ssize_t n = 0
        cdef uint8_t c
        if not self.take(c'"'):
            return False
        while self.p < self.end:
            c = self.p[0]
            self.p += 1
            if c == c'"':
                self.n_text = n
                return True
            if c < 0x20:
                return self.fail(b"a control character in a string")
            if c != c'\\':
                self.text[n] = c
                n += 1
            elif not self.escape(self.text, &n):
                return False
        return self.fail(b"a string does not end")

    cdef bint number(self, int64_t *out) noexcept nogil:
        """A whole number of 64 bits."""
        cdef bint negative = self.peek() == c'-'
        cdef uint64_t value = 0
        cdef uint64_t limit = <uint64_t>INT64_MAX + negative
        cdef const uint8_t *first
        self.p += negative
        first = self.p
        while self.p < self.end and c'0' <= self.p[0] <= c'9':
            if value > (limit - (self.p[0] - c'0')) // 10:
                return self.fail(b"a number is too large")
            value = value * 10 + (self.p[0] - c'0')
            self.p += 1
        if self.p == first or (first[0] == c'0' and self.p - first > 1):
            return self.fail(b"not a number")
        if self.p < self.end and (self.p[0] == c'.' or self.p[0] == c'e' or self.p[0] == c'E'):
            return self.fail(b"not a whole number")
        out[0] = <int64_t>(0 - value) if negative else <int64_t>value
        return True

    cdef bint skip_number(self) noexcept nogil:
        cdef const uint8_t *first
        if self.p < self.end and self.p[0] == c'-':
            self.p += 1
        first = self.p
        self.digits()
        if self.p == first or (first[0] == c'0' and self.p - first > 1):
            return self.fail(b"not JSON")
        if self.p < self.end and self.p[0] == c'.':
            self.p += 1
            first = self.p
            self.digits()
            if self.p == first:
                return self.fail(b"not JSON")
        if self.p < self.end and self.p[0] | 0x20 == c'e':
            self.p += 1
            if self.p < self.end and (self.p[0] == c'+' or self.p[0] == c'-'):
                self.p += 1
            first = self.p
            self.digits()
            if self.p == first:
                return self.fail(b"not JSON")
        return True

    cdef void digits(self) noexcept nogil:
        while self.p < self.end and c'0' <= self.p[0] <= c'9':
            self.p += 1

    cdef bint skip_value(self, int depth) noexcept nogil:
        cdef uint8_t c = self.peek()
        if depth > MAX_DEPTH:
            return self.fail(b"nested too deeply")
        if c == c'"':
            return self.string()
        if c == c'{':
            self.p += 1
            if self.peek() == c'}':
                self.p += 1
                return True
            while True:
                if not (self.string() and self.take(c':') and self.skip_value(depth + 1)):
                    return False
                if self.peek() != c',':
                    return self.take(c'}')
                self.p += 1
        if c == c'[':
            self.p += 1
            if self.peek() == c']':
                self.p += 1
                return True
            while True:
                if not self.skip_value(depth + 1):
                    return False
                if self.peek() != c',':
                    return self.take(c']')
                self.p += 1
        if c == c't':
            return self.literal(b"true")
        if c == c'f':
            return self.literal(b"false")
        if c == c'n':
            return self.literal(b"null")
        return self.skip_number()

    cdef bint is_text(self, const char *word) noexcept nogil:
        cdef Py_ssize_t n = <Py_ssize_t>strlen(word)
        return self.n_text == n and memcmp(self.text, word, n) == 0

    cdef bint decode_base64(self) noexcept nogil:
        """``text`` decoded in its place; strict: padded, no white space."""
        cdef Py_ssize_t n = self.n_text, i, at = 0
        cdef int k, n_pad = 0
        cdef int value
        cdef uint32_t bits
        if n % 4:
            return False
        if n and self.text[n - 1] == c'=':
            n_pad = 2 if self.text[n - 2] == c'=' else 1
        for i in range(0, n, 4):
            bits = 0
            for k in range(4):
                value = 0 if i + k >= n - n_pad else base64_of(self.text[i + k])
                if value < 0:
                    return False
                bits = bits << 6 | <uint32_t>value
            self.text[at] = <uint8_t>(bits >> 16)
            self.text[at + 1] = <uint8_t>(bits >> 8)
            self.text[at + 2] = <uint8_t>bits
            at += 3
        self.n_text = at - n_pad
        return True


# Leaves

cdef inline int put_utf8(uint8_t *to, int code) noexcept nogil:
    if code < 0x80:
        to[0] = <uint8_t>code
        return 1
    if code < 0x800:
        to[0] = <uint8_t>(0xC0 | code >> 6)
        to[1] = <uint8_t>(0x80 | code & 0x3F)
        return 2
    if code < 0x10000:
        to[0] = <uint8_t>(0xE0 | code >> 12)
        to[1] = <uint8_t>(0x80 | code >> 6 & 0x3F)
        to[2] = <uint8_t>(0x80 | code & 0x3F)
        return 3
    to[0] = <uint8_t>(0xF0 | code >> 18)
    to[1] = <uint8_t>(0x80 | code >> 12 & 0x3F)
    to[2] = <uint8_t>(0x80 | code >> 6 & 0x3F)
    to[3] = <uint8_t>(0x80 | code & 0x3F)
    return 4


cdef inline int base64_of(uint8_t c) noexcept nogil:
    if c'A' <= c <= c'Z':
        return c - c'A'
    if c'a' <= c <= c'z':
        return c - c'a' + 26
    if c'0' <= c <= c'9':
        return c - c'0' + 52
    return 62 if c == c'+' else 63 if c == c'/' else -1
