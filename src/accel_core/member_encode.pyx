"""Bytes into gzip members that begin where they are told to, from matches that somebody else has found.

What costs time in compressing is to search for matches. Those of the gzip stream that the bytes come from (see
``gzip_tokens``) are as good in a member as in the stream, unless they reach back over the member's start. Only what
those cover is searched again, in the member's first 32 KiB. The codes are made afresh, which wins back some of what
the members cost: a block is made of steps of some thousand symbols, each joined to the block before it unless codes of
its own are estimated to be worth another header.

Nothing in a record is believed (see ``match_source``): one that is not true is taken for one that reaches back too far.

Members depend on their own bytes and on the records that overlap them, on nothing else.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from accel_core.bit_writer cimport WRITE_SLACK, BitWriter, align
from accel_core.code_cost cimport HEADER_BITS, LOG_BITS, Logs, code_cost, fill_logs
from accel_core.crc32 cimport crc32
from accel_core.deflate_block cimport (
    NO_SLOT, BlockCoder, Counts, SymbolTables, Token, coder_init, fill_tables, slot_of, write_block,
)
from accel_core.huffman cimport MAX_TOTAL
from accel_core.inflate cimport N_DIST, N_LIT, load64, unlikely
from accel_core.match_source cimport (
    MAX_DISTANCE, MAX_MATCH, MIN_MATCH, MatchSource, is_true, open_source, read_ranges, start_piece,
    take_odd_match,
)
from accel_core.status cimport END, LIMIT, OK, Status

cdef enum:
    STEP = 2048                 # symbols that a block grows by, at least: half as many gain 0.1 % of size
    CAP_TOKENS = 1 << 16        # of a block
    CAP_SYMBOLS = MAX_TOTAL - 4 * STEP
    MEMBER_HEADER = 10
    MEMBER_TRAILER = 8
    BLOCK_COST = 8              # a stored block's header and padding, and a little more

cdef extern from *:
    """
    /* Deflate, no flags, no time, no hint at the level, unknown system (RFC 1952 2.3). */
    static const uint8_t accel_member_header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
    """
    const uint8_t *member_header "accel_member_header"

cdef SymbolTables TABLES
cdef Logs LOGS
fill_tables(&TABLES)
fill_logs(&LOGS)


cdef struct Encoder:
    MatchSource source
    # The block, and the step behind it that may become part of it
    Py_ssize_t block_start, block_end
    Py_ssize_t n_block          # tokens of the block
    Py_ssize_t n_tokens         # of both
    uint32_t block_symbols
    uint32_t n_symbols          # of the step
    uint64_t block_cost
    Counts block_counts
    Counts counts               # of the step
    Counts sum
    Token tokens[CAP_TOKENS + STEP + 2]
    BlockCoder coder
    BitWriter bits


# --- blocks ------------------------------------------------------------------------------------------------------

cdef Status write_out(Encoder *e, bint final) noexcept nogil:
    """Write the block; the step, if there is one, stays."""
    if not write_block(
        &e.coder, &TABLES, &e.bits, e.source.data + e.block_start, e.block_end - e.block_start,
        e.source.data + e.source.n_data, e.tokens, e.n_block, &e.block_counts, final,
    ):
        return LIMIT
    e.n_tokens -= e.n_block
    memmove(e.tokens, e.tokens + e.n_block, e.n_tokens * sizeof(Token))
    e.block_start = e.block_end
    e.n_block = 0
    return OK


cdef uint64_t cost_of(const Counts *counts) noexcept nogil:
    return code_cost(&LOGS, counts.lit, N_LIT) + code_cost(&LOGS, counts.dist, N_DIST)


cdef bint join(Encoder *e, uint64_t step_cost) noexcept nogil:
    """Make the step part of the block, if that is worth it."""
    cdef uint64_t cost
    cdef int i
    if e.n_tokens > CAP_TOKENS or e.block_symbols + e.n_symbols > CAP_SYMBOLS:
        return False
    for i in range(N_LIT):
        e.sum.lit[i] = e.block_counts.lit[i] + e.counts.lit[i]
    for i in range(N_DIST):
        e.sum.dist[i] = e.block_counts.dist[i] + e.counts.dist[i]
    cost = cost_of(&e.sum)
    if cost > e.block_cost + step_cost + (<uint64_t>HEADER_BITS << LOG_BITS):
        return False
    e.block_counts = e.sum
    e.block_cost = cost
    e.block_symbols += e.n_symbols
    return True


cdef Status end_step(Encoder *e) noexcept nogil:
    """Join the step to the block, or write that and begin one with the step."""
    cdef uint64_t step_cost = cost_of(&e.counts)
    cdef Status status
    if e.n_block == 0 or not join(e, step_cost):
        if e.n_block:
            status = write_out(e, False)
            if status != OK:
                return status
        e.block_counts = e.counts
        e.block_cost = step_cost
        e.block_symbols = e.n_symbols
    e.n_block = e.n_tokens
    e.block_end = e.source.pos
    e.n_symbols = 0
    memset(&e.counts, 0, sizeof(Counts))
    return OK


# --- tokens ------------------------------------------------------------------------------------------------------

cdef inline void set_token(
    Encoder *e, Token *token, uint32_t n_lits, uint32_t length, uint32_t distance
) noexcept nogil:
    """Literals and a match, which is counted; the literals are not."""
    cdef uint32_t slot = slot_of(&TABLES, distance)
    e.counts.lit[257 + TABLES.len_slot[length]] += 1
    e.counts.dist[slot] += 1
    token.n_lits = <uint16_t>n_lits
    token.length = <uint16_t>length
    token.distance = <uint16_t>distance
    token.slot = <uint16_t>slot


cdef void add_literals(Encoder *e, Py_ssize_t n) noexcept nogil:
    """A token of ``n`` <= 65535 literals."""
    cdef Token *token = &e.tokens[e.n_tokens]
    cdef Py_ssize_t i
    for i in range(e.source.pos, e.source.pos + n):
        e.counts.lit[e.source.data[i]] += 1
    token.n_lits = <uint16_t>n
    token.length = token.distance = 0
    token.slot = NO_SLOT
    e.n_tokens += 1
    e.n_symbols += <uint32_t>n
    e.source.pos += n


cdef Status add_up_to(Encoder *e, Py_ssize_t pos) noexcept nogil:
    """Literals up to ``pos``; fewer than a step's symbols are left."""
    cdef Status status
    while pos - e.source.pos >= STEP - <Py_ssize_t>e.n_symbols:
        add_literals(e, STEP - <Py_ssize_t>e.n_symbols)
        status = end_step(e)
        if status != OK:
            return status
    add_literals(e, pos - e.source.pos)
    return OK


