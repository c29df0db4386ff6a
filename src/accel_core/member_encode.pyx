"""Tar bytes into gzip members that begin where they are told to, from matches that somebody else has found.

Nothing is searched for as long as a match lies within its member. One that reaches back over the member's start is
searched for anew there.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from accel_core.crc32 cimport crc32
from accel_core.deflate_block cimport (
    NO_SLOT, WRITE_SLACK, BitWriter, BlockCoder, Counts, SymbolTables, Token, align, coder_init, fill_tables, slot_of,
    write_block,
)
from accel_core.member_search cimport SEARCH_WINDOW, Found, Search, find, same_bytes, search_restart
from accel_core.inflate cimport load64, unlikely
from accel_core.status cimport END, LIMIT, NO_MEMORY, OK, Status

cdef enum:
    CAP_TOKENS = 1 << 16
    STEP_MAX = 1 << 13
    STEP = 2048             # symbols in a block, at least, but in a member's last one
    LAZY = 16                   # a shorter match found gives way to a longer one at the next byte
    MEMBER_HEADER = 10
    MEMBER_TRAILER = 8
    MAX_DATA = 1 << 30

    LOG_BITS = 10
    LOG_UNIT = 12

cdef extern from *:
    int __builtin_clz(unsigned int) noexcept nogil

cdef int PARAM[8]
PARAM[:] = [8, 32, 4096, 3, 120, 3, 0, 0]
def param(i, v):
    PARAM[i] = v

cdef extern from *:
    """
    static const uint8_t accel_member_header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
    """
    const uint8_t *member_header "accel_member_header"

cdef SymbolTables TABLES
fill_tables(&TABLES)
cdef uint16_t LOG2[1 << LOG_BITS]       # of 1 + i / 2^LOG_BITS, in units of 2^-LOG_UNIT


cdef void fill_log2() noexcept nogil:
    """By squaring, in integers: the same on every machine."""
    cdef uint64_t x
    cdef int i, _bit
    cdef uint32_t log
    for i in range(1 << LOG_BITS):
        x = (<uint64_t>1 << 31) + (<uint64_t>i << (31 - LOG_BITS)) + (<uint64_t>1 << (30 - LOG_BITS))
        log = 0
        for _bit in range(LOG_UNIT):
            x = (x * x) >> 31
            log <<= 1
            if x >> 32:
                x >>= 1
                log |= 1
        LOG2[i] = <uint16_t>log


fill_log2()


cdef inline uint64_t weighted_log2(uint32_t n) noexcept nogil:
    """n * log2(n), in units of 2^-LOG_UNIT bits; n > 0."""
    cdef int top = 31 - __builtin_clz(n)
    cdef uint32_t rest = n << (31 - top)
    return n * <uint64_t>((top << LOG_UNIT) + LOG2[(rest >> (31 - LOG_BITS)) & ((1 << LOG_BITS) - 1)])


cdef uint64_t estimate(const Counts *counts) noexcept nogil:
    """What the symbols take in codes of their own, with the header: bits, in units of 2^-LOG_UNIT."""
    cdef uint64_t bits = 0
    cdef uint32_t total = 0, used = 0
    cdef int i
    for i in range(286):
        if counts.lit[i]:
            total += counts.lit[i]
            used += 1
            bits -= weighted_log2(counts.lit[i])
    bits += weighted_log2(total)
    total = 0
    for i in range(30):
        if counts.dist[i]:
            total += counts.dist[i]
            used += 1
            bits -= weighted_log2(counts.dist[i])
    if total:
        bits += weighted_log2(total)
    return bits + (<uint64_t>(used * PARAM[3] + PARAM[4]) << LOG_UNIT)


cdef struct Encoder:
    const uint8_t *data
    Py_ssize_t n_data
    const uint64_t *matches
    Py_ssize_t n_matches
    Py_ssize_t at               # first record that does not end before the member begins
    uint32_t origin
    # The member
    Py_ssize_t start, end
    Py_ssize_t pos              # of the first byte that no token covers
    Py_ssize_t block            # of the first byte of the block
    # The block, and the step behind it that may become part of it
    Py_ssize_t block_end
    Py_ssize_t n_block          # tokens of the block
    Py_ssize_t n_tokens         # of both
    uint32_t block_symbols
    uint32_t n_symbols          # of the step
    uint64_t block_estimate
    Counts block_counts
    Counts counts
    Counts sum
    Token tokens[CAP_TOKENS + 2 * STEP_MAX]
    BlockCoder coder
    BitWriter bits
    Search search


cdef Status write_out(Encoder *e, bint final) noexcept nogil:
    """Write the block."""
    cdef Py_ssize_t left = e.n_tokens - e.n_block
    if not write_block(&e.coder, &TABLES, &e.bits, e.data + e.block, e.block_end - e.block, e.data + e.n_data, e.tokens, e.n_block,
                       &e.block_counts, final):
        return LIMIT
    memmove(e.tokens, e.tokens + e.n_block, left * sizeof(Token))
    e.block = e.block_end
    e.n_tokens = left
    e.n_block = 0
    return OK


cdef Status end_step(Encoder *e) noexcept nogil:
    """Join the step to the block, or let it begin one."""
    cdef uint64_t alone, together
    cdef Status status
    cdef int i
    if e.n_block:
        for i in range(288):
            e.sum.lit[i] = e.block_counts.lit[i] + e.counts.lit[i]
        for i in range(32):
            e.sum.dist[i] = e.block_counts.dist[i] + e.counts.dist[i]
        alone = estimate(&e.counts)
        together = estimate(&e.sum)
        if together <= e.block_estimate + alone and e.n_tokens < CAP_TOKENS and e.block_symbols + e.n_symbols < 200000:
            e.block_counts = e.sum
            e.block_estimate = together
            e.n_block = e.n_tokens
            e.block_end = e.pos
            e.block_symbols += e.n_symbols
            e.n_symbols = 0
            memset(&e.counts, 0, sizeof(Counts))
            return OK
        status = write_out(e, False)
        if status != OK:
            return status
    else:
        alone = estimate(&e.counts)
    e.block_counts = e.counts
    e.block_estimate = alone
    e.n_block = e.n_tokens
    e.block_symbols = e.n_symbols
    e.block_end = e.pos
    e.n_symbols = 0
    memset(&e.counts, 0, sizeof(Counts))
    return OK


cdef inline void count_literals(Encoder *e, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        e.counts.lit[p[i]] += 1


cdef inline void put_token(Encoder *e, uint32_t n_lits, uint32_t length, uint32_t distance) noexcept nogil:
    cdef Token *token = &e.tokens[e.n_tokens]
    cdef uint32_t slot = NO_SLOT
    if length:
        slot = slot_of(&TABLES, distance)
        e.counts.lit[257 + TABLES.len_slot[length]] += 1
        e.counts.dist[slot] += 1
    token.n_lits = <uint16_t>n_lits
    token.length = <uint16_t>length
    token.distance = <uint16_t>distance
    token.slot = <uint16_t>slot
    e.n_tokens += 1
    e.n_symbols += n_lits + (1 if length else 0)
    e.pos += n_lits + length


cdef Status add(Encoder *e, Py_ssize_t pos, uint32_t length, uint32_t distance) noexcept nogil:
    """Literals up to ``pos`` and, if ``length`` is not 0, a match there."""
    cdef Py_ssize_t n
    cdef Status status
    while pos - e.pos > STEP - e.n_symbols:
        n = STEP - e.n_symbols
        count_literals(e, e.data + e.pos, n)
        put_token(e, <uint32_t>n, 0, 0)
        status = end_step(e)
        if status != OK:
            return status
    n = pos - e.pos
    count_literals(e, e.data + e.pos, n)
    put_token(e, <uint32_t>n, length, distance)
    return end_step(e) if e.n_symbols >= STEP else OK


cdef inline bint is_true(const uint8_t *p, Py_ssize_t length, Py_ssize_t distance) noexcept nogil:
    """``length`` >= 3 bytes at ``p`` repeat those ``distance`` before. May read 8 bytes where there are fewer."""
    cdef const uint8_t *q = p - distance
    cdef Py_ssize_t rest = length - 8 if length > 8 else 0
    cdef uint32_t unused = 64 - 8 * <uint32_t>length if length < 8 else 0
    # Most matches are no longer than 16 bytes: two words that may overlap, without a branch.
    if unlikely((((load64(p) ^ load64(q)) | (load64(p + rest) ^ load64(q + rest))) << unused) != 0):
        return False
    while rest > 8:
        rest -= 8
        if unlikely(load64(p + rest) != load64(q + rest)):
            return False
    return True


cdef Status take_matches(Encoder *e) noexcept nogil:
    """Make tokens of the records as long as they are true matches within the member, in order, and not near the end
    of the data; the others are left to the caller.
    """
    cdef const uint8_t *data = e.data
    cdef const uint8_t *p
    cdef const uint64_t *at = e.matches + e.at
    cdef const uint64_t *last = e.matches + e.n_matches
    cdef Py_ssize_t first = e.start, end = e.end, safe = e.n_data - 8
    cdef Py_ssize_t start, length, distance, n_lits, pos = e.pos
    cdef uint64_t record
    cdef uint32_t slot
    cdef uint32_t *lit = e.counts.lit
    cdef Token *token = &e.tokens[e.n_tokens]
    cdef uint32_t n_symbols = e.n_symbols, origin = e.origin
    cdef Status status = OK
    while at < last:
        record = at[0]
        start = <int32_t>(<uint32_t>record - origin)
        length = <Py_ssize_t>((record >> 32) & 0xFFFF)
        distance = <Py_ssize_t>(record >> 48)
        n_lits = start - pos
        if unlikely((n_lits | (STEP - n_lits) | (end - start - length) | (safe - start) | (start - first - distance)
                     | (length - 3) | (258 - length) | (distance - 1) | (32768 - distance)) < 0):
            break
        if unlikely(not is_true(data + start, length, distance)):
            break
        p = data + pos
        if n_lits > 4:
            pos = 4
            while pos < n_lits:
                lit[p[pos]] += 1
                pos += 1
        lit[p[0]] += n_lits > 0
        lit[p[1]] += n_lits > 1
        lit[p[2]] += n_lits > 2
        lit[p[3]] += n_lits > 3
        slot = slot_of(&TABLES, <uint32_t>distance)
        lit[257 + TABLES.len_slot[length]] += 1
        e.counts.dist[slot] += 1
        token.n_lits = <uint16_t>n_lits
        token.length = <uint16_t>length
        token.distance = <uint16_t>distance
        token.slot = <uint16_t>slot
        token += 1
        at += 1
        n_symbols += <uint32_t>n_lits + 1
        pos = start + length
        if n_symbols >= STEP:
            e.pos = pos
            e.n_symbols = n_symbols
            e.n_tokens = token - e.tokens
            status = end_step(e)
            if status != OK:
                return status
            n_symbols = 0
            token = &e.tokens[e.n_tokens]
    e.pos = pos
    e.n_symbols = n_symbols
    e.n_tokens = token - e.tokens
    e.at = at - e.matches
    return OK


cdef Status search_again(Encoder *e, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Cover [start, stop) with matches that are searched for, as far as there are any; the last may reach further."""
    cdef const uint8_t *member = e.data + e.start
    cdef uint32_t n_bytes = <uint32_t>(e.end - e.start), pos = <uint32_t>(start - e.start)
    cdef uint32_t end = <uint32_t>(stop - e.start) if stop - e.start < SEARCH_WINDOW else SEARCH_WINDOW
    cdef Found found, later
    cdef Status status
    if pos >= end:
        return OK
    found = find(&e.search, member, n_bytes, pos)
    while True:
        if found.length == 0 or (found.length < LAZY and pos + 1 < end):
            pos += 1
            if pos >= end:
                return OK
            later = find(&e.search, member, n_bytes, pos)
            if later.length > found.length or found.length == 0:
                found = later
                continue
            pos -= 1
        status = add(e, e.start + pos, found.length, found.distance)
        if status != OK:
            return status
        pos += found.length
        if pos >= end:
            return OK
        found = find(&e.search, member, n_bytes, pos)


