"""Entries and chunks to the JSON table of contents of eStargz and zstd:chunked layers.

::

    {"version":1,"entries":[{"name":"usr/","type":"dir",…},{"name":"usr/big","type":"reg","size":…,"offset":…,…},
     {"name":"usr/big","type":"chunk","offset":…,"chunkOffset":…,…},…],"tarSplitDigest":"sha256:…"}

What each key means and when it is there: ``accel.formats.stargz.toc``. Bytes of names go in as they are, which makes
the text no UTF-8 if they are none.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcmp, strlen

from accel_core.entries cimport EntryRow, EntryTable, PaxRow
from accel_core.json_write cimport (
    ESCAPED_MAX, NUMBER_MAX, Out, put, put_base64, put_byte, put_bytes, put_hex, put_number, put_text, reserve,
)
from accel_core.rfc3339 cimport RFC3339_MAX, rfc3339_format
from accel_core.tar_header cimport Text
from accel_core.tar_pax cimport XATTR_PREFIX_BYTES, is_xattr, parse_pax_time

cdef enum:
    DIGEST_BYTES = 32
    DIGEST_TEXT = 7 + 2 * DIGEST_BYTES          # "sha256:" and hex
    # Beside its texts an entry has at most: 20 keys of 16 bytes with quotes, colon and comma, type and braces (32),
    # 3 times, 2 digests, 12 numbers
    ROW_ROOM = 20 * 20 + 32 + 3 * RFC3339_MAX + 2 * DIGEST_TEXT + 12 * NUMBER_MAX
    RECORD_ROOM = 16                            # quotes, colon and comma of an extended attribute, base64's rounding

cdef enum:                                      # rows that are in no table
    NO_PREFETCH_ROW = -1
    PREFETCH_ROW = -2

NO_PREFETCH = NO_PREFETCH_ROW
PREFETCH = PREFETCH_ROW

# The digest of nothing, which eStargz gives for empty files
cdef const char *EMPTY_DIGEST = b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


cdef struct Chunks:
    const int64_t *entry
    const int64_t *chunk_offset
    const int64_t *chunk_size
    const int64_t *blob_offset
    const int64_t *end_offset
    const int64_t *inner_offset     # NULL: all 0
    const uint8_t *digests
    Py_ssize_t n
    Py_ssize_t at               # the first that no entry has taken
    int64_t blob_start          # where the members or the frame of the last one taken begin
    int64_t blob_end            # and end
    int64_t inner_end           # where in what they hold it ends


cdef struct Times:              # of GNU and star headers, for one row
    int64_t row
    int64_t atime
    int64_t ctime


# Kernel

cdef inline void put_field(Out *out, const char *key, int64_t value) noexcept nogil:
    """A key and a number, unless it is 0."""
    if value != 0:
        put(out, key)
        put_number(out, value)


cdef void put_digest(Out *out, const char *key, const uint8_t *digest) noexcept nogil:
    put(out, key)
    put(out, b'"sha256:')
    put_hex(out, digest, DIGEST_BYTES)
    put_byte(out, c'"')


cdef void put_time(Out *out, const char *key, int64_t seconds, int32_t ns) noexcept nogil:
    """A key and a time, unless its year has not four digits."""
    cdef uint8_t[RFC3339_MAX] text
    cdef int n = rfc3339_format(seconds, ns, text)
    if n:
        put(out, key)
        put_byte(out, c'"')
        put_bytes(out, text, n)
        put_byte(out, c'"')


cdef inline const char *type_of(uint8_t typeflag) noexcept nogil:
    """The type of an entry; NULL for those that a table of contents has no word for."""
    if typeflag == c'0' or typeflag == c'7':
        return b"reg"
    if typeflag == c'1':
        return b"hardlink"
    if typeflag == c'2':
        return b"symlink"
    if typeflag == c'3':
        return b"char"
    if typeflag == c'4':
        return b"block"
    if typeflag == c'5':
        return b"dir"
    if typeflag == c'6':
        return b"fifo"
    return NULL


cdef Py_ssize_t room_for(const EntryRow *row, const PaxRow *pax) noexcept nogil:
    """The most that the entry of a row can take, its chunks aside."""
    cdef Py_ssize_t n = ROW_ROOM + ESCAPED_MAX * (<Py_ssize_t>row.name.len + row.linkname.len)
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
        n += RECORD_ROOM + ESCAPED_MAX * <Py_ssize_t>pax[i].key.len + 2 * <Py_ssize_t>pax[i].value.len
    return n


cdef void put_xattrs(Out *out, const EntryRow *row, const PaxRow *pax, const uint8_t *arena) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint first = True
    for i in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
        if not is_xattr(arena + pax[i].key.pos, pax[i].key.len):
            continue
        put(out, b',"xattrs":{' if first else b",")
        first = False
        put_text(out, arena + pax[i].key.pos + XATTR_PREFIX_BYTES, pax[i].key.len - XATTR_PREFIX_BYTES)
        put_byte(out, c':')
        put_base64(out, arena + pax[i].value.pos, pax[i].value.len)
    if not first:
        put_byte(out, c'}')


cdef void put_pax_time(
    Out *out, const char *key, const char *record, int64_t header_s, const EntryRow *row, const PaxRow *pax,
    const uint8_t *arena,
) noexcept nogil:
    """The time that the PAX record of this name gives, or else the header; nothing for the epoch."""
    cdef Py_ssize_t i
    cdef Text text
    cdef int64_t seconds = header_s
    cdef int32_t ns = 0
    for i in range(<Py_ssize_t>row.pax_first, <Py_ssize_t>row.pax_first + row.pax_count):
        if pax[i].key.len == 5 and memcmp(arena + pax[i].key.pos, record, 5) == 0 and pax[i].value.len:
            text.p, text.n = arena + pax[i].value.pos, pax[i].value.len
            if not parse_pax_time(text, &seconds, &ns):     # the scan refused such an archive
                seconds, ns = header_s, 0
    if seconds != 0 or ns != 0:
        put_time(out, key, seconds, ns)


cdef bint take_place(Chunks *chunks, Py_ssize_t i) noexcept nogil:
    """Whether chunk ``i`` is behind the last one taken: in a member behind that one's, or further on in the same.

    Then it is the last one taken. Where a member is shared, offsets must differ.
    """
    cdef int64_t start = chunks.blob_offset[i], end = chunks.end_offset[i]
    cdef int64_t inner = 0 if chunks.inner_offset is NULL else chunks.inner_offset[i]
    cdef bint is_same = start > chunks.blob_start and end == chunks.blob_end and inner >= chunks.inner_end
    if end <= start or not (is_same or (start >= chunks.blob_end and inner == 0)):
        return False
    chunks.blob_start, chunks.blob_end, chunks.inner_end = start, end, inner + chunks.chunk_size[i]
    return True


cdef const char *take_chunks(
    Out *out, Chunks *chunks, int64_t row, int64_t size, const uint8_t *name, Py_ssize_t n_name,
    const uint8_t *file_digest, bint with_end,
) noexcept nogil:
    """The keys of a file's data, the end of its entry, and its further chunks. NULL, or what is wrong ("": memory)."""
    cdef Py_ssize_t first = chunks.at, last = chunks.at, i
    cdef int64_t done = 0
    while last < chunks.n and chunks.entry[last] == row:
        if chunks.chunk_offset[last] != done or chunks.chunk_size[last] <= 0:
            return b"chunks of a file do not follow each other"
        if chunks.chunk_size[last] > size - done:
            return b"chunks of a file are longer than the file"
        if not take_place(chunks, last):
            return b"chunks are not in the order of the blob"
        done += chunks.chunk_size[last]
        last += 1
    if done != size:
        return b"the chunks of a file are not all of it, or not in the order of the entries"
    chunks.at = last
    if file_digest is NULL and last - first > 1:
        return b"a file of several chunks has no digest"
    put_digest(out, b',"digest":', file_digest if last - first > 1 else chunks.digests + DIGEST_BYTES * first)
    for i in range(first, last):
        if i > first:
            if not reserve(out, ROW_ROOM + ESCAPED_MAX * n_name):
                return b""
            put(out, b',{"name":')
            put_text(out, name, n_name)
            put(out, b',"type":"chunk"')
        put_field(out, b',"offset":', chunks.blob_offset[i])
        if chunks.inner_offset is not NULL:
            put_field(out, b',"innerOffset":', chunks.inner_offset[i])
        if with_end and i == first:
            put_field(out, b',"endOffset":', chunks.end_offset[last - 1])
        put_field(out, b',"chunkOffset":', chunks.chunk_offset[i])
        if last - first > 1:
            put_field(out, b',"chunkSize":', chunks.chunk_size[i])
        put_digest(out, b',"chunkDigest":', chunks.digests + DIGEST_BYTES * i)
        put_byte(out, c'}')
    return NULL


