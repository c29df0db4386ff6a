"""Bytes into zstd frames (RFC 8878) that begin where they are told to, from matches that a gzip stream already had.

The twin of ``member_encode``: what costs time in compressing is to search, and that has been done. Here the matches
become sequences. Those of the same distance one behind the other are joined, since zstd knows no longest match. Codes
are made afresh for each block, or left as they were if that is cheaper; a block is made of steps of 16 KiB, each joined
to the block before it unless codes of its own are estimated to be worth it.

Nothing in a record is believed (see ``match_source``): one that is not true is taken for one that reaches back too far.

A frame says its size, and has no checksum and no dictionary. Frames depend on their own bytes and on the records that
overlap them, on nothing else.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from accel_core.code_cost cimport LOG_BITS, Logs, code_cost, fill_logs
from accel_core.fse cimport fill_costs, log2_floor
from accel_core.inflate cimport load64, unlikely
from accel_core.match_source cimport (
    MAX_DISTANCE, MAX_MATCH, MIN_MATCH, MatchSource, is_true, open_source, read_ranges, start_piece,
    take_odd_match,
)
from accel_core.status cimport END, OK, Status
from accel_core.zstd_literals cimport LiteralCoder, keep_code, write_literals
from accel_core.zstd_sequences cimport (
    Coded, Sequence, SequenceCoder, SequenceTables, fill_sequence_tables, forget_sequences, keep_tables,
    start_sequences, write_sequences,
)

cdef enum:
    MAX_BLOCK = 128 << 10
    CAP_SEQUENCES = 43691       # MAX_BLOCK // MIN_MATCH + 1, which Cython cannot work out in a checked build
    COPIED_AT_ONCE = 16         # literals
    STEP = 16 << 10              # bytes that a block grows by
    SPLIT_BITS = 300            # what another block takes for itself
    N_COUNTS = 256 + 16         # literals, and the orders of magnitude of distances
    FRAME_HEADER = 10           # with a window
    BLOCK_HEADER = 3
    # A block is tried where it will be: all literals as they are, and 73 bits a sequence, and what writing touches.
    TRIED_BLOCK = MAX_BLOCK + CAP_SEQUENCES * 10 + 1024
    SMALL_FRAME = 8 << 20       # what every decoder holds at once; of larger frames it needs but a window

cdef enum BlockType:
    RAW_BLOCK = 0
    RLE_BLOCK = 1
    COMPRESSED_BLOCK = 2

cdef SequenceTables TABLES
cdef Logs LOGS
fill_logs(&LOGS)
fill_sequence_tables(&TABLES)
fill_costs(&TABLES.costs, &LOGS)


cdef struct Part:               # of what there is for a block
    const uint8_t *data
    const uint8_t *lits
    const Sequence *sequences
    Py_ssize_t n_bytes, n_lits, n_sequences


cdef struct Encoder:
    MatchSource source
    uint8_t *out
    # The block
    Py_ssize_t block_start
    Py_ssize_t n_lits
    Py_ssize_t n_sequences
    uint8_t lits[MAX_BLOCK + COPIED_AT_ONCE]
    Sequence sequences[1 + CAP_SEQUENCES]       # the first is none, so that there is always one before
    Coded coded[CAP_SEQUENCES]
    uint32_t counts[N_COUNTS]
    uint32_t step_counts[N_COUNTS]
    uint32_t sum[N_COUNTS]
    LiteralCoder literal_coder
    SequenceCoder sequence_coder


# --- blocks ------------------------------------------------------------------------------------------------------

cdef inline uint8_t *write_block_header(BlockType kind, bint final, Py_ssize_t size, uint8_t *out) noexcept nogil:
    cdef uint32_t header = <uint32_t>((size << 3) | (kind << 1) | final)
    memcpy(out, &header, BLOCK_HEADER)
    return out + BLOCK_HEADER


cdef void write_block(Encoder *e, const Part *part, bint final) noexcept nogil:
    """In the cheapest way."""
    cdef const uint8_t *data = part.data
    cdef Py_ssize_t n = part.n_bytes
    cdef uint8_t *out = e.out + BLOCK_HEADER
    if n > 1 and data[0] == data[n - 1] and memcmp(data, data + 1, n - 1) == 0:
        write_block_header(RLE_BLOCK, final, n, e.out)
        out[0] = data[0]
        e.out = out + 1
        return
    out = write_literals(&e.literal_coder, part.lits, <uint32_t>part.n_lits, out)
    out = write_sequences(&e.sequence_coder, &TABLES, part.sequences, part.n_sequences, e.coded, out)
    if out - e.out - BLOCK_HEADER < n:
        write_block_header(COMPRESSED_BLOCK, final, out - e.out - BLOCK_HEADER, e.out)
        e.out = out
        keep_code(&e.literal_coder)
        if part.n_sequences:
            keep_tables(&e.sequence_coder)
    else:
        out = write_block_header(RAW_BLOCK, final, n, e.out)
        if n:
            memcpy(out, data, n)
        e.out = out + n
        if part.n_sequences:
            forget_sequences(&e.sequence_coder)


cdef void add_step(Part *part, const Part *left, uint32_t *counts) noexcept nogil:
    """The next STEP bytes of what is left, or a little more, become part of a part, and are counted."""
    cdef const uint8_t *lit = part.lits + part.n_lits
    cdef const uint8_t *lits_end
    cdef const Sequence *sequence = part.sequences + part.n_sequences
    cdef const Sequence *sequences_end = left.sequences + left.n_sequences
    cdef Py_ssize_t step = 0, lits = 0
    memset(counts, 0, N_COUNTS * sizeof(uint32_t))
    while step < STEP and sequence < sequences_end:
        lits += sequence.n_lits
        step += sequence.n_lits + sequence.length
        counts[256 + log2_floor(sequence.distance)] += 1
        sequence += 1
    if sequence == sequences_end:
        step = left.n_bytes - part.n_bytes
        lits = left.n_lits - part.n_lits
    part.n_sequences = sequence - part.sequences
    part.n_lits += lits
    part.n_bytes += step
    lits_end = lit + lits
    while lit < lits_end:
        counts[lit[0]] += 1
        lit += 1


cdef uint64_t cost_of(const uint32_t *counts) noexcept nogil:
    return code_cost(&LOGS, counts, 256) + code_cost(&LOGS, counts + 256, N_COUNTS - 256)


cdef void take_off(Part *whole, const Part *part) noexcept nogil:
    """What is behind ``part``, with which ``whole`` begins."""
    whole.data += part.n_bytes
    whole.lits += part.n_lits
    whole.sequences += part.n_sequences
    whole.n_bytes -= part.n_bytes
    whole.n_lits -= part.n_lits
    whole.n_sequences -= part.n_sequences


cdef void end_block(Encoder *e, bint final) noexcept nogil:
    """Write what there is up to the source's ``pos``, in several blocks where codes change, and begin another one."""
    cdef Part left, part, longer
    cdef uint64_t cost = 0, step_cost, joined
    cdef int i
    left.data = e.source.data + e.block_start
    left.lits = e.lits
    left.sequences = e.sequences + 1
    left.n_bytes = e.source.pos - e.block_start
    left.n_lits = e.n_lits
    left.n_sequences = e.n_sequences
    part = left
    part.n_bytes = part.n_lits = part.n_sequences = 0
    memset(e.counts, 0, sizeof(e.counts))
    while left.n_bytes > 2 * STEP and part.n_bytes < left.n_bytes:
        longer = part
        add_step(&longer, &left, e.step_counts)
        for i in range(N_COUNTS):
            e.sum[i] = e.counts[i] + e.step_counts[i]
        step_cost = cost_of(e.step_counts)
        joined = cost_of(e.sum) if part.n_bytes else step_cost
        if part.n_bytes and joined > cost + step_cost + (<uint64_t>SPLIT_BITS << LOG_BITS):
            write_block(e, &part, False)
            take_off(&left, &part)
            take_off(&longer, &part)
            part = longer
            memcpy(e.counts, e.step_counts, sizeof(e.counts))
            cost = step_cost
        else:
            part = longer
            memcpy(e.counts, e.sum, sizeof(e.counts))
            cost = joined
    write_block(e, &left, final)
    e.block_start = e.source.pos
    e.n_lits = e.n_sequences = 0


