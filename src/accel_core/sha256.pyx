"""SHA-256 of several streams at a time (FIPS 180-4), where the CPU gains by that; else ``hashlib``.

One stream keeps the CPU waiting for its own rounds. Whoever has several (a blob and its spans, the chunks of a batch)
hands them over together, and they advance side by side: sixteen with AVX-512, two with the SHA extensions.

``sha256()``               a hash as ``hashlib.sha256()`` gives, that takes part in the others
``update_all(pairs)``      pieces for several hashes
``sha256_ranges(...)``     the digests of many ranges of a buffer
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import hashlib
from importlib import import_module

from accel_core.cpu import features
from accel_core.sha256_blocks cimport LANES, OneBlocks, SixteenBlocks, TwoBlocks

cdef enum:
    BLOCK = 64
    DIGEST = 32
    FEW = 10            # up to so many streams, two at a time are faster than all of them as a part of sixteen

cdef OneBlocks ONE = NULL
cdef TwoBlocks TWO = NULL
cdef SixteenBlocks SIXTEEN = NULL
_NAMES = ["hashlib"]

cdef uint32_t[8] START      # FIPS 180-4 §5.3.3
START[:] = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]


cdef struct Hash:
    uint32_t h[8]
    uint64_t n_bytes        # taken so far, those in ``tail`` included
    uint8_t tail[BLOCK]     # of them, what does not fill a block


cdef struct Piece:
    const uint8_t *p
    Py_ssize_t n
    Piece *following        # for the same hash, or NULL


cdef struct Stream:         # pieces for one hash, as runs of whole blocks
    Hash *hash
    Piece *piece
    const uint8_t *run
    Py_ssize_t n_blocks     # left of the run


cdef void begin(Hash *hash) noexcept nogil:
    memcpy(hash.h, START, sizeof(hash.h))
    hash.n_bytes = 0


cdef void end(Hash *hash, uint8_t *digest) noexcept nogil:
    """Pad (§5.1.1) and write the digest. The hash is of no further use."""
    cdef Py_ssize_t n_tail = <Py_ssize_t>(hash.n_bytes % BLOCK)
    cdef Py_ssize_t n = BLOCK if n_tail < BLOCK - 8 else 2 * BLOCK
    cdef uint8_t last[2 * BLOCK]
    cdef int i
    memset(last, 0, sizeof(last))
    memcpy(last, hash.tail, n_tail)
    last[n_tail] = 0x80
    for i in range(8):
        last[n - 1 - i] = <uint8_t>((hash.n_bytes * 8) >> (8 * i))
    ONE(hash.h, last, n // BLOCK)
    for i in range(DIGEST):
        digest[i] = <uint8_t>(hash.h[i // 4] >> (24 - 8 * (i % 4)))


cdef bint next_run(Stream *stream) noexcept nogil:
    """Make sure that there are blocks; False at the end, when what fills no block has been stored away."""
    cdef Hash *hash = stream.hash
    cdef Piece *piece = stream.piece
    cdef Py_ssize_t n, n_tail
    while stream.n_blocks == 0:
        if piece == NULL:
            return False
        n_tail = <Py_ssize_t>(hash.n_bytes % BLOCK)
        if n_tail or piece.n < BLOCK:
            n = min(piece.n, BLOCK - n_tail)
            if n:
                memcpy(hash.tail + n_tail, piece.p, n)
            stream.run = hash.tail
            stream.n_blocks = (n_tail + n) // BLOCK
        else:
            n = piece.n & ~<Py_ssize_t>(BLOCK - 1)
            stream.run = piece.p
            stream.n_blocks = n // BLOCK
        hash.n_bytes += n
        piece.p += n
        piece.n -= n
        if piece.n == 0:
            piece = stream.piece = piece.following
    return True


cdef void hash_sixteen(Stream **busy, int n_busy, Py_ssize_t n_blocks) noexcept nogil:
    """Blocks of up to LANES streams; lanes without one repeat the first."""
    cdef uint32_t h[8 * LANES]
    cdef const uint8_t *runs[LANES]
    cdef int lane, i
    for lane in range(LANES):
        runs[lane] = busy[lane if lane < n_busy else 0].run
        for i in range(8):
            h[i * LANES + lane] = busy[lane if lane < n_busy else 0].hash.h[i]
    SIXTEEN(h, runs, n_blocks)
    for lane in range(n_busy):
        for i in range(8):
            busy[lane].hash.h[i] = h[i * LANES + lane]


cdef Py_ssize_t shortest(Stream **busy, int n_busy) noexcept nogil:
    cdef Py_ssize_t n_blocks = busy[0].n_blocks
    cdef int lane
    for lane in range(1, n_busy):
        n_blocks = min(n_blocks, busy[lane].n_blocks)
    return n_blocks


cdef void hash_all(Stream *streams, Py_ssize_t n) noexcept nogil:
    """All pieces of ``n`` streams with a hash each, as many side by side as there are."""
    cdef Stream *busy[LANES]
    cdef Py_ssize_t following = 0, n_blocks
    cdef int n_busy = 0, lane, used
    while True:
        while n_busy < (LANES if SIXTEEN != NULL else 2) and following < n:
            if next_run(&streams[following]):
                busy[n_busy] = &streams[following]
                n_busy += 1
            following += 1
        if n_busy == 0:
            return
        used = n_busy if SIXTEEN != NULL and n_busy > FEW else min(n_busy, 2)
        n_blocks = shortest(busy, used)
        if used > 2:
            hash_sixteen(busy, used, n_blocks)
        elif used == 2:
            TWO(busy[0].hash.h, busy[0].run, busy[1].hash.h, busy[1].run, n_blocks)
        else:
            ONE(busy[0].hash.h, busy[0].run, n_blocks)
        for lane in range(used - 1, -1, -1):
            busy[lane].run += n_blocks * BLOCK
            busy[lane].n_blocks -= n_blocks
            if not next_run(busy[lane]):
                n_busy -= 1
                busy[lane] = busy[n_busy]


cdef class Sha256:
    """A hash with the methods of ``hashlib``'s. Not for several threads at once."""

    cdef Hash hash
    name = "sha256"
    digest_size = DIGEST
    block_size = BLOCK

    def __cinit__(self):
        if ONE == NULL:
            raise RuntimeError("this CPU has no instructions for it: use sha256()")
        begin(&self.hash)

    def update(self, const uint8_t[::1] data not None):
        """Take more bytes."""
        cdef Piece piece
        cdef Stream stream
        if data.shape[0] == 0:
            return
        piece.p, piece.n, piece.following = &data[0], data.shape[0], NULL
        stream.hash, stream.piece, stream.run, stream.n_blocks = &self.hash, &piece, NULL, 0
        with nogil:
            hash_all(&stream, 1)

    def digest(self):
        """The 32 bytes of the digest so far."""
        cdef Hash copy = self.hash
        cdef uint8_t digest[DIGEST]
        end(&copy, digest)
        return PyBytes_FromStringAndSize(<char *>digest, DIGEST)

    def hexdigest(self):
        """The digest so far as 64 hex digits."""
        return self.digest().hex()

    def copy(self):
        """Another one that goes on from here."""
        cdef Sha256 other = Sha256()
        other.hash = self.hash
        return other


