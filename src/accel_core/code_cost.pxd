"""What symbols will take in a Huffman code of their own, from their counts alone: a logarithm each, no code made.

In integers throughout: what is decided by these numbers is decided the same way on every machine.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from *:
    int __builtin_clz(unsigned int) noexcept nogil

cdef enum:
    MANTISSA_BITS = 10      # of a number whose logarithm is looked up
    LOG_BITS = 12           # logarithms are in units of 2^-12
    # Of the header of a dynamic block: to begin with, and for each symbol that has a codeword.
    HEADER_BITS = 120
    SYMBOL_BITS = 3


cdef struct Logs:
    uint16_t log2[1 << MANTISSA_BITS]   # of 1 + i / 2^MANTISSA_BITS


cdef inline void fill_logs(Logs *logs) noexcept nogil:
    """By squaring: each time the square of 1 <= x < 2 is 2 or more, the next bit of its logarithm is 1."""
    cdef uint64_t x
    cdef uint32_t log
    cdef int i, _bit
    for i in range(1 << MANTISSA_BITS):
        x = (((<uint64_t>1 << MANTISSA_BITS) + <uint64_t>i) << (31 - MANTISSA_BITS)) + (1 << (30 - MANTISSA_BITS))
        log = 0
        for _bit in range(LOG_BITS):
            x = (x * x) >> 31
            log <<= 1
            if x >> 32:
                x >>= 1
                log |= 1
        logs.log2[i] = <uint16_t>log


cdef inline uint64_t times_log2(const Logs *logs, uint32_t n) noexcept nogil:
    """n * log2(n), n > 0."""
    cdef int top = 31 - __builtin_clz(n)
    cdef uint32_t mantissa = (n << (31 - top)) >> (31 - MANTISSA_BITS) & ((1 << MANTISSA_BITS) - 1)
    return n * <uint64_t>((<uint32_t>top << LOG_BITS) + logs.log2[mantissa])


cdef inline uint64_t code_cost(const Logs *logs, const uint32_t *counts, int n_syms) noexcept nogil:
    """Bits of all symbols and of the code's description, in units of 2^-LOG_BITS."""
    cdef uint64_t bits = 0
    cdef uint32_t total = 0, used = 0
    cdef int i
    for i in range(n_syms):
        if counts[i]:
            total += counts[i]
            used += 1
            bits += times_log2(logs, counts[i])
    if used == 0:
        return 0
    return times_log2(logs, total) - bits + (<uint64_t>(used * SYMBOL_BITS) << LOG_BITS)
