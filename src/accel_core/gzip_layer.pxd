"""A gzip layer being scanned: container, tar entries, checkpoints."""

from libc.stdint cimport int64_t, uint8_t

from accel_core.entries cimport EntryTable
from accel_core.gzip_stream cimport GzipStream
from accel_core.status cimport Status
from accel_core.tar_scan cimport TarScanner


cdef struct Point:              # a boundary, as a checkpoint to be
    int64_t comp
    int64_t uncomp
    int64_t cut                 # size of the file it cuts through: less is better
    int64_t off_grid            # distance to the grid point: less is better
    uint8_t bits


cdef class Windows:
    cdef uint8_t *data
    cdef Py_ssize_t n, cap
    cdef Py_ssize_t shape[1]

    cdef bint add(self, const uint8_t *window) noexcept nogil
    cdef void drop_first(self) noexcept nogil


cdef class GzipLayer(GzipStream):
    cdef TarScanner tar
    cdef EntryTable entries         # the scanner's
    cdef Windows windows
    cdef Point *points
    cdef Py_ssize_t n_points, cap_points
    cdef int64_t span_bytes, max_uncomp
    cdef bint zran
    cdef int64_t prev_uncomp        # the boundary looked at last
    # adaptive placement
    cdef int64_t grid               # compressed distance of grid points
    cdef int64_t zone_half          # a zone reaches this far to both sides of its grid point
    cdef int64_t zone               # number of the grid point being decided
    cdef Point best                 # the best boundary of its zone so far
    cdef uint8_t best_window[32768]
    cdef bint has_best, zone_done
    cdef Py_ssize_t row             # last entry whose data starts at or before the boundary looked at
    cdef object sink
    cdef object sink_error

    cdef void set_span(self, int64_t span_bytes)
    cdef Status scan_tar(self, const uint8_t *data, Py_ssize_t n) noexcept nogil
    cdef Status place(self) noexcept nogil
    cdef bint place_zran(self, Point *point) noexcept nogil
    cdef bint place_adaptive(self, Point *point) noexcept nogil
    cdef bint is_long(self, Point *point) noexcept nogil
    cdef void keep_better(self, Point *point) noexcept nogil
    cdef bint leave_zones(self, int64_t comp) noexcept nogil
    cdef bint commit_first(self, Point *point) noexcept nogil
    cdef bint commit_best(self) noexcept nogil
    cdef bint commit_late(self, Point *point) noexcept nogil
    cdef bint commit(self, Point *point, const uint8_t *window) noexcept nogil
    cdef int64_t file_around(self, int64_t uncomp) noexcept nogil
    cdef const uint8_t *window_of(self, Point *point) noexcept nogil
    cdef int64_t decided(self) noexcept nogil
    cdef object cuts(self, Py_ssize_t first)
    cdef object checkpoints(self)


cdef inline bint is_better(const Point *a, const Point *b) noexcept nogil:
    """``a`` makes the better checkpoint; of equals the earlier one stays."""
    return a.cut < b.cut or (a.cut == b.cut and a.off_grid < b.off_grid)