def sha256():
    """A new hash: ``Sha256``, or ``hashlib.sha256()`` where several at a time gain nothing."""
    return Sha256() if ONE != NULL else hashlib.sha256()


cdef class _Work:
    """Room for streams and their pieces."""

    cdef Stream *streams
    cdef Piece *pieces
    cdef Hash *hashes

    def __cinit__(self, Py_ssize_t n_pieces, Py_ssize_t n_hashes):
        self.streams = <Stream *>malloc((n_pieces + 1) * sizeof(Stream))
        self.pieces = <Piece *>malloc((n_pieces + 1) * sizeof(Piece))
        self.hashes = <Hash *>malloc((n_hashes + 1) * sizeof(Hash))
        if self.streams == NULL or self.pieces == NULL or self.hashes == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.streams)
        free(self.pieces)
        free(self.hashes)

    cdef Piece *piece(self, Py_ssize_t i, const uint8_t *p, Py_ssize_t n) noexcept nogil:
        cdef Piece *piece = &self.pieces[i]
        piece.p, piece.n, piece.following = p, n, NULL
        return piece

    cdef void stream(self, Py_ssize_t i, Hash *hash, Piece *piece) noexcept nogil:
        cdef Stream *stream = &self.streams[i]
        stream.hash, stream.piece, stream.run, stream.n_blocks = hash, piece, NULL, 0


