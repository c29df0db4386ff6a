"""What the paths of a layer's entries are, for checks that would be slow on ``Entry`` values."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.tar_header cimport Text
from accel_core.tar_pax cimport XATTR_PREFIX_BYTES, equals, is_xattr, parse_pax_time
from accel_core.utf8 cimport is_utf8

from accel_core.ztoc_survey import clean_name

ctypedef bint (*RowTest)(EntryTable entries, const EntryRow *row) noexcept nogil

cdef int64_t FIRST_S = -62167219200     # 0000-01-01
cdef int64_t LAST_S = 253402300799      # 9999-12-31T23:59:59


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
    return rows_that(entries, ends_in_slash)


def nameless_xattrs(EntryTable entries not None):
    """Rows with an extended attribute whose name is empty."""
    return rows_that(entries, has_nameless_xattr)


def climbing(EntryTable entries not None):
    """Rows whose names have a ``..``."""
    return rows_that(entries, climbs)


def pax_times_out_of_range(EntryTable entries not None):
    """Rows whose PAX access or change time is outside the years 0 to 9999."""
    return rows_that(entries, has_odd_pax_time)


def not_utf8(EntryTable entries not None):
    """Rows whose name, link target or name of an extended attribute is no UTF-8."""
    return rows_that(entries, has_odd_text)


cdef list rows_that(EntryTable entries, RowTest test):
    cdef list found = []
    cdef Py_ssize_t i
    for i in range(entries.n_rows):
        if test(entries, &entries.rows[i]):
            found.append(i)
    return found


cdef bint ends_in_slash(EntryTable entries, const EntryRow *row) noexcept nogil:
    return row.typeflag != c"5" and row.name.len and entries.arena[row.name.pos + row.name.len - 1] == c"/"


cdef bint has_nameless_xattr(EntryTable entries, const EntryRow *row) noexcept nogil:
    cdef Py_ssize_t k
    cdef StrRef key
    for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
        key = entries.pax[k].key
        if key.len == XATTR_PREFIX_BYTES and is_xattr(entries.arena + key.pos, key.len):
            return True
    return False


cdef bint climbs(EntryTable entries, const EntryRow *row) noexcept nogil:
    cdef const uint8_t *name = entries.arena + row.name.pos
    cdef Py_ssize_t k
    for k in range(<Py_ssize_t>row.name.len - 1):
        if (
            name[k] == c"." and name[k + 1] == c"." and (k == 0 or name[k - 1] == c"/")
            and (k + 2 == <Py_ssize_t>row.name.len or name[k + 2] == c"/")
        ):
            return True
    return False


cdef bint has_odd_pax_time(EntryTable entries, const EntryRow *row) noexcept nogil:
    cdef const PaxRow *record
    cdef Text text
    cdef int64_t seconds
    cdef int32_t ns
    cdef Py_ssize_t k
    for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
        record = &entries.pax[k]
        text.p, text.n = entries.arena + record.key.pos, record.key.len
        if not (equals(text, b"atime", 5) or equals(text, b"ctime", 5)):
            continue
        text.p, text.n = entries.arena + record.value.pos, record.value.len
        if text.n and parse_pax_time(text, &seconds, &ns) and not FIRST_S <= seconds <= LAST_S:
            return True
    return False


cdef bint has_odd_text(EntryTable entries, const EntryRow *row) noexcept nogil:
    cdef Py_ssize_t k
    cdef StrRef key
    if not (text_fits(entries, row.name) and text_fits(entries, row.linkname)):
        return True
    for k in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
        key = entries.pax[k].key
        if is_xattr(entries.arena + key.pos, key.len) and not text_fits(entries, key):
            return True
    return False


cdef inline bint text_fits(EntryTable entries, StrRef text) noexcept nogil:
    return text.len == 0 or is_utf8(entries.arena + text.pos, text.len)
