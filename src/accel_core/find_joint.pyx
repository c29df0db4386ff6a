"""Places inside a gzip stream where a second decoder can start without knowing what came before.

A joint is either the start of a gzip member, or a deflate block boundary whose 32 KiB of history are known although the
decoder started blind: it starts at something that looks like a block header, writes 16-bit symbols in which a value
from 0x8000 on stands for "byte i of the unknown window", and waits until no such marker is left in the last 32 KiB.
(The two-stage idea is that of pugz and rapidgzip.) What was decoded before the joint is kept as a ``Prefix``: whoever
knows the window gets the bytes from it much faster than from the compressed data.

Whether a joint is real is not decided here. A decoder that comes from the left and stops at exactly the bit where a
prefix (or the member) begins proves it; until then everything built on a joint is speculation.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy

from accel_core.block_start cimport behind_stored, next_dynamic
from accel_core.inflate cimport (
    DIST_BITS, ENTRY_END, ENTRY_LITERAL, ENTRY_RARE, ENTRY_SUBTABLE, HEADER_BYTES, WINDOW, BlockMark, Inflater,
    inflate_init, likely, load64, load_fixed, read_dynamic_header, unlikely,
)
from accel_core.status cimport CORRUPT, LIMIT, NEED_INPUT, NO_MEMORY, OK, Status

cdef extern from *:
    """
    #include <stdlib.h>
    #include <sys/mman.h>

    /* Room of which little may be used: large pages, where there are any, as the faults of small ones cost as much time
     * as what is written to them. */
    static void *accel_large_room(size_t n_bytes) {
        void *room = NULL;
        size_t large = (size_t)1 << 21;
        if (posix_memalign(&room, large, (n_bytes + large - 1) / large * large) != 0)
            return NULL;
    #ifdef MADV_HUGEPAGE
        madvise(room, (n_bytes + large - 1) / large * large, MADV_HUGEPAGE);
    #endif
        return room;
    }
    """
    void *large_room "accel_large_room"(size_t n_bytes) noexcept nogil

cdef enum:
    SLACK = 320
    MARKER = 0x8000
    LOOKED_AT = 1024        # symbols of a window, before it is given up
    # What looks like a header inside a stored block (a compressed file in the layer) falls apart at the stored block's
    # end, at most 64 KiB on: a joint this far from where decoding began has outlived that.
    TRUST_BYTES = 81920
    MEMBER_HEADER = 10
    MEMBERS_TRIED = 8       # places that look like the start of a member ...
    MEMBER_PATIENCE = 1 << 20   # ... and how far from there its end is looked for, in symbols
    STORED_TRIED = 4        # runs of stored blocks: those inside a stored file may come first
    LEAST_WORK = 16 << 20   # of all starts together, in symbols ...
    BLOCK_WORK = 2048       # ... as many of which a block's tables take, and the look for markers behind it


cdef class Prefix:
    """What was decoded blindly in front of a joint: symbols, and the block boundaries among them."""

    def __dealloc__(self):
        free(self.window)
        free(self.marks)

    cdef bint add_mark(self, int64_t bit_pos, int64_t out_pos) noexcept nogil:
        cdef BlockMark *grown
        cdef Py_ssize_t cap
        if self.n_marks == self.cap_marks:
            cap = 2 * self.cap_marks + 64
            grown = <BlockMark *>realloc(self.marks, cap * sizeof(BlockMark))
            if grown == NULL:
                return False
            self.marks = grown
            self.cap_marks = cap
        self.marks[self.n_marks].bit_pos = bit_pos
        self.marks[self.n_marks].out_pos = out_pos
        self.n_marks += 1
        return True


cdef struct Blind:              # a decoder that starts with an unknown window
    Inflater inf
    uint16_t *window            # 32 Ki symbols of history, and all that is decoded
    uint16_t *out
    uint16_t *out_stop
    const uint8_t *in_next
    uint64_t buf
    uint32_t n                  # bits in buf


cdef inline bint clean(const uint16_t *symbols) noexcept nogil:
    """No marker among 32 Ki symbols."""
    cdef uint16_t any_bits
    cdef const uint16_t *end = symbols + WINDOW
    cdef Py_ssize_t i
    while symbols < end:
        any_bits = 0
        for i in range(LOOKED_AT):
            any_bits |= symbols[i]
        if any_bits >= MARKER:
            return False
        symbols += LOOKED_AT
    return True


cdef void stand_at(Blind *b, const uint8_t *data, int64_t bit) noexcept nogil:
    """Stand in front of a block header at ``bit``."""
    b.in_next = data + (bit >> 3)
    b.buf = load64(b.in_next) >> (bit & 7)
    b.n = 64 - <uint32_t>(bit & 7)
    b.in_next += 8


cdef inline void refill(Blind *b) noexcept nogil:
    b.in_next -= b.n >> 3
    b.n &= 7
    b.buf &= (<uint64_t>1 << b.n) - 1
    b.buf |= load64(b.in_next) << b.n
    b.in_next += (63 - b.n) >> 3
    b.n |= 56


cdef inline void copy_symbols(uint16_t *dst, uint32_t length, uint32_t distance) noexcept nogil:
    """``copy_match`` for 16-bit symbols; writes up to 40 symbols past its end."""
    cdef const uint16_t *src = dst - distance
    cdef uint16_t *end = dst + length
    if likely(distance >= 8):
        # Most matches are shorter than 40 symbols: five times 16 bytes without a branch.
        while True:
            memcpy(dst, src, 16)
            memcpy(dst + 8, src + 8, 16)
            memcpy(dst + 16, src + 16, 16)
            memcpy(dst + 24, src + 24, 16)
            memcpy(dst + 32, src + 32, 16)
            src += 40
            dst += 40
            if likely(dst >= end):
                return
    while dst < end:
        dst[0] = src[0]
        dst += 1
        src += 1


cdef Status codes(Blind *b, const uint8_t *in_stop) noexcept nogil:
    """The symbols of a block: the loop of ``inflate.pxd`` with 16-bit stores. OK at its end, LIMIT at ``out_stop``."""
    cdef Inflater *s = &b.inf
    cdef const uint8_t *in_next
    cdef uint16_t *out = b.out
    cdef uint16_t *out_stop = b.out_stop
    cdef uint16_t *dst
    cdef uint64_t buf, saved
    cdef uint32_t n, entry, length, distance, mask = (<uint32_t>1 << s.lit_bits) - 1
    cdef Status status = OK
    refill(b)
    in_next = b.in_next
    buf = b.buf
    n = b.n
    entry = s.lit[buf & mask]
    while True:
        if unlikely(in_next >= in_stop):
            status = NEED_INPUT
            break
        if unlikely(out >= out_stop):
            status = LIMIT
            break
        saved = buf
        buf >>= <uint8_t>entry
        n -= entry
        if entry & ENTRY_LITERAL:
            out[0] = <uint8_t>(entry >> 16)
            out += 1
            entry = s.lit[buf & mask]
            saved = buf
            buf >>= <uint8_t>entry
            n -= entry
            if entry & ENTRY_LITERAL:
                out[0] = <uint8_t>(entry >> 16)
                out += 1
                entry = s.lit[buf & mask]
                buf |= load64(in_next) << <uint8_t>n
                in_next += 7
                in_next -= (n >> 3) & 7
                n |= 56
                continue
        if unlikely(entry & ENTRY_RARE):
            if entry & ENTRY_SUBTABLE:
                entry = s.lit[(entry >> 16) + <uint32_t>(buf & ((<uint64_t>1 << <uint8_t>((entry >> 8) & 15)) - 1))]
                saved = buf
                buf >>= <uint8_t>entry
                n -= entry
                if entry & ENTRY_LITERAL:
                    out[0] = <uint8_t>(entry >> 16)
                    out += 1
                    entry = s.lit[buf & mask]
                    buf |= load64(in_next) << <uint8_t>n
                    in_next += 7
                    in_next -= (n >> 3) & 7
                    n |= 56
                    continue
            if entry & ENTRY_RARE:
                status = OK if entry & ENTRY_END else CORRUPT
                break
        length = (entry >> 16) + <uint32_t>(
            (saved & ((<uint64_t>1 << <uint8_t>entry) - 1)) >> <uint8_t>((entry >> 8) & 15))
        entry = s.dist[buf & ((1 << DIST_BITS) - 1)]
        buf |= load64(in_next) << <uint8_t>n
        in_next += 7
        in_next -= (n >> 3) & 7
        n |= 56
        if unlikely(entry & ENTRY_RARE):
            if not (entry & ENTRY_SUBTABLE):
                status = CORRUPT
                break
            entry = s.dist[(entry >> 16) + <uint32_t>(
                (buf >> DIST_BITS) & ((<uint64_t>1 << <uint8_t>((entry >> 8) & 15)) - 1))]
            if unlikely(entry & ENTRY_RARE):
                status = CORRUPT
                break
            buf >>= DIST_BITS
            n -= DIST_BITS
        saved = buf
        buf >>= <uint8_t>entry
        n -= entry
        distance = (entry >> 16) + <uint32_t>(
            (saved & ((<uint64_t>1 << <uint8_t>entry) - 1)) >> <uint8_t>((entry >> 8) & 15))
        entry = s.lit[buf & mask]
        buf |= load64(in_next) << <uint8_t>n
        in_next += 7
        in_next -= (n >> 3) & 7
        n |= 56
        dst = out
        out += length               # a match reaches at most 32768 back: always inside the window
        copy_symbols(dst, length, distance)
    b.out = out
    b.in_next = in_next
    b.buf = buf
    b.n = n & 0xFF
    return status


cdef Status stored(Blind *b, const uint8_t *in_stop) noexcept nogil:
    cdef uint32_t length, i
    b.in_next -= b.n >> 3
    b.n = 0
    b.buf = 0
    length = b.in_next[0] | (<uint32_t>b.in_next[1] << 8)
    if length != ((b.in_next[2] | (<uint32_t>b.in_next[3] << 8)) ^ 0xFFFF):
        return CORRUPT
    b.in_next += 4
    if length > in_stop - b.in_next:
        return NEED_INPUT
    if length > b.out_stop - b.out:
        return LIMIT
    for i in range(length):
        b.out[i] = b.in_next[i]
    b.out += length
    b.in_next += length
    return OK


cdef Status block(Blind *b, const uint8_t *in_stop, bint *final) noexcept nogil:
    """Header and symbols of the next block."""
    cdef uint32_t kind
    if in_stop - b.in_next < HEADER_BYTES:
        return NEED_INPUT
    refill(b)
    final[0] = b.buf & 1
    kind = <uint32_t>(b.buf >> 1) & 3
    b.buf >>= 3
    b.n -= 3
    if kind == 0:
        return stored(b, in_stop)
    if kind == 1:
        load_fixed(&b.inf)
    elif kind == 2:
        if read_dynamic_header(&b.inf, &b.in_next, &b.buf, &b.n) != OK:
            return CORRUPT
    else:
        return CORRUPT
    return codes(b, in_stop)


cdef inline bint is_member(const uint8_t *p) noexcept nogil:
    """The start of a gzip header whose unused bits are as they should be."""
    return p[0] == 0x1F and p[1] == 0x8B and p[2] == 8 and (p[3] & 0xE0) == 0


cdef inline Py_ssize_t header_bytes(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Length of the gzip header at ``p`` (RFC 1952 §2.3); 0 if it does not end before ``end``."""
    cdef uint8_t flags = p[3]
    cdef const uint8_t *q = p + MEMBER_HEADER
    cdef int n_texts = ((flags >> 3) & 1) + ((flags >> 4) & 1)      # FNAME, FCOMMENT
    if flags & 4:           # FEXTRA
        if end - q < 2:
            return 0
        q += 2 + (q[0] | (<Py_ssize_t>q[1] << 8))
    while n_texts:
        if q >= end:
            return 0
        q = <const uint8_t *>memchr(q, 0, end - q)
        if q == NULL:
            return 0
        q += 1
        n_texts -= 1
    if flags & 2:           # FHCRC
        q += 2
    return q - p if q < end else 0


