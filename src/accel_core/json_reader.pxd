"""A reader of JSON tokens for other kernels. Functions return False on failure."""

from libc.stdint cimport int64_t, uint8_t


cdef class JsonReader:
    cdef const uint8_t *start
    cdef const uint8_t *p           # the next byte
    cdef const uint8_t *end
    cdef uint8_t *text              # the string read last, without escapes; room for the whole document
    cdef Py_ssize_t n_text
    cdef const char *what           # of the first failure

    # Keeps the address of ``data``; call once.
    cdef int begin(self, const uint8_t *data, Py_ssize_t n) except -1
    cdef bint fail(self, const char *what) noexcept nogil
    # The next byte that is no white space; 0 at the end.
    cdef uint8_t peek(self) noexcept nogil
    cdef bint take(self, uint8_t byte) noexcept nogil
    cdef bint literal(self, const char *word) noexcept nogil
    # A string into ``text``.
    cdef bint string(self) noexcept nogil
    cdef bint is_text(self, const char *word) noexcept nogil
    # ``text`` decoded in its place; strict: padded, no white space.
    cdef bint decode_base64(self) noexcept nogil
    cdef bint number(self, int64_t *out) noexcept nogil
    cdef bint skip_value(self, int depth) noexcept nogil

    cdef int hex4(self) noexcept nogil
    cdef bint escape(self, uint8_t *text, Py_ssize_t *n) noexcept nogil
    cdef bint skip_number(self) noexcept nogil
    cdef void digits(self) noexcept nogil
