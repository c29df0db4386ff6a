"""One pass over a layer blob: container, inflate, CRC, tar entries, checkpoints, digests.

Checkpoints are boundaries in front of deflate blocks. Two placements:

``soci``      the rule of SOCI's own builder (zran): the first boundary more than ``span_bytes`` of output after the last
              checkpoint, and every boundary before the first byte of output. For byte-identical zTOCs.
``adaptive``  spans of about equal *compressed* size, because that is what a reader fetches: near each multiple of
              3/8 span_bytes (± a quarter of it) the boundary that cuts the smallest file. A span never holds more than
              about ``4 * span_bytes`` of output, which bounds the memory of readers. The choice depends only on the
              bytes around it, never on how the input was cut into pieces.
"""

import hashlib

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from accel_core.entries cimport EntryRow, EntryTable
from accel_core.gzip_stream cimport GzipStream
from accel_core.inflate cimport WINDOW, BlockMark
from accel_core.status cimport CORRUPT, END, FAULT, LIMIT, NO_MEMORY, OK, TRUNCATED, Status
from accel_core.tar_scan cimport TarScanner

from accel_core.checkpoints import Checkpoints
from accel_core.errors import LimitError, UnsupportedError
from accel_core.layer_index import LayerIndex
from accel_core.span_hash import SpanHasher

DEFAULT_SPAN_BYTES = 4 << 20
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zX": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
}


cdef struct Point:
    int64_t comp
    int64_t uncomp
    int64_t cut             # size of the file it cuts through: less is better
    int64_t off_grid        # distance to the grid point: less is better
    uint8_t bits


cdef class Windows:
    """The windows of all checkpoints, 32768 bytes each, as one read-only buffer."""
    cdef uint8_t *data
    cdef Py_ssize_t n, cap
    cdef Py_ssize_t shape[1]

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


cdef class _GzipLayer(GzipStream):
    """A gzip layer: feeds the tar scanner and places checkpoints."""
    cdef TarScanner tar
    cdef Windows windows
    cdef Point *points
    cdef Py_ssize_t n_points, cap_points
    cdef int64_t span_bytes, max_uncomp
    cdef bint zran
    # adaptive placement
    cdef int64_t grid               # compressed distance of grid points
    cdef int64_t zone               # number of the grid point being decided
    cdef Point best                 # the best boundary of its zone so far
    cdef uint8_t best_window[32768]
    cdef bint has_best, zone_done
    cdef Py_ssize_t row             # last entry whose data starts at or before the boundary looked at
    cdef object sink
    cdef object sink_error

    def __cinit__(self):
        self.tar = TarScanner()
        self.windows = Windows()
        self.zone = 1
        self.row = -1

    def __dealloc__(self):
        free(self.points)

    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef Status status
        if n and self.chunk_pos + n > self.max_uncomp:
            return LIMIT
        if n:
            status = self.tar.scan(data, n)
            if status != OK and status != END:
                return status
        if self.sink is not None:
            with gil:
                try:
                    self.sink(<const uint8_t[:n]>data if n else b"")
                except BaseException as failure:
                    self.sink_error = failure
                    return FAULT
        return self.place()

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
        cdef int64_t last
        if self.n_points == 0:
            return self.commit(point, self.window_of(point))
        last = self.best.uncomp if self.has_best else self.points[self.n_points - 1].uncomp
        if point.uncomp <= last:
            return True         # an empty block: nothing to resume in between
        if not self.leave_zones(point.comp):
            return False
        last = self.points[self.n_points - 1].uncomp
        if point.uncomp - last > 4 * self.span_bytes:
            if self.has_best and not self.commit_best():
                return False
            if point.uncomp - self.points[self.n_points - 1].uncomp > 4 * self.span_bytes:
                return self.commit(point, self.window_of(point))
        if point.comp < self.zone * self.grid - self.grid // 4 or self.zone_done:
            return True
        point.cut = self.file_around(point.uncomp)
        point.off_grid = abs(point.comp - self.zone * self.grid)
        if point.comp >= self.zone * self.grid + self.grid // 4:
            self.zone_done = True       # no boundary in the zone: the first one after it
            return self.commit(point, self.window_of(point))
        if not self.has_best or point.cut < self.best.cut or (
            point.cut == self.best.cut and point.off_grid < self.best.off_grid
        ):
            self.best = point[0]
            self.has_best = True
            memcpy(self.best_window, self.window_of(point), WINDOW)
        return True

    cdef bint leave_zones(self, int64_t comp) noexcept nogil:
        """Decide the zones that end before ``comp``; an empty one stays open until the next one begins."""
        if self.has_best and comp >= self.zone * self.grid + self.grid // 4:
            if not self.commit_best():
                return False
        if comp >= (self.zone + 1) * self.grid - self.grid // 4:
            self.zone = (comp + self.grid // 4) // self.grid
            self.zone_done = False
        return True

    cdef bint commit_best(self) noexcept nogil:
        self.has_best = False
        self.zone_done = True
        return self.commit(&self.best, self.best_window)

    cdef int64_t file_around(self, int64_t uncomp) noexcept nogil:
        """Size of the file that ``uncomp`` lies in; 0 between files."""
        cdef EntryTable entries = self.tar.entries
        cdef EntryRow *row
        while self.row + 1 < entries.n_rows and entries.rows[self.row + 1].data_offset <= uncomp:
            self.row += 1
        if self.row < 0:
            return 0
        row = &entries.rows[self.row]
        return row.stored_size if uncomp < row.data_offset + row.stored_size else 0

    cdef const uint8_t *window_of(self, Point *point) noexcept nogil:
        return self.chunk + (point.uncomp - self.chunk_pos) - WINDOW

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
        if status == LIMIT and self.tar_failed(status):
            return self.tar.error(status)
        if status == LIMIT:
            return LimitError("the layer inflates to more bytes than allowed", limit=self.max_uncomp)
        if status == CORRUPT and self.what == NULL:
            return self.tar.error(status)
        return GzipStream.error(self, status)
