"""Places inside a gzip stream where a second decoder can start without knowing what came before.

A joint is either the start of a gzip member, or a deflate block boundary whose 32 KiB of history are known although the
decoder started blind: it starts at something that looks like a block header, writes 16-bit symbols in which a value
from 0x8000 on stands for "byte i of the unknown window", and waits until no such marker is left in the last 32 KiB.
(The two-stage idea is that of pugz and rapidgzip; here only a window is wanted, so nothing is kept or resolved.)

Whether a joint is real is not decided here. A decoder that comes from the left and stops at exactly this bit with
exactly this window proves it; until then everything built on a joint is speculation.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from accel_core.inflate cimport (
    DIST_BITS, ENTRY_END, ENTRY_LITERAL, ENTRY_RARE, ENTRY_SUBTABLE, HEADER_BYTES, WINDOW, Inflater, inflate_init,
    likely, load64, load_fixed, read_dynamic_header, unlikely,
)
from accel_core.status cimport CORRUPT, LIMIT, NEED_INPUT, OK, Status

cdef enum:
    SYMBOLS = 131072        # 16-bit symbols decoded between two moves of the window
    SLACK = 320
    MARKER = 0x8000
    # What looks like a header inside a stored block (a compressed file in the layer) falls apart at the stored block's
    # end, at most 64 KiB on: a joint this far from where decoding began has outlived that.
    TRUST_BYTES = 81920
    # Half of all starts are known after 1 MiB of output, the others take 6 MiB more on average: it is cheaper to give up
    # there and start again. (Measured on the big layer of the bench: 8.0 ms a joint without this limit, GIVEUP ms with.)
    PATIENCE = 1048576
    MEMBER_HEADER = 10


cdef struct Blind:              # a decoder that starts with an unknown window
    Inflater inf
    uint16_t *window            # 32 Ki symbols of history, SYMBOLS of output, slack
    uint16_t *out
    const uint8_t *in_next
    uint64_t buf
    uint32_t n                  # bits in buf
    int64_t n_out               # symbols before the current `out - window - WINDOW`


cdef inline bint clean(const uint16_t *symbols) noexcept nogil:
    """No marker among 32 Ki symbols."""
    cdef uint16_t any_bits = 0
    cdef Py_ssize_t i
    for i in range(WINDOW):
        any_bits |= symbols[i]
    return any_bits < MARKER


cdef void begin(Blind *b, const uint8_t *data, int64_t bit) noexcept nogil:
    """Stand in front of a block header at ``bit``."""
    cdef int i
    for i in range(WINDOW):
        b.window[i] = <uint16_t>(MARKER + i)
    b.out = b.window + WINDOW
    b.n_out = 0
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


cdef inline void make_room(Blind *b) noexcept nogil:
    cdef Py_ssize_t n = b.out - b.window - WINDOW
    if n >= SYMBOLS:
        memmove(b.window, b.out - WINDOW, WINDOW * sizeof(uint16_t))
        b.out = b.window + WINDOW
        b.n_out += n


cdef Status codes(Blind *b, const uint8_t *in_stop) noexcept nogil:
    """The symbols of one block: the loop of ``inflate.pxd`` with 16-bit stores. OK at the block's end, LIMIT when they
    are more than PATIENCE."""
    cdef Inflater *s = &b.inf
    cdef const uint8_t *in_next
    cdef uint16_t *out = b.out
    cdef uint16_t *out_stop = b.window + WINDOW + SYMBOLS
    cdef const uint16_t *src
    cdef uint16_t *end
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
            b.out = out
            make_room(b)
            out = b.out
            if b.n_out > PATIENCE:
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
        src = out - distance        # at most 32768 back: always inside the window
        end = out + length
        if likely(distance >= 8):
            while out < end:
                memcpy(out, src, 16)
                out += 8
                src += 8
        else:
            while out < end:
                out[0] = src[0]
                out += 1
                src += 1
        out = end
    b.out = out
    b.in_next = in_next
    b.buf = buf
    b.n = n & 0xFF
    return status


cdef Status stored(Blind *b, const uint8_t *in_stop) noexcept nogil:
    cdef uint32_t length, taken
    cdef uint32_t i
    b.in_next -= b.n >> 3
    b.n = 0
    b.buf = 0
    length = b.in_next[0] | (<uint32_t>b.in_next[1] << 8)
    if length != ((b.in_next[2] | (<uint32_t>b.in_next[3] << 8)) ^ 0xFFFF):
        return CORRUPT
    b.in_next += 4
    if length > in_stop - b.in_next:
        return NEED_INPUT
    while length:
        make_room(b)
        taken = <uint32_t>(b.window + WINDOW + SYMBOLS - b.out)
        taken = length if length < taken else taken
        for i in range(taken):
            b.out[i] = b.in_next[i]
        b.out += taken
        b.in_next += taken
        length -= taken
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


cdef Status decode_until_known(Blind *b, const uint8_t *data, int64_t start, const uint8_t *in_stop, int64_t *joint,
                               bint *member) noexcept nogil:
    """Decode blocks from bit ``start`` until a joint is reached. CORRUPT: there was no block at ``start``. LIMIT: none
    after PATIENCE bytes; ``b.in_next`` is where to go on."""
    cdef bint final = False
    cdef int64_t bit
    cdef Status status
    begin(b, data, start)
    while True:
        status = block(b, in_stop, &final)
        if status != OK:
            return status
        bit = (b.in_next - data) * 8 - b.n
        if final:
            # A member's end: the next one, behind the 8 bytes of trailer, needs no window.
            joint[0] = ((bit + 7) >> 3) + 8
            if in_stop - data < joint[0] + MEMBER_HEADER:
                return NEED_INPUT
            if not is_member(data + joint[0]):
                return CORRUPT
            member[0] = True
            return OK
        if bit - start >= TRUST_BYTES * 8 and clean(b.out - WINDOW):
            joint[0] = bit
            member[0] = False
            return OK
        if b.n_out > PATIENCE:
            return LIMIT


cdef inline bint precode_fits(uint64_t v, uint32_t more) noexcept nogil:
    """``v``: 64 bits from BFINAL on; ``more``: the 10 bits behind the first 64. The code lengths code is complete."""
    cdef uint32_t n_pre = 4 + (<uint32_t>(v >> 13) & 15)
    cdef uint32_t total = 0, _i, length
    v >>= 17
    v |= <uint64_t>more << 47
    for _i in range(n_pre):
        length = v & 7
        v >>= 3
        if length:
            total += <uint32_t>128 >> length
    return total == 128


cdef int64_t next_candidate(const uint8_t *data, int64_t bit, int64_t end_bit) noexcept nogil:
    """First bit in [bit, end_bit) that looks like a non-final dynamic block header; -1 if none does."""
    cdef uint64_t v
    cdef uint32_t more
    while bit < end_bit:
        v = load64(data + (bit >> 3)) >> (bit & 7)
        # BFINAL 0, BTYPE 10, HLIT <= 29, HDIST <= 29
        if (v & 7) == 4 and (v & 0xF0) != 0xF0 and (v & 0x1E00) != 0x1E00:
            more = 0
            if bit & 7:
                v |= <uint64_t>data[(bit >> 3) + 8] << (64 - (bit & 7))
                more = data[(bit >> 3) + 8] >> (bit & 7)
                more |= <uint32_t>(data[(bit >> 3) + 9] | (<uint32_t>data[(bit >> 3) + 10] << 8)) << (8 - (bit & 7))
            else:
                more = data[(bit >> 3) + 8] | (<uint32_t>data[(bit >> 3) + 9] << 8)
            if precode_fits(v, more & 0x3FF):
                return bit
        bit += 1
    return -1


cdef inline void low_bytes(const uint16_t *symbols, uint8_t *window) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(WINDOW):
        window[i] = <uint8_t>symbols[i]


def find_joint(data, Py_ssize_t start, Py_ssize_t search_bytes):
    """The first joint in ``data`` that follows from a start within ``[start, start + search_bytes)``.

    ``(bit, None)`` for the start of a gzip member, ``(bit, window)`` for a block boundary with its 32768 bytes of
    history; bits count from the start of ``data``. None if there is none before the end of ``data``.
    """
    cdef const uint8_t[::1] view = data
    cdef Py_ssize_t n = view.shape[0]
    cdef const uint8_t *p
    cdef const uint8_t *in_stop
    cdef int64_t bit = <int64_t>start * 8
    cdef int64_t end_bit = <int64_t>min(start + search_bytes, n - 2 * HEADER_BYTES) * 8
    cdef int64_t joint = -1
    cdef bint member = False
    cdef Blind *b
    cdef uint8_t[::1] window
    cdef Status status = CORRUPT
    if bit >= end_bit:
        return None
    p = &view[0]
    in_stop = p + n - HEADER_BYTES
    b = <Blind *>malloc(sizeof(Blind))
    if b == NULL:
        raise MemoryError()
    b.window = <uint16_t *>malloc((WINDOW + SYMBOLS + SLACK) * sizeof(uint16_t))
    if b.window == NULL:
        free(b)
        raise MemoryError()
    out = None
    with nogil:
        inflate_init(&b.inf)
        while True:
            bit = next_candidate(p, bit, end_bit)
            if bit < 0:
                break
            status = decode_until_known(b, p, bit, in_stop, &joint, &member)
            if status == OK or status == NEED_INPUT:
                break
            bit = (b.in_next - p) * 8 if status == LIMIT else bit + 1
    if bit >= 0 and status == OK:
        if member:
            out = (joint * 8, None)
        else:
            kept = bytearray(WINDOW)
            window = kept
            low_bytes(b.out - WINDOW, &window[0])
            out = (joint, bytes(kept))
    free(b.window)
    free(b)
    return out
