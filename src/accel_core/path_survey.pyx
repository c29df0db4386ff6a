"""What the paths of a layer's entries are, for checks that would be slow on ``Entry`` values."""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcmp

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.tar_header cimport Text
from accel_core.tar_pax cimport parse_pax_time
from accel_core.utf8 cimport is_utf8

from accel_core.ztoc_survey import clean_name

cdef enum:
    XATTR_PREFIX_BYTES = 13

cdef int64_t FIRST_S = -62167219200     # 0000-01-01
cdef int64_t LAST_S = 253402300799      # 9999-12-31T23:59:59

cdef const char *XATTR_PREFIX = b"SCHILY.xattr."


def cleaned_names(EntryTable entries not None):
    """The name of each row as readers file it (``ztoc_survey.clean_name``)."""
    cdef list names = []
    cdef Py_ssize_t i
    for i in range(entries.n_rows):
        names.append(clean_name(entries.string(entries.rows[i].name)))
    return names


def typeflags(EntryTable entries not None):
    """The typeflag of each row."""
    cdef bytearray flags = bytearray(entries.n_rows)
    cdef unsigned char[::1] to = flags
    cdef Py_ssize_t i
    for i in range(entries.n_rows):
        to[i] = entries.rows[i].typeflag
    return bytes(flags)


def files_with_slash(EntryTable entries not None):
    """Rows that are no directories, but whose names end in a slash."""
    cdef list found = []
    cdef Py_ssize_t i
    cdef const EntryRow *row
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        if row.typeflag != c"5" and row.name.len and entries.arena[row.name.pos + row.name.len - 1] == c"/":
            found.append(i)
    return found


def nameless_xattrs(EntryTable entries not None):
    """Rows with an extended attribute whose name is empty."""
    cdef list found = []
    cdef Py_ssize_t i, k
    cdef const EntryRow *row
    cdef StrRef key
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
            key = entries.pax[k].key
            if key.len == XATTR_PREFIX_BYTES and memcmp(entries.arena + key.pos, XATTR_PREFIX, XATTR_PREFIX_BYTES) == 0:
                found.append(i)
                break
    return found


def climbing(EntryTable entries not None):
    """Rows whose names have a ``..``."""
    cdef list found = []
    cdef Py_ssize_t i, k
    cdef const EntryRow *row
    cdef const uint8_t *name
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        name = entries.arena + row.name.pos
        for k in range(<Py_ssize_t>row.name.len - 1):
            if (
                name[k] == c"." and name[k + 1] == c"." and (k == 0 or name[k - 1] == c"/")
                and (k + 2 == <Py_ssize_t>row.name.len or name[k + 2] == c"/")
            ):
                found.append(i)
                break
    return found


def pax_times_out_of_range(EntryTable entries not None):
    """Rows whose PAX access or change time is outside the years 0 to 9999."""
    cdef list found = []
    cdef Py_ssize_t i, k
    cdef const EntryRow *row
    cdef const PaxRow *record
    cdef Text text
    cdef int64_t seconds
    cdef int32_t ns
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
            record = &entries.pax[k]
            text.p, text.n = entries.arena + record.key.pos, record.key.len
            if text.n != 5 or not (memcmp(text.p, b"atime", 5) == 0 or memcmp(text.p, b"ctime", 5) == 0):
                continue
            text.p, text.n = entries.arena + record.value.pos, record.value.len
            if text.n and parse_pax_time(text, &seconds, &ns) and not FIRST_S <= seconds <= LAST_S:
                found.append(i)
                break
    return found


def not_utf8(EntryTable entries not None):
    """Rows whose name, link target or name of an extended attribute is no UTF-8."""
    cdef list found = []
    cdef Py_ssize_t i, k
    cdef const EntryRow *row
    cdef const PaxRow *record
    cdef bint good
    for i in range(entries.n_rows):
        row = &entries.rows[i]
        good = text_fits(entries, row.name) and text_fits(entries, row.linkname)
        for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
            record = &entries.pax[k]
            if (
                record.key.len >= XATTR_PREFIX_BYTES
                and memcmp(entries.arena + record.key.pos, XATTR_PREFIX, XATTR_PREFIX_BYTES) == 0
            ):
                good = good and text_fits(entries, record.key)
        if not good:
            found.append(i)
    return found


cdef inline bint text_fits(EntryTable entries, StrRef text) noexcept nogil:
    return text.len == 0 or is_utf8(entries.arena + text.pos, text.len)