cdef Status take_odd_match(Encoder *e) noexcept nogil:
    """The next record, whatever it says. END: it reaches to the end of the member or behind it."""
    cdef uint64_t record = e.matches[e.at]
    cdef Py_ssize_t start = <int32_t>(<uint32_t>record - e.origin)
    cdef Py_ssize_t length = <Py_ssize_t>((record >> 32) & 0xFFFF)
    cdef Py_ssize_t distance = <Py_ssize_t>(record >> 48)
    cdef Py_ssize_t end = start + length, valid
    cdef bint is_last = end > e.end
    cdef Status status
    if start >= e.end:
        return END
    if length > 258 or not 1 <= distance <= 32768:
        e.at += 1
        return OK
    end = end if end < e.end else e.end
    start = start if start > e.pos else e.pos
    valid = start if start > e.start + distance else e.start + distance     # from where on it can be in the member
    if valid < end and not same_bytes(e.data + valid, e.data + valid - distance, end - valid) == end - valid:
        valid = end
    if start < valid and end - start >= 3:
        status = search_again(e, start, valid if valid < end else end)
        if status != OK:
            return status
    start = e.pos if e.pos > valid else valid
    if end - start >= 3:
        status = add(e, start, <uint32_t>(end - start), <uint32_t>distance)
        if status != OK:
            return status
    if is_last:
        return END
    e.at += 1
    return OK


