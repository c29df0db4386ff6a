"""What the paths of a layer's entries are, for checks that would be slow on ``Entry`` values."""

from libc.string cimport memcmp

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.utf8 cimport is_utf8

from accel_core.ztoc_survey import clean_name

cdef enum:
    XATTR_PREFIX_BYTES = 13

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
                record.key.len > XATTR_PREFIX_BYTES
                and memcmp(entries.arena + record.key.pos, XATTR_PREFIX, XATTR_PREFIX_BYTES) == 0
            ):
                good = good and text_fits(entries, record.key)
        if not good:
            found.append(i)
    return found


cdef inline bint text_fits(EntryTable entries, StrRef text) noexcept nogil:
    return text.len == 0 or is_utf8(entries.arena + text.pos, text.len)
