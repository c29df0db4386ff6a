"""A gzip stream (RFC 1952) inflated piece by piece through a flat, recycled window; subclasses take the output."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from accel_core.inflate cimport BlockMark, Inflater, inflate_fn
from accel_core.status cimport Status

cdef enum:
    CHUNK = 262144      # output between two drains: stays in L2 (measured best of 64 KiB .. 1 MiB)
    STITCH = 2048       # joins the carry of one piece with the start of the next
    CAP_MARKS = 4096


cdef enum Where:        # in the container
    IN_HEADER = 0       # of a member
    IN_DEFLATE = 1
    IN_TRAILER = 2
    BETWEEN = 3         # after a member: another one, padding or garbage
    AFTER_ALL = 4       # in bytes that are no member


cdef enum HeaderPart:   # RFC 1952 §2.3
    FIXED = 0
    EXTRA_LEN = 1
    EXTRA = 2
    NAME = 3
    COMMENT = 4
    HEADER_CRC = 5
    COMPLETE = 6


cdef class GzipStream:
    cdef Inflater *inf
    cdef inflate_fn run             # the decoder
    cdef BlockMark *marks
    cdef uint64_t *matches          # of the output since the last drain, if they are kept
    cdef uint8_t *window            # 32 KiB of history, CHUNK of output, slack
    cdef uint8_t *chunk             # window + 32 KiB: where output begins
    cdef uint8_t *out               # where it ends so far
    cdef uint8_t *out_limit
    cdef uint8_t *history           # first byte a match of this member may reach
    cdef uint8_t *crc_next          # first byte the CRC does not cover yet
    cdef uint8_t *stitch
    cdef Py_ssize_t n_carry         # bytes at the start of `stitch` not consumed yet
    cdef int64_t comp_pos           # compressed offset of the next byte to consume
    cdef int64_t chunk_pos          # uncompressed offset of `chunk`
    cdef int64_t chunk_comp_pos     # compressed offset, rounded down, where the output in `chunk` began
    cdef int64_t members            # ended or begun
    cdef int64_t trailing_bytes     # after the last member
    cdef int64_t last_member_end
    cdef Where where
    # container fields
    cdef HeaderPart part
    cdef uint32_t part_n            # bytes of the part seen, or still to skip
    cdef uint8_t flags
    cdef uint32_t header_crc, crc
    cdef uint32_t member_bytes      # length of the member modulo 2^32
    cdef uint8_t scratch[8]
    cdef bint check_trailer         # the current member was decoded from its start
    # A stream entered inside a member cannot check that member's trailer: it is kept, with what is known.
    cdef bint head_ended
    cdef uint32_t head_crc, trailer_crc, trailer_bytes
    cdef int64_t head_bytes
    # error
    cdef const char *what
    cdef int64_t error_comp, error_uncomp

    cdef int keep_matches(self) except -1
    cdef int hand_on(self, taker, const uint8_t *data, Py_ssize_t n) except -1
    cdef void begin_chunk(self) noexcept nogil
    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil
    cdef Status flush(self) noexcept nogil
    cdef Status push(self, const uint8_t *data, Py_ssize_t n) noexcept nogil
    cdef Status finish_input(self) noexcept nogil
    cdef Status consume(self, const uint8_t *p, const uint8_t *end, bint last, const uint8_t **stop) noexcept nogil
    cdef const uint8_t *read_header(self, const uint8_t *p, const uint8_t *end, Status *status) noexcept nogil
    cdef bint fixed_byte(self, uint8_t byte) noexcept nogil
    cdef bint next_part(self) noexcept nogil
    cdef Status end_member(self, const uint8_t *p) noexcept nogil
    cdef void cover_crc(self) noexcept nogil
    cdef Status fail(self, const char *what, int64_t comp) noexcept nogil
    cdef object error(self, Status status)
