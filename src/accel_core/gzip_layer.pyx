"""A gzip layer being scanned: container, tar entries, checkpoints.

Checkpoints are boundaries in front of deflate blocks. Two placements:

``soci``      the rule of SOCI's own builder (zran): the first boundary more than ``span_bytes`` of output after the
              last checkpoint, and every boundary before the first byte of output. For byte-identical zTOCs.
``adaptive``  spans of about equal *compressed* size, because that is what a reader fetches: near each multiple of
              7/20 span_bytes (± 3/8 of that) the boundary that cuts the smallest file. A span never holds more than
              about ``4 * span_bytes`` of output, which bounds the memory of readers. The choice depends only on the
              bytes around it, never on how the input was cut into pieces.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from accel_core.entries cimport EntryRow
from accel_core.gzip_stream cimport GzipStream
from accel_core.inflate cimport WINDOW, BlockMark
from accel_core.status cimport END, FAULT, LIMIT, NO_MEMORY, OK, Status
from accel_core.tar_scan cimport TarScanner

from accel_core.checkpoints import Checkpoints
from accel_core.errors import LimitError


cdef class Windows:
    """The windows of all checkpoints, 32768 bytes each, as one read-only buffer."""

    def __dealloc__(self):
        free(self.data)

    cdef bint add(self, const uint8_t *window) noexcept nogil:
        cdef uint8_t *grown
        cdef Py_ssize_t cap
        if self.n == self.cap:
            cap = self.cap + self.cap // 2 + 16
            grown = <uint8_t *>realloc(self.data, cap * WINDOW)
            if grown == NULL:
                return False
            self.data = grown
            self.cap = cap
        memcpy(self.data + self.n * WINDOW, window, WINDOW)
        self.n += 1
        return True

    cdef void drop_first(self) noexcept nogil:
        self.n -= 1
        memmove(self.data, self.data + WINDOW, self.n * WINDOW)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & 1:       # PyBUF_WRITABLE
            raise BufferError("the windows are read-only")
        self.shape[0] = self.n * WINDOW
        view.buf = self.data
        view.obj = self
        view.len = self.shape[0]
        view.itemsize = 1
        view.readonly = 1
        view.ndim = 1
        view.format = NULL
        view.shape = self.shape
        view.strides = NULL
        view.suboffsets = NULL
        view.internal = NULL


cdef class GzipLayer(GzipStream):
    """Feeds the tar scanner and places checkpoints."""

    def __cinit__(self):
        self.tar = TarScanner()
        self.entries = self.tar.entries
        self.windows = Windows()
        self.zone = 1
        self.row = -1
        self.prev_uncomp = -1
        self.max_uncomp = <int64_t>1 << 62

    def __dealloc__(self):
        free(self.points)

    cdef void set_span(self, int64_t span_bytes):
        self.span_bytes = span_bytes
        self.grid = max(16, span_bytes * 7 // 20)
        self.zone_half = self.grid * 3 // 8

    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef Status status
        cdef bint over = self.chunk_pos + n > self.max_uncomp
        if over:        # what is wrong in front of the limit comes first
            n = <Py_ssize_t>max(0, self.max_uncomp - self.chunk_pos)
        if n:
            status = self.scan_tar(data, n)
            if status != OK:
                return status
        if over:
            return LIMIT
        if self.sink is not None:
            with gil:
                try:
                    if self.matches != NULL:
                        self.hand_on(self.sink, data, n)
                    else:
                        self.sink(<const uint8_t[:n]>data if n else b"")
                except BaseException as failure:
                    self.sink_error = failure
                    return FAULT
        return self.place()

    cdef Status scan_tar(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef Status status = <Status>self.tar.scan(data, n)
        return OK if status == END else status

    # --- placement -----------------------------------------------------------------------------------------------

    cdef Status place(self) noexcept nogil:
        """Look at the boundaries of this chunk."""
        cdef BlockMark *mark = self.marks
        cdef BlockMark *end = self.marks + self.inf.n_marks
        cdef Point point
        cdef bint room = True
        while mark < end and room:
            point.comp = (mark.bit_pos + 7) >> 3
            point.bits = <uint8_t>(8 * point.comp - mark.bit_pos)
            point.uncomp = mark.out_pos
            point.cut = point.off_grid = 0
            room = self.place_zran(&point) if self.zran else self.place_adaptive(&point)
            mark += 1
        if not self.zran and room:
            room = self.leave_zones(self.comp_pos)
        return OK if room else NO_MEMORY

    cdef bint place_zran(self, Point *point) noexcept nogil:
        if point.uncomp == 0 or point.uncomp - self.points[self.n_points - 1].uncomp > self.span_bytes:
            return self.commit(point, self.window_of(point))
        return True

    cdef bint place_adaptive(self, Point *point) noexcept nogil:
        if point.uncomp == self.prev_uncomp:
            return True         # after an empty block: nothing to resume in between
        self.prev_uncomp = point.uncomp
        if self.n_points == 0 and not self.commit_first(point):
            return False
        if not self.leave_zones(point.comp):
            return False
        if self.is_long(point):
            if self.has_best and not self.commit_best():
                return False
            if self.is_long(point):
                return self.commit(point, self.window_of(point))
        if point.comp < self.zone * self.grid - self.zone_half or self.zone_done:
            return True
        if point.comp >= self.zone * self.grid + self.zone_half:
            return self.commit_late(point)
        point.cut = self.file_around(point.uncomp)
        point.off_grid = point.comp - self.zone * self.grid
        if point.off_grid < 0:
            point.off_grid = -point.off_grid
        self.keep_better(point)
        return True

    cdef bint is_long(self, Point *point) noexcept nogil:
        return self.n_points > 0 and point.uncomp - self.points[self.n_points - 1].uncomp > 4 * self.span_bytes

    cdef void keep_better(self, Point *point) noexcept nogil:
        if not self.has_best or is_better(point, &self.best):
            self.best = point[0]
            self.has_best = True
            memcpy(self.best_window, self.window_of(point), WINDOW)

    cdef bint leave_zones(self, int64_t comp) noexcept nogil:
        """Decide the zones that end before ``comp``; an empty one stays open until the next one begins."""
        if self.has_best and comp >= self.zone * self.grid + self.zone_half:
            if not self.commit_best():
                return False
        if comp >= (self.zone + 1) * self.grid - self.zone_half:
            self.zone = (comp + self.zone_half) // self.grid
            self.zone_done = False
        return True

    cdef bint commit_first(self, Point *point) noexcept nogil:
        """The boundary behind the first gzip header is always a checkpoint."""
        return self.commit(point, self.window_of(point))

    cdef bint commit_best(self) noexcept nogil:
        self.has_best = False
        self.zone_done = True
        return self.commit(&self.best, self.best_window)

    cdef bint commit_late(self, Point *point) noexcept nogil:
        """No boundary in the zone: the first one behind it."""
        self.zone_done = True
        return self.commit(point, self.window_of(point))

    cdef bint commit(self, Point *point, const uint8_t *window) noexcept nogil:
        cdef Point *grown
        cdef Py_ssize_t cap
        if self.n_points == self.cap_points:
            cap = self.cap_points * 2 + 64
            grown = <Point *>realloc(self.points, cap * sizeof(Point))
            if grown == NULL:
                return False
            self.points = grown
            self.cap_points = cap
        self.points[self.n_points] = point[0]
        self.n_points += 1
        return self.windows.add(window)

    cdef int64_t file_around(self, int64_t uncomp) noexcept nogil:
        """Size of the file that ``uncomp`` lies in; 0 between files."""
        cdef EntryRow *row
        while self.row + 1 < self.entries.n_rows and self.entries.rows[self.row + 1].data_offset <= uncomp:
            self.row += 1
        if self.row < 0:
            return 0
        row = &self.entries.rows[self.row]
        return row.stored_size if uncomp < row.data_offset + row.stored_size else 0

    cdef const uint8_t *window_of(self, Point *point) noexcept nogil:
        return self.chunk + (point.uncomp - self.chunk_pos) - WINDOW

    # --- results -------------------------------------------------------------------------------------------------

    cdef int64_t decided(self) noexcept nogil:
        """Compressed offset before which no further span can start."""
        if self.has_best:
            return self.best.comp - (1 if self.best.bits else 0)
        return self.chunk_comp_pos

    cdef object cuts(self, Py_ssize_t first):
        """``(comp_offset, bits)`` of the checkpoints from ``first`` on."""
        return [(self.points[i].comp, self.points[i].bits) for i in range(first, self.n_points)]

    cdef object checkpoints(self):
        cdef Py_ssize_t i
        return Checkpoints(
            comp_offset=tuple([self.points[i].comp for i in range(self.n_points)]),
            uncomp_offset=tuple([self.points[i].uncomp for i in range(self.n_points)]),
            bits=bytes([self.points[i].bits for i in range(self.n_points)]),
            windows=memoryview(self.windows),
        )

    cdef object error(self, Status status):
        if status == FAULT and self.sink_error is not None:
            return self.sink_error
        if self.tar.status != OK and self.tar.status != END:
            return self.tar.error()
        if status == LIMIT:
            return LimitError("the layer inflates to more bytes than allowed", limit=self.max_uncomp)
        return GzipStream.error(self, status)
