"""PAX extended header records, ``"%d %s=%s\\n" % (length, key, value)``, read as Go's archive/tar reads them."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from accel_core.tar_header cimport Header, Text

cdef enum:                          # the keys that change how a member is read
    KEY_OTHER
    KEY_PATH
    KEY_LINKPATH
    KEY_UNAME
    KEY_GNAME
    KEY_UID
    KEY_GID
    KEY_SIZE
    KEY_MTIME
    KEY_ATIME
    KEY_CTIME
    KEY_SPARSE_MAJOR
    KEY_SPARSE_MINOR
    KEY_SPARSE_NAME
    KEY_SPARSE_SIZE
    KEY_SPARSE_REALSIZE
    KEY_SPARSE_MAP
    KEY_SPARSE_OFFSET               # format 0.0 repeats these two
    KEY_SPARSE_NUMBYTES
    N_KEYS


cdef enum:
    XATTR_PREFIX_BYTES = 13


cdef struct PaxRecord:              # texts point into the header's body
    Text key
    Text value
    int known                       # KEY_...
    uint32_t seq                    # place in the body
    uint8_t superseded              # a later record has the same key


cdef inline bint equals(Text text, const char *literal, Py_ssize_t n) noexcept nogil:
    return text.n == n and memcmp(text.p, literal, n) == 0


cdef inline const char *xattr_prefix() noexcept nogil:
    """What the keys of extended attributes begin with."""
    return b"SCHILY.xattr."


cdef inline bint is_xattr(const uint8_t *key, Py_ssize_t n) noexcept nogil:
    """Whether a key is one, perhaps of an attribute without a name."""
    return n >= XATTR_PREFIX_BYTES and memcmp(key, xattr_prefix(), XATTR_PREFIX_BYTES) == 0


cdef inline int known_key(Text key) noexcept nogil:
    if key.n > 11 and memcmp(key.p, b"GNU.sparse.", 11) == 0:
        return (
            KEY_SPARSE_MAJOR if equals(key, b"GNU.sparse.major", 16) else
            KEY_SPARSE_MINOR if equals(key, b"GNU.sparse.minor", 16) else
            KEY_SPARSE_NAME if equals(key, b"GNU.sparse.name", 15) else
            KEY_SPARSE_SIZE if equals(key, b"GNU.sparse.size", 15) else
            KEY_SPARSE_REALSIZE if equals(key, b"GNU.sparse.realsize", 19) else
            KEY_SPARSE_MAP if equals(key, b"GNU.sparse.map", 14) else
            KEY_SPARSE_OFFSET if equals(key, b"GNU.sparse.offset", 17) else
            KEY_SPARSE_NUMBYTES if equals(key, b"GNU.sparse.numbytes", 19) else
            KEY_OTHER
        )
    return (
        KEY_PATH if equals(key, b"path", 4) else
        KEY_LINKPATH if equals(key, b"linkpath", 8) else
        KEY_UNAME if equals(key, b"uname", 5) else
        KEY_GNAME if equals(key, b"gname", 5) else
        KEY_UID if equals(key, b"uid", 3) else
        KEY_GID if equals(key, b"gid", 3) else
        KEY_SIZE if equals(key, b"size", 4) else
        KEY_MTIME if equals(key, b"mtime", 5) else
        KEY_ATIME if equals(key, b"atime", 5) else
        KEY_CTIME if equals(key, b"ctime", 5) else
        KEY_OTHER
    )


cdef inline bint parse_decimal(Text text, int64_t *out) noexcept nogil:
    """An optional sign and decimal digits, nothing else. False if it is no number or 64 bits cannot hold it."""
    cdef Py_ssize_t i = 0
    cdef bint negative = False
    cdef uint64_t value = 0, digit
    cdef uint64_t limit = <uint64_t>INT64_MAX
    if text.n and (text.p[0] == 0x2B or text.p[0] == 0x2D):     # + or -
        negative = text.p[0] == 0x2D
        limit += negative
        i = 1
    if i == text.n:
        return False
    while i < text.n:
        digit = <uint64_t>text.p[i] - 0x30                      # below '0' wraps to something large
        if digit > 9 or value > (limit - digit) // 10:
            return False
        value = value * 10 + digit
        i += 1
    out[0] = <int64_t>(0 - value) if negative else <int64_t>value
    return True


cdef inline bint parse_pax_time(Text text, int64_t *seconds, int32_t *nanoseconds) noexcept nogil:
    """Seconds (rounded down) and nanoseconds of ``[-]seconds[.fraction]``; digits after the ninth are dropped."""
    cdef Text whole = text
    cdef const void *dot = memchr(text.p, 0x2E, text.n)
    cdef Py_ssize_t i
    cdef int n_digits = 0
    cdef int32_t fraction = 0
    if dot is not NULL:
        whole.n = <const uint8_t *>dot - text.p
    if not parse_decimal(whole, seconds):
        return False
    for i in range(whole.n + 1, text.n):
        if text.p[i] < 0x30 or text.p[i] > 0x39:
            return False
        if n_digits < 9:
            fraction = fraction * 10 + (text.p[i] - 0x30)
            n_digits += 1
    if n_digits:
        while n_digits < 9:
            fraction *= 10
            n_digits += 1
    # The sign counts for the fraction too, -0.5 included. -2**63 wraps around as it does in Go.
    if fraction and whole.p[0] == 0x2D:
        seconds[0] = <int64_t>(<uint64_t>seconds[0] - 1)
        fraction = 1_000_000_000 - fraction
    nanoseconds[0] = fraction
    return True


cdef inline Py_ssize_t parse_record(const uint8_t *p, Py_ssize_t n, PaxRecord *out) noexcept nogil:
    """Length of the record at ``p``, of which ``out`` gets key and value; 0 if it breaks the format."""
    cdef Text digits
    cdef int64_t length
    cdef const void *space = memchr(p, 0x20, n)
    if space is NULL:
        return 0
    digits.p = p
    digits.n = <const uint8_t *>space - p
    if not parse_decimal(digits, &length) or length < 5 or length > n or length <= digits.n + 1:
        return 0
    if p[length - 1] != 0x0A:
        return 0
    out.key.p = p + digits.n + 1
    cdef Py_ssize_t n_pair = length - 1 - (digits.n + 1)
    cdef const void *equal = memchr(out.key.p, 0x3D, n_pair)
    if equal is NULL or equal == out.key.p:                     # no "=", or no key
        return 0
    out.key.n = <const uint8_t *>equal - out.key.p
    out.value.p = <const uint8_t *>equal + 1
    out.value.n = n_pair - out.key.n - 1
    out.known = known_key(out.key)
    # NUL is refused where it would cut a string short; writers put binary values under keys of their own.
    cdef bint in_value = KEY_PATH <= out.known <= KEY_GNAME
    cdef Text checked = out.value if in_value else out.key
    return 0 if memchr(checked.p, 0, checked.n) is not NULL else length


cdef inline const char *merge_records(const PaxRecord *records, Py_ssize_t n, Header *h) noexcept nogil:
    """Lets the records override header fields; an empty value leaves the header's. NULL, or what is wrong."""
    cdef Text last[N_KEYS]                                      # of each known key the last value, which counts
    cdef int64_t ignored
    cdef int32_t ignored_ns
    cdef Py_ssize_t i
    memset(last, 0, sizeof(last))
    for i in range(n):
        last[records[i].known] = records[i].value
    if last[KEY_PATH].n:
        h.name, h.prefix.n = last[KEY_PATH], 0
    if last[KEY_LINKPATH].n:
        h.linkname = last[KEY_LINKPATH]
    if last[KEY_UNAME].n:
        h.uname = last[KEY_UNAME]
    if last[KEY_GNAME].n:
        h.gname = last[KEY_GNAME]
    if last[KEY_UID].n and not parse_decimal(last[KEY_UID], &h.uid):
        return b"bad uid in PAX header"
    if last[KEY_GID].n and not parse_decimal(last[KEY_GID], &h.gid):
        return b"bad gid in PAX header"
    if last[KEY_SIZE].n and not parse_decimal(last[KEY_SIZE], &h.size):
        return b"bad size in PAX header"
    if last[KEY_MTIME].n and not parse_pax_time(last[KEY_MTIME], &h.mtime, &h.mtime_ns):
        return b"bad mtime in PAX header"
    if last[KEY_ATIME].n and not parse_pax_time(last[KEY_ATIME], &ignored, &ignored_ns):
        return b"bad atime in PAX header"
    if last[KEY_CTIME].n and not parse_pax_time(last[KEY_CTIME], &ignored, &ignored_ns):
        return b"bad ctime in PAX header"
    return NULL


