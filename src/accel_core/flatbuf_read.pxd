"""Bounds-checked reads of a FlatBuffers buffer. Nothing is trusted: every position is checked before it is used.

Positions are byte offsets from the start of the buffer, -1 says "outside the buffer" and ``bad_at`` then holds the
position of the field that led there. Alignment is not required (readers in use do not either).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy


cdef struct FlatReader:
    const uint8_t *data
    int64_t size
    int64_t bad_at


cdef struct FlatTable:
    int64_t pos             # of the table
    int64_t vtable          # of its vtable
    int64_t vtable_bytes


cdef struct FlatSpan:       # a string or vector
    int64_t pos             # first byte or element; 0 if the field is absent
    int64_t count           # bytes or elements


# All machines we build for are little-endian, as the format is.
cdef inline uint16_t load_u16(const uint8_t *p) noexcept nogil:
    cdef uint16_t v
    memcpy(&v, p, 2)
    return v


cdef inline uint32_t load_u32(const uint8_t *p) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, p, 4)
    return v


cdef inline int32_t load_i32(const uint8_t *p) noexcept nogil:
    cdef int32_t v
    memcpy(&v, p, 4)
    return v


cdef inline int64_t load_i64(const uint8_t *p) noexcept nogil:
    cdef int64_t v
    memcpy(&v, p, 8)
    return v


cdef inline int64_t flat_follow(FlatReader *r, int64_t pos) noexcept nogil:
    """Where the 32-bit offset at ``pos`` points, with at least 4 bytes there; -1 if that is outside."""
    cdef int64_t target
    if pos < 0 or pos > r.size - 4:
        r.bad_at = pos
        return -1
    target = pos + load_u32(r.data + pos)
    if target > r.size - 4:
        r.bad_at = pos
        return -1
    return target


cdef inline int flat_table(FlatReader *r, int64_t pos, FlatTable *out) noexcept nogil:
    """The table at ``pos`` (as :func:`flat_follow` gave it): 0, or -1 if it or its vtable is outside."""
    if pos < 0:
        return -1
    cdef int64_t vtable = pos - load_i32(r.data + pos)
    if vtable < 0 or vtable > r.size - 4:
        r.bad_at = pos
        return -1
    cdef int64_t n = load_u16(r.data + vtable)
    if n < 4 or n > r.size - vtable:
        r.bad_at = vtable
        return -1
    out.pos = pos
    out.vtable = vtable
    out.vtable_bytes = n
    return 0


cdef inline int64_t flat_field(FlatReader *r, const FlatTable *t, int field, int width) noexcept nogil:
    """Position of ``width`` bytes of field number ``field``; 0 if absent, -1 if outside."""
    cdef int64_t slot = 4 + 2 * field
    if slot + 2 > t.vtable_bytes:
        return 0
    cdef int64_t offset = load_u16(r.data + t.vtable + slot)
    if offset == 0:
        return 0
    if t.pos + offset > r.size - width:
        r.bad_at = t.vtable + slot
        return -1
    return t.pos + offset


cdef inline int flat_i64(FlatReader *r, const FlatTable *t, int field, int64_t *out) noexcept nogil:
    cdef int64_t pos = flat_field(r, t, field, 8)
    if pos < 0:
        return -1
    out[0] = load_i64(r.data + pos) if pos else 0
    return 0


cdef inline int flat_i32(FlatReader *r, const FlatTable *t, int field, int32_t *out) noexcept nogil:
    cdef int64_t pos = flat_field(r, t, field, 4)
    if pos < 0:
        return -1
    out[0] = load_i32(r.data + pos) if pos else 0
    return 0


cdef inline int flat_child(FlatReader *r, const FlatTable *t, int field, FlatTable *out) noexcept nogil:
    """The table in field ``field``: 0, or -1 if it is absent or outside."""
    cdef int64_t pos = flat_field(r, t, field, 4)
    if pos <= 0:
        if pos == 0:
            r.bad_at = t.pos
        return -1
    return flat_table(r, flat_follow(r, pos), out)


cdef inline int flat_span(FlatReader *r, const FlatTable *t, int field, int item_bytes, FlatSpan *out) noexcept nogil:
    """The string (``item_bytes`` 1) or vector in field ``field``; absent is empty. -1 if any of it is outside."""
    out.pos = 0
    out.count = 0
    cdef int64_t pos = flat_field(r, t, field, 4)
    if pos <= 0:
        return <int>pos
    return flat_span_at(r, pos, item_bytes, out)


cdef inline int flat_span_at(FlatReader *r, int64_t pos, int item_bytes, FlatSpan *out) noexcept nogil:
    """The string or vector that the offset at ``pos`` points to. -1 if any of it is outside."""
    cdef int64_t head = flat_follow(r, pos)
    if head < 0:
        return -1
    cdef int64_t count = load_u32(r.data + head)
    if count * item_bytes > r.size - head - 4:
        r.bad_at = head
        return -1
    out.pos = head + 4
    out.count = count
    return 0
