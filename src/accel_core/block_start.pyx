"""Where in the middle of a deflate stream a block may begin.

A dynamic block (RFC 1951 §3.2.7) may begin at any bit. Its first 13 bits leave one place in nine; its code lengths
code must be complete, which leaves one in some thousands. A stored block (§3.2.4) begins with LEN and NLEN, and where
one stands others mostly follow, each where the one before says.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from accel_core.inflate cimport load64

cdef extern from *:
    """
    #define accel_lowest_bit(v) __builtin_ctzll(v)
    """
    int lowest_bit "accel_lowest_bit"(uint64_t v) noexcept nogil

cdef enum:
    LOOKED_AT = 48          # bits at a time: 64 less the 12 behind each, in whole bytes
    HEADER_BITS = 13        # BFINAL, BTYPE, HLIT, HDIST; then HCLEN
    MAX_LENGTHS = 19
    COMPLETE = 128          # a code of lengths up to 7, in units of its longest words
    STORED_HEADER = 5       # of a block that begins on a byte: a byte of BFINAL, BTYPE and padding, LEN, NLEN
    STORED_RUN = 3          # so many blocks, one behind the other ...
    STORED_LEAST = 1024     # ... of so many bytes each are no accident

# What four lengths of three bits each take of a code.
cdef uint16_t taken_by_four[4096]
for _lengths in range(4096):
    taken_by_four[_lengths] = sum(
        COMPLETE >> (_lengths >> shift & 7) for shift in (0, 3, 6, 9) if _lengths >> shift & 7
    )


cdef inline bint lengths_fit(const uint8_t *data, int64_t bit) noexcept nogil:
    """The code lengths code of the header at ``bit`` is complete."""
    cdef int64_t at = bit + HEADER_BITS
    cdef uint32_t n = 4 + (<uint32_t>(load64(data + (at >> 3)) >> (at & 7)) & 15)
    cdef uint64_t lengths
    at += 4
    lengths = load64(data + (at >> 3)) >> (at & 7)      # 57 bits at least, as many as 19 lengths have
    lengths &= (<uint64_t>1 << (3 * n)) - 1
    return (
        taken_by_four[lengths & 4095] + taken_by_four[lengths >> 12 & 4095] + taken_by_four[lengths >> 24 & 4095]
        + taken_by_four[lengths >> 36 & 4095] + taken_by_four[lengths >> 48]
    ) == COMPLETE


cdef int64_t next_dynamic(const uint8_t *data, int64_t bit, int64_t end_bit) noexcept nogil:
    """First bit in [bit, end_bit) that looks like a dynamic block that is not the last one; -1 if none does."""
    cdef int64_t start = bit & ~<int64_t>7, place
    cdef uint64_t v, fits
    while start < end_bit:
        v = load64(data + (start >> 3))
        # BFINAL 0, BTYPE 10 (its low bit first), HLIT <= 29, HDIST <= 29; each bit stands for the place it is at
        fits = ~v & ~(v >> 1) & (v >> 2)
        fits &= ~((v >> 4) & (v >> 5) & (v >> 6) & (v >> 7))
        fits &= ~((v >> 9) & (v >> 10) & (v >> 11) & (v >> 12))
        fits &= (<uint64_t>1 << LOOKED_AT) - 1
        if start < bit:
            fits &= ~<uint64_t>0 << (bit - start)
        while fits:
            place = start + lowest_bit(fits)
            if place >= end_bit:
                return -1
            if lengths_fit(data, place):
                return place
            fits &= fits - 1
        start += LOOKED_AT
    return -1


cdef inline Py_ssize_t stored_bytes(const uint8_t *p) noexcept nogil:
    """LEN, if LEN and NLEN stand at ``p``; -1 if not."""
    cdef uint16_t length[2]
    memcpy(length, p, 4)
    if (length[0] ^ length[1]) != 0xFFFF:
        return -1
    return p[0] | <Py_ssize_t>p[1] << 8


cdef Py_ssize_t behind_stored(const uint8_t *data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where, behind the first of several stored blocks in [at, end), the second begins; -1 if there are none."""
    cdef Py_ssize_t next, n, second
    cdef int n_blocks
    while at + 4 <= end:
        n = stored_bytes(data + at)
        second = next = at + 4 + n
        n_blocks = 1
        while n >= STORED_LEAST:
            if n_blocks == STORED_RUN:
                return second
            if next + STORED_HEADER > end or data[next] != 0:
                break
            n = stored_bytes(data + next + 1)
            next += STORED_HEADER + n
            n_blocks += 1
        at += 1
    return -1


def dynamic_start(data, int64_t bit=0):
    """The next bit from ``bit`` on where a dynamic block may begin; -1 if nowhere before the last 16 bytes."""
    cdef const uint8_t[::1] view = data
    if bit < 0:
        raise ValueError(f"no bit {bit}")
    return -1 if view.shape[0] <= START_AHEAD else next_dynamic(&view[0], bit, 8 * (view.shape[0] - START_AHEAD))


def stored_start(data, Py_ssize_t at=0):
    """Behind the first of several stored blocks whose LEN is found from ``at`` on; -1 if there are none."""
    cdef const uint8_t[::1] view = data
    if at < 0:
        raise ValueError(f"no offset {at}")
    return -1 if view.shape[0] == 0 else behind_stored(&view[0], at, view.shape[0])
