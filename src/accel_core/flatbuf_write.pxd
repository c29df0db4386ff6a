"""Writes a FlatBuffers buffer back to front, with the Go builder's alignment rules.

A position is the number of bytes written up to and including an object's first byte, so it grows as the buffer is
filled and an offset from a newer object to an older one is ``used - position``. The door computes the room beforehand;
a write past it sets ``full`` and is dropped, so that a wrong sum is an error and not a stray write.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    MAX_FIELDS = 14


cdef struct FlatWriter:
    uint8_t *end                        # one past the last byte of the buffer
    int64_t room
    int64_t used
    int align                           # largest alignment asked for
    bint full
    uint32_t *vtables                   # positions of the vtables written, oldest first
    int64_t n_vtables
    int64_t room_vtables
    # The table being written:
    int n_fields
    uint32_t field_at[MAX_FIELDS]       # positions of its fields, 0 if absent
    int64_t table_end


cdef inline void put(FlatWriter *w, const void *data, int64_t n) noexcept nogil:
    if n > w.room - w.used:
        w.full = True
        return
    if n > 0:       # of an empty string there may be no address
        w.used += n
        memcpy(w.end - w.used, data, n)


cdef inline void put_zeros(FlatWriter *w, int64_t n) noexcept nogil:
    if n > w.room - w.used:
        w.full = True
        return
    w.used += n
    memset(w.end - w.used, 0, n)


cdef inline void align(FlatWriter *w, int size, int64_t extra) noexcept nogil:
    """Pads so that after ``extra`` more bytes a multiple of ``size`` is written."""
    if size > w.align:
        w.align = size
    put_zeros(w, -(w.used + extra) & (size - 1))


cdef inline void put_u32(FlatWriter *w, uint32_t value) noexcept nogil:
    align(w, 4, 0)
    put(w, &value, 4)


cdef inline void put_ref(FlatWriter *w, int64_t position) noexcept nogil:
    """An offset to an object that is written already."""
    align(w, 4, 0)
    cdef uint32_t distance = <uint32_t>(w.used + 4 - position)
    put(w, &distance, 4)


cdef inline uint32_t put_blob(FlatWriter *w, const void *data, int64_t n) noexcept nogil:
    """A byte vector; its position."""
    align(w, 4, n)
    put(w, data, n)
    put_u32(w, <uint32_t>n)
    return <uint32_t>w.used


cdef inline uint32_t put_string(FlatWriter *w, const void *data, int64_t n) noexcept nogil:
    """A string with its NUL; its position."""
    align(w, 4, n + 1)
    put_zeros(w, 1)
    put(w, data, n)
    put_u32(w, <uint32_t>n)
    return <uint32_t>w.used


cdef inline uint32_t put_refs(FlatWriter *w, const uint32_t *positions, int64_t n) noexcept nogil:
    """A vector of offsets to ``positions``; its position."""
    cdef int64_t i
    align(w, 4, 4 * n)
    for i in range(n - 1, -1, -1):
        put_ref(w, positions[i])
    put_u32(w, <uint32_t>n)
    return <uint32_t>w.used


cdef inline void begin_table(FlatWriter *w, int n_fields) noexcept nogil:
    w.n_fields = n_fields
    w.table_end = w.used
    memset(w.field_at, 0, sizeof(w.field_at))


cdef inline void field_ref(FlatWriter *w, int field, uint32_t position) noexcept nogil:
    put_ref(w, position)
    w.field_at[field] = <uint32_t>w.used


cdef inline void field_i64(FlatWriter *w, int field, int64_t value) noexcept nogil:
    if value != 0:
        align(w, 8, 0)
        put(w, &value, 8)
        w.field_at[field] = <uint32_t>w.used


cdef inline void field_u32(FlatWriter *w, int field, uint32_t value) noexcept nogil:
    if value != 0:
        put_u32(w, value)
        w.field_at[field] = <uint32_t>w.used


cdef inline void field_i8(FlatWriter *w, int field, uint8_t value, uint8_t default) noexcept nogil:
    if value != default:
        put(w, &value, 1)
        w.field_at[field] = <uint32_t>w.used


cdef inline uint32_t end_table(FlatWriter *w) noexcept nogil:
    """Closes the table: a vtable equal to an earlier one (object size aside) is shared. The table's position."""
    cdef uint16_t vtable[2 + MAX_FIELDS]
    cdef int n = w.n_fields
    cdef int64_t i, position
    cdef int32_t distance = 0
    align(w, 4, 0)
    put(w, &distance, 4)
    position = w.used
    while n > 0 and w.field_at[n - 1] == 0:
        n -= 1
    vtable[0] = <uint16_t>(4 + 2 * n)
    vtable[1] = <uint16_t>(position - w.table_end)
    for i in range(n):
        vtable[2 + i] = <uint16_t>(position - w.field_at[i]) if w.field_at[i] else 0
    if w.full:
        return 0
    for i in range(w.n_vtables - 1, -1, -1):
        if same_vtable(w.end - w.vtables[i], vtable):
            distance = <int32_t>(<int64_t>w.vtables[i] - position)
            memcpy(w.end - position, &distance, 4)
            return <uint32_t>position
    if w.n_vtables == w.room_vtables:
        w.full = True
        return 0
    put(w, vtable, vtable[0])
    if w.full:
        return 0
    distance = <int32_t>(w.used - position)
    memcpy(w.end - position, &distance, 4)
    w.vtables[w.n_vtables] = <uint32_t>w.used
    w.n_vtables += 1
    return <uint32_t>position


cdef inline bint same_vtable(const uint8_t *written, const uint16_t *vtable) noexcept nogil:
    cdef const uint8_t *mine = <const uint8_t *>vtable
    # Bytes 2 and 3 hold the object size, which does not count.
    return memcmp(written, mine, 2) == 0 and memcmp(written + 4, mine + 4, vtable[0] - 4) == 0


cdef inline void finish(FlatWriter *w, uint32_t root) noexcept nogil:
    align(w, w.align, 4)
    put_ref(w, root)
