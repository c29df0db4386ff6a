"""Deflate blocks (RFC 1951 §3.2) from literals and matches: the cheapest of the three kinds, to the bit.

What a block takes is known exactly before a byte of it is written, so room is checked once a block.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from accel_core.bit_writer cimport WRITE_SLACK, BitWriter, align, flush_bits, put
from accel_core.huffman cimport Huffman, code_lengths, codewords
from accel_core.inflate cimport (
    N_DIST, N_LIT, N_PRE, accel_dist_base as dist_base, accel_dist_extra as dist_extra, accel_len_base as len_base,
    accel_len_extra as len_extra, accel_pre_order as pre_order, likely, unlikely,
)

cdef extern from *:
    """
    /* After a flush at most 7 bits are left; then come four literals, or a match with its extra bits. */
    #define ACCEL_LIT_MAX 14
    _Static_assert(7 + 4 * ACCEL_LIT_MAX <= 63, "four literals must fit the bit buffer");
    _Static_assert(7 + ACCEL_LIT_MAX + 5 + 15 + 13 <= 63, "a match must fit the bit buffer");
    """
    enum:
        LIT_MAX "ACCEL_LIT_MAX"     # longest codeword of a literal or length: one bit less than may be costs nothing

cdef enum:
    END_OF_BLOCK = 256
    DIST_MAX = 15
    PRE_MAX = 7
    MAX_STORED = 65535
    NO_SLOT = 31


cdef struct DistCode:
    uint32_t code
    uint16_t base
    uint8_t code_bits
    uint8_t bits                # with the extra ones


cdef struct Token:              # literals, and the match behind them
    uint16_t n_lits
    uint16_t length             # without a match 0 ...
    uint16_t distance           # ... 0 ...
    uint16_t slot               # ... and NO_SLOT; else the symbol of the distance


cdef struct Counts:             # how often each symbol occurs
    uint32_t lit[N_LIT]
    uint32_t dist[N_DIST]


cdef struct SymbolTables:       # constant: symbols of lengths and distances
    uint8_t len_slot[259]       # less 257
    uint8_t dist_slot[512]      # by distance - 1 below 256, by (distance - 1) >> 7 from 256 on


cdef struct BlockCoder:
    Huffman work
    uint8_t lens[N_LIT + N_DIST]        # of both codes, as the header has them one behind the other
    uint8_t dist_lens[N_DIST]
    uint8_t fixed_lens[N_LIT]
    uint32_t lit[N_LIT]
    uint32_t dist[N_DIST]
    uint32_t match_len[259]             # codeword and extra bits, by length; nothing for 0
    DistCode match_dist[N_DIST]         # nothing for NO_SLOT
    # The code lengths, run-length coded: symbol | extra bits << 8.
    uint16_t runs[N_LIT + N_DIST]
    int n_runs
    int n_lit, n_dist, n_pre
    uint32_t pre_freqs[N_PRE]
    uint8_t pre_lens[N_PRE]
    uint32_t pre[N_PRE]


cdef inline void fill_tables(SymbolTables *t) noexcept nogil:
    cdef int slot, i
    for slot in range(29):
        for i in range(len_base[slot], len_base[slot + 1] if slot < 28 else 259):
            t.len_slot[i] = <uint8_t>slot
    t.len_slot[0] = t.len_slot[1] = t.len_slot[2] = 0
    slot = 0
    for i in range(1, 257):
        while slot < 29 and dist_base[slot + 1] <= i:
            slot += 1
        t.dist_slot[i - 1] = <uint8_t>slot
    for i in range(256):
        while slot < 29 and dist_base[slot + 1] <= (i << 7) + 1:
            slot += 1
        t.dist_slot[256 + i] = <uint8_t>slot if i >= 2 else t.dist_slot[255]


cdef inline uint32_t slot_of(const SymbolTables *t, uint32_t distance) noexcept nogil:
    """Distance symbol (1 <= distance <= 32768)."""
    distance -= 1
    return t.dist_slot[distance if distance < 256 else 256 + (distance >> 7)]


cdef inline void coder_init(BlockCoder *c) noexcept nogil:
    """The lengths of the fixed code (§3.2.6)."""
    memset(c.fixed_lens, 8, 144)
    memset(c.fixed_lens + 144, 9, 112)
    memset(c.fixed_lens + 256, 7, 24)
    memset(c.fixed_lens + 280, 8, 8)


# --- the header of a dynamic block -------------------------------------------------------------------------------

cdef inline void add_run(BlockCoder *c, uint32_t sym, uint32_t extra) noexcept nogil:
    c.runs[c.n_runs] = <uint16_t>(sym | (extra << 8))
    c.n_runs += 1
    c.pre_freqs[sym] += 1


cdef inline void find_runs(BlockCoder *c, int n) noexcept nogil:
    """Run-length code the first ``n`` of ``lens`` (§3.2.7)."""
    cdef int i = 0, left
    cdef uint8_t length
    c.n_runs = 0
    memset(c.pre_freqs, 0, sizeof(c.pre_freqs))
    while i < n:
        length = c.lens[i]
        left = 1
        while i + left < n and c.lens[i + left] == length:
            left += 1
        i += left
        if length:
            add_run(c, length, 0)
            left -= 1
            while left >= 3:
                add_run(c, 16, (left if left < 6 else 6) - 3)
                left -= left if left < 6 else 6
        else:
            while left >= 11:
                add_run(c, 18, (left if left < 138 else 138) - 11)
                left -= left if left < 138 else 138
            if left >= 3:
                add_run(c, 17, left - 3)
                left = 0
        while left:
            add_run(c, length, 0)
            left -= 1


cdef inline uint64_t make_codes(BlockCoder *c, const Counts *counts) noexcept nogil:
    """Codes for a dynamic block; what its header takes, in bits."""
    cdef int i
    cdef uint64_t bits
    code_lengths(&c.work, counts.lit, N_LIT, LIT_MAX, c.lens)
    code_lengths(&c.work, counts.dist, N_DIST, DIST_MAX, c.dist_lens)
    c.n_lit = 286
    while c.lens[c.n_lit - 1] == 0:     # the end of the block always has a codeword
        c.n_lit -= 1
    c.n_dist = 30
    while c.dist_lens[c.n_dist - 1] == 0:
        c.n_dist -= 1
    codewords(c.lens, N_LIT, c.lit)
    codewords(c.dist_lens, N_DIST, c.dist)
    memcpy(c.lens + c.n_lit, c.dist_lens, c.n_dist)
    find_runs(c, c.n_lit + c.n_dist)
    code_lengths(&c.work, c.pre_freqs, N_PRE, PRE_MAX, c.pre_lens)
    codewords(c.pre_lens, N_PRE, c.pre)
    c.n_pre = N_PRE
    while c.n_pre > 4 and c.pre_lens[pre_order[c.n_pre - 1]] == 0:
        c.n_pre -= 1
    bits = 5 + 5 + 4 + 3 * c.n_pre + 2 * c.pre_freqs[16] + 3 * c.pre_freqs[17] + 7 * c.pre_freqs[18]
    for i in range(N_PRE):
        bits += c.pre_freqs[i] * c.pre_lens[i]
    return bits


cdef inline void write_codes(BlockCoder *c, BitWriter *w) noexcept nogil:
    cdef int i
    cdef uint32_t sym, code
    put(w, c.n_lit - 257, 5)
    put(w, c.n_dist - 1, 5)
    put(w, c.n_pre - 4, 4)
    for i in range(c.n_pre):
        flush_bits(w)
        put(w, c.pre_lens[pre_order[i]], 3)
    for i in range(c.n_runs):
        flush_bits(w)
        sym = c.runs[i] & 0xFF
        code = c.pre[sym]
        put(w, code >> 8, code & 0xFF)
        if sym >= 16:
            put(w, c.runs[i] >> 8, 2 if sym == 16 else 3 if sym == 17 else 7)
    flush_bits(w)


# --- the three kinds ---------------------------------------------------------------------------------------------

cdef inline uint64_t symbol_bits(const Counts *counts, const uint32_t *lit, const uint32_t *dist) noexcept nogil:
    """What the symbols take in a code, without extra bits."""
    cdef uint64_t bits = 0
    cdef int i
    for i in range(N_LIT):
        bits += counts.lit[i] * <uint64_t>(lit[i] & 0xFF)
    for i in range(N_DIST):
        bits += counts.dist[i] * <uint64_t>(dist[i] & 0xFF)
    return bits


cdef inline uint64_t fixed_bits(BlockCoder *c, const Counts *counts) noexcept nogil:
    """``symbol_bits`` in the fixed code."""
    cdef uint64_t bits = 0
    cdef int i
    for i in range(N_LIT):
        bits += counts.lit[i] * <uint64_t>c.fixed_lens[i]
    for i in range(N_DIST):
        bits += counts.dist[i] * <uint64_t>5
    return bits


cdef inline uint64_t extra_bits(const Counts *counts) noexcept nogil:
    cdef uint64_t bits = 0
    cdef int i
    for i in range(29):
        bits += counts.lit[257 + i] * <uint64_t>len_extra[i]
    for i in range(30):
        bits += counts.dist[i] * <uint64_t>dist_extra[i]
    return bits


cdef inline uint64_t stored_bits(uint32_t n_pending, size_t n_bytes) noexcept nogil:
    """Stored blocks for ``n_bytes``, with ``n_pending`` bits written of the byte they begin in."""
    cdef size_t n_blocks = (n_bytes + MAX_STORED - 1) // MAX_STORED if n_bytes else 1   # at least one
    cdef uint32_t first = ((n_pending + 3 + 7) & ~<uint32_t>7) - n_pending
    return first + 32 + (n_blocks - 1) * 40 + <uint64_t>n_bytes * 8


cdef inline void write_stored(BitWriter *w, const uint8_t *data, size_t n_bytes, bint final) noexcept nogil:
    cdef size_t n
    while True:
        n = n_bytes if n_bytes < MAX_STORED else MAX_STORED
        n_bytes -= n
        put(w, 1 if final and n_bytes == 0 else 0, 3)
        align(w)
        put(w, n | ((n ^ 0xFFFF) << 16), 32)
        flush_bits(w)
        memcpy(w.out, data, n)
        w.out += n
        data += n
        if n_bytes == 0:
            return


cdef inline void join_extra_bits(BlockCoder *c, const SymbolTables *t) noexcept nogil:
    """Codewords by length and by distance, with room for the extra bits."""
    cdef uint32_t code, slot
    cdef int i
    c.match_len[0] = 0
    for i in range(3, 259):
        slot = t.len_slot[i]
        code = c.lit[257 + slot]
        c.match_len[i] = code + (<uint32_t>(i - len_base[slot]) << (8 + (code & 0xFF))) + len_extra[slot]
    memset(c.match_dist, 0, sizeof(c.match_dist))
    for i in range(30):
        c.match_dist[i].code = c.dist[i] >> 8
        c.match_dist[i].base = dist_base[i]
        c.match_dist[i].code_bits = <uint8_t>c.dist[i]
        c.match_dist[i].bits = <uint8_t>((c.dist[i] & 0xFF) + dist_extra[i])


cdef inline void write_symbols(
    BlockCoder *c, BitWriter *w, const uint8_t *p, const uint8_t *data_end, const Token *tokens, Py_ssize_t n_tokens
) noexcept nogil:
    """The tokens and the end of the block; ``p`` is where the first literal is, nothing is read behind ``data_end``."""
    cdef const Token *token = tokens
    cdef const Token *tokens_end = tokens + n_tokens
    cdef const DistCode *dist
    cdef BitWriter b = w[0]
    cdef uint32_t n_lits, code
    while token < tokens_end:
        n_lits = token.n_lits
        if n_lits > 4 or unlikely(data_end - p < 4):
            while n_lits > 4:
                put(&b, c.lit[p[0]] >> 8, c.lit[p[0]] & 0xFF)
                put(&b, c.lit[p[1]] >> 8, c.lit[p[1]] & 0xFF)
                put(&b, c.lit[p[2]] >> 8, c.lit[p[2]] & 0xFF)
                put(&b, c.lit[p[3]] >> 8, c.lit[p[3]] & 0xFF)
                flush_bits(&b)
                p += 4
                n_lits -= 4
            if unlikely(data_end - p < 4):
                while n_lits:
                    put(&b, c.lit[p[0]] >> 8, c.lit[p[0]] & 0xFF)
                    flush_bits(&b)
                    p += 1
                    n_lits -= 1
        # Up to four literals without a branch: whether there is another one is hard to predict.
        if likely(data_end - p >= 4):
            code = c.lit[p[0]] & <uint32_t>(-<int32_t>(n_lits > 0))
            put(&b, code >> 8, code & 0xFF)
            code = c.lit[p[1]] & <uint32_t>(-<int32_t>(n_lits > 1))
            put(&b, code >> 8, code & 0xFF)
            code = c.lit[p[2]] & <uint32_t>(-<int32_t>(n_lits > 2))
            put(&b, code >> 8, code & 0xFF)
            code = c.lit[p[3]] & <uint32_t>(-<int32_t>(n_lits > 3))
            put(&b, code >> 8, code & 0xFF)
            flush_bits(&b)
        code = c.match_len[token.length]
        put(&b, code >> 8, code & 0xFF)
        dist = &c.match_dist[token.slot]
        put(&b, dist.code | (<uint64_t>(token.distance - dist.base) << dist.code_bits), dist.bits)
        flush_bits(&b)
        p += n_lits + token.length
        token += 1
    put(&b, c.lit[END_OF_BLOCK] >> 8, c.lit[END_OF_BLOCK] & 0xFF)
    flush_bits(&b)
    w[0] = b


cdef inline bint write_block(
    BlockCoder *c, const SymbolTables *t, BitWriter *w, const uint8_t *data, size_t n_bytes, const uint8_t *data_end,
    const Token *tokens, Py_ssize_t n_tokens, Counts *counts, bint final,
) noexcept nogil:
    """The ``n_bytes`` at ``data``, as the tokens and their counts say, in the cheapest way. False: no room."""
    cdef uint64_t extra = extra_bits(counts), stored = stored_bits(w.n, n_bytes), fixed, dynamic, least
    counts.lit[END_OF_BLOCK] = 1
    fixed = 3 + fixed_bits(c, counts) + extra
    dynamic = 3 + make_codes(c, counts) + symbol_bits(counts, c.lit, c.dist) + extra
    least = fixed if fixed <= dynamic else dynamic
    least = stored if stored <= least else least
    if ((w.n + least + 7) >> 3) + WRITE_SLACK > <uint64_t>(w.end - w.out):
        return False
    if stored == least:
        write_stored(w, data, n_bytes, final)
        return True
    if fixed == least:
        put(w, final | (1 << 1), 3)
        codewords(c.fixed_lens, N_LIT, c.lit)
        memset(c.dist_lens, 5, N_DIST)
        codewords(c.dist_lens, N_DIST, c.dist)
    else:
        put(w, final | (2 << 1), 3)
        write_codes(c, w)
    join_extra_bits(c, t)
    write_symbols(c, w, data, data_end, tokens, n_tokens)
    return True
