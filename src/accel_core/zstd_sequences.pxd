"""The sequences section of a zstd block (RFC 8878 §3.1.1.3.2): how many literals, and which match behind them.

Lengths and offsets are codes with extra bits. The codes of each kind come in a finite state code of their own:
predefined, of one symbol, described, or the one that the frame used last, whichever takes least. All bits are written
from the last sequence to the first.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from accel_core.bit_writer cimport BitWriter, flush_bits, put
from accel_core.fse cimport (
    COST_BITS, DESCRIPTION_BYTES, NEVER, FseCosts, FseTable, build, build_single, describe, first_state, fse_cost,
    log2_floor, next_state, normalise, put_state, table_log,
)
from accel_core.inflate cimport unlikely

cdef extern from *:
    """
    #define ACCEL_STATES_BITS (9 + 8 + 9)   /* what the three states may put for a sequence */
    #define ACCEL_EXTRA_BITS 30             /* what may follow them without a flush */
    _Static_assert(7 + ACCEL_STATES_BITS + ACCEL_EXTRA_BITS <= 63, "a sequence must fit the bit buffer");

    /* Baselines less their extra bits are multiples of these: the low bits of a length are its extra bits. */
    static const uint8_t accel_zlit_extra[36] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const uint32_t accel_zlit_base[36] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
    static const uint8_t accel_zlen_extra[53] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const uint32_t accel_zlen_base[53] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        32, 34, 36, 38, 40, 44, 48, 56, 64, 80, 96, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};

    /* The predefined probabilities (3.1.1.3.2.2). */
    static const int16_t accel_zlit_norm[36] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1,
        2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
    static const int16_t accel_zoff_norm[29] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};
    static const int16_t accel_zlen_norm[53] = {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};
    """
    enum:
        EXTRA_BITS "ACCEL_EXTRA_BITS"
    const uint8_t *zlit_extra "accel_zlit_extra"
    const uint32_t *zlit_base "accel_zlit_base"
    const uint8_t *zlen_extra "accel_zlen_extra"
    const uint32_t *zlen_base "accel_zlen_base"
    const int16_t *zlit_norm "accel_zlit_norm"
    const int16_t *zoff_norm "accel_zoff_norm"
    const int16_t *zlen_norm "accel_zlen_norm"

cdef enum:                      # kinds of codes, in the order of their tables
    LIT = 0
    OFF = 1
    LEN = 2

cdef enum:                      # how a table comes
    PREDEFINED = 0
    SINGLE = 1
    DESCRIBED = 2
    REPEATED = 3

cdef enum:
    SHORT = 128                 # lengths below have their code in a table
    PLAIN_LITS = 16             # lengths below are their own code
    PLAIN_LENGTHS = 32          # the same, of matches
    MIN_ZSTD_MATCH = 3
    MIN_DESCRIBED = 24          # fewer sequences do not pay for a table
    FEW_SEQUENCES = 0x7F00      # more have a count of three bytes


cdef struct Sequence:           # literals, and the match behind them
    uint32_t n_lits
    uint32_t length
    uint32_t distance


cdef struct Coded:              # a sequence's codes
    uint64_t extra
    uint8_t n_extra
    uint8_t lit
    uint8_t off
    uint8_t length


cdef struct SequenceTables:     # constant
    uint8_t lit_code[SHORT]
    uint8_t len_code[SHORT]             # by length less MIN_ZSTD_MATCH
    FseTable predefined[3]
    FseCosts costs


cdef struct SequenceCoder:
    uint32_t repeats[3]                 # the last distances
    uint32_t repeats_before[3]          # in front of the block
    uint32_t counts[2][3][64]           # of codes by kind; sequences count in turn in the one and the other
    FseTable tables[3][2]
    int last[3]                         # which of them the frame used last; the other is for new ones
    bint has_last[3]
    int modes[3]                          # of the block
    const FseTable *used[3]


cdef inline uint32_t lit_code(const SequenceTables *t, uint32_t n) noexcept nogil:
    return t.lit_code[n] if n < SHORT else log2_floor(n) + 19


cdef inline uint32_t len_code(const SequenceTables *t, uint32_t n) noexcept nogil:
    """Of a length less MIN_ZSTD_MATCH."""
    return t.len_code[n] if n < SHORT else log2_floor(n) + 36


cdef inline void fill_predefined(FseTable *table, const int16_t *norm, int n_syms, uint32_t log) noexcept nogil:
    table.log = log
    table.n_syms = n_syms
    memcpy(table.norm, norm, n_syms * sizeof(int16_t))
    build(table)


cdef inline void fill_sequence_tables(SequenceTables *t) noexcept nogil:
    """All but the costs."""
    cdef int i
    cdef uint8_t code = 0
    for i in range(SHORT):
        while code < 35 and <int>zlit_base[code + 1] <= i:
            code += 1
        t.lit_code[i] = code
    code = 0
    for i in range(SHORT):
        while code < 52 and <int>zlen_base[code + 1] <= i:
            code += 1
        t.len_code[i] = code
    fill_predefined(&t.predefined[LIT], zlit_norm, 36, 6)
    fill_predefined(&t.predefined[OFF], zoff_norm, 29, 5)
    fill_predefined(&t.predefined[LEN], zlen_norm, 53, 6)


cdef inline void start_sequences(SequenceCoder *c) noexcept nogil:
    """In front of a frame."""
    c.repeats[0], c.repeats[1], c.repeats[2] = 1, 4, 8
    c.has_last[LIT] = c.has_last[OFF] = c.has_last[LEN] = False


# --- codes -------------------------------------------------------------------------------------------------------

cdef inline void code_sequences(
    SequenceCoder *c, const SequenceTables *t, const Sequence *sequences, Py_ssize_t n, Coded *coded
) noexcept nogil:
    """Codes of the sequences, which are counted; distances that occurred lately have short ones (§3.1.1.5)."""
    cdef uint32_t r0 = c.repeats[0], r1 = c.repeats[1], r2 = c.repeats[2]
    cdef uint32_t n_lits, length, distance, which, offset, lit, off, len_, n_lit, n_len, n_extra, at_match
    cdef uint64_t extra
    cdef Py_ssize_t i
    cdef uint32_t *counts
    memcpy(c.repeats_before, c.repeats, sizeof(c.repeats))
    memset(c.counts, 0, sizeof(c.counts))
    for i in range(n):
        n_lits = sequences[i].n_lits
        length = sequences[i].length - MIN_ZSTD_MATCH
        distance = sequences[i].distance
        # Without literals the last distance cannot be meant, but one less can. No branch: this is hard to predict.
        at_match = n_lits == 0
        which = 2 if distance == r2 else 3
        which = 1 if distance == r1 else which
        which = at_match * 3 if distance == r0 else which
        offset = distance + 3 if which == 3 else which + 1 - at_match
        offset = 3 if (at_match != 0) & (which == 3) & (distance == r0 - 1) else offset
        r2 = r2 if which < 2 else r1
        r1 = r1 if which < 1 else r0
        r0 = distance
        off = log2_floor(offset)
        extra = offset ^ (<uint32_t>1 << off)
        n_extra = off
        lit = n_lits
        len_ = length
        if unlikely((n_lits >= PLAIN_LITS) | (length >= PLAIN_LENGTHS)):
            lit = lit_code(t, n_lits)
            len_ = len_code(t, length)
            n_lit = zlit_extra[lit]
            n_len = zlen_extra[len_]
            extra = (extra << n_len) | (length & ((1 << n_len) - 1))
            extra = (extra << n_lit) | (n_lits & ((1 << n_lit) - 1))
            n_extra += n_lit + n_len
        coded[i].extra = extra
        coded[i].n_extra = <uint8_t>n_extra
        coded[i].lit = <uint8_t>lit
        coded[i].off = <uint8_t>off
        coded[i].length = <uint8_t>len_
        counts = c.counts[i & 1][0]
        counts[lit] += 1
        counts[64 + off] += 1
        counts[128 + len_] += 1
    c.repeats[0] = r0
    c.repeats[1] = r1
    c.repeats[2] = r2
    counts = c.counts[0][0]
    for i in range(3 * 64):
        counts[i] += counts[3 * 64 + i]


# --- tables ------------------------------------------------------------------------------------------------------

cdef inline int n_codes(int kind) noexcept nogil:
    """How many codes there are of a kind; of offsets, those of deflate's distances."""
    return 36 if kind == LIT else 17 if kind == OFF else 53


