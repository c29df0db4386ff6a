"""Finite state entropy codes of zstd (RFC 8878 §4.1): from counts to probabilities, their description, and the encoder.

Everything is integer arithmetic on the counts: the same counts give the same code on every machine.
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from accel_core.bit_writer cimport BitWriter, flush_bits, put
from accel_core.code_cost cimport LOG_BITS, MANTISSA_BITS, Logs

cdef extern from *:
    int __builtin_clz(unsigned int) noexcept nogil

cdef enum:
    FSE_SYMS = 53           # of any alphabet: codes of match lengths
    FSE_MIN_LOG = 5
    FSE_MAX_LOG = 9
    COST_BITS = 8           # costs are in units of 2^-8 bits
    DESCRIPTION_BYTES = 80  # at most, with what flushing touches: 53 probabilities of up to 10 bits
    NEVER = 1 << 30         # a cost beyond all


cdef struct FseSymbol:
    uint32_t n_bits         # (bits that leave the state << 16) less where one bit more leaves it
    int32_t first_state


cdef struct FseTable:
    uint32_t log
    int n_syms
    int16_t norm[FSE_SYMS]          # probabilities in 2^-log; -1: less than that
    FseSymbol symbols[FSE_SYMS]
    uint16_t states[1 << FSE_MAX_LOG]


cdef struct FseCosts:
    uint16_t log2[(1 << FSE_MAX_LOG) + 1]       # in units of 2^-COST_BITS


cdef inline uint32_t log2_floor(uint32_t n) noexcept nogil:
    """n > 0."""
    return 31 - <uint32_t>__builtin_clz(n)


cdef inline void fill_costs(FseCosts *costs, const Logs *logs) noexcept nogil:
    cdef uint32_t n, top
    costs.log2[0] = 0
    for n in range(1, (1 << FSE_MAX_LOG) + 1):
        top = log2_floor(n)
        costs.log2[n] = <uint16_t>(
            ((top << LOG_BITS) + logs.log2[(n << (MANTISSA_BITS - top)) & ((1 << MANTISSA_BITS) - 1)])
            >> (LOG_BITS - COST_BITS)
        )


# --- probabilities -----------------------------------------------------------------------------------------------

cdef inline uint32_t table_log(uint32_t total, int n_syms, uint32_t max_log) noexcept nogil:
    """For ``total`` >= 2 symbols below ``n_syms`` >= 2: states for each, but not many more than there are symbols."""
    cdef uint32_t log = log2_floor(total - 1)
    cdef uint32_t least = log2_floor(<uint32_t>n_syms - 1) + 2
    log = log - 2 if log > FSE_MIN_LOG + 2 else FSE_MIN_LOG
    if log2_floor(total) + 1 < least:
        least = log2_floor(total) + 1
    log = log if log > least else least
    return log if log < max_log else max_log


cdef inline void normalise(
    const uint32_t *counts, int n_syms, uint32_t total, uint32_t log, bint low, int16_t *norm
) noexcept nogil:
    """Probabilities in 2^-log; each symbol that occurs has one. ``low``: they may be -1. Two symbols occur at least."""
    cdef uint64_t scale = (<uint64_t>1 << 54) // total, share
    cdef int32_t left = 1 << log, part
    cdef int i, largest = 0
    for i in range(n_syms):
        if counts[i] > counts[largest]:
            largest = i
    for i in range(n_syms):
        norm[i] = 0
        if counts[i] == 0:
            continue
        share = (counts[i] * scale) >> (54 - 8 - log)       # in 2^-8 of a state
        part = <int32_t>(share >> 8)
        if part:
            # The rounding that costs least is at the geometric mean.
            part += (share & 255) > <uint64_t>(128 - 22 // part)
            norm[i] = <int16_t>part
            left -= part
        else:
            norm[i] = -1 if low and i != largest else 1
            left -= 1
    if norm[largest] + left > norm[largest] >> 1:
        norm[largest] += <int16_t>left
        return
    while left < 0:
        largest = 0
        for i in range(1, n_syms):
            if norm[i] > norm[largest]:
                largest = i
        norm[largest] -= 1
        left += 1


cdef inline uint64_t fse_cost(
    const FseCosts *costs, const uint32_t *counts, int n_syms, const FseTable *table
) noexcept nogil:
    """Of the symbols in a table, in 2^-COST_BITS bits; NEVER if it has not all of them."""
    cdef uint64_t cost = 0
    cdef uint32_t all_bits = table.log << COST_BITS
    cdef int i
    cdef int16_t norm
    for i in range(n_syms):
        if counts[i]:
            norm = table.norm[i] if i < table.n_syms else 0
            if norm == 0:
                return NEVER
            cost += <uint64_t>counts[i] * (all_bits - costs.log2[norm if norm > 0 else 1])
    return cost


# --- description -------------------------------------------------------------------------------------------------

cdef inline uint8_t *describe(const FseTable *table, uint8_t *out) noexcept nogil:
    """Write the probabilities (§4.1.1); where the description ends."""
    cdef BitWriter w
    cdef int32_t left = (1 << table.log) + 1, threshold = 1 << table.log, more, value
    cdef uint32_t n_bits = table.log + 1
    cdef int i = 0, zeros
    w.buf = 0
    w.n = 0
    w.out = out
    put(&w, table.log - FSE_MIN_LOG, 4)
    while left > 1:
        value = table.norm[i]
        i += 1
        more = 2 * threshold - 1 - left     # values below have a bit less
        left -= value if value >= 0 else -value
        value += 1
        if value >= threshold:
            put(&w, value + more, n_bits)
        else:
            put(&w, value, n_bits - (value < more))
        flush_bits(&w)
        while left < threshold:
            n_bits -= 1
            threshold >>= 1
        if value == 1 and left > 1:         # a zero: how many follow
            zeros = 0
            while table.norm[i + zeros] == 0:
                zeros += 1
            i += zeros
            while zeros >= 3:
                put(&w, 3, 2)
                flush_bits(&w)
                zeros -= 3
            put(&w, zeros, 2)
            flush_bits(&w)
    w.n += 7
    flush_bits(&w)
    return w.out


# --- encoder -----------------------------------------------------------------------------------------------------

cdef inline void build(FseTable *table) noexcept nogil:
    """The states, from the probabilities."""
    cdef uint8_t spread[1 << FSE_MAX_LOG]
    cdef uint16_t place[FSE_SYMS]
    cdef uint32_t size = 1 << table.log, mask = size - 1, step = (size >> 1) + (size >> 3) + 3
    cdef uint32_t high = size, at = 0, first = 0, n, _n, n_bits
    cdef int i
    for i in range(table.n_syms):
        place[i] = <uint16_t>first
        if table.norm[i] == -1:
            high -= 1
            spread[high] = <uint8_t>i
        n = 1 if table.norm[i] == -1 else <uint32_t>table.norm[i]
        if n > 1:
            n_bits = table.log - log2_floor(n - 1)
            table.symbols[i].n_bits = (n_bits << 16) - (n << n_bits)
        else:
            table.symbols[i].n_bits = (table.log << 16) - size
        table.symbols[i].first_state = <int32_t>first - <int32_t>n
        first += n
    for i in range(table.n_syms):
        for _n in range(table.norm[i] if table.norm[i] > 0 else 0):
            spread[at] = <uint8_t>i
            at = (at + step) & mask
            while at >= high:
                at = (at + step) & mask
    for n in range(size):
        i = spread[n]
        table.states[place[i]] = <uint16_t>(size + n)
        place[i] += 1


cdef inline void build_single(FseTable *table, int symbol) noexcept nogil:
    """A table of one symbol, which takes no bits."""
    table.log = 0
    table.n_syms = symbol + 1
    table.symbols[symbol].n_bits = 0
    table.symbols[symbol].first_state = 0
    table.states[0] = table.states[1] = 0


cdef inline uint32_t first_state(const FseTable *table, uint32_t symbol) noexcept nogil:
    """The state that stands for the last symbol alone."""
    cdef FseSymbol s = table.symbols[symbol]
    cdef uint32_t n_bits = (s.n_bits + (1 << 15)) >> 16
    return table.states[<int32_t>(((n_bits << 16) - s.n_bits) >> n_bits) + s.first_state]


cdef inline uint32_t next_state(
    const FseTable *table, uint32_t symbol, uint32_t state, BitWriter *w
) noexcept nogil:
    """The state for one more symbol in front; up to FSE_MAX_LOG bits are put."""
    cdef FseSymbol s = table.symbols[symbol]
    cdef uint32_t n_bits = (state + s.n_bits) >> 16
    put(w, state & ((1 << n_bits) - 1), n_bits)
    return table.states[<int32_t>(state >> n_bits) + s.first_state]


cdef inline void put_state(const FseTable *table, uint32_t state, BitWriter *w) noexcept nogil:
    put(w, state & ((1 << table.log) - 1), table.log)
