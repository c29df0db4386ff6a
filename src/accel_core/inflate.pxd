"""The DEFLATE decoder (RFC 1951), as inline text: every module that cimports it compiles its own copy.

``inflate_plain`` and ``inflate_bmi2`` are two such copies, compiled for different instruction sets; ``tokens_plain``
and ``tokens_bmi2`` two that also write down each match. What a copy does not need is decided when it is compiled.

Shape of the decoder, and why it is fast:

* One 64-bit bit buffer; a refill is a load, a shift, an OR and no branch. After it at least 56 bits may be consumed.
* One table entry holds everything a symbol needs: bits to consume *including* extra bits (low byte), code length
  (next byte) and literal, base or subtable start (high half). Extra bits are cut out of the bit buffer as it was
  before the symbol was consumed, so length and distance cost one subtraction each.
* Rare cases (subtable, end of block, invalid code) share one flag bit: the loop tests two flags per symbol.
* The next symbol's entry is loaded before a match is copied, so that the copy hides the table's latency.
* No careful second loop: callers leave ``OUT_SLACK`` bytes behind ``out_limit`` and, for the last bytes of a stream,
  ``IN_PAD`` readable zero bytes behind the input, and compare the end position with the true end afterwards.

Suspending costs nothing: between calls the state is the exact bit position and the tables, never a half-used buffer.
"""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from accel_core.status cimport CORRUPT, END, NEED_INPUT, NEED_ROOM, OK, Status

cdef extern from *:
    """
    /* Table entries:
     *   literal            bit 31 | literal << 16            | len << 8 | len
     *   length, distance            base << 16               | len << 8 | len + extra bits
     *   end of block       bit 15, 13                        | len << 8 | len
     *   subtable           bit 15, 14 | start << 16          | subtable bits << 8 | main table bits
     *   invalid codeword   bit 15                                                  | 1
     * In the subtable a codeword's `len` is what the main table has not consumed yet. */
    #define ENTRY_LITERAL  0x80000000u
    #define ENTRY_RARE     0x00008000u
    #define ENTRY_SUBTABLE 0x00004000u
    #define ENTRY_END      0x00002000u
    #define ENTRY_INVALID  (ENTRY_RARE | 1u)

    #define PRE_BITS  7     /* longest precode codeword: never a subtable */
    #define LIT_BITS  11
    #define DIST_BITS 8     /* a byte mask is cheaper than a 9-bit one */
    #define PRE_ENTRIES  128
    #define LIT_ENTRIES  2342   /* worst cases for 288 symbols / 11 bits and 32 symbols / 8 bits, codewords to 15 */
    #define DIST_ENTRIES 402    /* bits, as zlib's `enough` computes them */

    #define N_LIT 288
    #define N_DIST 32
    #define N_PRE 19
    #define LENS_ROOM (N_LIT + N_DIST + 138)    /* a 138-zero run may start on the last symbol */

    /* One round of the loop consumes at most: 3 literals of up to LIT_BITS, or 2 literals and one length of up to
     * 15 + 5 bits, before the distance is looked up; that needs 8 more bits to be valid. */
    _Static_assert(2 * LIT_BITS + 20 + DIST_BITS <= 56, "a round must fit one refill");

    #define IN_MARGIN 32    /* 3 refills of 7 bytes, plus an 8-byte load */
    #define HEADER_BYTES 320    /* a dynamic header is at most 17 + 19 * 3 + 316 * 7 bits = 286 bytes */
    #define IN_PAD 384      /* HEADER_BYTES + IN_MARGIN, rounded up */
    #define OUT_SLACK 320   /* 2 literals + 258 + 40 of copy overrun, rounded up */
    #define WINDOW 32768

    static const uint8_t accel_pre_order[N_PRE] =
        {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    static const uint16_t accel_len_base[29] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31,
        35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t accel_len_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
        3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t accel_dist_base[30] = {1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193,
        257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    static const uint8_t accel_dist_extra[30] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6,
        7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
    """
    const uint32_t ENTRY_LITERAL, ENTRY_RARE, ENTRY_SUBTABLE, ENTRY_END, ENTRY_INVALID
    enum:
        PRE_BITS
        LIT_BITS
        DIST_BITS
        PRE_ENTRIES
        LIT_ENTRIES
        DIST_ENTRIES
        N_LIT
        N_DIST
        N_PRE
        LENS_ROOM
        IN_MARGIN
        HEADER_BYTES
        IN_PAD
        OUT_SLACK
        WINDOW
    const uint8_t *accel_pre_order
    const uint16_t *accel_len_base
    const uint8_t *accel_len_extra
    const uint16_t *accel_dist_base
    const uint8_t *accel_dist_extra
    bint likely(bint) noexcept nogil
    bint unlikely(bint) noexcept nogil
    int __builtin_clz(unsigned int) noexcept nogil


