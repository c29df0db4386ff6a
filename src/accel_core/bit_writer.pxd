"""Bits into bytes, the low bit first: how deflate and zstd write theirs."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    WRITE_SLACK = 16        # the bit buffer is written 8 bytes at a time


cdef struct BitWriter:
    uint64_t buf
    uint32_t n                  # bits in buf; at most 7 after a flush
    uint8_t *out
    uint8_t *end                # of the room


cdef inline void put(BitWriter *w, uint64_t bits, uint32_t n) noexcept nogil:
    w.buf |= bits << w.n
    w.n += n


cdef inline void flush_bits(BitWriter *w) noexcept nogil:
    """Write whole bytes; up to 8 bytes are touched."""
    memcpy(w.out, &w.buf, 8)
    w.out += w.n >> 3
    w.buf >>= w.n & 56
    w.n &= 7


cdef inline void align(BitWriter *w) noexcept nogil:
    """Zero bits up to the next byte."""
    w.n = (w.n + 7) & ~<uint32_t>7
    flush_bits(w)