cdef Status add_match(void *encoder, Py_ssize_t pos, uint32_t length, uint32_t distance) noexcept nogil:
    """Literals up to ``pos``, and a match there."""
    cdef Encoder *e = <Encoder *>encoder
    cdef Token *token
    cdef Status status = add_up_to(e, pos)
    if status != OK:
        return status
    token = &e.tokens[e.n_tokens - 1]
    set_token(e, token, token.n_lits, length, distance)
    e.source.pos += length
    e.n_symbols += 1
    return end_step(e) if e.n_symbols >= STEP else OK


cdef Status take_matches(Encoder *e) noexcept nogil:
    """Tokens from the records as they come, as long as these are true matches within the member, one behind the
    other, and neither in the last bytes of the data nor behind literals that end the step. The first other one is left
    to ``take_odd_match``, which would do the same with them all.
    """
    cdef const uint8_t *data = e.source.data
    cdef const uint8_t *p
    cdef const uint8_t *at = e.source.records + 8 * e.source.at
    cdef const uint8_t *last = e.source.records + 8 * e.source.n_records
    cdef Py_ssize_t first = e.source.start, end = e.source.end, safe = e.source.n_data - 8
    cdef Py_ssize_t start, length, distance, n_lits, i, pos = e.source.pos
    cdef uint64_t record
    cdef uint32_t *lit = e.counts.lit
    cdef Token *token = &e.tokens[e.n_tokens]
    cdef Py_ssize_t n_symbols = e.n_symbols
    cdef uint32_t origin = e.source.origin
    cdef Status status = OK
    while at < last:
        record = load64(at)
        start = <int32_t>(<uint32_t>record - origin)
        length = <Py_ssize_t>((record >> 32) & 0xFFFF)
        distance = <Py_ssize_t>(record >> 48)
        n_lits = start - pos
        # One branch for all that must not be negative.
        if unlikely(
            (n_lits | (STEP - 1 - n_symbols - n_lits) | (end - start - length) | (safe - start)
             | (start - first - distance) | (length - MIN_MATCH) | (MAX_MATCH - length)
             | (distance - 1) | (MAX_DISTANCE - distance)) < 0
        ):
            break
        if unlikely(not is_true(data + start, length, distance)):
            break
        # How many literals there are is hard to predict: up to four without a branch.
        p = data + pos
        i = 4
        while i < n_lits:
            lit[p[i]] += 1
            i += 1
        lit[p[0]] += n_lits > 0
        lit[p[1]] += n_lits > 1
        lit[p[2]] += n_lits > 2
        lit[p[3]] += n_lits > 3
        set_token(e, token, <uint32_t>n_lits, <uint32_t>length, <uint32_t>distance)
        token += 1
        at += 8
        n_symbols += n_lits + 1
        pos = start + length
        if n_symbols >= STEP:
            e.source.pos = pos
            e.n_symbols = <uint32_t>n_symbols
            e.n_tokens = token - e.tokens
            status = end_step(e)
            if status != OK:
                return status
            n_symbols = 0
            token = &e.tokens[e.n_tokens]
    e.source.pos = pos
    e.n_symbols = <uint32_t>n_symbols
    e.n_tokens = token - e.tokens
    e.source.at = (at - e.source.records) >> 3
    return OK


