"""The JSON table of contents of a layer, from a stranger, to entries and chunks.

A parser of exactly this one document: what a key means is known when its value is read, so that nothing is built but
the rows. Bounded by the length of the text and by ``max_rows``; nesting by ``json_reader``. Strings keep bytes that are
no UTF-8. Keys that nobody knows are skipped; those that matter may come once. What must hold beyond JSON is at
``take_entry``, ``add_chunk`` and ``end_file``. Meaning of the keys: ``accel.formats.stargz.toc``.
"""

from array import array

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from accel_core.entries cimport EntryRow, EntryTable, PaxRow, StrRef
from accel_core.json_reader cimport JsonReader
from accel_core.rfc3339 cimport rfc3339_parse
from accel_core.tar_pax cimport XATTR_PREFIX_BYTES, xattr_prefix

from accel_core.errors import FormatError, LimitError

cdef enum:
    DIGEST_BYTES = 32
    N_COLUMNS = 6
    RECORDS_A_ROW = 4           # on average; a record of 6 bytes takes 29
    N_TYPES = 7

cdef enum:                  # keys of an entry
    KEY_UNKNOWN = -1
    KEY_NAME = 0
    KEY_TYPE
    KEY_SIZE
    KEY_LINKNAME
    KEY_MODE
    KEY_UID
    KEY_GID
    KEY_UNAME
    KEY_GNAME
    KEY_MODTIME
    KEY_DEVMAJOR
    KEY_DEVMINOR
    KEY_XATTRS
    KEY_DIGEST
    KEY_OFFSET
    KEY_END_OFFSET
    KEY_INNER_OFFSET
    KEY_CHUNK_OFFSET
    KEY_CHUNK_SIZE
    KEY_CHUNK_DIGEST
    N_KEYS

cdef enum:
    EMPTY_MEMBER_BYTES = 20     # of gzip: by so much the offsets of chunks in a member may differ

cdef enum:                  # of columns
    C_ENTRY
    C_CHUNK_OFFSET
    C_CHUNK_SIZE
    C_BLOB_OFFSET
    C_END_OFFSET
    C_INNER_OFFSET

cdef const char **KEYS = [
    b"name", b"type", b"size", b"linkName", b"mode", b"uid", b"gid", b"userName", b"groupName", b"modtime", b"devMajor",
    b"devMinor", b"xattrs", b"digest", b"offset", b"endOffset", b"innerOffset", b"chunkOffset", b"chunkSize",
    b"chunkDigest",
]
cdef const char **TYPES = [b"reg", b"hardlink", b"symlink", b"char", b"block", b"dir", b"fifo"]

cdef struct Item:           # one object of "entries" while it is read
    uint32_t seen           # bits of KEY_…
    uint8_t typeflag        # 0: not said; 'c' of a chunk
    int64_t number[N_KEYS]
    StrRef name, linkname, uname, gname
    uint32_t pax_first
    int64_t mtime_s
    int32_t mtime_ns
    uint8_t digest[DIGEST_BYTES]
    uint8_t chunk_digest[DIGEST_BYTES]


cdef struct OpenFile:       # the last regular file, which chunks may follow
    int64_t row             # -1: none
    int64_t size
    int64_t done
    int64_t end_offset      # 0: not said
    int64_t n_chunks
    bint has_digest
    uint8_t digest[DIGEST_BYTES]
    StrRef name


