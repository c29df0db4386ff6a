"""A layer's own table of contents against the layer: every chunk, every file, every entry, and what annotations say."""

from collections.abc import Iterator
from itertools import chain, pairwise

from accel.errors import DigestMismatch, FormatError, LimitError
from accel.formats.stargz import TOC_NAME, Annotation
from accel.images.toc_layer import FoundToc, checked_chunk, decoded_member, limit_member
from accel.oci import Descriptor
from accel.verify.members import Member, differences
from accel.verify.report import VerifyReport
from accel.verify.streams import SpanCutter
from accel_core.entry import Entry
from accel_core.ztoc_survey import clean_name

_NOT_COMPARED = frozenset({"owner", "group", "mtime"})  # names are in no mount; times are compared here


class TocChecks:
    """The comparisons of one table of contents with one layer, while the layer streams by."""

    def __init__(self, found: FoundToc, layer: Descriptor, report: VerifyReport) -> None:
        self._found = found
        self._toc = found.toc
        self._layer = layer
        self._report = report
        self._whole_seconds = found.footer.is_gzip
        self._rows: dict[bytes, Entry] = {clean_name(entry.name): entry for entry in self._toc.entries}
        self._digests = self._file_digests()
        self._seen: set[bytes] = set()
        chunks = self._toc.chunks
        self._members = [range(first, end) for first, end in pairwise(chunks.members())]
        spans = [chunks.blob_range(numbers[0], numbers[-1]) for numbers in self._members]
        self.cutter = SpanCutter(spans, self._check_member)
        report.n_entries += len(self._toc.entries)
        report.n_chunks += len(chunks)

    def is_sound(self) -> bool:
        """Whether no chunk is too large to look at."""
        try:
            for numbers in self._members:
                limit_member(self._toc, numbers[0], numbers[-1], self._layer.digest)
        except LimitError as error:
            self._mismatch(str(error))
            return False
        return True

    def compare_members(self, theirs: Iterator[Member]) -> None:
        """The table against the tar's own members."""
        for member in theirs:
            name = clean_name(member.name)
            if name == TOC_NAME and self._whole_seconds:
                continue
            entry = self._rows.get(name)
            if entry is None:
                self._mismatch(f"{member.name!r} is missing from the table of contents")
                continue
            if name in self._seen:
                self._mismatch(f"{member.name!r} is in the tar twice")
            self._seen.add(name)
            for difference in differences(entry, member, without=_NOT_COMPARED):
                self._mismatch(f"{member.name!r}: {difference}")
            self._compare_time(entry, member)
            self._compare_content(entry, member)

    def finish(self, n_uncomp: int | None) -> None:
        """What can be said once all bytes have passed."""
        for number in chain.from_iterable(self._members[self.cutter.n_done :]):
            self._mismatch(f"chunk {number} lies beyond the end of the layer")
        for name, entry in self._rows.items():
            if name not in self._seen:
                self._mismatch(f"{entry.name!r} is not in the tar")
        self._check_annotations(n_uncomp)

    def _check_member(self, member: int, comp: bytes) -> None:
        numbers, name = self._members[member], self._layer.digest
        try:
            data = decoded_member(comp, self._toc, numbers[0], numbers[-1], self._found.footer, name)
        except FormatError as error:
            self._mismatch(str(error))
            return
        for number in numbers:
            try:
                checked_chunk(data, self._toc, number, name)
            except (FormatError, DigestMismatch) as error:
                self._mismatch(f"chunk {number}: {error}")

    def _file_digests(self) -> dict[int, bytes]:
        """The digest of each file that is not empty, by its row."""
        chunks = self._toc.chunks
        digests = {row: chunks.digest(number) for number, row in enumerate(chunks.entry)}
        return digests | dict(self._toc.file_digests)

    def _compare_content(self, entry: Entry, member: Member) -> None:
        ours = self._digests.get(entry.index)
        if member.sha256 is None or not member.size:
            return
        self._report.n_files += 1
        if ours is None or ours.hex() != member.sha256:
            self._mismatch(f"{member.name!r}: its digest in the table of contents is not that of the content")

    def _compare_time(self, entry: Entry, member: Member) -> None:
        theirs = member.facts.get("mtime")
        if not entry.has_mtime or not isinstance(theirs, tuple):
            return
        seconds, ns = theirs
        wanted = {(seconds, ns)}
        if self._whole_seconds:
            wanted = {(seconds, 0), (seconds + (ns >= 500_000_000), 0)}
        if (entry.mtime_s, entry.mtime_ns) not in wanted:
            self._mismatch(f"{member.name!r}: mtime is {(entry.mtime_s, entry.mtime_ns)}, in the tar {theirs}")

    def _check_annotations(self, n_uncomp: int | None) -> None:
        said, actual = self._layer.annotations, self._found.footer.toc_position
        if Annotation.TOC_DIGEST in said and Annotation.CHECKSUM in said:
            self._mismatch("annotations for stargz-snapshotter and for podman on one layer: podman refuses the image")
        size = said.get(Annotation.UNCOMP_SIZE)
        if size is not None and n_uncomp is not None and size != str(n_uncomp):
            self._mismatch(f"annotation says {size} uncompressed bytes, there are {n_uncomp}")
        for key in (Annotation.POSITION, Annotation.STARGZ_POSITION):
            if said.get(key, actual) != actual:
                self._mismatch(f"annotation says the TOC is at {said[key][:100]}, the footer {actual}")
        if Annotation.CHECKSUM in said and Annotation.TAR_SPLIT_POSITION not in said:
            if self._toc.tar_split_digest:
                self._mismatch("the TOC names a tar-split and no annotation says where it is: podman refuses the image")
            else:
                self._report.notes.append(f"layer {self._layer.digest} has no tar-split: podman pulls it whole")

    def _mismatch(self, what: str) -> None:
        self._report.mismatch(self._layer.digest, what)
