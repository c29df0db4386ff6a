"""Huffman codes for deflate (RFC 1951 §3.2.2): from how often symbols occur to their codewords.

Everything is integer arithmetic on the counts, ties are broken by the symbol's number: the same counts give the same
code on every machine.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

cdef enum:
    MAX_SYMS = 288          # of any alphabet of deflate
    MAX_LEN = 15            # of any codeword of deflate
    SYM_BITS = 9            # a symbol's number
    DIGIT_BITS = 9          # counts are sorted by so many bits at a time ...
    DIGITS = 1 << DIGIT_BITS
    MAX_TOTAL = 1 << 18     # ... twice: what all counts of a code together stay below


cdef struct Huffman:                # work space, and the codewords' lengths by symbol
    uint32_t keys[MAX_SYMS]         # count << SYM_BITS | symbol
    uint32_t other[MAX_SYMS]
    uint16_t places[DIGITS]
    uint32_t weights[MAX_SYMS]      # of the inner nodes, in the order in which they are made
    uint16_t leaf_parent[MAX_SYMS]
    uint16_t parent[MAX_SYMS]       # of the inner nodes
    uint8_t depth[MAX_SYMS]


cdef inline void sort_by_digit(
    const uint32_t *keys, uint32_t *sorted_keys, int n, uint32_t shift, uint16_t *places
) noexcept nogil:
    """One stable pass of a radix sort."""
    cdef uint32_t at = 0, count
    cdef int i
    memset(places, 0, DIGITS * sizeof(uint16_t))
    for i in range(n):
        places[(keys[i] >> shift) & (DIGITS - 1)] += 1
    for i in range(DIGITS):
        count = places[i]
        places[i] = <uint16_t>at
        at += count
    for i in range(n):
        sorted_keys[places[(keys[i] >> shift) & (DIGITS - 1)]] = keys[i]
        places[(keys[i] >> shift) & (DIGITS - 1)] += 1


cdef inline void merge_nodes(Huffman *h, int n) noexcept nogil:
    """Huffman's algorithm over ``n`` >= 2 sorted leaves: the two lightest nodes get a parent, until one is left.

    Inner nodes are made in the order of their weights, so the lightest node is always the next leaf or the next inner
    node.
    """
    cdef int leaf = 0, inner = 0, made, _child
    cdef uint32_t weight
    for made in range(n - 1):
        weight = 0
        for _child in range(2):
            if leaf < n and (inner == made or (h.keys[leaf] >> SYM_BITS) <= h.weights[inner]):
                weight += h.keys[leaf] >> SYM_BITS
                h.leaf_parent[leaf] = <uint16_t>made
                leaf += 1
            else:
                weight += h.weights[inner]
                h.parent[inner] = <uint16_t>made
                inner += 1
        h.weights[made] = weight


cdef inline void count_lengths(Huffman *h, int n, int max_len, uint16_t *counts) noexcept nogil:
    """How many codewords of each length up to ``max_len`` a complete code has that is close to the best one."""
    cdef int i, length
    cdef int excess = -(1 << max_len)       # of codespace, in codewords of max_len
    memset(counts, 0, (MAX_LEN + 1) * sizeof(uint16_t))
    h.depth[n - 2] = 0
    for i in range(n - 3, -1, -1):
        h.depth[i] = <uint8_t>(h.depth[h.parent[i]] + 1)    # at most 27: weights grow like Fibonacci's numbers
    for i in range(n):
        length = h.depth[h.leaf_parent[i]] + 1
        counts[length if length < max_len else max_len] += 1
    for length in range(1, max_len + 1):
        excess += counts[length] << (max_len - length)
    while excess > 0:       # a codeword of max_len moves up, as the sibling of one that gets longer
        length = max_len - 1
        while counts[length] == 0:
            length -= 1
        counts[length] -= 1
        counts[length + 1] += 2
        counts[max_len] -= 1
        excess -= 1


cdef inline void code_lengths(Huffman *h, const uint32_t *freqs, int n_syms, int max_len, uint8_t *lens) noexcept nogil:
    """Lengths of a complete code for the symbols that occur. At least two get a codeword, as zlib has it."""
    cdef uint16_t counts[MAX_LEN + 1]
    cdef int n = 0, i, length
    cdef uint32_t largest = 0
    memset(lens, 0, n_syms)
    for i in range(n_syms):
        if freqs[i]:
            h.keys[n] = (freqs[i] << SYM_BITS) | <uint32_t>i
            largest |= freqs[i]
            n += 1
    if n < 2:
        i = h.keys[0] & (DIGITS - 1) if n else 0
        lens[i] = 1
        lens[0 if i else 1] = 1
        return
    sort_by_digit(h.keys, h.other, n, SYM_BITS, h.places)
    if largest >> DIGIT_BITS:
        sort_by_digit(h.other, h.keys, n, SYM_BITS + DIGIT_BITS, h.places)
    else:
        for i in range(n):
            h.keys[i] = h.other[i]
    merge_nodes(h, n)
    count_lengths(h, n, max_len, counts)
    i = 0
    for length in range(max_len, 0, -1):
        while counts[length]:
            lens[h.keys[i] & ((1 << SYM_BITS) - 1)] = <uint8_t>length
            counts[length] -= 1
            i += 1


cdef inline uint32_t reversed_bits(uint32_t code, uint32_t n_bits) noexcept nogil:
    """The low ``n_bits`` (1..16) in reverse: codewords go out first bit first, everything else low bit first."""
    code = ((code & 0x5555) << 1) | ((code >> 1) & 0x5555)
    code = ((code & 0x3333) << 2) | ((code >> 2) & 0x3333)
    code = ((code & 0x0F0F) << 4) | ((code >> 4) & 0x0F0F)
    code = ((code & 0x00FF) << 8) | (code >> 8)
    return code >> (16 - n_bits)


cdef inline void codewords(const uint8_t *lens, int n_syms, uint32_t *codes) noexcept nogil:
    """Codewords as ``bits << 8 | length``, ready to be written; 0 for symbols without one."""
    cdef uint32_t next_code[MAX_LEN + 2]
    cdef uint32_t counts[MAX_LEN + 1]
    cdef int i, length
    memset(counts, 0, sizeof(counts))
    for i in range(n_syms):
        counts[lens[i]] += 1
    counts[0] = 0
    next_code[0] = 0
    for length in range(MAX_LEN + 1):
        next_code[length + 1] = (next_code[length] + counts[length]) << 1
    for i in range(n_syms):
        length = lens[i]
        codes[i] = 0
        if length:
            codes[i] = (reversed_bits(next_code[length], length) << 8) | <uint32_t>length
            next_code[length] += 1