cdef inline bint is_version(const Text *last, const char *major, const char *minor) noexcept nogil:
    return equals(last[KEY_SPARSE_MAJOR], major, 1) and equals(last[KEY_SPARSE_MINOR], minor, 1)


cdef inline const char *merge_sparse(
    const PaxRecord *records, Py_ssize_t n, Header *h, bint *sparse
) noexcept nogil:
    """Name and logical size of a GNU PAX sparse member (0.0, 0.1 and 1.0), if it is one. NULL, or what is wrong.

    The stored bytes, map of 1.0 included, are what the size field said; call this after that has been used.
    """
    cdef Text last[N_KEYS]
    cdef Text size
    cdef Py_ssize_t i, n_repeated = 0
    cdef bint has_map
    memset(last, 0, sizeof(last))
    for i in range(n):
        last[records[i].known] = records[i].value
        n_repeated += records[i].known == KEY_SPARSE_OFFSET or records[i].known == KEY_SPARSE_NUMBYTES
    # Go joins what 0.0 repeats with commas to the map of 0.1, which is not empty then.
    has_map = last[KEY_SPARSE_OFFSET].n > 0 or n_repeated > 1
    if n_repeated == 0:
        has_map = last[KEY_SPARSE_MAP].n > 0
    if last[KEY_SPARSE_MAJOR].n or last[KEY_SPARSE_MINOR].n:
        sparse[0] = is_version(last, b"0", b"0") or is_version(last, b"0", b"1") or is_version(last, b"1", b"0")
    else:
        sparse[0] = has_map
    if not sparse[0]:
        return NULL
    if last[KEY_SPARSE_NAME].n:
        h.name, h.prefix.n = last[KEY_SPARSE_NAME], 0
    size = last[KEY_SPARSE_SIZE] if last[KEY_SPARSE_SIZE].n else last[KEY_SPARSE_REALSIZE]
    if size.n and (not parse_decimal(size, &h.size) or h.size < 0):
        return b"bad size of sparse file in PAX header"
    return NULL