# --- sequences ---------------------------------------------------------------------------------------------------

cdef inline void add_literals(Encoder *e, Py_ssize_t n) noexcept nogil:
    if n:
        memcpy(e.lits + e.n_lits, e.source.data + e.source.pos, n)
        e.n_lits += n
        e.source.pos += n


cdef inline void add_up_to(Encoder *e, Py_ssize_t pos) noexcept nogil:
    """Literals up to ``pos``; no more than a block holds are left."""
    while pos > e.block_start + MAX_BLOCK:
        add_literals(e, e.block_start + MAX_BLOCK - e.source.pos)
        end_block(e, False)
    add_literals(e, pos - e.source.pos)


cdef inline Sequence *add_sequence(
    Sequence *last, uint32_t n_lits, uint32_t length, uint32_t distance
) noexcept nogil:
    """Behind the last one, or as a part of it. Then the last one."""
    if unlikely(n_lits == 0 and last.distance == distance):
        last.length += length
        return last
    last += 1
    last.n_lits = n_lits
    last.length = length
    last.distance = distance
    return last


cdef Status add_match(void *encoder, Py_ssize_t pos, uint32_t length, uint32_t distance) noexcept nogil:
    """Literals up to ``pos``, and a match there."""
    cdef Encoder *e = <Encoder *>encoder
    cdef Py_ssize_t before = e.n_lits, block = e.block_start
    add_up_to(e, pos)
    if pos + length > e.block_start + MAX_BLOCK:
        end_block(e, False)
    if e.block_start != block:
        before = 0
    e.n_sequences = add_sequence(
        &e.sequences[e.n_sequences], <uint32_t>(e.n_lits - before), length, distance
    ) - e.sequences
    e.source.pos += length
    return OK


