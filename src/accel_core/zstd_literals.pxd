"""The literals section of a zstd block (RFC 8878 §3.1.1.3.1): the cheapest of its four kinds."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from accel_core.bit_writer cimport BitWriter, flush_bits, put
from accel_core.fse cimport (
    FseTable, build, describe, first_state, next_state, normalise, put_state, table_log,
)
from accel_core.huffman cimport Huffman, code_lengths

cdef extern from *:
    """
    #define ACCEL_HUF_MAX 11
    _Static_assert(7 + 5 * ACCEL_HUF_MAX <= 63, "five codewords must fit the bit buffer");
    """
    enum:
        HUF_MAX "ACCEL_HUF_MAX"     # longest codeword that zstd allows

cdef enum:
    RAW = 0
    RLE = 1
    COMPRESSED = 2
    TREELESS = 3
    MIN_HUFFMAN = 32            # fewer literals do not pay for a code
    ONE_STREAM = 1023           # literals at most
    COUNTED_AT_ONCE = 256       # fewer are counted in one table
    WEIGHTS_LOG = 6
    WEIGHT_SYMS = HUF_MAX + 1
    DIRECT = 128                # weights at most that can be written as they are
    WEIGHTS_BYTES = 128         # of those that are compressed, at most, and one more


cdef struct LiteralCode:
    uint8_t lens[256]
    uint64_t codes[256]         # the codeword in the highest bits, its length in the lowest
    int max_len


cdef struct LiteralCoder:
    Huffman work
    uint32_t counts[4][256]
    int n_syms                  # the highest literal, and one more
    LiteralCode codes[2]
    int last                    # which of them the frame used last; the other is for new ones
    bint has_last
    bint made_new               # the block uses a new one
    uint8_t weights[256]
    FseTable weights_table
    uint8_t description[2 * WEIGHTS_BYTES + 16]
    uint32_t n_description


cdef inline uint32_t count_literals(LiteralCoder *c, const uint8_t *lits, uint32_t n) noexcept nogil:
    """How often each occurs, in ``counts[0]``; the largest count."""
    cdef uint32_t *a = c.counts[0]
    cdef uint32_t *b = c.counts[1]
    cdef uint32_t i = 0, largest = 0
    cdef uint64_t word
    memset(a, 0, sizeof(c.counts[0]))
    if n >= COUNTED_AT_ONCE:
        # Four tables: an addition to one that was just added to must wait.
        memset(b, 0, 3 * sizeof(c.counts[0]))
        while i + 8 <= n:
            memcpy(&word, lits + i, 8)
            a[word & 0xFF] += 1
            b[(word >> 8) & 0xFF] += 1
            b[256 + ((word >> 16) & 0xFF)] += 1
            b[512 + ((word >> 24) & 0xFF)] += 1
            a[(word >> 32) & 0xFF] += 1
            b[(word >> 40) & 0xFF] += 1
            b[256 + ((word >> 48) & 0xFF)] += 1
            b[512 + (word >> 56)] += 1
            i += 8
    while i < n:
        a[lits[i]] += 1
        i += 1
    if n >= COUNTED_AT_ONCE:
        for i in range(256):
            a[i] += b[i] + b[256 + i] + b[512 + i]
    c.n_syms = 0
    for i in range(256):
        if a[i]:
            c.n_syms = i + 1
            largest = a[i] if a[i] > largest else largest
    return largest


# --- a code and its description (§4.2.1) -------------------------------------------------------------------------

cdef inline void compress_weights(LiteralCoder *c, int n) noexcept nogil:
    """``n`` >= 2 weights by a finite state code with two states in turn; ``n_description`` is 0 if that does not do."""
    cdef uint32_t counts[WEIGHT_SYMS]
    cdef uint32_t state[2]
    cdef FseTable *table = &c.weights_table
    cdef BitWriter w
    cdef int i
    c.n_description = 0
    memset(counts, 0, sizeof(counts))
    for i in range(n):
        counts[c.weights[i]] += 1
    table.n_syms = WEIGHT_SYMS
    while counts[table.n_syms - 1] == 0:
        table.n_syms -= 1
    if counts[table.n_syms - 1] == <uint32_t>n:
        return
    table.log = table_log(n, table.n_syms, WEIGHTS_LOG)
    normalise(counts, table.n_syms, n, table.log, False, table.norm)
    build(table)
    w.out = describe(table, c.description + 1)
    w.buf = 0
    w.n = 0
    state[(n - 1) & 1] = first_state(table, c.weights[n - 1])
    state[n & 1] = first_state(table, c.weights[n - 2])
    for i in range(n - 3, -1, -1):
        state[i & 1] = next_state(table, c.weights[i], state[i & 1], &w)
        flush_bits(&w)
    put_state(table, state[1], &w)
    put_state(table, state[0], &w)
    put(&w, 1, 1)
    w.n += 7
    flush_bits(&w)
    if w.out - c.description <= WEIGHTS_BYTES:
        c.n_description = <uint32_t>(w.out - c.description)
        c.description[0] = <uint8_t>(c.n_description - 1)


cdef inline void describe_code(LiteralCoder *c, const LiteralCode *code) noexcept nogil:
    """In ``description``, ``n_description`` bytes; 0: it cannot be described."""
    cdef int n = c.n_syms - 1, i        # the last weight follows from the others
    cdef uint32_t direct
    for i in range(n):
        c.weights[i] = <uint8_t>(code.max_len + 1 - code.lens[i]) if code.lens[i] else 0
    c.weights[n] = 0
    c.n_description = 0
    if n >= 2:
        compress_weights(c, n)
    direct = 1 + <uint32_t>((n + 1) >> 1)
    if n <= DIRECT and (c.n_description == 0 or direct <= c.n_description):
        c.n_description = direct
        c.description[0] = <uint8_t>(127 + n)
        for i in range(0, n, 2):
            c.description[1 + (i >> 1)] = <uint8_t>((c.weights[i] << 4) | c.weights[i + 1])


cdef inline void make_code(LiteralCoder *c, LiteralCode *code) noexcept nogil:
    """Lengths of codewords for the counts, and their description."""
    cdef int i
    code_lengths(&c.work, c.counts[0], c.n_syms, HUF_MAX, code.lens)
    memset(code.lens + c.n_syms, 0, 256 - c.n_syms)
    code.max_len = 0
    for i in range(c.n_syms):
        code.max_len = code.lens[i] if code.lens[i] > code.max_len else code.max_len
    describe_code(c, code)


cdef inline void fill_codewords(LiteralCode *code) noexcept nogil:
    """From their lengths: the longest come first, and begin with zeros."""
    cdef uint32_t n_of[HUF_MAX + 1]
    cdef uint64_t next_code[HUF_MAX + 1]
    cdef uint64_t at = 0
    cdef int i, length
    memset(n_of, 0, sizeof(n_of))
    for i in range(256):
        n_of[code.lens[i]] += 1
    for length in range(code.max_len, 0, -1):
        next_code[length] = at
        at = (at + n_of[length]) >> 1
    for i in range(256):
        length = code.lens[i]
        if length:
            code.codes[i] = (next_code[length] << (64 - length)) | <uint64_t>length
            next_code[length] += 1


cdef inline uint64_t code_bits(const LiteralCoder *c, const LiteralCode *code) noexcept nogil:
    """What the literals take in a code; its lengths must be of just these literals, or ``has_all``."""
    cdef uint64_t bits = 0
    cdef int i
    for i in range(c.n_syms):
        bits += c.counts[0][i] * <uint32_t>code.lens[i]
    return bits


cdef inline bint has_all(const LiteralCoder *c, const LiteralCode *code) noexcept nogil:
    """Whether there is a codeword for each literal."""
    cdef uint32_t missing = 0
    cdef int i
    for i in range(c.n_syms):
        missing |= (c.counts[0][i] != 0) & (code.lens[i] == 0)
    return missing == 0


# --- streams -----------------------------------------------------------------------------------------------------

cdef inline uint8_t *write_stream(
    const uint64_t *codes, const uint8_t *lits, Py_ssize_t n, uint8_t *out
) noexcept nogil:
    """``n`` literals from the last to the first, which is how they are read; where their bytes end.

    The newest bits are the highest of the buffer. Below them a codeword leaves its length, which only the fifth of a
    round could bring among the bits that count.
    """
    cdef const uint8_t *p = lits + n
    cdef const uint8_t *aligned = lits + n - n % 5
    cdef uint64_t buf = 0, code, word
    cdef uint64_t used = 0
    while p > aligned:
        p -= 1
        code = codes[p[0]]
        buf = (buf >> (code & 63)) | code
        used += code & 63
    if used:
        word = buf >> (64 - used)
        memcpy(out, &word, 8)
        out += used >> 3
        used &= 7
    while p > lits:
        p -= 5
        code = codes[p[4]]
        buf = (buf >> (code & 63)) | code
        used += code & 63
        code = codes[p[3]]
        buf = (buf >> (code & 63)) | code
        used += code & 63
        code = codes[p[2]]
        buf = (buf >> (code & 63)) | code
        used += code & 63
        code = codes[p[1]]
        buf = (buf >> (code & 63)) | code
        used += code & 63
        code = codes[p[0]]
        buf = (buf >> (code & 63)) | (code & ~<uint64_t>63)
        used += code & 63
        word = buf >> (64 - used)
        memcpy(out, &word, 8)
        out += used >> 3
        used &= 7
    buf = (buf >> 1) | (<uint64_t>1 << 63)
    out[0] = <uint8_t>(buf >> (63 - used))
    return out + 1


cdef inline uint8_t *write_four_streams(
    const uint64_t *codes, const uint8_t *lits, Py_ssize_t n, uint8_t *out
) noexcept nogil:
    """The sizes of three, and four streams of equal parts."""
    cdef Py_ssize_t part = (n + 3) >> 2
    cdef uint8_t *sizes = out
    cdef uint8_t *start
    cdef uint16_t size
    cdef int i
    out += 6
    for i in range(3):
        start = out
        out = write_stream(codes, lits + i * part, part, out)
        size = <uint16_t>(out - start)
        memcpy(sizes + 2 * i, &size, 2)
    return write_stream(codes, lits + 3 * part, n - 3 * part, out)


# --- the section -------------------------------------------------------------------------------------------------

cdef inline uint8_t *write_plain_header(int kind, uint32_t n, uint8_t *out) noexcept nogil:
    """Of raw literals and of one that is repeated."""
    cdef uint32_t header
    if n < 32:
        out[0] = <uint8_t>(kind | (n << 3))
        return out + 1
    header = kind | (1 << 2) | (n << 4) if n < 4096 else kind | (3 << 2) | (n << 4)
    memcpy(out, &header, 4)
    return out + (2 if n < 4096 else 3)


cdef inline uint8_t *write_coded(
    LiteralCoder *c, int kind, const LiteralCode *code, const uint8_t *lits, uint32_t n, uint8_t *out
) noexcept nogil:
    cdef uint64_t size_bits = 10 if n <= ONE_STREAM else 14 if n < 16384 else 18
    cdef uint64_t form = 0 if n <= ONE_STREAM else 2 if n < 16384 else 3
    cdef uint64_t header
    cdef uint8_t *start = out + (3 if n <= ONE_STREAM else 4 if n < 16384 else 5)
    cdef uint8_t *end = start
    if kind == COMPRESSED:
        memcpy(end, c.description, c.n_description)
        end += c.n_description
    if n <= ONE_STREAM:
        end = write_stream(code.codes, lits, n, end)
    else:
        end = write_four_streams(code.codes, lits, n, end)
    header = kind | (form << 2) | (<uint64_t>n << 4) | (<uint64_t>(end - start) << (4 + size_bits))
    memcpy(out, &header, start - out)
    return end


cdef inline uint8_t *write_literals(LiteralCoder *c, const uint8_t *lits, uint32_t n, uint8_t *out) noexcept nogil:
    """The section of ``n`` literals; where it ends. ``made_new`` says whether it brings a code for later blocks."""
    cdef uint32_t largest = count_literals(c, lits, n)
    cdef LiteralCode *code = &c.codes[c.last]
    cdef int kind = RAW
    cdef uint64_t size, least
    c.made_new = False
    if n > 1 and largest == n:
        out = write_plain_header(RLE, n, out)
        out[0] = lits[0]
        return out + 1
    # A coded section has headers that are two bytes longer, and a stream a bit more than its codewords; four have the
    # sizes of three, too.
    least = <uint64_t>n - 3 if n > 3 else 0
    least = least - 9 if n > ONE_STREAM else least
    if c.has_last and has_all(c, code):
        size = (code_bits(c, code) >> 3) + 1
        if size < least:
            kind = TREELESS
            least = size
    if n >= MIN_HUFFMAN and largest > (n >> 7) + 4:
        make_code(c, &c.codes[1 - c.last])
        size = (code_bits(c, &c.codes[1 - c.last]) >> 3) + 1 + c.n_description
        if c.n_description and size < least:
            kind = COMPRESSED
            code = &c.codes[1 - c.last]
            fill_codewords(code)
            c.made_new = True
    if kind == RAW:
        out = write_plain_header(RAW, n, out)
        memcpy(out, lits, n)
        return out + n
    return write_coded(c, kind, code, lits, n, out)


cdef inline void keep_code(LiteralCoder *c) noexcept nogil:
    """The block is written as compressed: its code may be used again."""
    if c.made_new:
        c.last = 1 - c.last
        c.has_last = True