cdef enum Phase:
    AT_HEADER = 0
    IN_CODES = 1
    IN_STORED = 2


cdef struct BlockMark:          # the boundary in front of a block: a place where inflate can resume
    int64_t bit_pos             # absolute, in the compressed stream
    int64_t out_pos             # absolute, in the uncompressed stream


cdef struct Inflater:
    # Input and output of one call; positions are updated, limits are not.
    const uint8_t *in_next      # byte that holds the next unused bit
    uint32_t in_bit             # 0..7: how many of its low bits are used up
    const uint8_t *in_end
    bint last                   # in_end is the end of the stream and IN_PAD zero bytes may be read behind it
    uint8_t *out_next
    uint8_t *out_limit          # decoding stops at or up to OUT_SLACK bytes behind it
    const uint8_t *history      # matches must not reach back over this
    int64_t stop_bit            # OK is returned at the first boundary at or after this bit of the stream
    # Where the pointers are in the streams.
    const uint8_t *in_origin
    int64_t in_origin_pos
    const uint8_t *out_origin
    int64_t out_origin_pos
    # Boundaries met; the call returns NEED_ROOM when full.
    BlockMark *marks
    int32_t n_marks
    int32_t cap_marks
    # Matches met, by ``inflate_tokens`` only; there must be room for one in three bytes of output, and one more.
    uint64_t *matches           # where the next one goes
    # Between calls.
    int32_t phase
    bint final
    bint fixed_loaded
    bint marks_due              # the block being decoded is not the last one: a mark is due behind it
    uint32_t stored_left
    uint32_t lit_bits           # index bits of the table in use: at most LIT_BITS
    const char *what            # set with CORRUPT
    # Tables.
    uint32_t results[N_LIT]     # literal/length symbol -> entry without its len fields
    uint32_t dist_results[N_DIST]
    uint32_t lit[LIT_ENTRIES]
    uint32_t dist[DIST_ENTRIES]
    uint32_t pre[PRE_ENTRIES]
    uint8_t lens[LENS_ROOM]
    uint16_t sorted_syms[N_LIT]


ctypedef Status (*inflate_fn)(Inflater *) noexcept nogil


cdef inline void inflate_init(Inflater *s) noexcept nogil:
    """Set what never changes and put the decoder in front of a first block."""
    cdef int i
    memset(s, 0, sizeof(Inflater))
    s.stop_bit = INT64_MAX
    for i in range(256):
        s.results[i] = ENTRY_LITERAL | (<uint32_t>i << 16)
    s.results[256] = ENTRY_RARE | ENTRY_END
    for i in range(29):
        s.results[257 + i] = (<uint32_t>accel_len_base[i] << 16) | accel_len_extra[i]
    for i in range(286, N_LIT):     # take part in the fixed code, never legal in data
        s.results[i] = ENTRY_INVALID
    for i in range(30):
        s.dist_results[i] = (<uint32_t>accel_dist_base[i] << 16) | accel_dist_extra[i]
    for i in range(30, N_DIST):
        s.dist_results[i] = ENTRY_INVALID


cdef inline void inflate_restart(Inflater *s) noexcept nogil:
    """In front of the first block of a new member (the tables stay)."""
    s.phase = AT_HEADER
    s.final = False


cdef inline uint32_t next_codeword(uint32_t codeword, uint32_t all_ones) noexcept nogil:
    """Increment a bit-reversed codeword of the length whose last codeword is ``all_ones``; it must not be that one."""
    cdef uint32_t bit = <uint32_t>1 << (31 - __builtin_clz(codeword ^ all_ones))
    return (codeword & (bit - 1)) | bit