cdef void take_matches(Encoder *e) noexcept nogil:
    """Sequences from the records as they come, as long as these are true matches within the frame, one behind the
    other, and neither in the last bytes of the data nor behind the block's end. The first other one is left to
    ``take_odd_match``, which would do the same with them all.
    """
    cdef MatchSource *m = &e.source
    cdef const uint8_t *data = m.data
    cdef const uint8_t *at = m.records + 8 * m.at
    cdef const uint8_t *last = m.records + 8 * m.n_records
    cdef Py_ssize_t first = m.start, safe = m.n_data - COPIED_AT_ONCE
    cdef Py_ssize_t end = m.end if m.end < e.block_start + MAX_BLOCK else e.block_start + MAX_BLOCK
    cdef Py_ssize_t start, length, distance, n_lits, pos = m.pos
    cdef uint8_t *lit = e.lits + e.n_lits
    cdef Sequence *sequence = &e.sequences[e.n_sequences]       # the last one
    cdef uint32_t origin = m.origin
    cdef uint64_t record
    while at < last:
        record = load64(at)
        start = <int32_t>(<uint32_t>record - origin)
        length = <Py_ssize_t>((record >> 32) & 0xFFFF)
        distance = <Py_ssize_t>(record >> 48)
        n_lits = start - pos
        # One branch for all that must not be negative.
        if unlikely(
            (n_lits | (end - start - length) | (safe - start) | (start - first - distance) | (length - MIN_MATCH)
             | (MAX_MATCH - length) | (distance - 1) | (MAX_DISTANCE - distance)) < 0
        ):
            break
        if unlikely(not is_true(data + start, length, distance)):
            break
        at += 8
        memcpy(lit, data + pos, COPIED_AT_ONCE)
        if unlikely(n_lits > COPIED_AT_ONCE):
            memcpy(lit + COPIED_AT_ONCE, data + pos + COPIED_AT_ONCE, n_lits - COPIED_AT_ONCE)
        lit += n_lits
        pos = start + length
        sequence = add_sequence(sequence, <uint32_t>n_lits, <uint32_t>length, <uint32_t>distance)
    m.pos = pos
    m.at = (at - m.records) >> 3
    e.n_lits = lit - e.lits
    e.n_sequences = sequence - e.sequences


# --- frames ------------------------------------------------------------------------------------------------------

cdef uint8_t *write_frame_header(uint64_t size, uint8_t *out) noexcept nogil:
    """Magic number, descriptor, a window if it is not all of the frame, size (§3.1.1.1)."""
    cdef uint32_t magic = 0xFD2FB528
    cdef uint64_t coded = size - 256 if 256 <= size < 65536 + 256 else size
    memcpy(out, &magic, 4)
    if size > SMALL_FRAME:
        out[4] = 2 << 6
        out[5] = 7 << 3             # MAX_BLOCK: more than any distance
        out += 1
    else:
        out[4] = (1 << 5) | (0 if size < 256 else 1 << 6 if size < 65536 + 256 else 2 << 6)
    memcpy(out + 5, &coded, 4)
    return out + (6 if size < 256 else 7 if size < 65536 + 256 else 9)


