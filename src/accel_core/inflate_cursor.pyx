"""A decoder that stands somewhere inside a gzip blob and can go on from there.

A cursor is seated at a resume point (a checkpoint of the index, or a block boundary noted earlier) and reads forward
within one span. What lies before the wanted range is decoded into the recycled window and nowhere else; decoding stops
where the range ends, and the next read further on continues there. A long range is decoded into the caller's memory
itself, which then is its own window; only its first 32 KiB, which refer to what came before it, are copied.

On its way a cursor notes block boundaries, with their windows, at least ``spacing`` bytes of output apart: later reads
resume there instead of at the span's start. CRC-32 is not computed: a reader that enters members in the middle could
not compare it.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from accel_core.gzip_stream cimport AFTER_ALL, BETWEEN, CHUNK, COMPLETE, IN_DEFLATE, GzipStream
from accel_core.inflate cimport IN_PAD, OUT_SLACK, WINDOW, BlockMark, inflate_restart
from accel_core.status cimport FAULT, NEED_ROOM, OK, TRUNCATED, Status
from accel_core.window_pack cimport pack_window, unpack_window

cdef enum:
    DIRECT = 131072         # ranges from this size on are decoded where they are wanted


cdef class Cursor(GzipStream):
    def __cinit__(self):
        self.piece = <uint8_t *>calloc(1, PIECE + IN_PAD)
        self.look = <uint8_t *>malloc(LOOK_BYTES)
        if self.piece == NULL or self.look == NULL:
            raise MemoryError()
        self.span = -1

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_notes):
            free(self.notes[i].window)
        free(self.piece)
        free(self.look)

    # --- hooks of GzipStream -------------------------------------------------------------------------------------

    cdef Status flush(self) noexcept nogil:
        """Output stays where it is, which may be the caller's memory: ``decode_to`` makes room, or wants no more."""
        return NEED_ROOM

    cdef void cover_crc(self) noexcept nogil:
        pass

    cdef Status end_member(self, const uint8_t *p) noexcept nogil:
        self.where = BETWEEN
        self.part = COMPLETE
        self.part_n = 0
        return OK

    # --- positions -----------------------------------------------------------------------------------------------

    cdef void seat(self, const Resume *place, Py_ssize_t span, int64_t comp_end, int64_t spacing) noexcept nogil:
        """Stand at ``place``, in a span whose compressed bytes end at ``comp_end``."""
        cdef int64_t start = place.comp - (1 if place.bits else 0)
        self.span = span
        self.failed = OK
        self.comp_end = comp_end
        self.spacing = spacing
        self.last_note = place.uncomp
        self.comp_pos = self.fetch_pos = start
        self.in_next = self.in_end = self.piece
        self.where = IN_DEFLATE
        self.inf.in_bit = (8 - place.bits) & 7
        self.inf.n_marks = 0
        self.inf.marks_due = False
        inflate_restart(self.inf)
        self.noting = True
        self.chunk_pos = place.uncomp
        self.chunk = self.window + WINDOW       # a read that the source ended may have left it in its caller's memory
        self.out = self.known = self.chunk
        if place.packed:
            self.history = self.window
            unpack_window(place.window, place.n_window, self.window)
        else:
            self.history = self.chunk - place.n_window
            if place.n_window:
                memcpy(self.history, place.window, place.n_window)
            memset(self.window, 0, WINDOW - place.n_window)

    cdef int64_t pos(self) noexcept nogil:
        """Uncompressed offset of the next byte to decode."""
        return self.chunk_pos + (self.out - self.chunk)

    cdef int64_t first(self) noexcept nogil:
        """Uncompressed offset from which on the bytes before ``pos`` are still at hand."""
        return self.chunk_pos + (self.known - self.chunk)

    # --- reading -------------------------------------------------------------------------------------------------

    cdef Status read(self, int64_t offset, uint8_t *to, Py_ssize_t n) except? FAULT nogil:
        """Put the bytes ``[offset, offset + n)`` at ``to``; ``offset`` is not before ``first()``."""
        cdef int64_t pos
        cdef Py_ssize_t taken, room
        cdef Status status = OK
        while n > 0:
            pos = self.pos()
            if offset < pos:
                taken = <Py_ssize_t>(pos - offset if pos - offset < n else n)
                memcpy(to, self.out - (pos - offset), taken)
            elif offset == pos and n >= DIRECT:
                taken = 0
                status = self.read_direct(to, n, &taken)
                if status != OK:
                    return status
            else:
                if self.out - self.chunk >= CHUNK:
                    self.recycle()
                room = CHUNK - (self.out - self.chunk)
                if offset + n - pos < room:
                    room = <Py_ssize_t>(offset + n - pos)
                status = self.decode_to(self.out + room)
                if status != OK:
                    return status
                continue
            offset += taken
            to += taken
            n -= taken
        return OK

    cdef Status read_direct(self, uint8_t *to, Py_ssize_t n, Py_ssize_t *done) except? FAULT nogil:
        """Decode to ``to`` the next bytes, at most ``n``; all but the last few hundred are ``done``."""
        cdef uint8_t *chunk = self.chunk
        cdef uint8_t *start
        cdef Py_ssize_t n_head
        cdef Status status
        if self.out - self.chunk > CHUNK - WINDOW:
            self.recycle()
        start = self.out
        status = self.decode_to(start + WINDOW)
        if status != OK:
            return status
        n_head = self.out - start
        memcpy(to, start, n_head)
        self.chunk_pos += start - self.chunk
        self.chunk = to
        self.out = to + n_head
        self.history = to + (self.history - start if self.history > start else 0)
        self.noting = False         # who reads so much at once hardly comes back for a part of it
        status = self.decode_to(to + n - OUT_SLACK)
        self.noting = True
        done[0] = self.out - to
        # Back to the own window, whatever came of it.
        self.chunk_pos += done[0]
        self.chunk = chunk
        memcpy(self.window, self.out - WINDOW, WINDOW)
        self.history = chunk - (self.out - self.history if self.out - self.history < WINDOW else WINDOW)
        self.known = self.window
        self.out = chunk
        return status

    cdef Status decode_to(self, uint8_t *limit) except? FAULT nogil:
        """Decode until ``out`` has reached ``limit``; up to OUT_SLACK bytes more may be written."""
        cdef const uint8_t *stop = NULL
        cdef Status status
        cdef bint last
        if self.failed != OK:
            return self.failed
        self.out_limit = limit
        while self.out < limit:
            last = self.fetch_pos == self.comp_end
            status = self.consume(self.in_next, self.in_end, last, &stop)
            self.in_next = stop
            if self.noting:
                self.take_notes()
            self.inf.n_marks = 0
            if status == OK:
                if last or self.where == AFTER_ALL:
                    self.what = "the gzip stream ends before the index says"
                    self.error_comp = self.comp_pos
                    self.error_uncomp = self.pos()
                    status = TRUNCATED
                else:
                    self.fill()
            if status != OK and status != NEED_ROOM:
                self.failed = status        # no place to go on from, although all that was wanted may be there
                return OK if self.out >= limit else status
        return OK

    cdef Py_ssize_t fill(self) except -1 nogil:
        """Fetch the next piece behind what is left of the last one."""
        cdef Py_ssize_t left = self.in_end - self.in_next
        cdef Py_ssize_t wanted = PIECE - left, got
        memmove(self.piece, self.in_next, left)
        self.in_next = self.in_end = self.piece
        if self.comp_end - self.fetch_pos < wanted:
            wanted = <Py_ssize_t>(self.comp_end - self.fetch_pos)
        got = self.source.fetch(self.piece + left, wanted, self.fetch_pos)
        if got < wanted:
            self.comp_end = self.fetch_pos + got
        self.fetch_pos += got
        self.in_end = self.piece + left + got
        if self.fetch_pos == self.comp_end:
            memset(self.piece + left + got, 0, IN_PAD)
        return got

    cdef void recycle(self) noexcept nogil:
        """Make the end of the output the window of what follows."""
        cdef Py_ssize_t n = self.out - self.chunk
        memmove(self.window, self.window + n, WINDOW)
        self.history = self.history - n if self.history - self.window > n else self.window
        self.known = self.known - n if self.known - self.window > n else self.window
        self.chunk_pos += n
        self.out = self.chunk

    cdef void take_notes(self) noexcept nogil:
        """Keep those of the boundaries just met that are far enough apart."""
        cdef BlockMark *mark = self.marks
        cdef BlockMark *end = self.marks + self.inf.n_marks
        cdef Resume *note
        while mark < end:
            if mark.out_pos - self.last_note >= self.spacing:
                if self.n_notes == MAX_NOTES:
                    self.thin_notes()
                note = &self.notes[self.n_notes]
                note.window = <uint8_t *>malloc(WINDOW)
                if note.window == NULL:
                    break           # only a help for later reads
                memcpy(note.window, self.chunk + (mark.out_pos - self.chunk_pos) - WINDOW, WINDOW)
                note.packed = False
                note.n_window = WINDOW
                note.uncomp = self.last_note = mark.out_pos
                note.comp = (mark.bit_pos + 7) >> 3
                note.bits = <uint8_t>(8 * note.comp - mark.bit_pos)
                self.n_notes += 1
            mark += 1

    cdef void thin_notes(self) noexcept nogil:
        """Drop every other note: a long way is noted in wider steps."""
        cdef int i
        for i in range(0, MAX_NOTES, 2):
            free(self.notes[i].window)
            self.notes[i // 2] = self.notes[i + 1]
        self.n_notes = MAX_NOTES // 2
        self.spacing *= 2

    cdef int pack_notes(self) except -1 nogil:
        """Keep of the notes' windows what the data behind them refers to; about a tenth."""
        cdef int i
        cdef int64_t start
        cdef Py_ssize_t n
        cdef uint8_t *packed
        for i in range(self.n_notes):
            start = self.notes[i].comp - (1 if self.notes[i].bits else 0)
            n = <Py_ssize_t>(self.comp_end - start if self.comp_end - start < LOOK_BYTES else LOOK_BYTES)
            n = self.source.fetch(self.look, n, start)
            if n == 0 or self.use.find(self.look, n, self.notes[i].bits) != OK:
                continue
            n = pack_window(self.notes[i].window, self.use.used, self.look)
            packed = <uint8_t *>malloc(n + 1) if n < WINDOW else NULL
            if packed != NULL:
                memcpy(packed, self.look, n)
                free(self.notes[i].window)
                self.notes[i].window = packed
                self.notes[i].n_window = <int32_t>n
                self.notes[i].packed = True
        return 0
