"""Random access to what a gzip blob inflates to, through checkpoints; for several threads at once.

A read is served by a cursor: one whose last output holds the range, or the one that stands shortest before it, or one
that is seated anew at the nearest resume point. Resume points are the checkpoints and, between them, block boundaries
that cursors noted on their way. Once these fill half of ``cache_bytes``, new ones keep of their windows only what is
used; once they fill all of it, their spacing doubles and those that lie closer are dropped, so that they always cover
evenly what was read.

Checkpoints may come from strangers. They are checked for what can be checked (order, range, expansion), and a cursor
never reads beyond the span it was seated in. Wrong data that still inflates is not noticed here: that is what
``before_span`` is for, which sees a span before its first byte is inflated.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

from accel_core.byte_source cimport ByteSource
from accel_core.gzip_stream cimport CAP_MARKS, CHUNK
from accel_core.inflate cimport WINDOW, Inflater
from accel_core.inflate_cursor cimport LOOK_BYTES, PIECE, Cursor, Resume
from accel_core.status cimport OK, Status
from accel_core.window_use cimport USE_BYTES, WindowUse

from accel_core.errors import AccelError, FormatError

cdef enum:
    MAX_EXPANSION = 1032    # a match makes at most 258 bytes of at least 2 bits
    MIN_SPACING = 262144    # resume points closer than this save less time than their windows take memory
    MAX_CURSORS = 8
    # Window, output, piece, marks; what finds the used bytes of windows; a decoder for each of both.
    CURSOR_BYTES = WINDOW + CHUNK + PIECE + CAP_MARKS * 16 + USE_BYTES + LOOK_BYTES + WINDOW + 2 * sizeof(Inflater)


cdef class IndexedReader:
    """``size`` bytes, readable by range. Made by ``accel_core.open_indexed``, or by hand for other sources.

    ``cache_bytes`` bounds what is kept between reads (:attr:`memory_bytes` says what is): cursors with the last 256 KiB
    they inflated, and windows of resume points. A window of ``checkpoints`` is asked for when its span is.
    ``before_span(i)`` is called once for each span (by each thread that comes before it returned), before anything of
    it is inflated; what it raises ends the read.
    Errors name ``blob``.
    """
    cdef readonly int64_t size
    cdef readonly object blob
    cdef ByteSource source
    cdef object before_span
    cdef object checkpoints
    cdef Resume *points                 # by uncompressed offset
    cdef Py_ssize_t n_points, cap_points
    cdef Py_ssize_t n_spans
    cdef int64_t *span_uncomp           # n_spans + 1 of both: where spans start, and where the last one ends
    cdef int64_t *span_comp
    cdef uint8_t *span_seen
    cdef list cursors
    cdef Py_ssize_t max_cursors
    cdef int64_t spacing, points_bytes, max_points_bytes, reads

    def __cinit__(self, ByteSource source not None, checkpoints, int64_t uncomp_size, *, int64_t cache_bytes=64 << 20,
                  before_span=None, blob=None):
        self.source = source
        self.size = uncomp_size
        self.blob = blob
        self.before_span = before_span
        self.cursors = []
        self.max_cursors = max(1, min(MAX_CURSORS, cache_bytes // 4 // CURSOR_BYTES))
        self.max_points_bytes = max(0, cache_bytes - self.max_cursors * CURSOR_BYTES)
        self.checkpoints = checkpoints
        self.spacing = MIN_SPACING if self.max_points_bytes >= WINDOW else <int64_t>1 << 62
        self.load(checkpoints)

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_points):
            free(self.points[i].window)
        free(self.points)
        free(self.span_uncomp)
        free(self.span_comp)
        free(self.span_seen)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    cdef int load(self, checkpoints) except -1:
        """Take the checkpoints over, without those at the end of the data, and check what can be checked."""
        cdef Py_ssize_t n = len(checkpoints), i
        cdef object comp = checkpoints.comp_offset, uncomp = checkpoints.uncomp_offset, bits = checkpoints.bits
        cdef Resume *point
        if self.size < 0 or len(comp) != n or len(uncomp) != n:
            raise FormatError("the index contradicts itself", blob=self.blob)
        while n > 1 and uncomp[n - 1] >= self.size:
            n -= 1
        if n == 0 or uncomp[0] != 0:
            raise FormatError("the index has no checkpoint at the start of the data", blob=self.blob)
        self.cap_points = n + 64
        self.points = <Resume *>calloc(self.cap_points, sizeof(Resume))
        self.span_uncomp = <int64_t *>calloc(n + 1, sizeof(int64_t))
        self.span_comp = <int64_t *>calloc(n + 1, sizeof(int64_t))
        self.span_seen = <uint8_t *>calloc(n, 1)
        if self.points == NULL or self.span_uncomp == NULL or self.span_comp == NULL or self.span_seen == NULL:
            raise MemoryError()
        for i in range(n):
            point = &self.points[i]
            if not (0 <= comp[i] <= self.source.size and 0 <= uncomp[i] <= self.size and 0 <= bits[i] <= 7):
                raise self.bad_checkpoint(i, comp[i])
            point.comp = self.span_comp[i] = comp[i]
            point.uncomp = self.span_uncomp[i] = uncomp[i]
            point.bits = bits[i]
        self.span_comp[n] = self.source.size
        self.span_uncomp[n] = self.size
        self.n_points = self.n_spans = n
        for i in range(n):
            self.check_span(i)
        return 0

    cdef int check_span(self, Py_ssize_t i) except -1:
        cdef int64_t n_comp = self.span_comp[i + 1] - self.comp_start(i)
        cdef int64_t n_uncomp = self.span_uncomp[i + 1] - self.span_uncomp[i]
        if self.comp_start(i) < 0 or n_comp < 0 or n_uncomp < 0 or n_uncomp // MAX_EXPANSION > n_comp:
            raise self.bad_checkpoint(i, self.span_comp[i])
        return 0

    cdef object bad_checkpoint(self, Py_ssize_t i, comp_offset):
        return FormatError(f"checkpoint {i} of the index is impossible", comp_offset=comp_offset, blob=self.blob)

    cdef int64_t comp_start(self, Py_ssize_t i) noexcept:
        return self.span_comp[i] - (1 if self.points[i].bits else 0)

    @property
    def n_spans(self):
        """How many spans there are."""
        return self.n_spans

    def spans(self, int64_t start, int64_t end):
        """``(start, end)`` of the pieces of the range that lie within one span each, in order."""
        cdef Py_ssize_t i
        out = []
        start = max(0, start)
        end = min(end, self.size)
        while start < end:
            i = self.span_at(start)
            out.append((start, min(end, self.span_uncomp[i + 1])))
            start = self.span_uncomp[i + 1]
        return out

    # --- reading -------------------------------------------------------------------------------------------------

    def read_at(self, int64_t offset, int64_t n):
        """The bytes ``[offset, offset + n)``, fewer where the data ends.

        Raises FormatError or TruncatedError where blob and index do not hold them; what the source raises passes
        through.
        """
        cdef bytes out
        if offset < 0 or n < 0:
            raise ValueError(f"no range: {n} bytes from {offset}")
        n = max(<int64_t>0, min(n, self.size - offset))
        out = PyBytes_FromStringAndSize(NULL, n)
        if n:
            self.read(offset, <uint8_t *>PyBytes_AS_STRING(out), n)
        return out

    def readinto_at(self, int64_t offset, into):
        """Fills the writable buffer ``into`` from ``offset`` on; how many bytes that were. Raises as ``read_at``."""
        cdef uint8_t[::1] view = into
        cdef int64_t n
        if offset < 0:
            raise ValueError(f"no offset: {offset}")
        n = max(<int64_t>0, min(<int64_t>view.shape[0], self.size - offset))
        if n:
            self.read(offset, &view[0], n)
        return n

    @property
    def memory_bytes(self):
        """What is kept between reads, in bytes."""
        return self.points_bytes + len(self.cursors) * CURSOR_BYTES

    cdef int read(self, int64_t offset, uint8_t *to, int64_t n) except -1:
        cdef Py_ssize_t span
        cdef int64_t part
        while n > 0:
            span = self.span_at(offset)
            part = min(n, self.span_uncomp[span + 1] - offset)
            if not self.span_seen[span]:
                if self.before_span is not None:
                    self.before_span(span)
                self.span_seen[span] = 1
            self.read_span(span, offset, to, part)
            offset += part
            to += part
            n -= part
        return 0

    cdef int read_span(self, Py_ssize_t span, int64_t offset, uint8_t *to, int64_t n) except -1:
        cdef Cursor cursor = self.take(span, offset)
        cdef Status status
        try:
            with nogil:
                status = cursor.read(offset, to, n)
            if status != OK:
                raise cursor.error(status)
        except BaseException as error:
            cursor.span = -1
            if isinstance(error, AccelError) and getattr(error, "blob", "") is None:
                error.blob = self.blob
            raise
        finally:
            self.give_back(cursor)
        return 0

    # --- cursors -------------------------------------------------------------------------------------------------

    cdef Cursor take(self, Py_ssize_t span, int64_t offset):
        """A cursor of nobody else's that can read from ``offset`` on, moved there if need be."""
        cdef Cursor cursor, best = None, oldest = None
        cdef int64_t nearest = self.points[self.point_before(offset)].uncomp
        for cursor in self.cursors:
            if cursor.busy:
                continue
            if oldest is None or cursor.used < oldest.used:
                oldest = cursor
            if cursor.span == span and cursor.first() <= offset and cursor.pos() >= nearest:
                nearest = cursor.pos()
                best = cursor
        self.reads += 1
        if best is not None:
            best.busy = True
            best.used = self.reads
            return best
        if oldest is None or len(self.cursors) < self.max_cursors:
            oldest = Cursor()
            oldest.source = self.source
            self.cursors.append(oldest)
        oldest.busy = True      # from here on: whatever runs Python code may let another thread in
        oldest.used = self.reads
        oldest.span = -1
        try:
            self.seat(oldest, span, offset)
        except BaseException:
            oldest.busy = False
            raise
        return oldest

    cdef int seat(self, Cursor cursor, Py_ssize_t span, int64_t offset) except -1:
        """Move a cursor to the last resume point not after ``offset``."""
        cdef Resume place = self.points[self.point_before(offset)]
        cdef const uint8_t[::1] window
        if place.window == NULL:
            window = self.checkpoints.window(span)
            if window.shape[0] > WINDOW:
                raise self.bad_checkpoint(span, place.comp)
            if window.shape[0]:
                place.window = <uint8_t *>&window[0]
                place.n_window = <int32_t>window.shape[0]
        cursor.seat(&place, span, self.span_comp[span + 1], self.spacing)
        return 0

    cdef int give_back(self, Cursor cursor) except -1:
        cdef int i
        if cursor.n_notes and self.points_bytes > self.max_points_bytes // 2:
            if cursor.use is None:
                cursor.use = WindowUse()
            with nogil:
                cursor.pack_notes()
        for i in range(cursor.n_notes):
            self.add_point(&cursor.notes[i])
        cursor.n_notes = 0
        if cursor.failed != OK:
            cursor.span = -1
        cursor.busy = False
        if len(self.cursors) > self.max_cursors:        # more threads than cursors were reading
            self.cursors.remove(cursor)
        return 0

    # --- resume points -------------------------------------------------------------------------------------------

    cdef Py_ssize_t span_at(self, int64_t offset) noexcept:
        """The span that holds the byte at ``offset``."""
        cdef Py_ssize_t low = 0, high = self.n_spans, middle
        while high - low > 1:
            middle = (low + high) // 2
            if self.span_uncomp[middle] <= offset:
                low = middle
            else:
                high = middle
        return low

    cdef Py_ssize_t point_before(self, int64_t offset) noexcept:
        """The last resume point not after ``offset``."""
        cdef Py_ssize_t low = 0, high = self.n_points, middle
        while high - low > 1:
            middle = (low + high) // 2
            if self.points[middle].uncomp <= offset:
                low = middle
            else:
                high = middle
        return low

    cdef void add_point(self, Resume *note) noexcept:
        """Take over a noted point, unless there is one near it already."""
        cdef Py_ssize_t i = self.point_before(note.uncomp) + 1
        cdef int64_t gap = self.spacing * 3 // 4
        cdef Resume *grown
        if self.points_bytes and self.points_bytes + note.n_window > self.max_points_bytes:
            self.thin_points()
            i = self.point_before(note.uncomp) + 1
            gap = self.spacing * 3 // 4
        if (
            self.points_bytes + note.n_window > self.max_points_bytes
            or note.uncomp - self.points[i - 1].uncomp < gap
            or (i < self.n_points and self.points[i].uncomp - note.uncomp < gap)
        ):
            free(note.window)
            return
        if self.n_points == self.cap_points:
            grown = <Resume *>realloc(self.points, self.cap_points * 2 * sizeof(Resume))
            if grown == NULL:
                free(note.window)
                return
            self.points = grown
            self.cap_points *= 2
        memmove(&self.points[i + 1], &self.points[i], (self.n_points - i) * sizeof(Resume))
        self.points[i] = note[0]
        self.n_points += 1
        self.points_bytes += note.n_window

    cdef void thin_points(self) noexcept:
        """Double the spacing and drop the noted points that are closer to the one before."""
        cdef Py_ssize_t i, kept = 1
        cdef int64_t gap
        self.spacing *= 2
        for i in range(1, self.n_points):
            gap = self.points[i].uncomp - self.points[kept - 1].uncomp
            if self.points[i].window != NULL and gap < self.spacing * 3 // 4:
                self.points_bytes -= self.points[i].n_window
                free(self.points[i].window)
            else:
                self.points[kept] = self.points[i]
                kept += 1
        self.n_points = kept
