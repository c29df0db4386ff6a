"""Windows in memory as the bytes of them that are used: runs of (zeros before, length, bytes), both counts 16 bits."""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr, memcpy, memset

from accel_core.inflate cimport WINDOW

cdef enum:
    RUN_HEAD = 4            # two counts
    JOIN = 4                # a shorter gap costs less as part of a run


cdef inline Py_ssize_t find_byte(const uint8_t *p, int wanted, Py_ssize_t start) noexcept nogil:
    """Where ``wanted`` is, from ``start`` on, in WINDOW bytes; WINDOW if nowhere."""
    cdef const uint8_t *found = <const uint8_t *>memchr(p + start, wanted, WINDOW - start)
    return WINDOW if found == NULL else found - p


cdef inline Py_ssize_t pack_window(const uint8_t *window, const uint8_t *used, uint8_t *to) noexcept nogil:
    """Pack the bytes whose ``used`` is 0xFF (the others' is 0) to ``to``; how many bytes that took.

    WINDOW if it would take as many: nothing is packed then, though up to WINDOW bytes are written.
    """
    cdef Py_ssize_t done = 0, at = 0, start, end, gap_end
    cdef uint16_t head[2]
    while True:
        start = find_byte(used, 0xFF, done)
        if start == WINDOW:
            return at
        end = find_byte(used, 0, start)
        while end < WINDOW:
            gap_end = find_byte(used, 0xFF, end)
            if gap_end == WINDOW or gap_end - end >= JOIN:
                break
            end = find_byte(used, 0, gap_end)
        if at + RUN_HEAD + (end - start) >= WINDOW:
            return WINDOW
        head[0] = <uint16_t>(start - done)
        head[1] = <uint16_t>(end - start)
        memcpy(to + at, head, RUN_HEAD)
        memcpy(to + at + RUN_HEAD, window + start, end - start)
        at += RUN_HEAD + (end - start)
        done = end


cdef inline void unpack_window(const uint8_t *packed, Py_ssize_t n, uint8_t *window) noexcept nogil:
    """The window whose runs are the ``n`` bytes at ``packed``, zeros between them."""
    cdef Py_ssize_t at = 0, pos = 0
    cdef uint16_t head[2]
    memset(window, 0, WINDOW)
    while at < n:
        memcpy(head, packed + at, RUN_HEAD)
        pos += head[0]
        memcpy(window + pos, packed + at + RUN_HEAD, head[1])
        pos += head[1]
        at += RUN_HEAD + head[1]
