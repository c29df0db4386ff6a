"""A decoder that stands somewhere inside a gzip blob and can go on from there."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from accel_core.byte_source cimport ByteSource
from accel_core.gzip_stream cimport GzipStream
from accel_core.status cimport Status
from accel_core.window_use cimport WindowUse

cdef enum:
    PIECE = 65536           # compressed bytes fetched at a time: they and the output stay in L2
    MAX_NOTES = 32          # resume points a cursor keeps until they are collected
    LOOK_BYTES = 40960      # compressed bytes behind a note that tell which bytes of its window are used


cdef struct Resume:         # a block boundary to resume at
    int64_t uncomp
    int64_t comp            # first whole byte of the block, as in Checkpoints
    uint8_t bits
    bint packed             # `window` holds runs
    int32_t n_window        # bytes at `window`
    uint8_t *window         # NULL: a checkpoint, whose window the index has


cdef class Cursor(GzipStream):
    cdef ByteSource source
    cdef uint8_t *piece
    cdef uint8_t *look              # for pack_notes: LOOK_BYTES, then the packed window
    cdef const uint8_t *in_next
    cdef const uint8_t *in_end
    cdef int64_t fetch_pos          # compressed offset behind `in_end`
    cdef int64_t comp_end           # of the span
    cdef uint8_t *known             # first byte before `out` that was decoded, not taken from a window
    cdef Resume notes[MAX_NOTES]
    cdef int n_notes
    cdef WindowUse use              # None until notes are packed
    cdef bint noting
    cdef int64_t last_note          # uncompressed offset of the last resume point passed
    cdef int64_t spacing            # between notes
    cdef Status failed              # why decoding cannot go on; OK if it can
    # of the reader that owns the cursor
    cdef Py_ssize_t span            # -1: nowhere
    cdef bint busy
    cdef int64_t used               # when, by the reader's count of reads

    cdef void seat(self, const Resume *place, Py_ssize_t span, int64_t comp_end, int64_t spacing) noexcept nogil
    cdef int pack_notes(self) except -1 nogil
    cdef int64_t pos(self) noexcept nogil
    cdef int64_t first(self) noexcept nogil
    cdef Status read(self, int64_t offset, uint8_t *to, Py_ssize_t n) except? Status.FAULT nogil
    cdef Status read_direct(self, uint8_t *to, Py_ssize_t n, Py_ssize_t *done) except? Status.FAULT nogil
    cdef Status decode_to(self, uint8_t *limit) except? Status.FAULT nogil
    cdef Py_ssize_t fill(self) except -1 nogil
    cdef void recycle(self) noexcept nogil
    cdef void take_notes(self) noexcept nogil
    cdef void thin_notes(self) noexcept nogil
