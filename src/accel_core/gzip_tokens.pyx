"""A gzip stream as its bytes and the matches its encoder found: the costly half of compressing them once more.

A match is 8 bytes, little endian::

    0  uint32  position of its first byte in the uncompressed stream, modulo 2^32
    4  uint16  length, 3..258
    6  uint16  distance, 1..32768

Records come in the order of their positions and do not overlap; bytes in no match were literals or stored. Positions
are those of the whole stream, so the matches of several pieces are just put one behind the other. Members of the stream
are not told apart: no match reaches back over the start of its member.
"""

from libc.stdint cimport uint8_t

from accel_core.gzip_stream cimport GzipStream
from accel_core.status cimport FAULT, OK, Status

MATCH_BYTES = 8


cdef class _Tokens(GzipStream):
    """Hands on the output with its matches."""
    cdef object on_piece, failure

    def __cinit__(self):
        self.keep_matches()

    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        if n == 0:
            return OK
        with gil:
            try:
                self.hand_on(self.on_piece, data, n)
            except BaseException as failure:
                self.failure = failure
                return FAULT
        return OK

    cdef object error(self, Status status):
        return self.failure if status == FAULT and self.failure is not None else GzipStream.error(self, status)


cdef class TokenStream:
    """Inflates one gzip stream, fed in pieces of any size.

    ``on_piece(data, matches)`` gets the uncompressed bytes in order, about 256 KiB at a time, and the matches that
    begin in them (see the module); both views are valid during the call only. What it raises, ``feed`` or ``finish``
    raises.

    Checks CRC-32 and length of each member; raises FormatError or TruncatedError with the offset. After an error the
    stream is of no use. Memory: about 1.1 MiB.
    """
    cdef _Tokens stream
    cdef bint ended

    def __init__(self, on_piece):
        self.stream = _Tokens()
        self.stream.on_piece = on_piece

    def feed(self, data):
        """Inflate the next piece of the stream."""
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t n = view.shape[0]
        cdef Status status
        if self.ended:
            raise ValueError("the stream has ended, or failed")
        if n == 0:
            return
        self.ended = True       # until it is known that nothing was raised; nor may `on_piece` feed
        with nogil:
            status = self.stream.push(&view[0], n)
        if status != OK:
            raise self.stream.error(status)
        self.ended = False

    def finish(self):
        """No more input: hand on the last bytes and check that the stream is complete."""
        cdef Status status
        if self.ended:
            raise ValueError("the stream has ended, or failed")
        self.ended = True
        with nogil:
            status = self.stream.finish_input()
        if status != OK:
            raise self.stream.error(status)

    @property
    def uncomp_size(self):
        """Bytes handed on so far."""
        return self.stream.chunk_pos

    @property
    def comp_end(self):
        """Compressed offset behind the last member that has ended."""
        return self.stream.last_member_end
