"""Matches for a piece of data that is compressed on its own, from the records of ``gzip_tokens``.

Nothing in a record is believed: positions are compared with the piece's, and the bytes with those they are said to
repeat. What a record covers that is not true, or reaches back over the piece's start, is searched again in the piece's
first 32 KiB.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from accel_core.inflate cimport load64, unlikely
from accel_core.member_search cimport (
    SEARCH_WINDOW, Found, Search, find, find_quickly, same_bytes, search_restart,
)
from accel_core.status cimport END, OK, Status

cdef enum:
    LAZY = 16                   # a shorter match that was found gives way to a longer one at the next byte
    MIN_MATCH = 3
    MAX_MATCH = 258
    MAX_DISTANCE = 32768
    MAX_DATA = 1 << 30


cdef struct MatchSource:
    const uint8_t *data
    Py_ssize_t n_data
    const uint8_t *records
    Py_ssize_t n_records
    Py_ssize_t at               # the next record
    uint32_t origin             # where `data` begins, in the positions of records
    # The piece
    Py_ssize_t start, end
    Py_ssize_t pos              # of the first byte that nothing covers yet
    Py_ssize_t searched         # no search is repeated before this
    Search search


# Takes the literals up to `pos` and a match there, and moves the source's `pos` behind it.
ctypedef Status (*take_match_fn)(void *encoder, Py_ssize_t pos, uint32_t length, uint32_t distance) noexcept nogil


cdef inline int open_source(
    MatchSource *m, const uint8_t[::1] data, const uint8_t[::1] records, int64_t origin
) except -1:
    """All of the data, and its records; both must stay where they are. ValueError if there is too much, or half one."""
    cdef Py_ssize_t n_data = data.shape[0], n_records = records.shape[0]
    if n_data > MAX_DATA:
        raise ValueError(f"{n_data} bytes at once, more than {MAX_DATA}")
    if n_records & 7:
        raise ValueError(f"matches have 8 bytes each, not {n_records} together")
    m.data = &data[0] if n_data else NULL
    m.n_data = n_data
    m.records = &records[0] if n_records else NULL
    m.n_records = n_records >> 3
    m.origin = <uint32_t>origin
    return 0


cdef inline void start_piece(MatchSource *m, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """In order: no piece begins before the end of the last."""
    m.start = m.pos = m.searched = start
    m.end = end
    search_restart(&m.search)


cdef inline bint is_true(const uint8_t *p, Py_ssize_t length, Py_ssize_t distance) noexcept nogil:
    """``length`` >= 3 bytes at ``p`` repeat those ``distance`` before. 8 bytes are read where there are fewer."""
    cdef const uint8_t *q = p - distance
    # Most matches are no longer than 16 bytes: two words, which may overlap, no branch. All ones if even one word
    # is too long:
    cdef Py_ssize_t is_short = (length - 8) >> 63
    cdef Py_ssize_t rest = (length - 8) & ~is_short
    cdef int unused = <int>((8 - length) & is_short) * 8
    if unlikely((((load64(p) ^ load64(q)) | (load64(p + rest) ^ load64(q + rest))) << unused) != 0):
        return False
    while rest > 8:
        rest -= 8
        if unlikely(load64(p + rest) != load64(q + rest)):
            return False
    return True


cdef inline Found find_at(MatchSource *m, uint32_t pos, bint quickly) noexcept nogil:
    if quickly:
        return find_quickly(&m.search, m.data + m.start, <uint32_t>(m.end - m.start), pos)
    return find(&m.search, m.data + m.start, <uint32_t>(m.end - m.start), pos)


cdef inline Status search_again(
    MatchSource *m, take_match_fn take, void *encoder, Py_ssize_t start, Py_ssize_t stop, bint quickly
) noexcept nogil:
    """Cover [start, stop) with matches found in the piece, as far as there are any; the last may reach further."""
    cdef uint32_t pos, end
    cdef Found found, later
    cdef Status status
    start = start if start > m.searched else m.searched
    stop = stop if stop < m.start + SEARCH_WINDOW else m.start + SEARCH_WINDOW
    if start >= stop:
        return OK
    m.searched = stop
    pos = <uint32_t>(start - m.start)
    end = <uint32_t>(stop - m.start)
    found = find_at(m, pos, quickly)
    while True:
        while found.length < LAZY and pos + 1 < end:
            later = find_at(m, pos + 1, quickly)
            if found.length and later.length <= found.length:
                break
            found = later
            pos += 1
        if found.length == 0:
            return OK
        status = take(encoder, m.start + pos, found.length, found.distance)
        pos += found.length
        if status != OK or pos >= end:
            return status
        found = find_at(m, pos, quickly)


cdef inline Status take_odd_match(
    MatchSource *m, take_match_fn take, void *encoder, bint quickly
) noexcept nogil:
    """Use the next record, whatever it says. END: the piece has no more."""
    cdef uint64_t record
    cdef Py_ssize_t start, length, distance, end
    cdef Py_ssize_t inside      # from where on it repeats bytes of the piece
    cdef bint is_last           # it belongs to the next piece too
    cdef Status status
    if m.at == m.n_records:
        return END
    record = load64(m.records + 8 * m.at)
    start = <int32_t>(<uint32_t>record - m.origin)
    length = <Py_ssize_t>((record >> 32) & 0xFFFF)
    distance = <Py_ssize_t>(record >> 48)
    end = start + length if start + length < m.end else m.end
    is_last = start + length > m.end
    if start >= m.end:
        return END
    if length <= MAX_MATCH and 1 <= distance <= MAX_DISTANCE:
        start = start if start > m.pos else m.pos
        inside = start if start - distance > m.start else m.start + distance
        if inside < end and same_bytes(m.data + inside, m.data + inside - distance, end - inside) < end - inside:
            inside = end
        if start < inside and end - start >= MIN_MATCH:
            status = search_again(m, take, encoder, start, inside if inside < end else end, quickly)
            if status != OK:
                return status
        start = m.pos if m.pos > inside else inside
        if end - start >= MIN_MATCH:
            status = take(encoder, start, <uint32_t>(end - start), <uint32_t>distance)
            if status != OK:
                return status
    if is_last:
        return END
    m.at += 1
    return OK


cdef inline int read_ranges(
    str what, starts, ends, Py_ssize_t n_data, int64_t *piece_starts, int64_t *piece_ends
) except -1:
    """Where pieces start and end; ValueError if they are not in order, or not in the data."""
    cdef Py_ssize_t i, n = len(starts)
    cdef int64_t before = 0
    for i in range(n):
        piece_starts[i] = starts[i]
        piece_ends[i] = ends[i] if ends is not None else starts[i + 1] if i + 1 < n else n_data
        if not before <= piece_starts[i] <= piece_ends[i] <= n_data:
            raise ValueError(
                f"{what} {i} is [{piece_starts[i]}, {piece_ends[i]}) of {n_data} bytes, the last one ends at {before}"
            )
        before = piece_ends[i]
    return 0