cdef class JointSearch:
    """Looks for one joint in the bytes of a gzip stream from ``comp_offset`` on.

    ``search_bytes`` is how many compressed bytes are tried for a place to begin, ``patience`` how many bytes of output
    are decoded blindly from there; each takes two bytes of memory. A stream can be made so that every start leads far
    on and none to a joint: all starts together get a quarter more than the patience of one.
    """
    cdef Blind *blind
    cdef Prefix prefix
    cdef readonly int64_t comp_offset   # what is fed next must begin here
    cdef int64_t bit                    # where the next block begins or, while searching, may begin
    cdef int64_t search_end             # as a bit
    cdef int64_t joint_bit
    cdef int64_t work, max_work         # done so far, by all starts together, in symbols
    cdef bint decoding                  # no longer searching
    cdef bint at_member
    cdef bint members_tried
    cdef int stored_tried

    def __cinit__(self, int64_t comp_offset, int64_t search_bytes, int64_t patience):
        if comp_offset < 0 or search_bytes < 0 or not 0 < patience <= 1 << 30:
            raise ValueError("a search has an offset, a length and a patience of at most 1 GiB")
        self.prefix = Prefix()
        self.blind = <Blind *>malloc(sizeof(Blind))
        self.prefix.window = <uint16_t *>large_room((WINDOW + patience + SLACK) * sizeof(uint16_t))
        if self.blind == NULL or self.prefix.window == NULL:
            raise MemoryError()
        inflate_init(&self.blind.inf)
        self.blind.window = self.prefix.window
        self.blind.out_stop = self.prefix.window + WINDOW + patience
        self.comp_offset = comp_offset
        self.bit = comp_offset * 8
        self.search_end = (comp_offset + search_bytes) * 8
        self.max_work = patience + patience // 4 + LEAST_WORK
        self.joint_bit = -1

    def __dealloc__(self):
        free(self.blind)

    cdef void begin(self) noexcept nogil:
        """Decode blindly from ``bit`` on."""
        cdef int i
        for i in range(WINDOW):
            self.blind.window[i] = <uint16_t>(MARKER + i)
        self.blind.out = self.blind.window + WINDOW
        self.prefix.start_bit = self.bit
        self.prefix.n_marks = 0
        self.decoding = True

    cdef Status step(self, const uint8_t *data, const uint8_t *in_stop) noexcept nogil:
        """Decode the next block. CORRUPT: there is none. NEED_INPUT: it does not end here. LIMIT: out of patience."""
        cdef Blind *b = self.blind
        cdef uint16_t *out = b.out
        cdef int64_t at
        cdef bint final = False
        cdef Status status
        if self.work > self.max_work:
            return LIMIT
        stand_at(b, data, self.bit - self.comp_offset * 8)
        status = block(b, in_stop, &final)
        self.work += BLOCK_WORK + (b.out - out)
        if status == NEED_INPUT:
            b.out = out
        if status != OK:
            return status
        at = (b.in_next - data) * 8 - b.n
        if final:
            # A member's end: the next one, behind the 8 bytes of trailer, needs no window.
            at = ((at + 7) >> 3) + 8
            if in_stop - data < at + MEMBER_HEADER:
                b.out = out
                return NEED_INPUT
            if not is_member(data + at):
                return CORRUPT
            self.at_member = True
            self.joint_bit = (self.comp_offset + at) * 8
            return OK
        self.bit = self.comp_offset * 8 + at
        if not self.prefix.add_mark(self.bit, b.out - b.window - WINDOW):
            return NO_MEMORY
        if self.bit - self.prefix.start_bit >= TRUST_BYTES * 8 and clean(b.out - WINDOW):
            self.joint_bit = self.bit
        return OK

    cdef bint look_for_member(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        """A joint at the end of a whole gzip member: where members are small, that is the nearest one.

        ``bgzip`` and eStargz make members so small that they may be a single block, a last one: no candidate else.
        """
        cdef const uint8_t *p = data
        cdef const uint8_t *end = data + n - HEADER_BYTES
        cdef int64_t first = self.bit
        cdef int n_tried = 0
        cdef Py_ssize_t header
        while n_tried < MEMBERS_TRIED:
            p = <const uint8_t *>memchr(p, 0x1F, end - p)
            if p == NULL:
                break
            header = header_bytes(p, end) if is_member(p) else 0
            self.bit = (self.comp_offset + (p - data) + header) * 8
            p += 1
            if header == 0:
                continue
            n_tried += 1
            self.begin()
            while self.step(data, end) == OK and self.joint_bit < 0:
                if self.blind.out - self.blind.window > WINDOW + MEMBER_PATIENCE:
                    break
            if self.at_member:
                return True
            self.joint_bit = -1         # a block inside it: others find better ones
        self.bit = first
        self.decoding = False
        return False

    cdef bint find_start(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        """Stand at the next place that looks like a block; False if there is none up to ``search_end`` or here."""
        cdef int64_t origin = self.comp_offset * 8
        cdef int64_t end = min(self.search_end, origin + (n - 2 * HEADER_BYTES) * 8)
        cdef int64_t found
        if self.stored_tried < STORED_TRIED:
            self.stored_tried += 1
            found = behind_stored(data, (self.bit - origin + 7) >> 3, n - HEADER_BYTES)
            if 0 <= 8 * found < end - origin:
                self.bit = origin + 8 * found
                return True
            self.stored_tried = STORED_TRIED
        while True:
            found = next_dynamic(data, self.bit - origin, end - origin)
            if found < 0:
                self.bit = max(self.bit, end)
                return False
            self.bit = origin + found
            if self.header_holds(data):
                return True
            self.bit += 1

    cdef bint header_holds(self, const uint8_t *data) noexcept nogil:
        """The codes of the dynamic block at ``bit`` can be: asked before the window is made new, which takes longer."""
        cdef Blind *b = self.blind
        stand_at(b, data, self.bit - self.comp_offset * 8)
        refill(b)
        b.buf >>= 3
        b.n -= 3
        return read_dynamic_header(&b.inf, &b.in_next, &b.buf, &b.n) == OK

    cdef Status look(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        """OK: found. CORRUPT or LIMIT: there is no joint. NEED_INPUT: go on at ``bit``."""
        cdef Status status
        if not self.members_tried:
            self.members_tried = True
            if self.look_for_member(data, n):
                return OK
        while self.joint_bit < 0:
            if not self.decoding:
                if not self.find_start(data, n):
                    return CORRUPT if self.bit >= self.search_end else NEED_INPUT
                self.begin()
            status = self.step(data, data + n - HEADER_BYTES)
            if status == CORRUPT:
                self.decoding = False
                self.bit += 1       # behind the last boundary: what led there would again
            elif status != OK:
                return status
        return OK

    def feed(self, data):
        """Look at the bytes from ``comp_offset`` on. True when nothing more is wanted: ``joint`` has the answer."""
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t n = view.shape[0]
        cdef const uint8_t *p
        cdef Status status
        if n <= 2 * HEADER_BYTES:
            return False
        p = &view[0]
        with nogil:
            status = self.look(p, n)
        self.comp_offset = self.bit >> 3
        if status == NO_MEMORY:
            raise MemoryError()
        return status != NEED_INPUT

    def joint(self):
        """The joint, if one was found; nothing can be fed after that.

        ``(bit, None, None)`` for the start of a gzip member; for a block boundary ``(bit, window, prefix)`` with the
        32768 bytes of history. Bits count from the start of the stream.
        """
        cdef uint8_t[::1] window
        cdef Prefix prefix = self.prefix
        cdef Py_ssize_t i
        if self.joint_bit < 0 or prefix is None:
            return None
        self.prefix = None
        if self.at_member:
            return self.joint_bit, None, None
        history = bytearray(WINDOW)
        window = history
        for i in range(WINDOW):
            window[i] = <uint8_t>(self.blind.out - WINDOW)[i]
        prefix.n_symbols = self.blind.out - self.blind.window - WINDOW
        return self.joint_bit, bytes(history), prefix