@cython.final
cdef class _Reader(JsonReader):
    """Functions return False on failure: ``what`` says it, or one of the two bits."""

    cdef bint no_memory, too_many
    cdef EntryTable entries
    cdef int64_t *columns[N_COLUMNS]
    cdef uint8_t *digests
    cdef Py_ssize_t n_chunks, cap_chunks
    cdef list several               # (row, digest) of each file of several chunks
    cdef int64_t max_rows, n_items, data_end, content_end
    cdef int64_t last_offset, last_inner_end
    cdef OpenFile file
    cdef Item item
    cdef bint has_entries
    cdef int64_t version
    cdef bytes tar_split_digest

    def __cinit__(self, int64_t max_rows, int64_t data_end):
        self.entries = EntryTable()
        self.several = []
        self.tar_split_digest = b""
        self.max_rows = max_rows
        self.data_end = data_end
        self.file.row = -1
        self.last_offset = -1

    def __dealloc__(self):
        cdef int c
        for c in range(N_COLUMNS):
            free(self.columns[c])
        free(self.digests)

    # The document

    cdef bint document(self) noexcept nogil:
        cdef bint has_version = False
        if not self.take(c'{'):
            return False
        if self.peek() == c'}':
            return self.fail(b"no entries")
        while True:
            if not (self.string() and self.take(c':')):
                return False
            if self.is_text(b"entries"):
                if self.has_entries:
                    return self.fail(b"entries are there twice")
                self.has_entries = True
                if not self.items():
                    return False
            elif self.is_text(b"version"):
                if has_version:
                    return self.fail(b"the version is there twice")
                has_version = True
                if not self.number(&self.version):
                    return False
            elif self.is_text(b"tarSplitDigest"):
                if not self.string():
                    return False
                with gil:
                    if self.tar_split_digest:
                        return self.fail(b"the digest of the tar-split is there twice")
                    self.tar_split_digest = PyBytes_FromStringAndSize(<const char *>self.text, self.n_text)
            elif not self.skip_value(1):
                return False
            if self.peek() != c',':
                break
            self.p += 1
        if not self.take(c'}'):
            return False
        if self.peek() != 0 or self.p != self.end:
            return self.fail(b"bytes behind the table of contents")
        return True if self.has_entries else self.fail(b"no entries")

    cdef bint items(self) noexcept nogil:
        if self.peek() == c'n':                     # Go writes null for a list that was never made
            return self.literal(b"null")
        if not self.take(c'['):
            return False
        if self.peek() == c']':
            self.p += 1
            return True
        while True:
            if self.n_items == self.max_rows:
                self.too_many = True
                return False
            self.n_items += 1
            if not (self.read_item() and self.take_entry()):
                return False
            if self.peek() != c',':
                break
            self.p += 1
        return self.take(c']') and self.end_file()

    cdef bint read_item(self) noexcept nogil:
        cdef int key
        memset(&self.item, 0, sizeof(Item))
        self.item.pax_first = <uint32_t>self.entries.n_pax
        if not self.take(c'{'):
            return False
        if self.peek() == c'}':
            self.p += 1
            return True
        while True:
            if not (self.string() and self.take(c':')):
                return False
            key = self.known_key()
            if key < 0:
                if not self.skip_value(3):
                    return False
            elif self.item.seen >> key & 1:
                return self.fail(b"a key is there twice in an entry")
            elif self.peek() == c'n':               # null is as if absent
                if not self.literal(b"null"):
                    return False
            else:
                self.item.seen |= <uint32_t>1 << key
                if not self.read_value(key):
                    return False
            if self.peek() != c',':
                return self.take(c'}')
            self.p += 1

    cdef int known_key(self) noexcept nogil:
        cdef int key
        for key in range(N_KEYS):
            if self.is_text(KEYS[key]):
                return key
        return KEY_UNKNOWN

    cdef bint read_value(self, int key) noexcept nogil:
        if key == KEY_XATTRS:
            return self.read_xattrs()
        if (
            key == KEY_SIZE or key == KEY_MODE or key == KEY_UID or key == KEY_GID or key == KEY_DEVMAJOR
            or key == KEY_DEVMINOR or KEY_OFFSET <= key <= KEY_CHUNK_SIZE
        ):
            return self.number(&self.item.number[key])
        if not self.string():
            return False
        if key == KEY_NAME:
            return self.keep(&self.item.name)
        if key == KEY_LINKNAME:
            return self.keep(&self.item.linkname)
        if key == KEY_UNAME:
            return self.keep(&self.item.uname)
        if key == KEY_GNAME:
            return self.keep(&self.item.gname)
        if key == KEY_TYPE:
            return self.read_type()
        if key == KEY_MODTIME:
            if self.n_text == 0:
                self.item.seen &= ~(<uint32_t>1 << KEY_MODTIME)
                return True
            if rfc3339_parse(self.text, self.n_text, &self.item.mtime_s, &self.item.mtime_ns) < 0:
                return self.fail(b"a modification time that is none")
            return True
        return self.read_digest(key, &self.item.digest[0] if key == KEY_DIGEST else &self.item.chunk_digest[0])

    cdef bint keep(self, StrRef *out) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n_text):
            if self.text[i] == 0:
                return self.fail(b"a NUL in a name")
        if self.entries.add_string(self.text, self.n_text, out) < 0:
            self.no_memory = True
            return False
        return True

    cdef bint read_type(self) noexcept nogil:
        cdef int i
        for i in range(N_TYPES):
            if self.is_text(TYPES[i]):
                self.item.typeflag = <uint8_t>(c'0' + i)
                return True
        if self.is_text(b"chunk"):
            self.item.typeflag = c'c'
            return True
        return self.fail(b"an entry of unknown type")

    cdef bint read_digest(self, int key, uint8_t *out) noexcept nogil:
        cdef int i, high, low
        if self.n_text == 0:
            self.item.seen &= ~(<uint32_t>1 << key)
            return True
        if self.n_text != 7 + 2 * DIGEST_BYTES or memcmp(self.text, b"sha256:", 7) != 0:
            return self.fail(b"not a SHA-256 digest")
        for i in range(DIGEST_BYTES):
            high, low = digit_of(self.text[7 + 2 * i]), digit_of(self.text[8 + 2 * i])
            if high < 0 or low < 0:
                return self.fail(b"not a SHA-256 digest")
            out[i] = <uint8_t>(high << 4 | low)
        return True

    cdef bint read_xattrs(self) noexcept nogil:
        cdef PaxRow *record
        cdef StrRef key, value, part
        if not self.take(c'{'):
            return False
        if self.peek() == c'}':
            self.p += 1
            return True
        while True:
            if not self.string():
                return False
            if self.entries.n_pax >= RECORDS_A_ROW * self.max_rows:
                self.too_many = True
                return False
            if (
                self.entries.add_string(<const uint8_t *>xattr_prefix(), XATTR_PREFIX_BYTES, &key) < 0
                or self.entries.add_string(self.text, self.n_text, &part) < 0
            ):
                self.no_memory = True
                return False
            key.len += <uint32_t>self.n_text        # the arena is contiguous
            if not (self.take(c':') and self.string()):
                return False
            if not self.decode_base64():
                return self.fail(b"an extended attribute is not base64")
            if self.entries.add_string(self.text, self.n_text, &value) < 0:
                self.no_memory = True
                return False
            record = self.entries.add_pax()
            if record is NULL:
                self.no_memory = True
                return False
            record.key, record.value = key, value
            if self.peek() != c',':
                return self.take(c'}')
            self.p += 1

    # Rows

    cdef bint has(self, int key) noexcept nogil:
        return self.item.seen >> key & 1

    cdef bint take_entry(self) noexcept nogil:
        """The item as a row or a chunk; what an entry must say by itself."""
        cdef Item *item = &self.item
        cdef EntryRow *row
        if item.typeflag == 0:
            return self.fail(b"an entry without a type")
        if item.typeflag == c'c':
            return self.take_chunk()
        if not self.end_file():
            return False
        if not self.has(KEY_NAME):
            return self.fail(b"an entry without a name")
        if item.number[KEY_SIZE] < 0:
            return self.fail(b"a negative size")
        row = self.entries.add_row()
        if row is NULL:
            self.no_memory = True
            return False
        row.name, row.linkname, row.uname, row.gname = item.name, item.linkname, item.uname, item.gname
        row.typeflag = item.typeflag
        row.mode, row.uid, row.gid = item.number[KEY_MODE], item.number[KEY_UID], item.number[KEY_GID]
        row.devmajor, row.devminor = item.number[KEY_DEVMAJOR], item.number[KEY_DEVMINOR]
        row.mtime_s, row.mtime_ns, row.has_mtime = item.mtime_s, item.mtime_ns, self.has(KEY_MODTIME)
        row.pax_first = item.pax_first
        row.pax_count = <uint32_t>(self.entries.n_pax - item.pax_first)
        row.header_offset = row.data_offset = self.content_end
        if item.typeflag != c'0':
            return True
        row.size = row.stored_size = item.number[KEY_SIZE]
        if row.size > INT64_MAX - self.content_end - 512:
            return self.fail(b"the sizes of the files add up to more than 2**63 bytes")
        self.content_end += row.size
        if row.size == 0:
            return True
        self.file.row = self.entries.n_rows - 1
        self.file.size = row.size
        self.file.done = self.file.n_chunks = 0
        self.file.end_offset = item.number[KEY_END_OFFSET]
        self.file.name = item.name
        self.file.has_digest = self.has(KEY_DIGEST)
        memcpy(self.file.digest, item.digest, DIGEST_BYTES)
        return self.add_chunk()

    cdef bint take_chunk(self) noexcept nogil:
        cdef StrRef name = self.item.name
        if self.file.row < 0:
            return self.fail(b"a chunk without a file")
        if self.has(KEY_NAME) and not (
            name.len == self.file.name.len
            and memcmp(self.entries.arena + name.pos, self.entries.arena + self.file.name.pos, name.len) == 0
        ):
            return self.fail(b"a chunk that is not of the file before it")
        if name.len:                                # said once: the arena need not hold it again, nor anything else
            self.entries.n_arena = name.pos
            self.entries.n_pax = self.item.pax_first
        return self.add_chunk()

    cdef bint add_chunk(self) noexcept nogil:
        """A chunk of the open file; where it may be."""
        cdef Item *item = &self.item
        cdef int64_t offset = item.number[KEY_OFFSET], inner = item.number[KEY_INNER_OFFSET]
        cdef int64_t size = item.number[KEY_CHUNK_SIZE], at = item.number[KEY_CHUNK_OFFSET]
        cdef Py_ssize_t i = self.n_chunks
        if at != self.file.done:
            return self.fail(b"chunks of a file that do not follow each other")
        if size == 0:
            size = self.file.size - at
        if size <= 0 or size > self.file.size - at:
            return self.fail(b"chunks of a file that are longer than the file")
        if not 0 <= offset < self.data_end:
            return self.fail(b"a chunk outside of the data of the blob")
        if inner < 0 or inner > INT64_MAX - size:
            return self.fail(b"a chunk at an impossible place in its member")
        if offset < self.last_offset or (offset == self.last_offset and inner < self.last_inner_end):
            return self.fail(b"chunks that overlap or go backwards")
        if inner != 0 and i > 0 and offset != self.last_offset and offset != self.last_offset + EMPTY_MEMBER_BYTES:
            return self.fail(b"a chunk inside a member that begins elsewhere")
        if not self.room():
            return False
        self.last_offset, self.last_inner_end = offset, inner + size
        self.columns[C_ENTRY][i] = self.file.row
        self.columns[C_CHUNK_OFFSET][i] = at
        self.columns[C_CHUNK_SIZE][i] = size
        self.columns[C_BLOB_OFFSET][i] = offset
        self.columns[C_END_OFFSET][i] = 0
        self.columns[C_INNER_OFFSET][i] = inner
        if self.has(KEY_CHUNK_DIGEST):
            memcpy(self.digests + DIGEST_BYTES * i, item.chunk_digest, DIGEST_BYTES)
        elif self.file.n_chunks == 0 and size == self.file.size and self.file.has_digest:
            memcpy(self.digests + DIGEST_BYTES * i, self.file.digest, DIGEST_BYTES)
        else:
            return self.fail(b"a chunk without a digest")
        self.n_chunks += 1
        self.file.n_chunks += 1
        self.file.done += size
        return True

    cdef bint room(self) noexcept nogil:
        cdef Py_ssize_t cap
        cdef void *moved
        cdef int c
        if self.n_chunks < self.cap_chunks:
            return True
        cap = 2 * self.cap_chunks + 64
        for c in range(N_COLUMNS):
            moved = realloc(self.columns[c], <size_t>cap * sizeof(int64_t))
            if moved is NULL:
                self.no_memory = True
                return False
            self.columns[c] = <int64_t *>moved
        moved = realloc(self.digests, <size_t>cap * DIGEST_BYTES)
        if moved is NULL:
            self.no_memory = True
            return False
        self.digests = <uint8_t *>moved
        self.cap_chunks = cap
        return True

    cdef bint end_file(self) noexcept nogil:
        """No more chunks of the open file: they are all of it, and its end is behind them."""
        cdef OpenFile *file = &self.file
        cdef Py_ssize_t last = self.n_chunks - 1
        if file.row < 0:
            return True
        if file.done != file.size:
            return self.fail(b"the chunks of a file are less than the file")
        if file.end_offset:
            if not self.last_offset < file.end_offset <= self.data_end:
                return self.fail(b"a file that ends before its data or behind that of the blob")
            self.columns[C_END_OFFSET][last] = file.end_offset
        if file.n_chunks == 1:
            if file.has_digest and memcmp(file.digest, self.digests + DIGEST_BYTES * last, DIGEST_BYTES) != 0:
                return self.fail(b"two digests of the same bytes")
        elif file.has_digest:
            with gil:
                self.several.append((file.row, PyBytes_FromStringAndSize(<const char *>file.digest, DIGEST_BYTES)))
        file.row = -1
        return True

    cdef bint set_ends(self) noexcept nogil:
        """Ends of chunks that say none: where the next chunk begins that is the first of its member or frame."""
        cdef Py_ssize_t i = self.n_chunks - 1
        cdef int64_t next_offset = self.data_end, said
        while i >= 0:
            said = self.columns[C_END_OFFSET][i]
            if said > next_offset:
                return self.fail(b"a file that ends behind the beginning of the next one")
            if said == 0:
                self.columns[C_END_OFFSET][i] = next_offset
            if self.columns[C_INNER_OFFSET][i] == 0:
                next_offset = self.columns[C_BLOB_OFFSET][i]
            i -= 1
        return True

    cdef object column(self, int c):
        return array("q", PyBytes_FromStringAndSize(<const char *>self.columns[c], self.n_chunks * sizeof(int64_t)))


