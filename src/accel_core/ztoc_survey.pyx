"""Which entries of a layer a zTOC cannot hold as they are: a quick pass, so that only odd ones become Python values."""

from libc.stdint cimport int64_t, uint8_t

from accel_core.entries cimport EntryRow, EntryTable

cdef enum:
    NOT_A_WORD = 1          # SOCI has no word for the typeflag: global headers, sparse, unknown, contiguous
    FLAGGED = 2             # the scanner flagged it (EntryFlag)
    OWNER_TOO_LARGE = 4     # uid or gid does not fit 32 bits
    MODE_HAS_TYPE = 8       # a file whose mode says it is something else
    TIME_OUT_OF_RANGE = 16  # the year does not fit RFC 3339

ODD_TYPE = NOT_A_WORD
ODD_FLAGS = FLAGGED
ODD_OWNER = OWNER_TOO_LARGE
ODD_MODE = MODE_HAS_TYPE
ODD_TIME = TIME_OUT_OF_RANGE


cdef int oddness(const EntryRow *row) noexcept nogil:
    cdef int odd = 0
    cdef int64_t type_bits = row.mode & ~<int64_t>0o7777
    if row.typeflag < c"0" or row.typeflag > c"6":
        odd |= NOT_A_WORD
    if row.flags != 0:
        odd |= FLAGGED
    if row.uid < 0 or row.uid > <int64_t>0xffffffff or row.gid < 0 or row.gid > <int64_t>0xffffffff:
        odd |= OWNER_TOO_LARGE
    # What Go's tar package takes for a type in the mode field; other bits there mean nothing to it.
    if (row.typeflag == c"0" or row.typeflag == c"7") and (
            type_bits == 0o040000 or type_bits == 0o010000 or type_bits == 0o120000 or type_bits == 0o060000
            or type_bits == 0o020000 or type_bits == 0o140000):
        odd |= MODE_HAS_TYPE
    if row.has_mtime and (row.mtime_s < -62167219200LL or row.mtime_s > 253402300799LL):
        odd |= TIME_OUT_OF_RANGE
    return odd


def odd_rows(EntryTable entries not None):
    """``(row, ODD_* bits)`` of each entry that is odd in some way, in order."""
    cdef list found = []
    cdef Py_ssize_t i
    cdef int odd
    for i in range(entries.n_rows):
        odd = oddness(&entries.rows[i])
        if odd:
            found.append((i, odd))
    return found


def hard_links(EntryTable entries not None):
    """``(row, cleaned name, cleaned target)`` of each hard link, in order."""
    cdef list found = []
    cdef Py_ssize_t i
    cdef EntryRow *row
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        if row.typeflag == c"1":
            found.append((i, clean_name(entries.string(row.name)), clean_name(entries.string(row.linkname))))
    return found


def rows_named(EntryTable entries not None, names):
    """Rows by cleaned name, for those of ``names`` that occur; global headers have no name."""
    cdef dict found = {}
    cdef Py_ssize_t i
    cdef bytes name
    wanted = frozenset(names)
    for i in range(entries.n_rows):
        if entries.rows[i].typeflag != c"g":
            name = clean_name(entries.string(entries.rows[i].name))
            if name in wanted:
                found.setdefault(name, []).append(i)
    return found


def past_last_span(EntryTable entries not None, int64_t span_bytes, int64_t n_spans):
    """The last file whose end lies at or past the end of the last fixed-size span, -1 if none."""
    cdef Py_ssize_t i
    cdef EntryRow *row
    for i in range(entries.n_rows - 1, -1, -1):
        row = &entries.rows[i]
        if (row.typeflag == c"0" or row.typeflag == c"7") and (row.data_offset + row.size) // span_bytes >= n_spans:
            return i
    return -1


cpdef bytes clean_name(bytes name):
    """The name as readers file it: from the root, no ``.``, ``..``, repeated or trailing slashes; b"" is the root."""
    cdef const uint8_t *p = <const uint8_t *><const char *>name
    cdef Py_ssize_t n = len(name), start = 0, i
    while True:
        if start < n and p[start] == c"/":
            start += 1
        elif start + 1 < n and p[start] == c"." and p[start + 1] == c"/":
            start += 2
        else:
            break
    while n > start and p[n - 1] == c"/":
        n -= 1
    # A component that starts with a dot, or an empty one, needs the whole rule; most names have neither.
    for i in range(start, n):
        if (p[i] == c"." or p[i] == c"/") and (i == start or p[i - 1] == c"/"):
            return clean_slowly(name)
    return name[start:n]


cdef bytes clean_slowly(bytes name):
    cdef list parts = []
    for part in name.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)
