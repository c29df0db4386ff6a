"""How the entries of a layer fit a zTOC: as they are, with small edits, or not at all.

Readers rebuild the position of every tar header from the entries alone, so none may be missing, and they compare each
file's header with its entry before the first read. What a zTOC has no word for is written as a second entry of the root
directory, which changes nothing and keeps the chain of positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from accel.errors import LimitError, UnsupportedError
from accel.formats.soci.hard_links import place_forward_links
from accel.formats.soci.options import SociOptions
from accel.formats.soci.rows import Row, placeholder, row_of, shown
from accel_core.entries import FLAG_PAX_SPARSE, FLAG_SIZE_ON_NON_FILE, EntryTable
from accel_core.entry import Entry
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import encode
from accel_core.ztoc_survey import ODD_MODE, ODD_OWNER, ODD_TIME, hard_links, odd_rows, past_last_span

MAX_SPAN_BYTES = (1 << 31) - 1  # readers keep sizes of one span in C ints


@dataclass(frozen=True, slots=True)
class TocPlan:
    """``refusal`` says why the layer must be left out ("" if it need not).

    ``edits`` gives the rows to write in place of an entry, by its number; ``notes`` say what was edited and why.
    """

    refusal: str = ""
    edits: Mapping[int, tuple[Row, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def apply(self, entries: EntryTable) -> EntryTable:
        """The entries to encode: ``entries`` itself if there is nothing to edit."""
        if not self.edits:
            return entries
        edited = EntryTable()
        for entry in entries:
            for row in self.edits.get(entry.index, (row_of(entry),)):
                edited.append(**row)
        return edited


def build_ztoc(index: LayerIndex, options: SociOptions) -> tuple[bytes, TocPlan]:
    """The zTOC of a layer and the plan it was made by.

    Raises UnsupportedError (with the plan's refusal) for a layer to be left out, in either mode.
    """
    plan = plan_toc(index, options)
    if not plan.refusal:
        try:
            entries = plan.apply(index.entries)
            return encode(
                replace(index, entries=entries), tool=options.tool, share=not options.identical
            ), plan
        except LimitError as e:
            raise UnsupportedError(f"no zTOC: {e}") from e
    raise UnsupportedError(f"no zTOC: {plan.refusal}")


def plan_toc(index: LayerIndex, options: SociOptions) -> TocPlan:
    """How to write ``index`` as a zTOC: in identical mode as it is or not at all."""
    return _plan_identical(index) if options.identical else _plan_compatible(index)


def _plan_identical(index: LayerIndex) -> TocPlan:
    """Refuses what SOCI's builder fails on, and the one kind whose bytes we do not copy (PAX sparse files)."""
    if index.trailing_bytes:
        return TocPlan(f"SOCI fails on the {index.trailing_bytes} bytes after the last gzip member")
    for i, _ in odd_rows(index.entries):
        entry = index.entries[i]
        if entry.typeflag not in "0123456":
            return TocPlan(f"SOCI fails on tar entries of type {entry.typeflag!r} ({_named(entry)})")
        if entry.flags & FLAG_PAX_SPARSE:
            return TocPlan(f"{_named(entry)} is a sparse file, whose SOCI entry no reader accepts")
    return TocPlan()


def _plan_compatible(index: LayerIndex) -> TocPlan:
    refusal = _span_refusal(index)
    if refusal:
        return TocPlan(refusal)
    edits: dict[int, tuple[Row, ...]] = {}
    notes: list[str] = []
    for i, odd in odd_rows(index.entries):
        entry = index.entries[i]
        refusal = _entry_refusal(entry, odd)
        if refusal:
            return TocPlan(refusal)
        if entry.typeflag == "g":
            edits[i] = (placeholder(index.entries, entry),)
            notes.append(f"{_named(entry)}: PAX global header kept as an entry of the root directory")
        elif entry.typeflag == "7":
            notes.append(f"{_named(entry)}: contiguous file written as a file")
        elif entry.flags & FLAG_SIZE_ON_NON_FILE:
            notes.append(f"{_named(entry)}: size {entry.size} of an entry without data written as 0")
    links = hard_links(index.entries)
    if links:
        refusal, moved = place_forward_links(index.entries, links)
        if refusal:
            return TocPlan(refusal)
        edits |= moved  # links and files with data; the edits so far are of global headers
        for i in moved:
            if index.entries[i].typeflag == "1":
                notes.append(f"{_named(index.entries[i])}: hard link moved behind its target")
    return TocPlan("", edits, tuple(notes))


def _entry_refusal(entry: Entry, odd: int) -> str:
    """Why no zTOC can hold this entry ("" if one can)."""
    if entry.typeflag not in "01234567g":
        what = "a sparse file" if entry.typeflag == "S" else f"an entry of type {entry.typeflag!r}"
        return f"{_named(entry)} is {what}, which SOCI cannot hold"
    if entry.typeflag == "g":
        return ""
    if entry.flags & FLAG_PAX_SPARSE:
        return f"{_named(entry)} is a sparse file, which SOCI cannot hold"
    if odd & ODD_OWNER:
        return f"{_named(entry)} has owner {entry.uid}:{entry.gid}, which does not fit 32 bits"
    if odd & ODD_MODE:
        return (
            f"{_named(entry)} is a file whose mode {entry.mode:o} says otherwise, so that readers refuse it"
        )
    if odd & ODD_TIME:
        return f"{_named(entry)} has a time outside the years 0 to 9999"
    return ""


def _span_refusal(index: LayerIndex) -> str:
    if index.comp_size == 0 or index.n_spans == 0:
        return "the layer is empty"
    if index.compression == "tar":
        past = past_last_span(index.entries, index.span_bytes, index.n_spans)
        if past >= 0:
            return (
                f"{_named(index.entries[past])} ends where the last span does, which readers do not survive"
            )
        return ""
    points = index.checkpoints
    for name, offsets in (("compressed", points.comp_offset), ("uncompressed", points.uncomp_offset)):
        if any(b <= a for a, b in pairwise(offsets)):
            return f"two checkpoints have the same {name} offset"
    for i in range(index.n_spans):
        for start, end in (index.span_comp(i), index.span_uncomp(i)):
            if end - start > MAX_SPAN_BYTES:
                return f"span {i} holds {end - start} bytes, more than readers can take at once"
    return ""


def _named(entry: Entry) -> str:
    return f"entry {entry.index} ({shown(entry.name)})"