cdef const char *put_landmark(Out *out, Chunks *chunks, int64_t row) noexcept nogil:
    cdef const char *name = b".prefetch.landmark" if row == PREFETCH_ROW else b".no.prefetch.landmark"
    if not reserve(out, ROW_ROOM):
        return b""
    put(out, b'{"name":')
    put_text(out, <const uint8_t *>name, <Py_ssize_t>strlen(name))
    put(out, b',"type":"reg"')
    put_field(out, b',"size":', 1)
    return take_chunks(out, chunks, row, 1, NULL, 0, NULL, False)


cdef const char *put_row(
    Out *out, Chunks *chunks, int64_t i, const EntryRow *row, const PaxRow *pax, const uint8_t *arena,
    const uint8_t *file_digest, const Times *times, bint zstd,
) noexcept nogil:
    """One row as an entry and the chunks that follow it. NULL, or what is wrong ("" if memory ends)."""
    cdef const char *type_name = type_of(row.typeflag)
    cdef bint is_file = row.typeflag == c'0' or row.typeflag == c'7'
    if type_name is NULL:
        return b"a table of contents cannot hold an entry of this type"
    if not reserve(out, room_for(row, pax)):
        return b""
    put(out, b'{"name":')
    put_text(out, arena + row.name.pos, row.name.len)
    put(out, b',"type":"')
    put(out, type_name)
    put_byte(out, c'"')
    if is_file:
        put_field(out, b',"size":', row.size)
    if row.linkname.len and (zstd or row.typeflag == c'1' or row.typeflag == c'2'):
        put(out, b',"linkName":')
        put_text(out, arena + row.linkname.pos, row.linkname.len)
    put_field(out, b',"mode":', row.mode)
    put_field(out, b',"uid":', row.uid)
    put_field(out, b',"gid":', row.gid)
    # The epoch too, which the reference leaves out: without a time its own readers show year 1.
    if row.has_mtime and zstd:
        put_time(out, b',"modtime":', row.mtime_s, row.mtime_ns)
    elif row.has_mtime:
        put_time(out, b',"modtime":', row.mtime_s + (row.mtime_ns >= 500_000_000), 0)
    if zstd:
        put_pax_time(out, b',"accesstime":', b"atime", 0 if times is NULL else times.atime, row, pax, arena)
        put_pax_time(out, b',"changetime":', b"ctime", 0 if times is NULL else times.ctime, row, pax, arena)
    if zstd or row.typeflag == c'3' or row.typeflag == c'4':
        put_field(out, b',"devMajor":', row.devmajor)
        put_field(out, b',"devMinor":', row.devminor)
    put_xattrs(out, row, pax, arena)
    if is_file and row.size != 0:
        return take_chunks(out, chunks, i, row.size, arena + row.name.pos, row.name.len, file_digest, zstd)
    if is_file and not zstd:
        put(out, b',"digest":"')
        put(out, EMPTY_DIGEST)
        put_byte(out, c'"')
    put_byte(out, c'}')
    return NULL


