"""A gzip stream (RFC 1952) inflated piece by piece through a flat, recycled window; subclasses take the output.

The window is 32 KiB of history, 256 KiB of output and a little slack, so it stays in the L2 cache. When the output
part is full, ``drain`` hands it on, and its last 32 KiB become the history of the next round. Input may come in pieces
of any size: what a piece leaves undecoded (less than 320 bytes) is carried into a small stitch buffer.

A stream may keep its matches (see ``gzip_tokens``) beside its output.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from accel_core.crc32 cimport crc32
from accel_core.inflate cimport (
    IN_PAD, OUT_SLACK, WINDOW, BlockMark, Inflater, inflate_fn, inflate_init, inflate_restart,
)
from accel_core.status cimport CORRUPT, END, NEED_INPUT, NEED_ROOM, NO_MEMORY, OK, TRUNCATED, Status

from accel_core import cpu, inflate_plain
from accel_core.errors import FormatError, TruncatedError

cdef enum:      # FLG (RFC 1952 §2.3.1)
    FHCRC = 2
    FEXTRA = 4
    FNAME = 8
    FCOMMENT = 16
    RESERVED = 224

cdef inflate_fn _run
cdef str _name


def implementations():
    """Names of the decoders that this machine can run, fastest first."""
    return (["bmi2"] if "bmi2" in cpu.features() and _bmi2_address() else []) + ["plain"]


def implementation():
    """Name of the decoder that streams begun now decode with."""
    return _name


def _bmi2_address():
    try:
        from accel_core import inflate_bmi2
    except ImportError:     # not built for this machine
        return 0
    return inflate_bmi2.ADDRESS


cdef inflate_fn _tokens_decoder():
    """The twin of ``_run`` that keeps matches; loaded when it is needed, as most processes keep none."""
    if _name == "bmi2":
        from accel_core import tokens_bmi2
        return <inflate_fn><void *><size_t>tokens_bmi2.ADDRESS
    from accel_core import tokens_plain
    return <inflate_fn><void *><size_t>tokens_plain.ADDRESS


def use_implementation(name):
    """Let streams begun from now on decode with ``name`` (one of :func:`implementations`); for tests and benchmarks."""
    global _run, _name
    if name not in implementations():
        raise ValueError(f"no decoder named {name!r} here; there are {implementations()}")
    _run = <inflate_fn><void *><size_t>(_bmi2_address() if name == "bmi2" else inflate_plain.ADDRESS)
    _name = name


use_implementation(implementations()[0])


cdef class GzipStream:
    def __cinit__(self):
        self.inf = <Inflater *>malloc(sizeof(Inflater))
        self.marks = <BlockMark *>malloc((CAP_MARKS + 1) * sizeof(BlockMark))
        self.window = <uint8_t *>calloc(1, WINDOW + CHUNK + OUT_SLACK)
        self.stitch = <uint8_t *>calloc(1, STITCH + IN_PAD)
        if self.inf == NULL or self.marks == NULL or self.window == NULL or self.stitch == NULL:
            raise MemoryError()
        inflate_init(self.inf)
        self.run = _run
        self.inf.marks = self.marks
        self.inf.cap_marks = CAP_MARKS
        self.chunk = self.out = self.history = self.crc_next = self.window + WINDOW
        self.where = IN_HEADER
        self.check_trailer = True
        self.members = 1
        self.begin_chunk()

    def __dealloc__(self):
        free(self.inf)
        free(self.marks)
        free(self.matches)
        free(self.window)
        free(self.stitch)

    # --- matches -------------------------------------------------------------------------------------------------

    cdef int keep_matches(self) except -1:
        """Keep those of each chunk until it is drained. To be called before any input."""
        # Each takes three bytes of output at least, and the last begins at most two literals after the decoder looked
        # for the chunk's end.
        self.matches = <uint64_t *>malloc(((CHUNK + 1) // 3 + 1) * sizeof(uint64_t))
        if self.matches == NULL:
            raise MemoryError()
        self.inf.matches = self.matches
        self.run = _tokens_decoder()
        return 0

    cdef int hand_on(self, taker, const uint8_t *data, Py_ssize_t n) except -1:
        """Give ``taker`` the bytes that are being drained and their matches, for the time of the call."""
        cdef Py_ssize_t n_matches = self.inf.matches - self.matches
        piece = PyMemoryView_FromMemory(<char *>data, n, PyBUF_READ)
        matches = PyMemoryView_FromMemory(<char *>self.matches, n_matches * sizeof(uint64_t), PyBUF_READ)
        taker(piece, matches)
        piece.release()         # whoever kept it gets an error, not other bytes
        matches.release()
        return 0

    # --- hooks of subclasses -------------------------------------------------------------------------------------

    cdef void begin_chunk(self) noexcept nogil:
        """Set ``out_limit`` for the output to come."""
        self.out_limit = self.chunk + CHUNK

    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        """Take ``n`` new bytes; ``data - 32768`` on is their history, ``inf.marks`` the boundaries among them."""
        return OK

    # --- input ---------------------------------------------------------------------------------------------------

    cdef Status push(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        """Consume a piece. OK, or why no more is wanted: END at ``inf.stop_bit``, ``comp_pos`` says where to go on."""
        cdef const uint8_t *p = data
        cdef const uint8_t *end = data + n
        cdef const uint8_t *stop = NULL
        cdef Py_ssize_t taken, used
        cdef Status status
        if self.n_carry:
            taken = n if n < STITCH - self.n_carry else STITCH - self.n_carry
            memcpy(self.stitch + self.n_carry, data, taken)
            status = self.consume(self.stitch, self.stitch + self.n_carry + taken, False, &stop)
            if status != OK:
                self.n_carry = 0
                return status
            used = stop - self.stitch
            if used < self.n_carry:     # a small piece: not past the carry yet
                self.n_carry += taken - used
                memmove(self.stitch, stop, self.n_carry)
                return OK
            p = data + (used - self.n_carry)
            self.n_carry = 0
        status = self.consume(p, end, False, &stop)
        if status == OK and (self.where == IN_HEADER or self.where == AFTER_ALL):
            status = self.flush()       # nothing is decoded there, perhaps for long: let go of what came before
        if status != OK:
            return status
        self.n_carry = end - stop
        memcpy(self.stitch, stop, self.n_carry)
        return OK

    cdef Status finish_input(self) noexcept nogil:
        """No more input: decode the carry, drain, and say whether the stream is complete."""
        cdef const uint8_t *stop = NULL
        cdef Status status = self.flush()
        if status != OK:
            return status
        memset(self.stitch + self.n_carry, 0, STITCH + IN_PAD - self.n_carry)
        status = self.consume(self.stitch, self.stitch + self.n_carry, True, &stop)
        self.n_carry = 0
        if status != OK:
            return status
        if self.where == BETWEEN or self.where == AFTER_ALL:
            self.trailing_bytes = self.comp_pos - self.last_member_end
            return self.flush()
        self.what = "gzip member ends early"
        self.error_comp = self.comp_pos
        return TRUNCATED

    cdef Status consume(self, const uint8_t *p, const uint8_t *end, bint last, const uint8_t **stop) noexcept nogil:
        """Decode from ``p``; ``stop`` is where the next call must start. OK when more input is needed."""
        cdef Inflater *s = self.inf
        cdef const uint8_t *origin = p
        cdef int64_t origin_pos = self.comp_pos
        cdef Status status = OK
        while status == OK:
            if self.where == IN_DEFLATE:
                s.in_next = p
                s.in_end = end
                s.last = last
                s.in_origin = origin
                s.in_origin_pos = origin_pos
                s.out_next = self.out
                s.out_limit = self.out_limit
                s.out_origin = self.chunk
                s.out_origin_pos = self.chunk_pos
                s.history = self.history
                status = self.run(s)
                p = s.in_next
                self.out = s.out_next
                self.comp_pos = origin_pos + (p - origin)
                if last and (p > end or (p == end and s.in_bit != 0) or (status == NEED_INPUT)):
                    self.what = "deflate stream ends early"
                    self.error_comp = origin_pos + (end - origin)
                    self.error_uncomp = self.chunk_pos + (self.out - self.chunk)
                    status = TRUNCATED
                elif status == NEED_INPUT:
                    status = OK
                    break
                elif status == NEED_ROOM:
                    status = self.flush()
                elif status == OK:
                    self.comp_pos = origin_pos + (p - origin)
                    status = self.flush()
                    if status == OK:
                        status = END
                elif status == CORRUPT:
                    self.error_uncomp = self.chunk_pos + (self.out - self.chunk)
                    status = self.fail(s.what, self.comp_pos)
                elif status == END:
                    if s.in_bit != 0:
                        p += 1
                        s.in_bit = 0
                    self.where = IN_TRAILER
                    self.part_n = 0
                    self.cover_crc()
                    status = OK
                continue
            if p >= end:
                break
            if self.where == IN_TRAILER:
                self.scratch[self.part_n] = p[0]
                self.part_n += 1
                p += 1
                if self.part_n == 8:
                    self.comp_pos = origin_pos + (p - origin)
                    status = self.end_member(p)
            elif self.where == IN_HEADER:
                self.comp_pos = origin_pos + (p - origin)
                p = self.read_header(p, end, &status)
                if self.part == COMPLETE and status == OK:
                    self.comp_pos = origin_pos + (p - origin)
                    if s.n_marks >= CAP_MARKS:
                        status = self.flush()
                    s.marks[s.n_marks].bit_pos = self.comp_pos * 8
                    s.marks[s.n_marks].out_pos = self.chunk_pos + (self.out - self.chunk)
                    s.n_marks += 1
                    self.where = IN_DEFLATE
                    self.history = self.out
                    self.crc_next = self.out
                    self.crc = 0
                    self.member_bytes = 0
                    inflate_restart(s)
            elif self.where == BETWEEN:
                if self.part_n == 0 and (origin_pos + (p - origin)) * 8 >= s.stop_bit:
                    self.comp_pos = origin_pos + (p - origin)
                    status = self.flush()
                    if status == OK:
                        status = END
                    break
                # Two bytes decide: the magic of another member, or what no reader of gzip takes for one.
                if p[0] == (0x1F if self.part_n == 0 else 0x8B):
                    self.part_n += 1
                    p += 1
                    if self.part_n == 2:
                        self.where = IN_HEADER
                        self.part = FIXED
                        self.members += 1
                        self.header_crc = crc32(0, <const uint8_t *><const char *>b"\x1f\x8b", 2)
                        self.check_trailer = True
                else:
                    self.where = AFTER_ALL
            else:
                p = end
        self.comp_pos = origin_pos + (p - origin)
        stop[0] = p
        if status == CORRUPT:       # first comes what is wrong with the output so far
            status = self.drain(self.chunk, self.out - self.chunk)
            if status == OK:
                status = CORRUPT
        return status

    # --- container -----------------------------------------------------------------------------------------------

    cdef const uint8_t *read_header(self, const uint8_t *p, const uint8_t *end, Status *status) noexcept nogil:
        """Member header (RFC 1952 §2.3), byte by byte: names and extra fields may be longer than any buffer."""
        cdef int64_t pos = self.comp_pos
        cdef const uint8_t *start = p
        cdef uint8_t byte
        cdef Py_ssize_t n
        while p < end:
            byte = p[0]
            if self.part == HEADER_CRC:
                self.scratch[self.part_n] = byte
                self.part_n += 1
                p += 1
                if self.part_n == 2:
                    if (self.scratch[0] | (<uint32_t>self.scratch[1] << 8)) != (self.header_crc & 0xFFFF):
                        status[0] = self.fail("gzip header CRC differs", pos + (p - start) - 2)
                        return p
                    self.part = COMPLETE
                    return p
                continue
            if self.part == EXTRA:
                n = self.part_n if self.part_n < end - p else end - p
                self.header_crc = crc32(self.header_crc, p, n)
                self.part_n -= <uint32_t>n
                p += n
                if self.part_n == 0:
                    self.part = NAME
                    if not self.next_part():
                        return p
                continue
            self.header_crc = crc32(self.header_crc, &byte, 1)
            p += 1
            if self.part == FIXED:
                if not self.fixed_byte(byte):
                    status[0] = self.fail(self.what, pos + (p - start) - 1)
                    return p
                self.part_n += 1
                if self.part_n < 10:
                    continue
                self.part_n = 0
                self.part = EXTRA_LEN
            elif self.part == EXTRA_LEN:
                self.scratch[self.part_n] = byte
                self.part_n += 1
                if self.part_n < 2:
                    continue
                self.part_n = self.scratch[0] | (<uint32_t>self.scratch[1] << 8)
                self.part = EXTRA if self.part_n else NAME
                if self.part == EXTRA:
                    continue
            elif self.part == NAME:
                if byte:
                    continue
                self.part = COMMENT
            elif self.part == COMMENT:
                if byte:
                    continue
                self.part = HEADER_CRC
            if not self.next_part():
                return p
        return p

    cdef bint fixed_byte(self, uint8_t byte) noexcept nogil:
        """Check byte ``part_n`` of the ten fixed ones."""
        if (self.part_n == 0 and byte != 0x1F) or (self.part_n == 1 and byte != 0x8B):
            self.what = "not gzip: magic missing"
            return False
        if self.part_n == 2 and byte != 8:
            self.what = "gzip: unknown compression method"
            return False
        if self.part_n == 3:
            self.flags = byte
            if byte & RESERVED:
                self.what = "gzip: reserved flags set"
                return False
        return True

    cdef bint next_part(self) noexcept nogil:
        """Skip the parts that the flags say are absent. False if the header is complete."""
        if self.part == EXTRA_LEN and not (self.flags & FEXTRA):
            self.part = NAME
        if self.part == NAME and not (self.flags & FNAME):
            self.part = COMMENT
        if self.part == COMMENT and not (self.flags & FCOMMENT):
            self.part = HEADER_CRC
        if self.part == HEADER_CRC and not (self.flags & FHCRC):
            self.part = COMPLETE
            return False
        return True

    cdef Status end_member(self, const uint8_t *p) noexcept nogil:
        """Check CRC-32 and ISIZE (RFC 1952 §2.3.1) of the member that ends in front of ``p``."""
        cdef const uint8_t *t = self.scratch
        cdef uint32_t crc = t[0] | (<uint32_t>t[1] << 8) | (<uint32_t>t[2] << 16) | (<uint32_t>t[3] << 24)
        cdef uint32_t size = t[4] | (<uint32_t>t[5] << 8) | (<uint32_t>t[6] << 16) | (<uint32_t>t[7] << 24)
        self.where = BETWEEN
        self.part = COMPLETE
        self.part_n = 0
        self.last_member_end = self.comp_pos
        if not self.check_trailer:
            self.head_ended = True
            self.head_crc = self.crc
            self.head_bytes = self.chunk_pos + (self.out - self.chunk)
            self.trailer_crc = crc
            self.trailer_bytes = size
        elif crc != self.crc or size != self.member_bytes:
            self.error_uncomp = self.chunk_pos + (self.out - self.chunk)
            return self.fail(
                "gzip: CRC-32 differs" if crc != self.crc else "gzip: length (ISIZE) differs", self.comp_pos - 8)
        return OK

    # --- output --------------------------------------------------------------------------------------------------

    cdef void cover_crc(self) noexcept nogil:
        """Bring CRC and length of the member up to ``out``."""
        cdef Py_ssize_t n = self.out - self.crc_next
        self.crc = crc32(self.crc, self.crc_next, n)
        self.member_bytes += <uint32_t>n
        self.crc_next = self.out

    cdef Status flush(self) noexcept nogil:
        """Make room: hand the output on, and make its end the new history. What is not OK ends ``consume``."""
        cdef Py_ssize_t n = self.out - self.chunk
        cdef Status status
        if self.where == IN_DEFLATE:
            self.cover_crc()
        status = self.drain(self.chunk, n)
        self.inf.n_marks = 0
        self.inf.matches = self.matches
        self.chunk_pos += n
        self.chunk_comp_pos = self.comp_pos
        memmove(self.window, self.window + n, WINDOW)
        self.history = self.history - n if self.history - self.window > n else self.window
        self.out = self.crc_next = self.chunk
        self.begin_chunk()
        return status

    # --- errors --------------------------------------------------------------------------------------------------

    cdef Status fail(self, const char *what, int64_t comp) noexcept nogil:
        self.what = what
        self.error_comp = comp
        return CORRUPT

    cdef object error(self, Status status):
        """The exception for a status other than OK and END."""
        cdef str what = self.what.decode() if self.what != NULL else "?"
        if status == TRUNCATED:
            return TruncatedError(what, comp_offset=self.error_comp, uncomp_offset=self.error_uncomp or None)
        if status == CORRUPT:
            return FormatError(what, comp_offset=self.error_comp, uncomp_offset=self.error_uncomp or None)
        if status == NO_MEMORY:
            return MemoryError()
        return AssertionError(f"unexpected status {status}")