cdef inline int build_table(
    uint32_t *table, uint32_t max_bits, const uint8_t *lens, int n_syms, const uint32_t *results,
    uint16_t *sorted_syms, uint32_t *bits_used,
) noexcept nogil:
    """Decode table of a canonical Huffman code (RFC 1951 §3.2.2): 0 complete, 1 incomplete but legal, -1 no legal code.

    Legal as in zlib: incomplete only with no codeword at all or one of length 1. What has no codeword decodes to
    ENTRY_INVALID. The table has ``1 << bits_used`` entries and its subtables behind them.

    Filled by doubling: while codewords of length n are placed the table is one of 2^n entries, and is copied onto its
    second half to grow; codewords longer than the index go to subtables.
    """
    cdef uint16_t count[16]
    cdef uint16_t offset[16]
    cdef uint32_t length, max_len, space, codeword, size, entry, bits, start, stride, prefix, i
    cdef int32_t sub_bits, left
    cdef int sym
    cdef const uint16_t *next_sym
    memset(count, 0, sizeof(count))
    for sym in range(n_syms):
        count[lens[sym]] += 1
    max_len = 15
    while max_len > 0 and count[max_len] == 0:
        max_len -= 1
    bits = max_bits if max_len > max_bits else max_len
    if max_len <= 1:
        # No codeword, one, or the two of length 1.
        if bits == 0:
            bits = 1
        bits_used[0] = bits
        table[0] = table[1] = ENTRY_INVALID
        codeword = 0
        if count[1] > 2:
            return -1
        for sym in range(n_syms):
            if lens[sym] == 1:
                entry = results[sym]
                table[codeword] = entry if entry == ENTRY_INVALID else entry + ((1 << 8) | 1)
                codeword += 1
        return 0 if count[1] == 2 else 1
    bits_used[0] = bits
    # Codespace: must come out exactly full.
    space = 0
    offset[1] = 0
    for length in range(1, max_len + 1):
        space = (space << 1) + count[length]
        if length < 15:
            offset[length + 1] = offset[length] + count[length]
    if space != <uint32_t>1 << max_len:
        return -1
    for sym in range(n_syms):
        if lens[sym] != 0:
            sorted_syms[offset[lens[sym]]] = <uint16_t>sym
            offset[lens[sym]] += 1
    next_sym = sorted_syms
    codeword = 0
    length = 1
    while count[length] == 0:
        length += 1
    size = <uint32_t>1 << length
    left = count[length]
    while length <= bits:
        while left > 0:
            entry = results[next_sym[0]]
            table[codeword] = entry if entry == ENTRY_INVALID else entry + (length << 8) + length
            next_sym += 1
            left -= 1
            if codeword == size - 1:
                while length < bits:
                    memcpy(table + size, table, size * sizeof(uint32_t))
                    size <<= 1
                    length += 1
                return 0
            codeword = next_codeword(codeword, size - 1)
        while left == 0:
            length += 1
            if length <= bits:
                memcpy(table + size, table, size * sizeof(uint32_t))
                size <<= 1
            left = count[length]
    # Longer codewords: one subtable for each distinct value of their first `bits` bits.
    size = <uint32_t>1 << bits
    prefix = 0xFFFFFFFFu
    start = size
    while True:
        if (codeword & ((<uint32_t>1 << bits) - 1)) != prefix:
            prefix = codeword & ((<uint32_t>1 << bits) - 1)
            start = size
            # As wide as the longest codeword with this prefix: widen until the codewords left fill it.
            sub_bits = length - bits
            space = left
            while space < <uint32_t>1 << sub_bits:
                sub_bits += 1
                space = (space << 1) + count[bits + sub_bits]
            size = start + (<uint32_t>1 << sub_bits)
            table[prefix] = (start << 16) | ENTRY_RARE | ENTRY_SUBTABLE | (<uint32_t>sub_bits << 8) | bits
        entry = results[next_sym[0]]
        next_sym += 1
        if entry != ENTRY_INVALID:
            entry += ((length - bits) << 8) + (length - bits)
        i = start + (codeword >> bits)
        stride = <uint32_t>1 << (length - bits)
        while i < size:
            table[i] = entry
            i += stride
        if codeword == (<uint32_t>1 << length) - 1:
            return 0
        codeword = next_codeword(codeword, (<uint32_t>1 << length) - 1)
        left -= 1
        while left == 0:
            length += 1
            left = count[length]