cdef Status encode_member(Encoder *e) noexcept nogil:
    cdef uint64_t record
    cdef Status status
    cdef uint32_t crc
    if e.bits.end - e.bits.out < MEMBER_HEADER + MEMBER_TRAILER:
        return LIMIT
    memcpy(e.bits.out, member_header, MEMBER_HEADER)
    e.bits.out += MEMBER_HEADER
    e.pos = e.block = e.start
    search_restart(&e.search)
    while True:
        status = take_matches(e)
        if status != OK:
            return status
        if e.at == e.n_matches:
            break
        status = take_odd_match(e)
        if status == END:
            break
        if status != OK:
            return status
    status = add(e, e.end, 0, 0)
    if status != OK:
        return status
    status = end_step(e)
    if status != OK:
        return status
    status = write_out(e, True)
    if status != OK:
        return status
    align(&e.bits)
    if e.bits.end - e.bits.out < MEMBER_TRAILER:
        return LIMIT
    crc = crc32(0, e.data + e.start, e.end - e.start)
    record = crc | (<uint64_t>(e.end - e.start) << 32)
    memcpy(e.bits.out, &record, MEMBER_TRAILER)
    e.bits.out += MEMBER_TRAILER
    return OK


cdef Status encode(Encoder *e, const int64_t *starts, const int64_t *ends, int64_t *offsets, Py_ssize_t n,
                   uint8_t *out) noexcept nogil:
    cdef Py_ssize_t i
    cdef Status status
    for i in range(n):
        e.start = starts[i]
        e.end = ends[i]
        offsets[i] = e.bits.out - out
        status = encode_member(e)
        if status != OK:
            return status
    return OK


