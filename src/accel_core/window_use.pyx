"""Which bytes of a window the data behind a checkpoint refers to: a tenth of them, in most layers.

Only matches within the first 32 KiB of output can reach the window, and what they copy from it is all of it that is
ever needed: later copies of those bytes come from the output. So the symbols of 32 KiB of output are decoded once more,
without making the output, and each match that reaches back over the checkpoint marks its source.

The answer depends on nothing but the ``WINDOW_USE_BYTES`` compressed bytes behind the checkpoint, so it is the same
however the blob was cut into pieces. If they hold less than 32 KiB of output (thousands of empty blocks) all of the
window stays.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from accel_core.inflate cimport (
    DIST_BITS, ENTRY_END, ENTRY_LITERAL, ENTRY_RARE, ENTRY_SUBTABLE, IN_PAD, WINDOW, Inflater, inflate_init, load64,
    load_fixed, read_dynamic_header, unlikely,
)
from accel_core.status cimport CORRUPT, END, NEED_INPUT, OK, Status

WINDOW_USE_BYTES = <int>USE_BYTES


cdef struct Reader:
    const uint8_t *next
    const uint8_t *end
    uint64_t buf
    uint32_t n                      # bits in buf


cdef inline void refill(Reader *r) noexcept nogil:
    r.buf |= load64(r.next) << r.n
    r.next += (63 - r.n) >> 3
    r.n |= 56


cdef inline bint past_end(Reader *r) noexcept nogil:
    """Bits were used that are not in the input (but the padding behind it)."""
    return r.next - (r.n >> 3) > r.end


cdef inline void mark(uint8_t *used, uint32_t back, uint32_t length) noexcept nogil:
    """The ``length`` bytes that start ``back`` bytes before the checkpoint, as far as they lie before it."""
    cdef uint8_t *p = used + WINDOW - back
    cdef uint8_t *end = p + (length if length < back else back)
    while p < end:
        p[0] = 0xFF
        p += 1


cdef inline int64_t codes(Inflater *s, Reader *r, int64_t pos, uint8_t *used, Status *status) noexcept nogil:
    """The symbols of one block, from output position ``pos`` on; the position where it ends, or one past 32 KiB."""
    cdef uint32_t entry, length, distance, mask = (<uint32_t>1 << s.lit_bits) - 1
    cdef uint64_t saved
    status[0] = OK
    while pos < WINDOW:
        refill(r)
        if unlikely(past_end(r)):
            status[0] = NEED_INPUT
            return pos
        entry = s.lit[r.buf & mask]
        if entry & ENTRY_LITERAL:       # two literals leave bits enough for a length and a distance
            r.buf >>= <uint8_t>entry
            r.n -= <uint8_t>entry
            pos += 1
            entry = s.lit[r.buf & mask]
            if entry & ENTRY_LITERAL:
                r.buf >>= <uint8_t>entry
                r.n -= <uint8_t>entry
                pos += 1
                continue
        if unlikely(entry & ENTRY_SUBTABLE):
            r.buf >>= <uint8_t>entry
            r.n -= <uint8_t>entry
            entry = s.lit[(entry >> 16) + <uint32_t>(r.buf & ((<uint64_t>1 << <uint8_t>((entry >> 8) & 15)) - 1))]
        saved = r.buf
        r.buf >>= <uint8_t>entry
        r.n -= <uint8_t>entry
        if unlikely(entry & ENTRY_LITERAL):
            pos += 1
            continue
        if unlikely(entry & ENTRY_RARE):
            status[0] = END if entry & ENTRY_END else CORRUPT
            return pos
        length = (entry >> 16) + <uint32_t>(
            (saved & ((<uint64_t>1 << <uint8_t>entry) - 1)) >> <uint8_t>((entry >> 8) & 15))
        refill(r)
        entry = s.dist[r.buf & ((1 << DIST_BITS) - 1)]
        if unlikely(entry & ENTRY_SUBTABLE):
            r.buf >>= DIST_BITS
            r.n -= DIST_BITS
            entry = s.dist[(entry >> 16) + <uint32_t>(r.buf & ((<uint64_t>1 << <uint8_t>((entry >> 8) & 15)) - 1))]
        if unlikely(entry & ENTRY_RARE):
            status[0] = CORRUPT
            return pos
        saved = r.buf
        r.buf >>= <uint8_t>entry
        r.n -= <uint8_t>entry
        distance = (entry >> 16) + <uint32_t>(
            (saved & ((<uint64_t>1 << <uint8_t>entry) - 1)) >> <uint8_t>((entry >> 8) & 15))
        if distance > pos:
            mark(used, <uint32_t>(distance - pos), length)
        pos += length
    return pos


cdef class WindowUse:
    """Makes windows sparse. Not for use by several threads at once."""

    def __cinit__(self):
        self.inf = <Inflater *>malloc(sizeof(Inflater))
        self.comp = <uint8_t *>calloc(1, USE_BYTES + IN_PAD)
        self.used = <uint8_t *>malloc(WINDOW)
        if self.inf == NULL or self.comp == NULL or self.used == NULL:
            raise MemoryError()
        inflate_init(self.inf)

    def __dealloc__(self):
        free(self.inf)
        free(self.comp)
        free(self.used)

    cdef Status find(self, const uint8_t *comp, Py_ssize_t n, int bits) noexcept nogil:
        """Fill ``used``. OK when 32 KiB of output or the member's end were seen, else why not."""
        cdef Inflater *s = self.inf
        cdef Reader r
        cdef int64_t pos = 0
        cdef uint32_t kind, length
        cdef bint final = False
        cdef Status status = OK
        n = n if n < USE_BYTES else USE_BYTES
        memcpy(self.comp, comp, n)
        memset(self.comp + n, 0, IN_PAD)
        memset(self.used, 0, WINDOW)
        r.next = self.comp
        r.end = self.comp + n
        r.buf = 0
        r.n = 0
        if bits:
            r.buf = self.comp[0] >> (8 - bits)
            r.next += 1
            r.n = bits
        while pos < WINDOW and not final:
            refill(&r)
            if past_end(&r):
                return NEED_INPUT
            final = r.buf & 1
            kind = <uint32_t>(r.buf >> 1) & 3
            r.buf >>= 3
            r.n -= 3
            if kind == 0:
                r.next -= r.n >> 3
                r.buf = 0
                r.n = 0
                length = r.next[0] | (<uint32_t>r.next[1] << 8)
                r.next += 4
                if r.next > r.end or length > r.end - r.next:
                    return OK if pos + length >= WINDOW and r.next <= r.end else NEED_INPUT
                r.next += length
                pos += length
                continue
            if kind == 3:
                return CORRUPT
            if kind == 1:
                load_fixed(s)
            else:
                status = read_dynamic_header(s, &r.next, &r.buf, &r.n)
                if status != OK:
                    return status
            pos = codes(s, &r, pos, self.used, &status)
            if status != OK and status != END:
                return status
            if past_end(&r):        # the padding may look like symbols
                return NEED_INPUT
        return OK

    cdef bint keep_used(self, uint8_t *window) noexcept nogil:
        """Zero the bytes of ``window`` that are not used. True if any other is left."""
        cdef uint8_t left = 0
        cdef Py_ssize_t i
        for i in range(WINDOW):
            window[i] &= self.used[i]
            left |= window[i]
        return left != 0

    cdef bint use(self, comp, int bits, uint8_t *window) except? True:
        """``sparsify`` for the 32768 bytes at ``window``."""
        cdef const uint8_t[::1] data = comp
        cdef Py_ssize_t n = data.shape[0]
        cdef bint left = True
        if n:
            with nogil:
                if self.find(&data[0], n, bits) == OK:
                    left = self.keep_used(window)
        return left

    def sparsify(self, comp, int bits, window):
        """Zero, in the 32768 bytes of ``window``, what the data behind its checkpoint does not refer to.

        ``comp`` starts at the checkpoint's first byte to feed (one byte early if ``bits`` is not 0) and has the next
        WINDOW_USE_BYTES of the blob, or fewer if the blob ends. True if a byte other than zero is left.
        """
        cdef uint8_t[::1] history = window
        if history.shape[0] != WINDOW:
            raise ValueError(f"a window has {WINDOW} bytes, not {history.shape[0]}")
        if not 0 <= bits <= 7:
            raise ValueError(f"bits must be 0..7, not {bits}")
        return self.use(comp, bits, &history[0])