cdef inline void load_fixed(Inflater *s) noexcept nogil:
    """The fixed codes (RFC 1951 §3.2.6), unless they are loaded already."""
    cdef uint32_t bits = 0
    if s.fixed_loaded:
        return
    memset(s.lens, 8, 144)
    memset(s.lens + 144, 9, 112)
    memset(s.lens + 256, 7, 24)
    memset(s.lens + 280, 8, 8)
    build_table(s.lit, LIT_BITS, s.lens, N_LIT, s.results, s.sorted_syms, &s.lit_bits)
    memset(s.lens, 5, 32)
    build_table(s.dist, DIST_BITS, s.lens, N_DIST, s.dist_results, s.sorted_syms, &bits)
    widen(s.dist, bits, DIST_BITS)
    s.fixed_loaded = True


cdef inline void widen(uint32_t *table, uint32_t bits, uint32_t wanted) noexcept nogil:
    """Repeat a table of ``1 << bits`` entries until it has ``1 << wanted``: the loop's mask is a constant."""
    while bits < wanted:
        memcpy(table + (<uint32_t>1 << bits), table, (<uint32_t>1 << bits) * sizeof(uint32_t))
        bits += 1


cdef inline uint64_t load64(const uint8_t *p) noexcept nogil:
    """8 bytes, little endian."""
    cdef uint64_t v
    memcpy(&v, p, 8)
    return v


cdef inline Status corrupt(Inflater *s, const char *what) noexcept nogil:
    s.what = what
    return CORRUPT


cdef inline Status read_dynamic_header(
    Inflater *s, const uint8_t **in_next, uint64_t *bit_buf, uint32_t *bit_count
) noexcept nogil:
    """Code lengths and tables of a dynamic block (RFC 1951 §3.2.7), from HLIT on.

    The position is handed back with CORRUPT too: if it is past the end of the input, the padding is to blame.
    """
    cdef const uint8_t *p = in_next[0]
    cdef uint64_t buf = bit_buf[0]
    cdef uint32_t n = bit_count[0]
    cdef uint32_t n_lit, n_dist, n_pre, i, entry, bits, sym, repeat, total
    cdef uint8_t value
    cdef const char *what = NULL
    cdef uint8_t pre_lens[N_PRE]
    n_lit = <uint32_t>(buf & 31) + 257
    n_dist = <uint32_t>((buf >> 5) & 31) + 1
    n_pre = <uint32_t>((buf >> 10) & 15) + 4
    buf >>= 14
    n -= 14
    total = n_lit + n_dist
    if n_lit > 286 or n_dist > 30:
        what = "too many length or distance codes"
        n_pre = total = 0
    memset(pre_lens, 0, sizeof(pre_lens))
    for i in range(n_pre):
        if n < 3:
            buf |= load64(p) << n
            p += (63 - n) >> 3
            n |= 56
        pre_lens[accel_pre_order[i]] = <uint8_t>(buf & 7)
        buf >>= 3
        n -= 3
    if what == NULL:
        if build_table(s.pre, PRE_BITS, pre_lens, N_PRE, PRE_RESULTS, s.sorted_syms, &bits) != 0:
            what = "invalid code lengths code"
            total = 0
        else:
            widen(s.pre, bits, PRE_BITS)
    s.fixed_loaded = False
    i = 0
    while i < total:
        if n < 14:      # longest codeword 7 + longest extra 7
            buf |= load64(p) << n
            p += (63 - n) >> 3
            n |= 56
        entry = s.pre[buf & ((1 << PRE_BITS) - 1)]
        if unlikely(entry & ENTRY_RARE):
            what = "invalid code lengths code"
            break
        sym = entry >> 16
        buf >>= <uint8_t>entry
        n -= <uint8_t>entry
        if sym < 16:
            s.lens[i] = <uint8_t>sym
            i += 1
            continue
        if sym == 16:
            if i == 0:
                what = "code length repeat with nothing before it"
                break
            value = s.lens[i - 1]
            repeat = 3 + <uint32_t>(buf & 3)
            buf >>= 2
            n -= 2
        elif sym == 17:
            value = 0
            repeat = 3 + <uint32_t>(buf & 7)
            buf >>= 3
            n -= 3
        else:
            value = 0
            repeat = 11 + <uint32_t>(buf & 127)
            buf >>= 7
            n -= 7
        if i + repeat > total:
            what = "code length repeat past the end"
            break
        memset(s.lens + i, value, repeat)
        i += repeat
    in_next[0] = p
    bit_buf[0] = buf
    bit_count[0] = n
    if what != NULL:
        return corrupt(s, what)
    if s.lens[256] == 0:
        return corrupt(s, "no code for the end of the block")
    if build_table(s.dist, DIST_BITS, s.lens + n_lit, n_dist, s.dist_results, s.sorted_syms, &bits) < 0:
        return corrupt(s, "invalid distance code")
    widen(s.dist, bits, DIST_BITS)
    if build_table(s.lit, LIT_BITS, s.lens, n_lit, s.results, s.sorted_syms, &s.lit_bits) < 0:
        return corrupt(s, "invalid literal/length code")
    return OK


