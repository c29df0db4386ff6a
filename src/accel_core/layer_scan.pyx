"""One pass over a layer blob: container, inflate, CRC, tar entries, checkpoints, digests.

Checkpoints are boundaries in front of deflate blocks. Two placements:

``soci``      the rule of SOCI's own builder (zran): the first boundary more than ``span_bytes`` of output after the last
              checkpoint, and every boundary before the first byte of output. For byte-identical zTOCs.
``adaptive``  spans of about equal *compressed* size, because that is what a reader fetches: near each multiple of
              7/20 span_bytes (± 3/8 of that) the boundary that cuts the smallest file. A span never holds more than
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
from accel_core.errors import LimitError, TruncatedError, UnsupportedError
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
    cdef EntryTable entries         # the scanner's
    cdef Windows windows
    cdef Point *points
    cdef Py_ssize_t n_points, cap_points
    cdef int64_t span_bytes, max_uncomp
    cdef bint zran
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

    def __cinit__(self):
        self.tar = TarScanner()
        self.entries = self.tar.entries
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
            status = <Status>self.tar.scan(data, n)
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
        if point.comp < self.zone * self.grid - self.zone_half or self.zone_done:
            return True
        point.cut = self.file_around(point.uncomp)
        point.off_grid = point.comp - self.zone * self.grid
        if point.off_grid < 0:
            point.off_grid = -point.off_grid
        if point.comp >= self.zone * self.grid + self.zone_half:
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
        if self.has_best and comp >= self.zone * self.grid + self.zone_half:
            if not self.commit_best():
                return False
        if comp >= (self.zone + 1) * self.grid - self.zone_half:
            self.zone = (comp + self.zone_half) // self.grid
            self.zone_done = False
        return True

    cdef bint commit_best(self) noexcept nogil:
        self.has_best = False
        self.zone_done = True
        return self.commit(&self.best, self.best_window)

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
        if self.tar.status != OK and self.tar.status != END:
            return self.tar.error()
        if status == LIMIT:
            return LimitError("the layer inflates to more bytes than allowed", limit=self.max_uncomp)
        return GzipStream.error(self, status)


cdef class LayerScanner:
    """Scans one layer blob, fed in pieces of any size; ``finish`` gives its :class:`LayerIndex`.

    ``compression``       "gzip", "tar", or "auto" to tell by the first bytes
    ``span_bytes``        nominal span size, in uncompressed bytes
    ``placement``         "adaptive" or "soci" (see the module)
    ``digests``           False leaves out the SHA-256 of the blob and of its spans
    ``diff_id``           also compute the SHA-256 of the uncompressed bytes
    ``max_uncomp_bytes``  LimitError when the layer inflates to more
    ``sink``              called with each piece of uncompressed bytes (a view that is only valid during the call)

    Memory: the entries, 32 KiB a checkpoint, and about 1 MiB. Raises FormatError or TruncatedError with the offset,
    UnsupportedError for compressions that cannot be indexed, LimitError. After an error the scanner is of no use.
    """
    cdef _GzipLayer gzip
    cdef TarScanner tar             # of an uncompressed layer
    cdef str compression
    cdef bytes head                 # first bytes, until the compression is known
    cdef int64_t span_bytes, max_uncomp, comp_size
    cdef Py_ssize_t n_cuts
    cdef bint zran, finished
    cdef object sink, layer_hash, diff_hash, span_hasher

    def __init__(self, *, compression="auto", span_bytes=DEFAULT_SPAN_BYTES, placement="adaptive", digests=True,
                 diff_id=False, max_uncomp_bytes=None, sink=None):
        if compression not in ("auto", "gzip", "tar"):
            raise ValueError(f"compression is auto, gzip or tar, not {compression!r}")
        if placement not in ("adaptive", "soci"):
            raise ValueError(f"placement is adaptive or soci, not {placement!r}")
        if not 0 < span_bytes <= 1 << 40:
            raise ValueError(f"span_bytes must be positive and at most 2**40, not {span_bytes}")
        self.span_bytes = span_bytes
        self.max_uncomp = (1 << 62) if max_uncomp_bytes is None else max_uncomp_bytes
        self.zran = placement == "soci"
        self.layer_hash = hashlib.sha256() if digests else None
        self.span_hasher = SpanHasher() if digests else None
        self.diff_hash = hashlib.sha256() if diff_id else None
        self.sink = self.join_sinks(sink)
        self.head = b""
        if compression != "auto":
            self.begin(compression)

    cdef object join_sinks(self, sink):
        if self.diff_hash is None:
            return sink
        if sink is None:
            return self.diff_hash.update
        update = self.diff_hash.update

        def both(data):
            update(data)
            sink(data)
        return both

    cdef int begin(self, compression) except -1:
        cdef _GzipLayer gzip
        self.compression = compression
        if compression == "tar":
            self.tar = TarScanner()
            return 0
        gzip = self.gzip = _GzipLayer()
        gzip.span_bytes = self.span_bytes
        gzip.grid = max(16, self.span_bytes * 7 // 20)
        gzip.zone_half = gzip.grid * 3 // 8
        gzip.max_uncomp = self.max_uncomp
        gzip.zran = self.zran
        gzip.sink = self.sink
        return 0

    def feed(self, data):
        """Scan the next piece of the blob."""
        if self.finished:
            raise ValueError("the scanner is finished")
        if self.compression is None:
            self.head += bytes(data)
            if len(self.head) < 4:
                return
            self.begin(_sniff(self.head))
            data, self.head = self.head, b""
        self.scan(data)

    cdef int scan(self, data) except -1:
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t n = view.shape[0]
        cdef const uint8_t *p
        cdef Status status
        if n == 0:
            return 0
        p = &view[0]
        self.comp_size += n
        if self.layer_hash is not None:
            self.layer_hash.update(view)
        if self.compression == "tar":
            return self.scan_tar(view, p, n)
        with nogil:
            status = self.gzip.push(p, n)
        if status != OK:
            raise self.gzip.error(status)
        if self.span_hasher is not None:
            self.hash_spans(view, self.gzip.decided())
        return 0

    cdef int hash_spans(self, view, int64_t decided) except -1:
        cuts = self.gzip.cuts(self.n_cuts)
        self.n_cuts += len(cuts)
        self.span_hasher.update(view, cuts, decided)
        return 0

    cdef int scan_tar(self, const uint8_t[::1] view, const uint8_t *p, Py_ssize_t n) except -1:
        cdef Status status
        if self.comp_size > self.max_uncomp:
            raise LimitError("the layer is larger than allowed", limit=self.max_uncomp)
        with nogil:
            status = <Status>self.tar.scan(p, n)
        if status != OK and status != END:
            raise self.tar.error()
        if self.sink is not None:
            self.sink(view)
        if self.span_hasher is not None:
            cuts = []
            while self.n_cuts * self.span_bytes < self.comp_size:
                cuts.append((self.n_cuts * self.span_bytes, 0))
                self.n_cuts += 1
            self.span_hasher.update(view, cuts, self.comp_size)
        return 0

    def finish(self):
        """The index, once all of the blob has been fed."""
        cdef Status status
        cdef TarScanner tar
        if self.finished:
            raise ValueError("the scanner is finished")
        if self.compression is None:
            self.begin(_sniff(self.head))
            self.scan(self.head)
        if self.comp_size == 0:
            raise TruncatedError("the blob is empty", comp_offset=0)
        self.finished = True
        checkpoints = Checkpoints(comp_offset=(), uncomp_offset=(), bits=b"", windows=b"")
        if self.compression == "gzip":
            with nogil:
                status = self.gzip.finish_input()
            if status != OK:
                raise self.gzip.error(status)
            if self.gzip.has_best and not self.gzip.commit_best():
                raise MemoryError()
            if self.span_hasher is not None:
                self.hash_spans(b"", self.comp_size)
            checkpoints = self.gzip.checkpoints()
            tar = self.gzip.tar
        else:
            tar = self.tar
        if tar.finish() != END:
            raise tar.error()
        return LayerIndex(
            compression=self.compression,
            comp_size=self.comp_size,
            uncomp_size=self.gzip.chunk_pos if self.gzip is not None else self.comp_size,
            archive_size=tar.archive_size,
            span_bytes=self.span_bytes,
            checkpoints=checkpoints,
            span_digests=self.span_hasher.finish() if self.span_hasher is not None else (),
            entries=tar.entries,
            digest=f"sha256:{self.layer_hash.hexdigest()}" if self.layer_hash is not None else None,
            diff_id=f"sha256:{self.diff_hash.hexdigest()}" if self.diff_hash is not None else None,
            members=self.gzip.members if self.gzip is not None else 1,
            trailing_bytes=self.gzip.trailing_bytes if self.gzip is not None else 0,
        )


def _sniff(head):
    """Compression by magic bytes: "gzip" or "tar"; UnsupportedError for the ones that cannot be indexed."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise UnsupportedError(f"compression {name}: only gzip and plain tar layers can be indexed as they are")
    return "tar"


cdef class _Inflated(GzipStream):
    """Collects the output."""
    cdef object pieces

    def __cinit__(self):
        self.pieces = []

    cdef Status drain(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        with gil:
            try:
                self.pieces.append((<const char *>data)[:n])
            except MemoryError:
                return NO_MEMORY
        return OK


def inflate_all(data, piece_bytes=0):
    """``(inflated bytes, compressed offset after the last member)`` of a whole gzip buffer.

    Fed in pieces of ``piece_bytes`` (0: at once). For tests and comparisons with other decoders; needs memory for all
    of the output.
    """
    cdef const uint8_t[::1] view = data
    cdef Py_ssize_t n = view.shape[0], start = 0, piece = piece_bytes or n
    cdef _Inflated stream = _Inflated()
    cdef Status status
    while start < n:
        piece = min(piece, n - start)
        status = stream.push(&view[start], piece)
        if status != OK:
            raise stream.error(status)
        start += piece
    status = stream.finish_input()
    if status != OK:
        raise stream.error(status)
    return b"".join(stream.pieces), stream.last_member_end
