"""Where a tar may be cut into batches that are compressed on their own, told while it streams by.

::

    headers data padding | headers data ... data ... data padding | headers | zeros zeros trailing bytes
    ^       ^            ^         ^        ^        ^            ^         ^          ^
    |       chunk start  |         chunk starts, every chunk_bytes|         end of the entries, always a cut
    batches may be cut at chunk starts and behind entries         |         then every batch_bytes

A batch ends at the first of these places that is ``batch_bytes`` or more behind its start, so where batches end depends
on the tar alone, not on the pieces it comes in; and no chunk is in two batches. Without sparse maps in the way, a batch
is at most ``batch_bytes + chunk_bytes`` and the headers of one entry long.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t

from accel_core.entries cimport EntryRow
from accel_core.status cimport END, OK
from accel_core.tar_scan cimport TarScanner


cdef inline int64_t end_offset(const EntryRow *row) noexcept nogil:
    return row.data_offset + ((row.stored_size + 511) & ~<int64_t>511)


@cython.final
cdef class TarBatches:
    """``feed`` the tar, and ask for ``next_cut`` until there is none. ``close`` gives the entries."""

    cdef TarScanner scanner
    cdef readonly int64_t batch_bytes, chunk_bytes
    cdef int64_t start              # of the batch
    cdef Py_ssize_t row             # the first whose end is behind `start`, as far as is known
    cdef bint closed

    def __cinit__(self, *, int64_t batch_bytes, int64_t chunk_bytes):
        if batch_bytes <= 0 or chunk_bytes <= 0:
            raise ValueError("sizes must be positive")
        self.scanner = TarScanner()
        self.batch_bytes, self.chunk_bytes = batch_bytes, chunk_bytes

    cdef int64_t first_cut(self) noexcept nogil:
        """The first place to cut, perhaps ahead of the bytes seen; -1 if it is not known yet."""
        cdef int64_t wanted = self.start + self.batch_bytes
        cdef int64_t ended = -1, at
        cdef Py_ssize_t i = self.row
        cdef EntryRow *row
        while i < self.scanner.entries.n_rows:
            row = &self.scanner.entries.rows[i]
            ended = end_offset(row)
            if wanted <= ended:
                if wanted <= row.data_offset:
                    return row.data_offset if row.stored_size else ended
                at = (wanted - row.data_offset + self.chunk_bytes - 1) // self.chunk_bytes * self.chunk_bytes
                return row.data_offset + at if at < row.stored_size else ended
            i += 1
        if self.scanner.status != END:
            return -1
        if self.start < self.entries_end_so_far():
            return self.entries_end_so_far()
        return wanted

    cdef int64_t entries_end_so_far(self) noexcept nogil:
        cdef Py_ssize_t n = self.scanner.entries.n_rows
        return end_offset(&self.scanner.entries.rows[n - 1]) if n else 0

    def feed(self, const uint8_t[::1] data not None):
        """Scan the next bytes of the tar. Raises FormatError, LimitError."""
        cdef Py_ssize_t n = data.shape[0]
        cdef int status
        if self.closed:
            raise ValueError("the scan is closed")
        if n == 0:
            return
        with nogil:
            status = self.scanner.scan(&data[0], n)
        if status != OK and status != END:
            raise self.scanner.error()

    @property
    def position(self):
        """Bytes seen."""
        return self.scanner.position

    @property
    def n_entries(self):
        """Entries found so far."""
        return self.scanner.entries.n_rows

    @property
    def entries_end(self):
        """Where the last entry found so far ends, its padding included: what is behind belongs to no entry."""
        return self.entries_end_so_far()

    @property
    def entries(self):
        """The table being filled: not to be read while ``feed`` runs in another thread."""
        return self.scanner.entries

    def n_entries_until(self, int64_t offset):
        """How many entries' data begins at ``offset`` or before it."""
        cdef Py_ssize_t low = 0, high = self.scanner.entries.n_rows, middle
        while low < high:
            middle = (low + high) // 2
            if self.scanner.entries.rows[middle].data_offset <= offset:
                low = middle + 1
            else:
                high = middle
        return low

    def next_cut(self):
        """The end of the next batch, or None if that is not among the bytes seen. It is the start of the one after."""
        cdef int64_t cut = self.first_cut()
        if cut < 0 or cut > self.scanner.position:
            return None
        self.start = cut
        while self.row < self.scanner.entries.n_rows and end_offset(&self.scanner.entries.rows[self.row]) <= cut:
            self.row += 1
        return cut

    def chunks(self, int64_t start, int64_t end):
        """The chunks of entries' data that begin in ``[start, end)``, as four lists of the same length.

        They are the row of the entry, the chunk's position in its data, its start relative to ``start``, and its end.
        """
        cdef list rows = [], offsets = [], starts = [], ends = []
        cdef Py_ssize_t i = self.first_row_behind(start)
        cdef EntryRow *row
        cdef int64_t at
        while i < self.scanner.entries.n_rows and self.scanner.entries.rows[i].data_offset < end:
            row = &self.scanner.entries.rows[i]
            at = 0
            if start > row.data_offset:
                at = (start - row.data_offset + self.chunk_bytes - 1) // self.chunk_bytes * self.chunk_bytes
            while at < row.stored_size and row.data_offset + at < end:
                rows.append(i)
                offsets.append(at)
                starts.append(row.data_offset + at - start)
                ends.append(row.data_offset - start + min(at + self.chunk_bytes, row.stored_size))
                at += self.chunk_bytes
            i += 1
        return rows, offsets, starts, ends

    cdef Py_ssize_t first_row_behind(self, int64_t offset) noexcept nogil:
        """The first row whose end is behind ``offset``."""
        cdef Py_ssize_t low = 0, high = self.scanner.entries.n_rows, middle
        while low < high:
            middle = (low + high) // 2
            if end_offset(&self.scanner.entries.rows[middle]) <= offset:
                low = middle + 1
            else:
                high = middle
        return low

    def close(self):
        """The entries, now that there is no more; cuts may be left. TruncatedError if the tar may not end here."""
        self.closed = True
        if self.scanner.finish() != END:
            raise self.scanner.error()
        return self.scanner.entries
