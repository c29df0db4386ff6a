"""One pass over a layer blob: container, inflate, CRC, tar entries, checkpoints, digests."""

import hashlib

from libc.stdint cimport int64_t, uint8_t

from accel_core.gzip_layer cimport GzipLayer
from accel_core.gzip_stream cimport GzipStream
from accel_core.inflate cimport WINDOW
from accel_core.status cimport END, NO_MEMORY, OK, Status
from accel_core.tar_scan cimport TarScanner
from accel_core.window_use cimport USE_BYTES, WindowUse

from accel_core.checkpoints import Checkpoints
from accel_core.errors import LimitError, TruncatedError, UnsupportedError
from accel_core.held_bytes import HeldBytes
from accel_core.layer_index import LayerIndex
from accel_core.sha256 import sha256, update_all
from accel_core.span_hash import SpanHasher

DEFAULT_SPAN_BYTES = 4 << 20
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zX": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
}


cdef class LayerScanner:
    """Scans one layer blob, fed in pieces of any size; ``finish`` gives its :class:`LayerIndex`.

    ``compression``       "gzip", "tar", or "auto" to tell by the first bytes
    ``span_bytes``        nominal span size, in uncompressed bytes
    ``placement``         "adaptive" or "soci" (see ``gzip_layer``)
    ``digest``            False leaves out the SHA-256 of the blob (for callers that verify it anyway)
    ``span_digests``      False leaves out those of the spans
    ``sparse_windows``    zero the bytes of windows that nothing refers to
    ``diff_id``           also compute the SHA-256 of the uncompressed bytes
    ``max_uncomp_bytes``  LimitError when the layer inflates to more
    ``sink``              called with each piece of uncompressed bytes (a view that is only valid during the call)
    ``matches``           of a gzip layer the sink also gets those that begin in the piece (see ``gzip_tokens``)

    Memory: the entries, 32 KiB a checkpoint, and about 1 MiB. Raises FormatError or TruncatedError with the offset,
    UnsupportedError for compressions that cannot be indexed, LimitError. After an error the scanner is of no use.
    """
    cdef GzipLayer gzip
    cdef TarScanner tar             # of an uncompressed layer
    cdef str compression
    cdef bytes head                 # first bytes, until the compression is known
    cdef int64_t span_bytes, max_uncomp, comp_size
    cdef Py_ssize_t n_cuts
    cdef Py_ssize_t n_sparse        # checkpoints whose windows are sparse already
    cdef WindowUse window_use
    cdef bint zran, finished, matches
    cdef object sink, layer_hash, diff_hash, span_hasher, held

    def __init__(
        self, *, compression="auto", span_bytes=DEFAULT_SPAN_BYTES, placement="adaptive", digest=True,
        span_digests=True, sparse_windows=False, diff_id=False, max_uncomp_bytes=None, sink=None, matches=False,
    ):
        if compression not in ("auto", "gzip", "tar"):
            raise ValueError(f"compression is auto, gzip or tar, not {compression!r}")
        if placement not in ("adaptive", "soci"):
            raise ValueError(f"placement is adaptive or soci, not {placement!r}")
        if not 0 < span_bytes <= 1 << 40:
            raise ValueError(f"span_bytes must be positive and at most 2**40, not {span_bytes}")
        self.span_bytes = span_bytes
        self.max_uncomp = (1 << 62) if max_uncomp_bytes is None else max_uncomp_bytes
        self.zran = placement == "soci"
        self.layer_hash = sha256() if digest else None
        self.held = HeldBytes() if span_digests or sparse_windows else None
        self.span_hasher = SpanHasher(self.held) if span_digests else None
        self.window_use = WindowUse() if sparse_windows else None
        self.diff_hash = hashlib.sha256() if diff_id else None
        self.matches = matches and sink is not None
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

        def both(data, *matches):
            update(data)
            sink(data, *matches)
        return both

    cdef int begin(self, compression) except -1:
        cdef GzipLayer gzip
        self.compression = compression
        if compression == "tar":
            self.tar = TarScanner()
            self.window_use = None      # there are no windows
            self.held = self.held if self.span_hasher is not None else None
            return 0
        gzip = self.gzip = GzipLayer()
        gzip.set_span(self.span_bytes)
        gzip.max_uncomp = self.max_uncomp
        gzip.zran = self.zran
        gzip.sink = self.sink
        if self.matches:
            gzip.keep_matches()
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
        if self.held is not None:
            self.held.add(data if type(data) is memoryview else memoryview(data))
        if self.compression == "tar":
            return self.scan_tar(view, p, n)
        with nogil:
            status = self.gzip.push(p, n)
        if status != OK:
            raise self.gzip.error(status)
        self.look_back(view, self.gzip.cuts(self.n_cuts), self.gzip.decided())
        return 0

    cdef int look_back(self, view, cuts, int64_t decided) except -1:
        """Hash ``view``, the newest bytes, and say of all bytes held what can be said, now that no further span than
        those of ``cuts`` starts before ``decided``."""
        cdef int64_t needed = decided
        todo = [] if self.layer_hash is None else [(self.layer_hash, view)]
        self.n_cuts += len(cuts)
        if self.span_hasher is not None:
            spans, needed = self.span_hasher.update(cuts, decided)
            todo += spans
        update_all(todo)
        if self.window_use is not None:
            needed = min(needed, self.sparsify())
        if self.held is not None:
            self.held.settle(needed)
        return 0

    cdef int64_t sparsify(self) except -1:
        """Make the windows sparse whose USE_BYTES have been seen; the offset from which bytes are needed for others."""
        cdef int64_t start, end
        cdef Py_ssize_t i
        for i in range(self.n_sparse, self.gzip.n_points):
            start = self.gzip.points[i].comp - (1 if self.gzip.points[i].bits else 0)
            end = start + USE_BYTES
            if end > self.held.end and not self.finished:
                return start
            comp = b"".join(self.held.views(start, end))
            self.window_use.use(comp, self.gzip.points[i].bits, self.gzip.windows.data + i * WINDOW)
            self.n_sparse = i + 1
        return <int64_t>1 << 62

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
        starts = range(self.n_cuts * self.span_bytes, self.comp_size, self.span_bytes)
        self.look_back(view, [(start, 0) for start in starts], self.comp_size)
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
            self.look_back(b"", self.gzip.cuts(self.n_cuts), self.comp_size)
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
