"""Inflate from a checkpoint: the random access that the index exists for."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from accel_core.gzip_stream cimport CHUNK, IN_DEFLATE, GzipStream
from accel_core.inflate cimport WINDOW
from accel_core.status cimport END, OK, Status

from accel_core.errors import FormatError, TruncatedError

# A match makes at most 258 bytes of at least 2 bits: deflate expands at most 1032 to 1.
cdef enum:
    MAX_EXPANSION = 1032


cdef class _Span(GzipStream):
    """A stream entered in the middle; its output goes to one buffer, and ends it when that is full."""
    cdef uint8_t *target
    cdef int64_t left

    cdef void begin_chunk(self) noexcept nogil:
        self.out_limit = self.chunk + (CHUNK if self.left > CHUNK else self.left)

    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef Py_ssize_t taken = n if n < self.left else self.left
        memcpy(self.target, data, taken)
        self.target += taken
        self.left -= taken
        return END if self.left == 0 else OK


def inflate_span(comp, int bits, window, int64_t uncomp_size):
    """The ``uncomp_size`` bytes behind a checkpoint.

    ``comp`` starts at the checkpoint's first byte to feed (one byte early if ``bits`` is not 0: that byte's top
    ``bits`` bits come first) and reaches at least to the end of what is wanted; ``window`` is up to 32768 bytes
    before the checkpoint. Gzip members may end and begin inside. CRC-32 is checked for members that begin inside.

    Raises FormatError or TruncatedError; their ``comp_offset`` counts from the start of ``comp``.
    """
    cdef const uint8_t[::1] data = comp
    cdef const uint8_t[::1] history = window
    cdef Py_ssize_t n = data.shape[0], n_window = history.shape[0]
    cdef _Span span
    cdef Status status
    cdef bytes out
    if not 0 <= bits <= 7:
        raise ValueError(f"bits must be 0..7, not {bits}")
    if n_window > WINDOW:
        raise ValueError(f"a window has at most {WINDOW} bytes, not {n_window}")
    if uncomp_size < 0 or uncomp_size // MAX_EXPANSION > n:
        raise FormatError(f"{n} compressed bytes cannot inflate to {uncomp_size}", comp_offset=0)
    if uncomp_size == 0:
        return b""
    if n == 0:
        raise TruncatedError("deflate stream ends early", comp_offset=0)
    span = _Span()
    out = PyBytes_FromStringAndSize(NULL, uncomp_size)
    span.target = <uint8_t *>PyBytes_AS_STRING(out)
    span.left = uncomp_size
    span.where = IN_DEFLATE
    span.check_trailer = False
    span.inf.in_bit = (8 - bits) & 7
    if n_window:
        memcpy(span.chunk - n_window, &history[0], n_window)
    span.history = span.chunk - n_window
    span.begin_chunk()
    with nogil:
        status = span.push(&data[0], n)
        if status == OK:
            status = span.finish_input()
    if span.left == 0:
        return out
    if status == OK:        # the stream is whole, and shorter than the index says
        raise TruncatedError("the gzip stream ends before the span does", comp_offset=span.comp_pos)
    raise span.error(status)
