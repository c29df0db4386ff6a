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
    WRITE_SLACK, BitWriter, BlockCoder, Counts, SymbolTables, Token, align, coder_init, fill_tables, slot_of,
    write_block,
)
from accel_core.member_search cimport SEARCH_WINDOW, Found, Search, find
from accel_core.status cimport LIMIT, NO_MEMORY, OK, Status

cdef enum:
    CAP_TOKENS = 1 << 16
    STEP_MAX = 1 << 13
    STEP = 512              # symbols in a block, at least, but in a member's last one
    MEMBER_HEADER = 10
    MEMBER_TRAILER = 8
    MAX_DATA = 1 << 30

    LOG_BITS = 10
    LOG_UNIT = 12

cdef extern from *:
    int __builtin_clz(unsigned int) noexcept nogil

cdef int PARAM[8]
PARAM[:] = [16, 32, 4096, 3, 120, 3, 4096, 0]
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


cdef inline bint is_true(const uint8_t *data, Py_ssize_t pos, Py_ssize_t length, Py_ssize_t distance) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(pos, pos + length):
        if data[i] != data[i - distance]:
            return False
    return True


cdef Status write_out(Encoder *e, bint final) noexcept nogil:
    """Write the block."""
    cdef Py_ssize_t left = e.n_tokens - e.n_block
    if not write_block(&e.coder, &TABLES, &e.bits, e.data + e.block, e.block_end - e.block, e.tokens, e.n_block,
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


cdef Status add(Encoder *e, Py_ssize_t pos, uint32_t length, uint32_t distance) noexcept nogil:
    """Literals up to ``pos`` and, if ``length`` is not 0, a match there."""
    cdef Py_ssize_t n, i
    cdef Status status
    while True:
        n = pos - e.pos
        if n > PARAM[6] - e.n_symbols:
            n = PARAM[6] - e.n_symbols
        for i in range(e.pos, e.pos + n):
            e.counts.lit[e.data[i]] += 1
        e.pos += n
        e.n_symbols += <uint32_t>n
        e.tokens[e.n_tokens].n_lits = <uint32_t>n
        e.tokens[e.n_tokens].length = 0
        e.n_tokens += 1
        if e.pos < pos:
            status = end_step(e)
            if status != OK:
                return status
            continue
        if length:
            e.tokens[e.n_tokens - 1].length = <uint16_t>length
            e.tokens[e.n_tokens - 1].distance = <uint16_t>distance
            e.counts.lit[257 + TABLES.len_slot[length]] += 1
            e.counts.dist[slot_of(&TABLES, distance)] += 1
            e.pos += length
            e.n_symbols += 1
        if e.n_symbols >= PARAM[6] and e.pos < e.end:
            return end_step(e)
        return OK


cdef Status search_again(Encoder *e, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Cover [start, stop) anew, as far as matches are found; the last one may reach further."""
    cdef Found found, later
    cdef Status status
    if stop > e.start + SEARCH_WINDOW:
        stop = e.start + SEARCH_WINDOW
    while start < stop:
        found = find(&e.search, e.data, <uint32_t>e.start, <uint32_t>e.end, <uint32_t>start)
        if found.length == 0:
            start += 1
            continue
        if PARAM[1] and found.length < PARAM[1] and start + 1 < stop:
            later = find(&e.search, e.data, <uint32_t>e.start, <uint32_t>e.end, <uint32_t>start + 1)
            if later.length > found.length + (1 if later.distance > found.distance * 4 else 0):
                start += 1
                continue
        if found.length == 4 and found.distance > PARAM[2]:
            start += 1
            continue
        status = add(e, start, found.length, found.distance)
        if status != OK:
            return status
        start += found.length
    return OK


cdef Status encode_member(Encoder *e) noexcept nogil:
    cdef Py_ssize_t start, end, rec_end
    cdef uint32_t distance
    cdef uint64_t record
    cdef Status status
    cdef uint32_t crc
    if e.bits.end - e.bits.out < MEMBER_HEADER + MEMBER_TRAILER:
        return LIMIT
    memcpy(e.bits.out, member_header, MEMBER_HEADER)
    e.bits.out += MEMBER_HEADER
    e.pos = e.block = e.start
    e.search.added = <uint32_t>e.start
    while e.at < e.n_matches:
        record = e.matches[e.at]
        start = <int32_t>(<uint32_t>record - e.origin)
        rec_end = start + <Py_ssize_t>((record >> 32) & 0xFFFF)
        distance = <uint32_t>(record >> 48)
        if start >= e.end:
            break
        end = rec_end if rec_end < e.end else e.end
        start = start if start > e.pos else e.pos
        if start < e.start + <Py_ssize_t>distance and end - start >= PARAM[5]:
            status = search_again(e, start, end)
            if status != OK:
                return status
            start = start if start > e.pos else e.pos
        if (3 <= end - start <= 258 and 1 <= distance <= 32768 and start - <Py_ssize_t>distance >= e.start
                and is_true(e.data, start, end - start, distance)):
            status = add(e, start, <uint32_t>(end - start), distance)
            if status != OK:
                return status
        if rec_end > e.end:
            break
        e.at += 1
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
        e.search.depth = PARAM[0]
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