# --- members -----------------------------------------------------------------------------------------------------

cdef Status encode_member(Encoder *e) noexcept nogil:
    """The source's piece as one member (RFC 1952 §2.3)."""
    cdef const MatchSource *m = &e.source
    cdef Status status = OK
    cdef uint64_t trailer
    memcpy(e.bits.out, member_header, MEMBER_HEADER)
    e.bits.out += MEMBER_HEADER
    e.block_start = m.start
    while status == OK:
        status = take_matches(e)
        if status != OK:
            return status
        status = take_odd_match(&e.source, add_match, e, False)
    if status == END:
        status = add_up_to(e, m.end)
    if status == OK:
        status = end_step(e)
    if status == OK:
        status = write_out(e, True)
    if status != OK:
        return status
    align(&e.bits)
    trailer = crc32(0, m.data + m.start, m.end - m.start) | (<uint64_t>(m.end - m.start) << 32)
    memcpy(e.bits.out, &trailer, MEMBER_TRAILER)
    e.bits.out += MEMBER_TRAILER
    return OK


cdef Py_ssize_t room_for(Py_ssize_t n_bytes) noexcept nogil:
    """What a member takes at most: stored blocks, each of STEP symbols and so as many bytes, but for the last two."""
    return MEMBER_HEADER + n_bytes + BLOCK_COST * (n_bytes // STEP + 2) + MEMBER_TRAILER


cdef class _Members:
    """Where members are, and the memory to make them; ``encode_members`` is its only user."""
    cdef Encoder *e
    cdef int64_t *starts
    cdef int64_t *ends
    cdef int64_t *offsets
    cdef uint8_t *out
    cdef Py_ssize_t n, room

    def __cinit__(self, starts, ends, const uint8_t[::1] data, const uint8_t[::1] records, int64_t origin):
        cdef Py_ssize_t i
        self.e = <Encoder *>calloc(1, sizeof(Encoder))
        if self.e == NULL:
            raise MemoryError()
        open_source(&self.e.source, data, records, origin)
        self.n = len(starts)
        if ends is not None and len(ends) != self.n:
            raise ValueError(f"{self.n} starts, {len(ends)} ends")
        self.starts = <int64_t *>malloc((self.n + 1) * sizeof(int64_t))
        self.ends = <int64_t *>malloc((self.n + 1) * sizeof(int64_t))
        self.offsets = <int64_t *>malloc((self.n + 1) * sizeof(int64_t))
        if self.starts == NULL or self.ends == NULL or self.offsets == NULL:
            raise MemoryError()
        read_ranges("member", starts, ends, data.shape[0], self.starts, self.ends)
        for i in range(self.n):
            self.room += room_for(self.ends[i] - self.starts[i])
        self.room += WRITE_SLACK
        self.out = <uint8_t *>malloc(self.room)
        if self.out == NULL:
            raise MemoryError()
        coder_init(&self.e.coder)
        self.e.bits.out = self.out
        self.e.bits.end = self.out + self.room

    def __dealloc__(self):
        free(self.e)
        free(self.starts)
        free(self.ends)
        free(self.offsets)
        free(self.out)

    cdef Status encode(self) noexcept nogil:
        cdef Status status = OK
        cdef Py_ssize_t i
        for i in range(self.n):
            self.offsets[i] = self.e.bits.out - self.out
            start_piece(&self.e.source, self.starts[i], self.ends[i])
            status = encode_member(self.e)
            if status != OK:
                break
        return status


def encode_members(data, starts, ends=None, *, matches, int64_t origin=0):
    """``(blob, offsets)``: gzip members one behind the other, and where each begins in ``blob``.

    Member i holds ``data[starts[i]:ends[i]]``; without ``ends`` it reaches to the next one's start, the last to the
    end.
    Members must be in order and not overlap, or ValueError is raised.

    ``matches`` are records of ``accel_core.gzip_tokens`` in the order of their positions; ``origin`` is the position
    of ``data[0]`` in the stream they are from. Those that lie before or behind ``data`` are ignored, one that overlaps
    its start or end is used as far as it can be. One that is not true costs size, nothing else.

    The same bytes and records give the same members on every machine, whatever else is in the call. The GIL is
    released. Memory: 0.7 MiB and, for a moment, twice the output. ``data`` has at most 1 GiB.
    """
    cdef const uint8_t[::1] view = data
    cdef const uint8_t[::1] records = matches
    cdef _Members members
    cdef Status status
    members = _Members(starts, ends, view, records, origin)
    with nogil:
        status = members.encode()
    if status != OK:
        raise AssertionError(f"unexpected status {status}")
    blob = PyBytes_FromStringAndSize(<char *>members.out, members.e.bits.out - members.out)
    return blob, [members.offsets[i] for i in range(members.n)]