cdef inline uint8_t *choose_table(
    SequenceCoder *c, const SequenceTables *t, int kind, uint32_t n, uint8_t *out
) noexcept nogil:
    """The cheapest table for the codes of a kind. Write its description, if it has one; where that ends."""
    cdef const uint32_t *counts = c.counts[0][kind]
    cdef const FseTable *last = &c.tables[kind][c.last[kind]]
    cdef FseTable *new = &c.tables[kind][1 - c.last[kind]]
    cdef uint8_t description[DESCRIPTION_BYTES]
    cdef uint8_t *end
    cdef uint64_t cost, least
    cdef int n_syms = n_codes(kind), highest
    while counts[n_syms - 1] == 0:
        n_syms -= 1
    highest = n_syms - 1
    c.modes[kind] = PREDEFINED
    c.used[kind] = &t.predefined[kind]
    least = fse_cost(&t.costs, counts, n_syms, c.used[kind])
    if c.has_last[kind]:
        cost = fse_cost(&t.costs, counts, n_syms, last)
        if cost < least:
            least = cost
            c.modes[kind] = REPEATED
            c.used[kind] = last
    if counts[highest] == n:
        if 8 << COST_BITS < least:
            c.modes[kind] = SINGLE
            build_single(new, highest)
            c.used[kind] = new
            out[0] = <uint8_t>highest
            return out + 1
        return out
    if n >= MIN_DESCRIBED:
        new.n_syms = n_syms
        new.log = table_log(n, n_syms, 8 if kind == OFF else 9)
        normalise(counts, n_syms, n, new.log, True, new.norm)
        cost = fse_cost(&t.costs, counts, n_syms, new)
        if cost < least:
            end = describe(new, description)
            cost += <uint64_t>(end - description) << (3 + COST_BITS)
            if cost < least:
                c.modes[kind] = DESCRIBED
                build(new)
                c.used[kind] = new
                memcpy(out, description, end - description)
                return out + (end - description)
    return out