# Door

def write(
    EntryTable entries not None, const int64_t[::1] rows not None, *, const int64_t[::1] chunk_entry not None,
    const int64_t[::1] chunk_offset not None, const int64_t[::1] chunk_size not None,
    const int64_t[::1] blob_offset not None, const int64_t[::1] end_offset not None,
    const int64_t[::1] inner_offset not None, const uint8_t[::1] digests not None, file_digests, bint zstd=False,
    header_times=(),
    str tar_split_digest not None = "",
):
    """The JSON of ``rows`` of ``entries``, in that order; ``NO_PREFETCH`` and ``PREFETCH`` stand for the landmarks.

    The arrays describe the chunks of all files that are not empty, in the order of the rows (``inner_offset`` may be
    empty: all 0); ``file_digests`` gives the digest of a file of several chunks by its row. ``header_times`` are
    ``(row, atime, ctime)``, sorted as the rows are. With ``zstd`` it is the dialect of containers/storage. Raises
    ValueError for chunks that do not fit the entries.
    """
    cdef Py_ssize_t n = rows.shape[0], k = 0, t = 0
    cdef Chunks chunks
    cdef Out out
    cdef const char *wrong = NULL
    cdef bytes head = b'{"version":1,"entries":['
    cdef bytes tail = b"]}"
    cdef bytes digest
    cdef const uint8_t *file_digest
    cdef const EntryRow *row
    cdef Times times
    cdef list header = list(header_times)
    if tar_split_digest:
        tail = b'],"tarSplitDigest":"' + tar_split_digest.encode("ascii") + b'"}'
    chunks.n = chunk_entry.shape[0]
    if not (
        chunk_offset.shape[0] == chunk_size.shape[0] == blob_offset.shape[0] == end_offset.shape[0] == chunks.n
        and digests.shape[0] == DIGEST_BYTES * chunks.n and inner_offset.shape[0] in (0, chunks.n)
    ):
        raise ValueError("the arrays of chunks differ in length")
    chunks.at = chunks.blob_start = chunks.blob_end = chunks.inner_end = 0
    chunks.entry = chunks.chunk_offset = chunks.chunk_size = chunks.blob_offset = chunks.end_offset = NULL
    chunks.inner_offset, chunks.digests = NULL, NULL
    if inner_offset.shape[0]:
        chunks.inner_offset = &inner_offset[0]
    if chunks.n:
        chunks.entry, chunks.chunk_offset, chunks.chunk_size = &chunk_entry[0], &chunk_offset[0], &chunk_size[0]
        chunks.blob_offset, chunks.end_offset, chunks.digests = &blob_offset[0], &end_offset[0], &digests[0]
    out.p = NULL
    out.n = out.cap = 0
    try:
        if not reserve(&out, len(head) + 256 * n):
            raise MemoryError
        put(&out, head)
        while k < n and wrong is NULL:
            if not reserve(&out, 1):
                raise MemoryError
            if k:
                put_byte(&out, c',')
            if rows[k] == NO_PREFETCH_ROW or rows[k] == PREFETCH_ROW:
                wrong = put_landmark(&out, &chunks, rows[k])
                k += 1
                continue
            if not 0 <= rows[k] < entries.n_rows:
                raise ValueError(f"row {rows[k]} of {entries.n_rows}")
            row = &entries.rows[rows[k]]
            file_digest = NULL
            if chunks.at + 1 < chunks.n and chunks.entry[chunks.at + 1] == rows[k]:
                digest = file_digests[rows[k]]
                if len(digest) != DIGEST_BYTES:
                    raise ValueError("a SHA-256 digest has 32 bytes")
                file_digest = <const uint8_t *><const char *>digest
            times.row = -1
            if header:
                while t < len(header) and header[t][0] < rows[k]:
                    t += 1
                if t < len(header) and header[t][0] == rows[k]:
                    times.row, times.atime, times.ctime = header[t]
            wrong = put_row(
                &out, &chunks, rows[k], row, entries.pax, entries.arena, file_digest,
                NULL if times.row < 0 else &times, zstd,
            )
            k += 1
        if wrong is NULL and chunks.at < chunks.n:
            wrong = b"chunks that belong to no file"
            k = 0
        if wrong is not NULL:
            if strlen(wrong) == 0:
                raise MemoryError
            raise ValueError(f"{wrong.decode()} (row {rows[k - 1] if k else chunks.entry[chunks.at]})")
        if not reserve(&out, len(tail)):
            raise MemoryError
        put(&out, tail)
        return PyBytes_FromStringAndSize(<const char *>out.p, out.n)
    finally:
        free(out.p)