# Leaves

cdef inline int digit_of(uint8_t c) noexcept nogil:
    """Of a lower-case hex digit; -1 if it is none."""
    if c'0' <= c <= c'9':
        return c - c'0'
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    return -1


# Door

def read(const uint8_t[::1] data not None, *, int64_t data_end, int64_t max_rows):
    """``(entries, chunk columns, digests of chunks, digests of files, tarSplitDigest)`` of the JSON in ``data``.

    The columns are arrays: entry, offset and size in the file, start and end in the blob, offset in the member; the
    digests 32 bytes a chunk; those of files are ``(entry, digest)`` of files of several chunks. An entry's offsets are
    in the contents of all files one after the other. Chunks lie before ``data_end``.

    Raises FormatError for anything that is not so, LimitError for more than ``max_rows`` entries and chunks
    together, or four times as many extended attributes.
    """
    cdef _Reader reader = _Reader(max_rows, data_end)
    cdef bint fine
    reader.begin(&data[0] if data.shape[0] else NULL, data.shape[0])
    with nogil:
        fine = reader.document() and reader.set_ends()
    if not fine:
        if reader.no_memory:
            raise MemoryError
        if reader.too_many:
            raise LimitError("too many entries in a table of contents", limit=max_rows)
        raise FormatError(
            f"table of contents: {reader.what.decode()} (entry {reader.n_items - 1}, byte {reader.p - reader.start})")
    if reader.version != 1:
        raise FormatError(f"table of contents: version {reader.version}, not 1")
    return (
        reader.entries,
        tuple(reader.column(c) for c in range(N_COLUMNS)),
        PyBytes_FromStringAndSize(<const char *>reader.digests, DIGEST_BYTES * reader.n_chunks),
        reader.several,
        reader.tar_split_digest,
    )