cdef extern from *:
    """
    #define ACCEL_P(s) ((uint32_t)(s) << 16)
    static const uint32_t accel_pre_results[N_PRE] = {
        ACCEL_P(0), ACCEL_P(1), ACCEL_P(2), ACCEL_P(3), ACCEL_P(4), ACCEL_P(5), ACCEL_P(6), ACCEL_P(7), ACCEL_P(8),
        ACCEL_P(9), ACCEL_P(10), ACCEL_P(11), ACCEL_P(12), ACCEL_P(13), ACCEL_P(14), ACCEL_P(15), ACCEL_P(16),
        ACCEL_P(17), ACCEL_P(18)};
    """
    const uint32_t *PRE_RESULTS "accel_pre_results"


cdef inline void copy_match(uint8_t *dst, uint32_t length, uint32_t distance) noexcept nogil:
    """Copy a match; writes up to 40 bytes past its end."""
    cdef const uint8_t *src = dst - distance
    cdef uint8_t *end = dst + length
    cdef uint64_t word
    if likely(distance >= 8):
        # Most matches are shorter than 40 bytes: five words without a branch.
        memcpy(&word, src, 8)
        memcpy(dst, &word, 8)
        memcpy(&word, src + 8, 8)
        memcpy(dst + 8, &word, 8)
        memcpy(&word, src + 16, 8)
        memcpy(dst + 16, &word, 8)
        memcpy(&word, src + 24, 8)
        memcpy(dst + 24, &word, 8)
        memcpy(&word, src + 32, 8)
        memcpy(dst + 32, &word, 8)
        src += 40
        dst += 40
        while dst < end:
            memcpy(&word, src, 8)
            memcpy(dst, &word, 8)
            memcpy(&word, src + 8, 8)
            memcpy(dst + 8, &word, 8)
            memcpy(&word, src + 16, 8)
            memcpy(dst + 16, &word, 8)
            memcpy(&word, src + 24, 8)
            memcpy(dst + 24, &word, 8)
            memcpy(&word, src + 32, 8)
            memcpy(dst + 32, &word, 8)
            src += 40
            dst += 40
    elif distance == 1:
        word = <uint64_t>0x0101010101010101ULL * src[0]
        while dst < end:
            memcpy(dst, &word, 8)
            memcpy(dst + 8, &word, 8)
            memcpy(dst + 16, &word, 8)
            memcpy(dst + 24, &word, 8)
            dst += 32
    else:
        while dst < end:        # each load sees what the one before has stored `distance` bytes back
            memcpy(&word, src, 8)
            memcpy(dst, &word, 8)
            src += distance
            dst += distance


cdef inline Status inflate_run(Inflater *s) noexcept nogil:
    """Decode until the member's last block ends (END) or input, room or validity does; see ``decode``."""
    return decode(s, False)


cdef inline Status inflate_tokens(Inflater *s) noexcept nogil:
    """``inflate_run`` that also writes each match to ``matches``, as ``match_record`` packs it."""
    return decode(s, True)


cdef inline uint64_t match_record(uint32_t pos, uint32_t length, uint32_t distance) noexcept nogil:
    """A match in 8 bytes: position in the stream modulo 2^32, length, distance, from the low end up."""
    return pos | (<uint64_t>(length | (distance << 16)) << 32)


