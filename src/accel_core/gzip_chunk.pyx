"""A gzip layer scanned in chunks by several threads, joined to exactly what one scan from its start would say.

A chunk starts at a joint (see ``find_joint``): its decoder is complete, but it does not know its uncompressed offset,
the tar member it is in, or the checkpoint before it. It scans as if its output began at 0, waits for the first tar
header, and keeps aside the few choices that depend on what it cannot know. ``absorb`` is the proof and the repair: the
scan from the left arrives at the joint; if position, history, CRC and tar state fit, the chunk's results become its
own, shifted and with those choices made. If anything does not fit, nothing has changed and the scan just goes on
through the chunk's bytes itself.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from accel_core.crc32 cimport crc32_combine
from accel_core.entries cimport EntryRow, EntryTable, PaxRow
from accel_core.gzip_layer cimport GzipLayer, Point, is_better
from accel_core.find_joint cimport Prefix
from accel_core.gzip_stream cimport BETWEEN, CAP_MARKS, CHUNK, IN_DEFLATE
from accel_core.inflate cimport AT_HEADER, WINDOW, BlockMark
from accel_core.status cimport END, OK, Status
from accel_core.tar_scan cimport TarScanner
from accel_core.window_use cimport WindowUse
from accel_core.tar_header cimport BLOCK_BYTES, checksum_fits, find_ustar, sum_bytes

cdef enum:
    UNKNOWN_FILE = -1       # cut size of a boundary in the file the chunk began in
    MAX_LEAD = 65536        # output kept in front of the first header


cdef inline EntryRow *last_row(EntryTable table):
    return &table.rows[table.n_rows - 1]


cdef class GzipChunk(GzipLayer):
    """One chunk; the first one starts with the stream."""
    cdef bint middle                # started at a joint
    cdef bint at_member             # the joint is a member's start, not a block boundary
    cdef int64_t joint_bit
    cdef uint8_t *joint_window
    cdef uint8_t *lead              # the first MAX_LEAD bytes of output
    cdef Py_ssize_t n_lead
    cdef int64_t header_pos         # output offset of the first tar header; -1: none yet
    cdef int64_t first_unknown, last_unknown    # boundaries in front of it, as output offsets; -1: none
    # Boundaries are measured against the checkpoint before them: is the span long already? Kept for those that may
    # change: the last boundary measured (-1: none) against no checkpoint while in the first zone, against none, and
    # against points[0]; and whether points[0] or the ambiguous one was found too far away.
    cdef int64_t last_in_zone, last_unplaced, last_against_first
    cdef bint forced_first, forced_ambiguous
    cdef int64_t first_zone         # the zone of the joint: the scan from the left has a say in it
    cdef bint first_zone_point      # points[0] is in or behind that zone ...
    cdef bint first_zone_late       # ... behind
    cdef Py_ssize_t ambiguous       # index of a point that may have to be `other`; -1: none
    cdef Point other                # the best of its zone behind the first header
    cdef uint8_t *other_window
    cdef bint has_other
    # of the last join: the tar scanner that has seen bytes of `lead` (None: not needed), how many, and rows of `right`
    # that it has of its own
    cdef TarScanner ahead
    cdef int64_t fed
    cdef Py_ssize_t own_rows

    def __cinit__(self):
        self.joint_window = <uint8_t *>malloc(WINDOW)
        self.other_window = <uint8_t *>malloc(WINDOW)
        self.lead = <uint8_t *>malloc(MAX_LEAD)
        if self.joint_window == NULL or self.other_window == NULL or self.lead == NULL:
            raise MemoryError()
        self.header_pos = self.first_unknown = self.last_unknown = self.ambiguous = -1
        self.last_in_zone = self.last_unplaced = self.last_against_first = -1

    def __dealloc__(self):
        free(self.joint_window)
        free(self.other_window)
        free(self.lead)

    def __init__(self, int64_t span_bytes, int64_t max_uncomp, joint=None):
        """From the start of the stream, or from ``joint``: a bit of it, and the 32768 bytes of history or, for the
        start of a gzip member, None."""
        cdef const uint8_t[::1] window
        self.set_span(span_bytes)
        self.max_uncomp = max_uncomp
        if joint is None:
            return
        self.middle = True
        self.joint_bit, history = joint
        self.comp_pos = self.chunk_comp_pos = self.joint_bit >> 3
        self.prev_uncomp = 0
        self.at_member = history is None
        if self.at_member:
            self.prev_uncomp = -1
        else:
            window = history
            memcpy(self.joint_window, &window[0], WINDOW)
            memcpy(self.window, &window[0], WINDOW)
            self.history = self.window
            self.where = IN_DEFLATE
            self.check_trailer = False
            self.inf.in_bit = self.joint_bit & 7
        self.zone = self.first_zone = (self.comp_pos + self.zone_half) // self.grid
        self.zone_done = ((self.joint_bit + 7) >> 3) >= self.zone * self.grid + self.zone_half

    # --- scanning ------------------------------------------------------------------------------------------------

    @property
    def comp_offset(self):
        """Compressed offset of the byte with the next bit."""
        return self.comp_pos

    def scan(self, data, int64_t stop_bit):
        """Scan bytes from ``comp_offset`` on. True if the boundary at or after ``stop_bit`` has been reached."""
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t n = view.shape[0]
        cdef const uint8_t *p
        cdef Status status
        if n == 0:
            return False
        p = &view[0]
        self.inf.stop_bit = stop_bit
        with nogil:
            status = self.push(p, n)
        if status == END:
            return True
        if status != OK:
            raise self.error(status)
        return False

    def end(self):
        """The stream ends here. Says the same when called again."""
        cdef Status status
        self.inf.stop_bit = INT64_MAX       # a boundary in the last bytes is no place to stop
        with nogil:
            status = self.finish_input()
        if status != OK:
            raise self.error(status)

    cdef Status scan_tar(self, const uint8_t *data, Py_ssize_t n) noexcept nogil:
        cdef const uint8_t *from_here
        cdef const uint8_t *header
        cdef Py_ssize_t back, taken
        if self.middle and self.n_lead < MAX_LEAD:
            taken = n if n < MAX_LEAD - self.n_lead else MAX_LEAD - self.n_lead
            memcpy(self.lead + self.n_lead, data, taken)
            self.n_lead += taken
        if not self.middle or self.header_pos >= 0:
            return GzipLayer.scan_tar(self, data, n)
        # A header may have begun in what was drained before: that is still in front of `data`.
        back = BLOCK_BYTES - 1 if self.chunk_pos > BLOCK_BYTES - 1 else <Py_ssize_t>self.chunk_pos
        from_here = data - back
        while True:
            header = find_ustar(from_here, data + n)
            if header == NULL:
                return OK
            if checksum_fits(header, sum_bytes(header)):
                break
            from_here = header + 1
        self.header_pos = self.chunk_pos + (header - data)
        self.tar.position = self.header_pos
        return GzipLayer.scan_tar(self, header, data + n - header)

    # --- placement: what a chunk in the middle keeps aside -------------------------------------------------------

    cdef bint commit_first(self, Point *point) noexcept nogil:
        return True if self.middle else GzipLayer.commit_first(self, point)

    cdef bint is_long(self, Point *point) noexcept nogil:
        cdef bint long = GzipLayer.is_long(self, point)
        if self.n_points == 0:
            self.last_unplaced = point.uncomp
            if self.zone == self.first_zone:
                self.last_in_zone = point.uncomp
        elif self.n_points == 1:
            self.last_against_first = point.uncomp
            self.forced_first = self.forced_first or long
        if self.n_points - 1 == self.ambiguous:
            self.forced_ambiguous = self.forced_ambiguous or long
        return long

    cdef int64_t file_around(self, int64_t uncomp) noexcept nogil:
        if not self.middle or 0 <= self.header_pos <= uncomp:
            return GzipLayer.file_around(self, uncomp)
        return UNKNOWN_FILE

    cdef void keep_better(self, Point *point) noexcept nogil:
        if point.cut == UNKNOWN_FILE:
            if self.first_unknown < 0:
                self.first_unknown = point.uncomp
            self.last_unknown = point.uncomp
        elif self.has_best and self.best.cut == UNKNOWN_FILE:
            # On both sides of the first header: which one is better depends on the file before it.
            if not self.has_other or is_better(point, &self.other):
                self.other = point[0]
                self.has_other = True
                memcpy(self.other_window, self.window_of(point), WINDOW)
            return
        GzipLayer.keep_better(self, point)

    cdef bint commit_best(self) noexcept nogil:
        if self.has_other:
            self.ambiguous = self.n_points
            self.has_other = False
        if self.middle and self.zone == self.first_zone:
            self.first_zone_point = True
        return GzipLayer.commit_best(self)

    cdef bint commit_late(self, Point *point) noexcept nogil:
        if self.middle and self.zone == self.first_zone:
            self.first_zone_point = self.first_zone_late = True
        return GzipLayer.commit_late(self, point)

    # --- joining -------------------------------------------------------------------------------------------------

    def replay(self, Prefix prefix):
        """Take what was decoded blindly from here on, now that the window is known. False, and nothing changed, if it
        does not begin here."""
        cdef uint8_t *bytes_of
        cdef Status status
        if self.out != self.chunk or self.where != IN_DEFLATE or self.inf.phase != AT_HEADER:
            return False
        if self.history != self.window or self.comp_pos * 8 + self.inf.in_bit != prefix.start_bit:
            return False
        bytes_of = <uint8_t *>malloc(65536)
        if bytes_of == NULL:
            raise MemoryError()
        with nogil:
            status = self.replay_symbols(prefix, bytes_of)
        free(bytes_of)
        if status != OK:
            raise self.error(status)
        return True

    cdef Status replay_symbols(self, Prefix prefix, uint8_t *bytes_of) noexcept nogil:
        """In pieces that a chunk of output, and of marks, can hold; ``bytes_of`` is room for what each symbol means."""
        cdef const uint16_t *symbols = prefix.window + WINDOW
        cdef BlockMark *mark = prefix.marks
        cdef BlockMark *marks_end = mark + prefix.n_marks
        cdef int64_t pos = 0, end
        cdef Py_ssize_t i
        cdef Status status
        for i in range(256):
            bytes_of[i] = <uint8_t>i
        memcpy(bytes_of + 32768, self.window, WINDOW)
        while pos < prefix.n_symbols or mark < marks_end:
            end = min(pos + CHUNK, prefix.n_symbols)
            while mark < marks_end and mark.out_pos <= end:
                if self.inf.n_marks == CAP_MARKS:
                    end = (mark - 1).out_pos
                    break
                self.marks[self.inf.n_marks].bit_pos = mark.bit_pos
                self.marks[self.inf.n_marks].out_pos = self.chunk_pos + mark.out_pos - pos
                self.inf.n_marks += 1
                self.comp_pos = mark.bit_pos >> 3
                self.inf.in_bit = mark.bit_pos & 7
                mark += 1
            for i in range(end - pos):
                self.out[i] = bytes_of[symbols[pos + i]]
            self.out += end - pos
            pos = end
            status = self.flush()
            if status != OK:
                return status
        return OK

    def absorb(self, GzipChunk right):
        """Take over the results of ``right`` if it continues exactly here. False, and nothing changed, if not."""
        if self.n_points == 0 or not self.stands_at_joint(right):
            return False
        if not self.room_for(right) or not self.tar_fits(right) or not self.zones_fit(right):
            return False
        if self.ahead is not None:
            self.tar.adopt(self.ahead, 0, 0)
            self.ahead = None
        self.settle(right)
        self.take_points(right)
        self.take_tar(right)
        self.take_stream(right)
        return True

    cdef bint stands_at_joint(self, GzipChunk right):
        """Position and history are those that ``right`` began with, and the trailer it could not check is good."""
        cdef uint32_t crc
        if not right.middle or self.out != self.chunk or right.out != right.chunk:
            return False
        if right.chunk_pos < WINDOW:
            return False
        if right.at_member:
            return (self.where == BETWEEN and self.part_n == 0 and self.comp_pos * 8 == right.joint_bit
                    and self.prev_uncomp != self.chunk_pos)
        if self.where != IN_DEFLATE or self.inf.phase != AT_HEADER or self.history != self.window:
            return False
        if self.comp_pos * 8 + self.inf.in_bit != right.joint_bit:
            return False
        if memcmp(self.window, right.joint_window, WINDOW) != 0 or self.prev_uncomp > self.chunk_pos:
            return False
        if right.head_ended:
            crc = crc32_combine(self.crc, right.head_crc, right.head_bytes)
            return crc == right.trailer_crc and self.member_bytes + <uint32_t>right.head_bytes == right.trailer_bytes \
                and self.check_trailer
        return True

    cdef bint zones_fit(self, GzipChunk right):
        """What ``right`` placed does not depend on more of this scan than ``settle`` can mend."""
        cdef int64_t last = self.points[self.n_points - 1].uncomp
        cdef int64_t limit = 4 * self.span_bytes - self.chunk_pos
        if self.zone != right.first_zone or right.zone == right.first_zone or right.n_points < 2:
            return False
        if right.zone_was_over() and not self.zone_done:
            return False
        if right.forced_ambiguous or right.last_in_zone - last > limit:
            return False
        if self.has_best:
            last = self.best.uncomp
        if right.last_unplaced - last > limit:
            return False
        if not right.first_zone_point or not (self.has_best or self.zone_done) or self.gives_way_to(right):
            return True
        # points[0] gives way to a checkpoint further left: the span behind it grows.
        return not right.forced_first and right.last_against_first - last <= limit

    cdef bint gives_way_to(self, GzipChunk right):
        """The best boundary of the zone both share is points[0] of ``right``, or what may take its place."""
        cdef Point first = right.points[0]
        if not self.has_best or right.first_zone_late:
            return False
        if first.cut == UNKNOWN_FILE:
            first.cut = self.size_at_joint()
        if right.ambiguous == 0 and is_better(&right.other, &first):
            first = right.other
        return is_better(&first, &self.best)

    cdef int64_t size_at_joint(self):
        """Size of the file that ``right`` began in, once ``tar_fits`` has looked."""
        if self.ahead is not None and self.ahead.entries.n_rows:
            return last_row(self.ahead.entries).stored_size
        return last_row(self.entries).stored_size if self.entries.n_rows else 0

    cdef bint room_for(self, GzipChunk right):
        """Output and table stay below their limits; if they may not, one scan from the left says so better."""
        cdef EntryTable table = right.entries
        return (
            self.chunk_pos + right.chunk_pos <= self.max_uncomp
            and self.entries.n_rows + table.n_rows < self.tar.max_entries
            and self.entries.n_arena + table.n_arena
            + (self.entries.n_pax + table.n_pax) * <Py_ssize_t>sizeof(PaxRow) < self.tar.max_string_bytes
        )

    cdef bint zone_was_over(self):
        return ((self.joint_bit + 7) >> 3) >= self.first_zone * self.grid + self.zone_half

    cdef bint tar_fits(self, GzipChunk right):
        """The first header ``right`` found is where the next member begins, and its boundaries before that lie in one
        file."""
        cdef int64_t data_left = self.tar.skip - self.tar.padding
        self.fed = self.own_rows = 0
        self.ahead = None
        if self.tar.status != OK:
            return False
        if self.tar.skip and self.tar.between_members():
            if right.header_pos < 0:
                return self.entries.n_rows > 0 and data_left >= right.chunk_pos
            if right.header_pos == self.tar.skip:
                return right.last_unknown < (data_left if data_left > 0 else 0)
            return False
        if self.tar.skip == 0 and self.tar.between_members() and right.header_pos == 0:
            return True
        self.ahead = self.tar.fork()
        return self.feed_lead(right)

    cdef bint feed_lead(self, GzipChunk right):
        """The joint lies in headers: only the first bytes of ``right`` can tell. Sets ``fed`` and ``own_rows``, and
        leaves ``ahead`` where the first header of ``right`` is."""
        cdef int64_t total = self.chunk_pos
        cdef int64_t header = right.header_pos if right.header_pos >= 0 else right.chunk_pos
        cdef TarScanner ahead = self.ahead
        cdef EntryRow *row
        cdef int64_t data_offset = 0, data_end = 0
        self.fed = min(header, right.n_lead)
        if ahead.scan(right.lead, <Py_ssize_t>self.fed) != OK:
            return False
        if ahead.between_members() and (ahead.entries.n_rows or self.entries.n_rows):
            # In the data of a member whose headers are complete now.
            row = last_row(ahead.entries if ahead.entries.n_rows else self.entries)
            data_offset, data_end = row.data_offset, row.data_offset + row.stored_size
            if right.first_unknown >= 0 and (
                total + right.first_unknown < data_offset or total + right.last_unknown >= data_end
            ):
                return False
            if right.header_pos < 0:
                return total + right.chunk_pos <= data_end
            return ahead.skip == header - self.fed
        if self.fed == right.header_pos and right.entries.n_rows and right.first_unknown < 0:
            # Special headers are pending: what `right` took for its first member's start is the end of its headers.
            row = &right.entries.rows[0]
            self.fed = row.data_offset
            if self.fed <= right.n_lead and ahead.scan(
                right.lead + header, <Py_ssize_t>(self.fed - header)
            ) == OK and ahead.between_members() and ahead.entries.n_rows:
                self.own_rows = 1
                data_offset = total + row.data_offset
                data_end = data_offset + row.stored_size
                row = last_row(ahead.entries)
                return row.data_offset == data_offset and row.data_offset + row.stored_size == data_end
        return False

    cdef void settle(self, GzipChunk right):
        """Make the choices that ``right`` left open: the other candidate, and the zone both share."""
        cdef int64_t size = self.size_at_joint()
        cdef Py_ssize_t i
        for i in range(right.n_points):
            if right.points[i].cut == UNKNOWN_FILE:
                right.points[i].cut = size
        if right.ambiguous >= 0 and is_better(&right.other, &right.points[right.ambiguous]):
            right.points[right.ambiguous] = right.other
            memcpy(right.windows.data + right.ambiguous * WINDOW, right.other_window, WINDOW)
        if right.has_best and right.best.cut == UNKNOWN_FILE:
            right.best.cut = size
            if right.has_other and is_better(&right.other, &right.best):
                right.best = right.other
                memcpy(right.best_window, right.other_window, WINDOW)
        right.has_other = False
        if not right.first_zone_point:
            if self.has_best:
                self.commit_best()
        elif self.gives_way_to(right):
            self.has_best = False
        elif self.has_best or self.zone_done:
            if self.has_best:
                self.commit_best()
            right.drop_first_point()

    cdef void drop_first_point(self):
        cdef Py_ssize_t i
        for i in range(1, self.n_points):
            self.points[i - 1] = self.points[i]
        self.n_points -= 1
        self.windows.drop_first()

    cdef int take_points(self, GzipChunk right) except -1:
        cdef Point point
        cdef Py_ssize_t i
        for i in range(right.n_points):
            point = right.points[i]
            self.complete_window(right.windows.data + i * WINDOW, point.uncomp)
            point.uncomp += self.chunk_pos
            if not self.commit(&point, right.windows.data + i * WINDOW):
                raise MemoryError()
        self.zone = right.zone
        self.zone_done = right.zone_done
        self.prev_uncomp = right.prev_uncomp + self.chunk_pos
        self.has_best = right.has_best
        self.best = right.best
        self.best.uncomp += self.chunk_pos
        memcpy(self.best_window, right.best_window, WINDOW)
        self.complete_window(self.best_window, right.best.uncomp)
        return 0

    cdef void complete_window(self, uint8_t *window, int64_t uncomp) noexcept nogil:
        """A window reaches back over the start of a member; behind a joint there, its front is still missing."""
        if uncomp < WINDOW:
            memcpy(window, self.window + uncomp, WINDOW - uncomp)

    cdef int take_tar(self, GzipChunk right) except -1:
        if right.header_pos < 0:
            self.tar.skip -= right.chunk_pos - self.fed
            self.tar.position += right.chunk_pos - self.fed
        else:
            self.tar.adopt(right.tar, self.own_rows, self.chunk_pos)
        return 0

    cdef int take_stream(self, GzipChunk right) except -1:
        """Container, history and position."""
        cdef int64_t pos = self.chunk_pos + right.chunk_pos
        if right.at_member or right.head_ended:
            self.crc = right.crc
            self.member_bytes = right.member_bytes
            self.check_trailer = True
        else:
            self.crc = crc32_combine(self.crc, right.crc, right.chunk_pos)
            self.member_bytes += right.member_bytes
        self.members += right.members - (0 if right.at_member else 1)
        self.where = right.where
        self.part = right.part
        self.part_n = right.part_n
        self.flags = right.flags
        self.last_member_end = right.last_member_end
        self.trailing_bytes = right.trailing_bytes
        memcpy(self.window, right.window, WINDOW)
        self.history = self.window + (right.history - right.window)
        self.inf.phase = AT_HEADER
        self.inf.final = False
        self.inf.marks_due = False
        self.inf.in_bit = right.inf.in_bit
        self.inf.n_marks = 0
        self.comp_pos = self.chunk_comp_pos = right.comp_pos
        self.chunk_pos = pos
        return 0

    # --- results -------------------------------------------------------------------------------------------------

    def sparsify(self, Py_ssize_t i, WindowUse use, comp):
        """Make the window of checkpoint ``i`` sparse; ``comp`` is as for ``WindowUse.sparsify``."""
        if not 0 <= i < self.n_points:
            raise IndexError(f"no checkpoint {i}")
        use.use(comp, self.points[i].bits, self.windows.data + i * WINDOW)

    def result(self):
        """``(checkpoints, entries, archive size, uncompressed size, members, trailing bytes)`` after ``end``."""
        if self.has_best and not self.commit_best():
            raise MemoryError()
        if self.tar.finish() != END:
            raise self.tar.error()
        return (
            self.checkpoints(), self.entries, self.tar.archive_size, self.chunk_pos, self.members,
            self.trailing_bytes,
        )
