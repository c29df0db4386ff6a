"""Columns of an entry table: what splitting (``toc_split``) and joining (``toc_join``) have to agree on.

What an entry has from the one before it is left out, so that most of what is left is zeros and compresses well.

A number column of n values is ``width`` planes of n bytes: the lowest bytes of all values, then the next ones up. The
width is what the largest value needs, 0 to 8, and shows in the column's length. Numbers are taken modulo 2**64; those
called *signed* are zigzag, 2v or -2v - 1.

========== ================= ==================================================================================
KINDS      11 per kind       what many entries have in common, field by field (K_...)
KEYS       key of a kind     bytes of a PAX key
KIND TEXT                    of each kind in turn: uname, gname, keys
TIMES      time              seconds since the time before, signed
NANOS      time              nanoseconds on top of them
KIND       entry             0: the next kind that had no turn yet; k: kind k - 1
TIME       entry             the same for times
GAP        entry             header_offset less the end of the entry before it (padded to 512), signed
HEADERS    entry             data_offset - header_offset - 512, signed
SIZE       entry             size
STORED     entry             stored_size less size (less 0 for types without data), signed
PREFIX     string            bytes that it begins with as its model does. The model of a name is the name before,
                             that of a link target the name of its own entry
SUFFIX     string            bytes of the rest that it ends with as its model does
MIDDLE     string            bytes between the two
TEXT                         those bytes
VALUE      record            0: the value is what the entry's field of that name says; n: n - 1 bytes of its own
VALUE TEXT                   those bytes
========== ================= ==================================================================================

Strings are in entry order, the name and then, if the kind has one, the link target; records are in entry order, one for
each key of the kind.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from accel_core.entries cimport EntryRow, StrRef
from accel_core.tar_header cimport BLOCK_BYTES, Text
from accel_core.tar_pax cimport (
    KEY_GID, KEY_GNAME, KEY_LINKPATH, KEY_MTIME, KEY_PATH, KEY_SIZE, KEY_UID, KEY_UNAME, known_key,
)

cdef enum:                          # columns
    C_KINDS, C_KEYS, C_KIND_TEXT, C_TIMES, C_NANOS, C_KIND, C_TIME, C_GAP, C_HEADERS, C_SIZE, C_STORED, C_PREFIX,
    C_SUFFIX, C_MIDDLE, C_TEXT, C_VALUE, C_VALUE_TEXT, N_COLUMNS

cdef enum:                          # fields of a kind
    K_TYPEFLAG, K_FLAGS, K_MARKS, K_MODE, K_UID, K_GID, K_DEVMAJOR, K_DEVMINOR, K_UNAME_BYTES, K_GNAME_BYTES, K_KEYS,
    N_KIND_FIELDS

cdef enum:                          # bits of K_MARKS
    HAS_MTIME = 1
    HAS_LINK = 2

cdef enum:
    MAX_DIGITS = 32                 # sign, 19 digits, point, 9 digits: 30


cdef inline uint64_t zigzag(uint64_t v) noexcept nogil:
    return (v << 1) ^ (0 - (v >> 63))


cdef inline uint64_t unzigzag(uint64_t v) noexcept nogil:
    return (v >> 1) ^ (0 - (v & 1))


cdef inline bint has_data(uint8_t typeflag) noexcept nogil:
    """False for types that are headers only, whatever size they claim."""
    return not 0x31 <= typeflag <= 0x36         # '1' .. '6'


cdef inline uint64_t end_of(const EntryRow *row) noexcept nogil:
    return (<uint64_t>row.data_offset + <uint64_t>row.stored_size + BLOCK_BYTES - 1) & ~<uint64_t>(BLOCK_BYTES - 1)


cdef inline bint is_sound(const EntryRow *row, int64_t archive_size) noexcept nogil:
    """True if the entry lies in the archive, whose last block may lack its padding."""
    cdef uint64_t end = <uint64_t>archive_size + BLOCK_BYTES - 1
    return (
        0 <= row.header_offset <= row.data_offset
        and <uint64_t>row.data_offset <= end
        and 0 <= row.stored_size
        and <uint64_t>row.stored_size <= end - <uint64_t>row.data_offset
        and (row.size >= 0 or not has_data(row.typeflag))
    )


# A PAX record usually says what a field of its entry says, because that is where the field comes from.

cdef inline StrRef *said(
    EntryRow *row, const uint8_t *key, Py_ssize_t n_key, uint8_t *digits, Py_ssize_t *n_digits
) noexcept nogil:
    """The string of the entry that a PAX record of this key sets; NULL, and a number in ``digits``, or none, if not."""
    cdef Text text
    text.p, text.n = key, n_key
    cdef int known = known_key(text)
    n_digits[0] = 0
    if known == KEY_PATH:
        return &row.name
    if known == KEY_LINKPATH:
        return &row.linkname
    if known == KEY_UNAME:
        return &row.uname
    if known == KEY_GNAME:
        return &row.gname
    if known == KEY_SIZE:
        n_digits[0] = put_decimal(row.size, digits)
    elif known == KEY_UID:
        n_digits[0] = put_decimal(row.uid, digits)
    elif known == KEY_GID:
        n_digits[0] = put_decimal(row.gid, digits)
    # A fraction before 1970 counts backwards in the record: too rare to care for.
    elif known == KEY_MTIME and (row.mtime_s >= 0 or row.mtime_ns == 0):
        n_digits[0] = put_time(row.mtime_s, row.mtime_ns, digits)
    return NULL


cdef inline Py_ssize_t put_time(int64_t seconds, int32_t ns, uint8_t *out) noexcept nogil:
    """Seconds with a fraction that does not end in zeros."""
    cdef Py_ssize_t n = put_decimal(seconds, out)
    if ns == 0:
        return n
    # 1 in front keeps the zeros that the fraction begins with; the point takes its place.
    cdef Py_ssize_t end = n + put_decimal(<int64_t>1_000_000_000 + ns, out + n)
    out[n] = 0x2E
    while out[end - 1] == 0x30:
        end -= 1
    return end


cdef inline Py_ssize_t put_decimal(int64_t value, uint8_t *out) noexcept nogil:
    cdef uint8_t digits[20]
    cdef Py_ssize_t n = 0, length = 0
    cdef uint64_t left = <uint64_t>value
    if value < 0:
        out[0] = 0x2D
        length = 1
        left = 0 - left
    while n == 0 or left:
        digits[n] = <uint8_t>(0x30 + left % 10)
        left //= 10
        n += 1
    while n:
        n -= 1
        out[length] = digits[n]
        length += 1
    return length