cdef inline Status decode(Inflater *s, bint keep_matches) noexcept nogil:
    """The decoder. ``keep_matches`` is a constant to the compiler, as a module has only one call of this.

    NEED_ROOM: ``out_limit`` reached or marks full. NEED_INPUT: fewer than HEADER_BYTES left (or, in a block,
    IN_MARGIN); with ``last`` set it means that the stream ends too early. OK: at a boundary, ``stop_bit`` reached.
    CORRUPT: ``what`` says why, ``in_next`` where.
    """
    cdef const uint8_t *in_next = s.in_next
    cdef const uint8_t *in_end = s.in_end
    cdef const uint8_t *in_stop
    cdef uint8_t *out = s.out_next
    cdef uint8_t *out_limit = s.out_limit
    cdef const uint8_t *history = s.history
    cdef uint64_t buf, saved
    cdef uint32_t n, entry, length, distance, mask, n_bytes
    cdef uint32_t *lit = s.lit
    cdef uint32_t *dist = s.dist
    cdef uint8_t *dst
    cdef uint64_t *matches = s.matches
    cdef uint32_t match_base = <uint32_t>s.out_origin_pos - <uint32_t><size_t>s.out_origin
    cdef Status status = NEED_ROOM

    # Load what the last call left: the bits of in_next[0] above in_bit and 7 more bytes.
    if s.last:
        in_stop = in_end + 1
    else:
        in_stop = in_end - IN_MARGIN
        if in_end - in_next < IN_MARGIN:
            return NEED_INPUT
    buf = load64(in_next) >> s.in_bit
    n = 64 - s.in_bit
    in_next += 8

    while True:
        # `in_next - n / 8` is the byte of the next bit.
        if s.phase == IN_CODES:
            mask = (<uint32_t>1 << s.lit_bits) - 1
            # Keep the count within 56..63, as the refill wants it.
            in_next -= n >> 3
            n &= 7
            status = NEED_ROOM
            buf &= (<uint64_t>1 << n) - 1
            buf |= load64(in_next) << n
            in_next += (63 - n) >> 3
            n |= 56
            entry = lit[buf & mask]
            while True:
                if unlikely(out >= out_limit):
                    break
                if unlikely(in_next - 7 >= in_stop):
                    status = NEED_INPUT
                    break
                saved = buf
                buf >>= <uint8_t>entry
                n -= entry
                if entry & ENTRY_LITERAL:
                    out[0] = <uint8_t>(entry >> 16)
                    out += 1
                    entry = lit[buf & mask]
                    saved = buf
                    buf >>= <uint8_t>entry
                    n -= entry
                    if entry & ENTRY_LITERAL:
                        out[0] = <uint8_t>(entry >> 16)
                        out += 1
                        entry = lit[buf & mask]
                        saved = buf
                        buf >>= <uint8_t>entry
                        n -= entry
                        if entry & ENTRY_LITERAL:
                            out[0] = <uint8_t>(entry >> 16)
                            out += 1
                            entry = lit[buf & mask]     # at least LIT_BITS are left: look up, then refill
                            buf |= load64(in_next) << <uint8_t>n
                            in_next += 7
                            in_next -= (n >> 3) & 7
                            n |= 56
                            continue
                if unlikely(entry & ENTRY_RARE):
                    if entry & ENTRY_SUBTABLE:
                        entry = lit[(entry >> 16) + <uint32_t>(
                            buf & ((<uint64_t>1 << <uint8_t>((entry >> 8) & 15)) - 1))]
                        saved = buf
                        buf >>= <uint8_t>entry
                        n -= entry
                        if entry & ENTRY_LITERAL:
                            out[0] = <uint8_t>(entry >> 16)
                            out += 1
                            entry = lit[buf & mask]     # at least LIT_BITS are left: look up, then refill
                            buf |= load64(in_next) << <uint8_t>n
                            in_next += 7
                            in_next -= (n >> 3) & 7
                            n |= 56
                            continue
                    if entry & ENTRY_RARE:
                        status = END if entry & ENTRY_END else CORRUPT
                        if status == CORRUPT:
                            s.what = "invalid literal/length codeword"
                        break
                length = (entry >> 16) + <uint32_t>(
                    (saved & ((<uint64_t>1 << <uint8_t>entry) - 1)) >> <uint8_t>((entry >> 8) & 15))
                entry = dist[buf & ((1 << DIST_BITS) - 1)]
                if unlikely(entry & ENTRY_RARE):
                    if not (entry & ENTRY_SUBTABLE):
                        s.what = "invalid distance codeword"
                        status = CORRUPT
                        break
                    buf |= load64(in_next) << <uint8_t>n
                    in_next += 7
                    in_next -= (n >> 3) & 7
                    n |= 56
                    buf >>= DIST_BITS
                    n -= DIST_BITS
                    entry = dist[(entry >> 16) + <uint32_t>(buf & ((<uint64_t>1 << <uint8_t>((entry >> 8) & 15)) - 1))]
                    if unlikely(entry & ENTRY_RARE):
                        s.what = "invalid distance codeword"
                        status = CORRUPT
                        break
                elif <uint8_t>n < DIST_BITS + 13 + LIT_BITS:  # this distance and a look at the next codeword
                    buf |= load64(in_next) << <uint8_t>n
                    in_next += 7
                    in_next -= (n >> 3) & 7
                    n |= 56
                saved = buf
                buf >>= <uint8_t>entry
                n -= entry
                distance = (entry >> 16) + <uint32_t>(
                    (saved & ((<uint64_t>1 << <uint8_t>entry) - 1)) >> <uint8_t>((entry >> 8) & 15))
                if unlikely(distance > <uint64_t>(out - history)):
                    s.what = "distance too far back"
                    status = CORRUPT
                    break
                dst = out
                out += length
                if keep_matches:
                    matches[0] = match_record(match_base + <uint32_t><size_t>dst, length, distance)
                    matches += 1
                entry = lit[buf & mask]
                buf |= load64(in_next) << <uint8_t>n
                in_next += 7
                in_next -= (n >> 3) & 7
                n |= 56
                copy_match(dst, length, distance)
            n &= 0xFF
            if status != END:
                break
            s.phase = AT_HEADER
            if s.final:
                break
            status = NEED_ROOM
        elif s.phase == IN_STORED:
            # Byte-aligned here; give unused bytes back.
            in_next -= n >> 3
            n = 0
            buf = 0
            n_bytes = s.stored_left
            if in_end - in_next < n_bytes:
                n_bytes = <uint32_t>(in_end - in_next) if in_end > in_next else 0
            if out_limit - out < n_bytes:
                n_bytes = <uint32_t>(out_limit - out) if out_limit > out else 0
            memcpy(out, in_next, n_bytes)
            out += n_bytes
            in_next += n_bytes
            s.stored_left -= n_bytes
            if s.stored_left != 0:
                status = NEED_ROOM if out >= out_limit else NEED_INPUT
                break
            s.phase = AT_HEADER
            if s.final:
                status = END
                break

        # In front of a block: leave only from here, or from inside one of its phases.
        in_next -= n >> 3
        n &= 7          # bits of in_next[-1] not used yet
        if s.marks_due:
            s.marks[s.n_marks].bit_pos = (s.in_origin_pos + (in_next - s.in_origin)) * 8 - n
            s.marks[s.n_marks].out_pos = s.out_origin_pos + (out - s.out_origin)
            s.n_marks += 1
        s.marks_due = False
        if unlikely((s.in_origin_pos + (in_next - s.in_origin)) * 8 - n >= s.stop_bit):
            status = OK
            break
        if s.n_marks >= s.cap_marks or out >= out_limit:
            status = NEED_ROOM
            break
        if s.last:
            if in_next > in_end:
                status = NEED_INPUT
                break
        elif in_end - in_next < HEADER_BYTES:
            status = NEED_INPUT
            break
        if n:
            buf = (in_next - 1)[0] >> (8 - n)
        else:
            buf = 0
        buf |= load64(in_next) << n
        in_next += (63 - n) >> 3
        n |= 56
        s.final = buf & 1
        entry = <uint32_t>(buf >> 1) & 3
        buf >>= 3
        n -= 3
        if entry == 0:
            # Stored (§3.2.4): the rest of the byte is padding, then LEN and its complement.
            in_next -= n >> 3
            n = 0
            buf = 0
            length = in_next[0] | (<uint32_t>in_next[1] << 8)
            in_next += 4        # also when they are wrong: behind the end of the input, they are only missing
            if length != (((in_next - 2)[0] | (<uint32_t>(in_next - 1)[0] << 8)) ^ 0xFFFF):
                status = corrupt(s, "stored block: length and its complement differ")
                break
            s.stored_left = length
            s.phase = IN_STORED
        elif entry == 1:
            load_fixed(s)
            s.phase = IN_CODES
        elif entry == 2:
            status = read_dynamic_header(s, &in_next, &buf, &n)
            if status == CORRUPT:
                break
            s.phase = IN_CODES
        else:
            status = corrupt(s, "reserved block type")
            break
        s.marks_due = not s.final

    # Save the exact position: nothing that was only looked at counts as used.
    in_next -= n >> 3
    n &= 7
    s.in_bit = (8 - n) & 7
    s.in_next = in_next - (1 if n else 0)
    s.out_next = out
    if keep_matches:
        s.matches = matches
    return status
