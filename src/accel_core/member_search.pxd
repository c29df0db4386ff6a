"""A match finder for the first 32 KiB of a gzip member: hash chains, filled only as far as they are asked."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil

cdef enum:
    SEARCH_WINDOW = 32768
    HASH_BITS = 14
    MIN_FOUND = 4
    NICE_FOUND = 64             # no better match is looked for


cdef struct Search:
    # Positions in the batch. What is left of earlier members lies before the member's start; zeros name a position
    # that is compared like any other. So nothing is cleared between members.
    uint32_t head[1 << HASH_BITS]
    uint32_t chain[SEARCH_WINDOW]       # by position in the member: the one before with the same hash
    uint32_t added                      # positions of the member before this one are in
    int depth


cdef struct Found:
    uint32_t length                     # 0: nothing
    uint32_t distance


cdef inline uint32_t load32(const uint8_t *p) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, p, 4)
    return v


cdef inline uint32_t hash_of(const uint8_t *p) noexcept nogil:
    """Of 4 bytes."""
    return (load32(p) * <uint32_t>2654435761U) >> (32 - HASH_BITS)


cdef inline uint32_t same_bytes(const uint8_t *a, const uint8_t *b, uint32_t most) noexcept nogil:
    """How many bytes at ``a`` and ``b`` are the same, up to ``most``; never reads further than that."""
    cdef uint32_t n = 0
    cdef uint64_t x, y
    while n + 8 <= most:
        memcpy(&x, a + n, 8)
        memcpy(&y, b + n, 8)
        if x != y:
            return n + (<uint32_t>__builtin_ctzll(x ^ y) >> 3)
        n += 8
    while n < most and a[n] == b[n]:
        n += 1
    return n


cdef inline Found find(
    Search *s, const uint8_t *data, uint32_t start, uint32_t end, uint32_t pos
) noexcept nogil:
    """The longest match at ``pos`` that lies within the member [start, end); ``pos - start`` < SEARCH_WINDOW."""
    cdef Found best
    cdef uint32_t candidate, hashed, most, n, at
    cdef int depth = s.depth
    best.length = 0
    best.distance = 0
    if end - pos < MIN_FOUND:
        return best
    for at in range(s.added, pos):
        hashed = hash_of(data + at)
        s.chain[at - start] = s.head[hashed]
        s.head[hashed] = at
    s.added = pos
    most = end - pos if end - pos < 258 else 258
    candidate = s.head[hash_of(data + pos)]
    best.length = MIN_FOUND - 1
    while start <= candidate < pos and depth:
        if data[candidate + best.length] == data[pos + best.length] and load32(data + candidate) == load32(data + pos):
            n = same_bytes(data + candidate, data + pos, most)
            if n > best.length:
                best.length = n
                best.distance = pos - candidate
                if n >= NICE_FOUND or n == most:
                    break
        depth -= 1
        at = s.chain[candidate - start]
        if at >= candidate:
            break
        candidate = at
    if best.distance == 0:
        best.length = 0
    return best