def update_all(pairs):
    """Update hashes of ``sha256()`` with ``(hash, bytes)`` pairs; those of one hash in their order.

    The GIL is released. No other thread may use the hashes meanwhile.
    """
    cdef list taken = list(pairs), views = []
    cdef dict last = {}         # id of a hash -> number of its last piece so far
    cdef Py_ssize_t n = 0, n_streams = 0, at
    cdef const uint8_t[::1] view
    cdef Sha256 sha256
    cdef Piece *piece
    cdef _Work work
    if ONE == NULL:
        for any_hash, data in taken:
            any_hash.update(data)
        return
    work = _Work(len(taken), 0)
    for sha256, data in taken:
        view = data
        if view.shape[0] == 0:
            continue
        views.append(view)      # keeps the buffer
        piece = work.piece(n, &view[0], view.shape[0])
        at = last.get(id(sha256), -1)
        if at >= 0:
            work.pieces[at].following = piece
        else:
            work.stream(n_streams, &sha256.hash, piece)
            n_streams += 1
        last[id(sha256)] = n
        n += 1
    with nogil:
        hash_all(work.streams, n_streams)


def sha256_ranges(
    const uint8_t[::1] data not None, const int64_t[::1] starts not None, const int64_t[::1] ends not None
):
    """The digests of ``data[starts[i]:ends[i]]``, 32 bytes each, one after the other. The GIL is released.

    ValueError for a range that is not inside ``data``, or another number of starts than of ends.
    """
    cdef Py_ssize_t n = starts.shape[0], i
    cdef const uint8_t *base = &data[0] if data.shape[0] else NULL
    cdef uint8_t *out
    cdef _Work work
    if ends.shape[0] != n:
        raise ValueError(f"{n} starts and {ends.shape[0]} ends")
    for i in range(n):
        if not 0 <= starts[i] <= ends[i] <= data.shape[0]:
            raise ValueError(f"range {i}, [{starts[i]}, {ends[i]}), is not inside the {data.shape[0]} bytes")
    if ONE == NULL:
        return b"".join([hashlib.sha256(data[starts[i] : ends[i]]).digest() for i in range(n)])
    work = _Work(n, n)
    digests = PyBytes_FromStringAndSize(NULL, n * DIGEST)
    out = <uint8_t *>PyBytes_AS_STRING(digests)
    with nogil:
        for i in range(n):
            begin(&work.hashes[i])
            work.stream(i, &work.hashes[i], work.piece(i, base + starts[i], ends[i] - starts[i]))
        hash_all(work.streams, n)
        for i in range(n):
            end(&work.hashes[i], out + i * DIGEST)
    return digests


def implementations():
    """Names of the implementations this process may use, the one in use first, ``hashlib`` last."""
    return tuple(_NAMES)


cdef void *capsule(module, const char *name):
    """What a kernel's module offers under ``name``; NULL if it was built by a compiler that did not know how."""
    try:
        found = import_module(f"accel_core.{module}")
    except ImportError:
        return NULL
    return PyCapsule_GetPointer(getattr(found, (<bytes>name).decode())(), name)


cdef load_kernels():
    global ONE, TWO, SIXTEEN
    allowed = features()
    if {"sha", "ssse3", "sse4.1"} <= allowed:
        ONE = <OneBlocks>capsule("sha256_shani", b"one_stream")
        TWO = <TwoBlocks>capsule("sha256_shani", b"two_streams")
    if ONE == NULL:
        return
    _NAMES.insert(0, "shani")
    if {"avx512f", "avx512bw"} <= allowed:
        SIXTEEN = <SixteenBlocks>capsule("sha256_avx512", b"sixteen_streams")
        if SIXTEEN != NULL:
            _NAMES.insert(0, "avx512")


load_kernels()