cdef Py_ssize_t bound(const int64_t *starts, const int64_t *ends, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, size, total = WRITE_SLACK
    for i in range(n):
        size = ends[i] - starts[i]
        total += MEMBER_HEADER + MEMBER_TRAILER + size + 8 * (size // STEP + 1)
    return total


def encode_members(data, starts, ends=None, *, matches, int64_t origin=0):
    cdef const uint8_t[::1] view = data
    cdef const uint8_t[::1] records = matches
    cdef Py_ssize_t n = len(starts), n_data = view.shape[0], size, i
    cdef int64_t *places = <int64_t *>malloc((3 * n + 1) * sizeof(int64_t))
    cdef Encoder *e = <Encoder *>malloc(sizeof(Encoder))
    cdef bytes out
    cdef uint8_t *room
    cdef Status status
    try:
        if places == NULL or e == NULL:
            raise MemoryError()
        if n_data > MAX_DATA:
            raise ValueError("too much")
        for i in range(n):
            places[i] = starts[i]
            places[n + i] = ends[i] if ends is not None else (starts[i + 1] if i + 1 < n else n_data)
            if not (places[n + i - 1] if i else 0) <= places[i] <= places[n + i] <= n_data:
                raise ValueError("bad members")
        memset(e, 0, sizeof(Encoder))
        coder_init(&e.coder)
        e.data = &view[0] if n_data else NULL
        e.n_data = n_data
        e.matches = <const uint64_t *>&records[0] if records.shape[0] >= 8 else NULL
        e.n_matches = records.shape[0] // 8
        e.origin = <uint32_t>origin
        size = bound(places, places + n, n)
        out = PyBytes_FromStringAndSize(NULL, size)
        room = <uint8_t *>PyBytes_AS_STRING(out)
        e.bits.out = room
        e.bits.end = room + size
        with nogil:
            status = encode(e, places, places + n, places + 2 * n, n, room)
        if status != OK:
            raise AssertionError("the bound is wrong")
        return out[:e.bits.out - room], [places[2 * n + i] for i in range(n)]
    finally:
        free(places)
        free(e)
