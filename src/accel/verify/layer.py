"""One layer against its digest, its diffID and its index, in a single pass over its bytes.

::

    blob ─┬─ sha256                                     = layer digest
          ├─ cut into spans ── sha256                   = span digests
          │         └─ inflated from their checkpoints ─┬─ sha256 of each span ──────┐ equal
          │                                             └─ sha256 of each TOC file ─┐│
          └─ zlib / plain ─┬─ sha256                    = diffID                    ││
                           ├─ sha256 of each span's range ──────────────────────────│┘
                           └─ tarfile ── fields = TOC, sha256 of each file ─────────┘ equal

The right-hand side of each comparison uses none of our own decoders. Memory: a span, and the table of contents.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence

from accel.blobs import Blob
from accel.errors import FormatError, LimitError, UnsupportedError
from accel.formats.stargz import Annotation, Toc
from accel.images.compression import Compression, decompressed, peek, sniff
from accel.images.spans import MAX_SPAN_BYTES
from accel.images.toc_layer import FoundToc
from accel.oci import Descriptor, hasher_for
from accel.progress import Progress
from accel.verify.members import Member, differences, members
from accel.verify.report import VerifyReport
from accel.verify.streams import PullFile, RangeHasher, SpanCutter, tapped
from accel.verify.tar_split import check_tar_split
from accel.verify.toc import TocChecks
from accel_core.entry import Entry
from accel_core.inflate_at import inflate_span
from accel_core.layer_index import LayerIndex

MAX_LAYER_BYTES = 256 << 30  # uncompressed


class LayerCheck:
    """Checks one layer, its ``index`` and its own ``toc``, which it may not have; digest and diffID in any case."""

    def __init__(
        self,
        blob: Blob,
        layer: Descriptor,
        diff_id: str | None,
        index: LayerIndex | None,
        report: VerifyReport,
        progress: Progress,
        toc: FoundToc | None = None,
    ) -> None:
        self._toc = toc
        self._blob = blob
        self._layer = layer
        self._diff_id = diff_id
        self._index = index
        self._report = report
        self._progress = progress
        self._n_bytes = 0

    def run(self) -> None:
        """Report every claim that does not hold."""
        self._report.n_layers += 1
        index = self._index
        if index is not None and not self._index_is_sound(index):
            index = None
        blob_hash = hasher_for(self._layer.digest)
        diff_hash = hasher_for(self._diff_id or "sha256:" + "0" * 64)
        checks = _IndexChecks(index, self._layer.digest, self._report) if index is not None else None
        toc_checks = self._toc_checks()
        n_comp = 0

        def count(chunk: bytes) -> None:
            nonlocal n_comp
            n_comp += len(chunk)
            blob_hash.update(chunk)
            self._progress.advance(self._layer.digest, len(chunk))

        taps = [count, *(each.cutter.update for each in (checks, toc_checks) if each is not None)]
        head, raw = peek(tapped(self._blob.stream(), *taps))
        compression = sniff(head)
        if index is not None and compression != index.compression:
            self._mismatch(f"the index is for {index.compression}, the layer is {compression}")
        n_uncomp = self._ordinary(raw, compression, diff_hash.update, checks, toc_checks)
        for _ in raw:
            pass  # what an early end or a decoder's error left, so that the digest is of everything
        self._compare_digests(f"{blob_hash.name}:{blob_hash.hexdigest()}", n_comp)
        if self._diff_id is not None and n_uncomp is not None:
            got = f"{diff_hash.name}:{diff_hash.hexdigest()}"
            if got != self._diff_id:
                self._mismatch(f"diffID is {got}, the image config says {self._diff_id}")
        if checks is not None and index is not None:
            checks.finish(n_uncomp)
        if toc_checks is not None and self._toc is not None:
            toc_checks.finish(n_uncomp)
            self._check_tar_split(self._toc.toc, compression)

    def _toc_checks(self) -> TocChecks | None:
        if self._toc is None:
            return None
        self._report.n_lazy_layers += 1
        checks = TocChecks(self._toc, self._layer, self._report)
        return checks if checks.is_sound() else None

    def _check_tar_split(self, toc: Toc, compression: Compression) -> None:
        if Annotation.TAR_SPLIT_POSITION in self._layer.annotations:
            tar = decompressed(self._blob.stream(), compression, max_bytes=MAX_LAYER_BYTES)
            for problem in check_tar_split(self._blob, self._layer, toc, tar):
                self._mismatch(problem)

    def _ordinary(
        self,
        raw: Iterator[bytes],
        compression: Compression,
        diff_update: Callable[[bytes], object],
        checks: "_IndexChecks | None",
        toc_checks: TocChecks | None,
    ) -> int | None:
        """Decode everything the ordinary way; bytes it inflates to, None if that failed (and was reported)."""
        self._n_bytes = 0

        def count(piece: bytes) -> None:
            self._n_bytes += len(piece)

        taps: list[Callable[[bytes], object]] = [count, diff_update]
        if checks is not None:
            taps.append(checks.ordinary_spans.update)
        file = PullFile(tapped(decompressed(raw, compression, max_bytes=MAX_LAYER_BYTES), *taps))
        try:
            comparers = [each.compare_members for each in (checks, toc_checks) if each is not None]
            if comparers:
                try:
                    _each_by_all(members(file), comparers)
                except tarfile.TarError as error:
                    self._mismatch(f"tarfile cannot read it: {error}")
            file.drain()
        except (FormatError, LimitError, UnsupportedError, ValueError) as error:
            self._mismatch(f"ordinary decoding fails: {error}")
            return None
        self._report.n_bytes += self._n_bytes
        return self._n_bytes

    def _index_is_sound(self, index: LayerIndex) -> bool:
        self._report.n_indexed_layers += 1
        sound = True
        if index.comp_size != self._layer.size:
            self._mismatch(
                f"index says the layer has {index.comp_size} bytes, the manifest {self._layer.size}"
            )
        if len(index.span_digests) != index.n_spans or index.n_spans == 0:
            self._mismatch("index has no spans")
            sound = False
        for number in range(index.n_spans):
            start, end = index.span_comp(number)
            first, last = index.span_uncomp(number)
            following = index.span_comp(number + 1)[0] if number + 1 < index.n_spans else end
            if not (0 <= start < end and following >= end - 1 and 0 <= first <= last):
                self._mismatch(
                    f"span {number} is not a forward range (compressed [{start}, {end}), [{first}, {last}))"
                )
                sound = False
            if max(end - start, last - first) > MAX_SPAN_BYTES:
                self._mismatch(f"span {number} is too large to check")
                sound = False
        return sound

    def _compare_digests(self, got: str, n_bytes: int) -> None:
        if n_bytes != self._layer.size:
            self._mismatch(f"blob has {n_bytes} bytes, the manifest says {self._layer.size}")
        if got != self._layer.digest:
            self._mismatch(f"blob digest is {got}")

    def _mismatch(self, what: str) -> None:
        self._report.mismatch(self._layer.digest, what)


class _IndexChecks:
    """The comparisons of one index with one layer."""

    def __init__(self, index: LayerIndex, layer_digest: str, report: VerifyReport) -> None:
        self._index = index
        self._digest = layer_digest
        self._report = report
        self._entries = self._by_offset(index.entries)
        self._files = self._file_ranges()
        spans = range(index.n_spans)
        self.cutter = SpanCutter([index.span_comp(i) for i in spans], self._check_span)
        self.ordinary_spans = RangeHasher([index.span_uncomp(i) for i in spans])
        self._indexed_files = RangeHasher([(e.data_offset, e.data_offset + e.size) for e in self._files])
        self._span_digests: dict[int, str] = {}
        self._their_files: dict[int, str] = {}
        self._seen: set[int] = set()
        self._last_end = 0
        report.n_spans += index.n_spans
        report.n_entries += len(index.entries)

    def compare_members(self, theirs: Iterator[Member]) -> None:
        """The table of contents against the tar's own members."""
        extra_links = {(e.name, e.linkname) for e in self._index.entries if e.typeflag == "1"}
        for member in theirs:
            self._last_end = member.end
            entry = self._entries.get(member.offset)
            if entry is None:
                self._mismatch(f"{member.name!r} at {member.offset} is missing from the table of contents")
                continue
            self._seen.add(member.offset)
            if member.sha256 is not None:
                self._their_files[member.offset] = member.sha256
            if _is_placeholder(entry):
                # stands for a hard link that comes before its target; the link itself is listed further on
                link = (member.name, member.facts.get("linkname"))
                if member.typeflag == "1" and link in extra_links:
                    continue
            for difference in differences(entry, member):
                self._mismatch(f"{member.name!r} at {member.offset}: {difference}")

    def finish(self, n_uncomp: int | None) -> None:
        """What can be said once all bytes have passed."""
        index = self._index
        for number in range(self.cutter.n_done, index.n_spans):
            self._mismatch(f"span {number} lies beyond the end of the layer")
        for number, ours in self._span_digests.items():
            theirs = self.ordinary_spans.digests[number]
            if theirs is None:
                self._mismatch(f"span {number} ends beyond the uncompressed layer")
            elif ours != theirs:
                self._mismatch(
                    f"span {number} does not inflate to the layer's bytes (wrong checkpoint or window)"
                )
        for entry, through_index in zip(self._files, self._indexed_files.digests, strict=True):
            ordinary = self._their_files.get(entry.data_offset)
            if ordinary is not None:
                self._report.n_files += 1
                if through_index != ordinary:
                    self._mismatch(
                        f"{entry.name!r}: content through the index differs from ordinary extraction"
                    )
        for offset, entry in self._entries.items():
            if offset not in self._seen and not _is_placeholder(entry) and not self._is_moved_link(entry):
                self._mismatch(f"{entry.name!r} at {offset} is not in the tar")
        if n_uncomp is not None:
            expected = min(self._last_end + 1024, n_uncomp)
            if index.archive_size != expected:
                self._mismatch(f"index says the archive ends at {index.archive_size}, it ends at {expected}")

    def _check_span(self, number: int, comp: bytes) -> None:
        index = self._index
        got = "sha256:" + hashlib.sha256(comp).hexdigest()
        if got != index.span_digests[number]:
            self._mismatch(f"span {number}: digest is {got}, the index says {index.span_digests[number]}")
        data = comp
        if index.compression == "gzip":
            start, end = index.span_uncomp(number)
            points = index.checkpoints
            try:
                data = inflate_span(comp, points.bits[number], points.window(number), end - start)
            except (FormatError, LimitError) as error:
                self._mismatch(f"span {number} cannot be inflated: {error}")
                data = bytes(end - start)
        self._span_digests[number] = hashlib.sha256(data).hexdigest()
        self._indexed_files.update(data)

    def _by_offset(self, entries: Iterable[Entry]) -> dict[int, Entry]:
        found: dict[int, Entry] = {}
        for entry in entries:
            other = found.get(entry.data_offset)
            if other is not None and not _is_placeholder(other) and not _is_placeholder(entry):
                self._mismatch(f"{entry.name!r} and {other.name!r} share offset {entry.data_offset}")
            if other is None or _is_placeholder(other):
                found[entry.data_offset] = entry
        return found

    def _file_ranges(self) -> list[Entry]:
        files: list[Entry] = []
        end = 0
        for offset in sorted(self._entries):
            entry = self._entries[offset]
            if not entry.is_file:
                continue
            if offset < end:
                self._mismatch(f"{entry.name!r} at {offset} overlaps the file before it")
                continue
            files.append(entry)
            end = offset + entry.size
        return files

    def _is_moved_link(self, entry: Entry) -> bool:
        # the writer's fix for a hard link before its target: a placeholder where it was, the link after its target
        return entry.typeflag == "1" and any(_is_placeholder(other) for other in self._entries.values())

    def _mismatch(self, what: str) -> None:
        self._report.mismatch(self._digest, what)


def _each_by_all(found: Iterator[Member], comparers: Sequence[Callable[[Iterator[Member]], None]]) -> None:
    if len(comparers) == 1:
        comparers[0](found)
        return
    listed = list(found)
    for compare in comparers:
        compare(iter(listed))


def _is_placeholder(entry: Entry) -> bool:
    return entry.typeflag == "5" and entry.name == b"./" and entry.size == 0