# --- the section -------------------------------------------------------------------------------------------------

cdef inline uint8_t *write_bits(
    const Coded *coded, Py_ssize_t n, const FseTable *lits, const FseTable *offs, const FseTable *lens, uint8_t *out
) noexcept nogil:
    """The bit stream of ``n`` > 0 sequences."""
    cdef const Coded *s = coded + n - 1
    cdef uint32_t lit = first_state(lits, s.lit), off = first_state(offs, s.off), length = first_state(lens, s.length)
    cdef BitWriter w
    w.out = out
    w.buf = s.extra
    w.n = s.n_extra
    flush_bits(&w)
    while s > coded:
        s -= 1
        off = next_state(offs, s.off, off, &w)
        length = next_state(lens, s.length, length, &w)
        lit = next_state(lits, s.lit, lit, &w)
        if unlikely(s.n_extra > EXTRA_BITS):
            flush_bits(&w)
        put(&w, s.extra, s.n_extra)
        flush_bits(&w)
    put_state(lens, length, &w)
    put_state(offs, off, &w)
    put_state(lits, lit, &w)
    put(&w, 1, 1)
    w.n += 7
    flush_bits(&w)
    return w.out


cdef inline uint8_t *write_sequences(
    SequenceCoder *c, const SequenceTables *t, const Sequence *sequences, Py_ssize_t n, Coded *coded, uint8_t *out
) noexcept nogil:
    """The section of ``n`` sequences; where it ends."""
    cdef uint8_t *modes
    cdef int kind
    if n == 0:
        out[0] = 0
        return out + 1
    code_sequences(c, t, sequences, n, coded)
    if n < 128:
        out[0] = <uint8_t>n
        out += 1
    elif n < FEW_SEQUENCES:
        out[0] = <uint8_t>(128 + (n >> 8))
        out[1] = <uint8_t>n
        out += 2
    else:
        out[0] = 255
        out[1] = <uint8_t>(n - FEW_SEQUENCES)
        out[2] = <uint8_t>((n - FEW_SEQUENCES) >> 8)
        out += 3
    modes = out
    out += 1
    for kind in range(3):
        out = choose_table(c, t, kind, <uint32_t>n, out)
    modes[0] = <uint8_t>((c.modes[LIT] << 6) | (c.modes[OFF] << 4) | (c.modes[LEN] << 2))
    return write_bits(coded, n, c.used[LIT], c.used[OFF], c.used[LEN], out)


cdef inline void keep_tables(SequenceCoder *c) noexcept nogil:
    """The block is written as compressed, with sequences: its tables may be used again."""
    cdef int kind
    for kind in range(3):
        if c.modes[kind] == DESCRIBED:
            c.last[kind] = 1 - c.last[kind]
            c.has_last[kind] = True
        elif c.modes[kind] != REPEATED:
            c.has_last[kind] = False


cdef inline void forget_sequences(SequenceCoder *c) noexcept nogil:
    """The block is written in another way: its distances did not occur."""
    memcpy(c.repeats, c.repeats_before, sizeof(c.repeats))