cdef void encode_frame(Encoder *e) noexcept nogil:
    """The source's piece as one frame."""
    e.out = write_frame_header(e.source.end - e.source.start, e.out)
    e.block_start = e.source.start
    e.literal_coder.has_last = False
    start_sequences(&e.sequence_coder)
    while True:
        take_matches(e)
        if take_odd_match(&e.source, add_match, e, True) == END:
            break
    add_up_to(e, e.source.end)
    end_block(e, True)


cdef Py_ssize_t room_for(Py_ssize_t n_bytes) noexcept nogil:
    """What a frame takes at most: blocks of a step at least, but for the last in front of each place where one must
    end, which is up to a match's length before MAX_BLOCK.
    """
    return FRAME_HEADER + n_bytes + BLOCK_HEADER * (n_bytes // STEP + n_bytes // (MAX_BLOCK - MAX_MATCH) + 2)


cdef class _Frames:
    """Where frames are, and the memory to make them; ``encode_frames`` is its only user."""
    cdef Encoder *e
    cdef int64_t *starts
    cdef int64_t *ends
    cdef int64_t *offsets
    cdef uint8_t *out
    cdef Py_ssize_t n

    def __cinit__(self, starts, ends, const uint8_t[::1] data, const uint8_t[::1] records, int64_t origin):
        cdef Py_ssize_t i, room = TRIED_BLOCK
        self.e = <Encoder *>calloc(1, sizeof(Encoder))
        if self.e == NULL:
            raise MemoryError()
        open_source(&self.e.source, data, records, origin)
        self.n = len(starts)
        if ends is not None and len(ends) != self.n:
            raise ValueError(f"{self.n} starts, {len(ends)} ends")
        self.starts = <int64_t *>malloc((self.n + 1) * sizeof(int64_t))
        self.ends = <int64_t *>malloc((self.n + 1) * sizeof(int64_t))
        self.offsets = <int64_t *>malloc((self.n + 1) * sizeof(int64_t))
        if self.starts == NULL or self.ends == NULL or self.offsets == NULL:
            raise MemoryError()
        read_ranges("frame", starts, ends, data.shape[0], self.starts, self.ends)
        for i in range(self.n):
            room += room_for(self.ends[i] - self.starts[i])
        self.out = <uint8_t *>malloc(room)
        if self.out == NULL:
            raise MemoryError()
        self.e.out = self.out

    def __dealloc__(self):
        free(self.e)
        free(self.starts)
        free(self.ends)
        free(self.offsets)
        free(self.out)

    cdef void encode(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n):
            self.offsets[i] = self.e.out - self.out
            start_piece(&self.e.source, self.starts[i], self.ends[i])
            encode_frame(self.e)


def encode_frames(data, starts, ends=None, *, matches, int64_t origin=0):
    """``(blob, offsets)``: zstd frames one behind the other, and where each begins in ``blob``.

    Frame i holds ``data[starts[i]:ends[i]]``; without ``ends`` it reaches to the next one's start, the last to the end.
    Frames must be in order and not overlap, or ValueError is raised.

    ``matches`` are records of ``accel_core.gzip_tokens`` in the order of their positions; ``origin`` is the position
    of ``data[0]`` in the stream they are from. Those that lie before or behind ``data`` are ignored, one that overlaps
    its start or end is used as far as it can be. One that is not true costs size, nothing else.

    The same bytes and records give the same frames on every machine, whatever else is in the call. The GIL is
    released. Memory: 1.6 MiB and, for a moment, twice the output. ``data`` has at most 1 GiB.
    """
    cdef const uint8_t[::1] view = data
    cdef const uint8_t[::1] records = matches
    cdef _Frames frames
    frames = _Frames(starts, ends, view, records, origin)
    with nogil:
        frames.encode()
    blob = PyBytes_FromStringAndSize(<char *>frames.out, frames.e.out - frames.out)
    return blob, [frames.offsets[i] for i in range(frames.n)]
