"""In which order an eStargz layer holds its members, and which it leaves out.

Left out: tables of contents and landmarks of an earlier conversion, PAX global headers (container runtimes ignore
them, a TOC has no word for them), and of each path all entries but the last. In front: the prefetched files, each
behind its missing parent directories and, if it is a hard link, behind its target (again with parents). Then the
landmark, then all others as they were. Without prefetched files the landmark comes first. Source:
stargz-snapshotter ``estargz/build.go`` (``sortEntries``, ``moveRec``).
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from accel.errors import NotFoundError
from accel.formats.stargz.names import LANDMARKS, TOC_NAME
from accel_core.entries import EntryTable
from accel_core.path_survey import cleaned_names, typeflags
from accel_core.toc_json import NO_PREFETCH, PREFETCH
from accel_core.ztoc_survey import clean_name

HARD_LINK = ord("1")
GLOBAL_HEADER = ord("g")


@dataclass(frozen=True, slots=True)
class Order:
    """``rows``: what to write, by row of the source's table, ``NO_PREFETCH`` or ``PREFETCH`` for the landmark.

    ``dropped``: rows left out, in order; ``duplicates``: those of them that are earlier entries of a path that comes
    again. ``missing``: prefetched names that the layer does not have.
    """

    rows: "array[int]"
    dropped: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    missing: tuple[bytes, ...] = ()

    @property
    def is_streamable(self) -> bool:
        """Whether the members kept are in the source's order, behind the landmark."""
        return self.rows[0] == NO_PREFETCH


def layer_order(
    entries: EntryTable, prefetch: Sequence[bytes] = (), *, allow_missing: bool = True
) -> Order:
    """The order for a layer with these entries; ``prefetch`` are names of files, rooted or not.

    NotFoundError for names that the layer does not have, unless they may be missing.
    """
    names = cleaned_names(entries)
    flags = typeflags(entries)
    last: dict[bytes, int] = {}
    dropped, duplicates = [], []
    for i, name in enumerate(names):
        if flags[i] == GLOBAL_HEADER or name == TOC_NAME or name in LANDMARKS:
            dropped.append(i)
            continue
        earlier = last.get(name)
        if earlier is not None:
            duplicates.append(earlier)
        last[name] = i
    gone = {*dropped, *duplicates}
    front = _Front(entries, last, flags)
    missing = [name for name in prefetch if not front.add(clean_name(name))]
    if missing and not allow_missing:
        raise NotFoundError(f"not in the layer: {missing[0][:200]!r}")
    rows = array("q", front.rows)
    rows.append(PREFETCH if front.rows else NO_PREFETCH)
    taken = set(front.rows)
    rows.extend(
        i for i in range(len(entries)) if i not in taken and i not in gone
    )
    return Order(rows, tuple(sorted(gone)), tuple(sorted(duplicates)), tuple(missing))


class _Front:
    """Rows to be in front, each once."""

    def __init__(self, entries: EntryTable, rows_by_name: dict[bytes, int], flags: bytes) -> None:
        self._entries = entries
        self._by_name = rows_by_name
        self._flags = flags
        self._seen: set[bytes] = set()
        self.rows: list[int] = []

    def add(self, name: bytes) -> bool:
        """Whether the layer has the name, which is in front now."""
        if name not in self._by_name:
            return False
        # A link's target goes before the link, and what that needs before the target: a stack instead of recursion, for
        # a chain of links can be as long as the layer.
        chain = []
        while name not in self._seen:
            self._seen.add(name)
            chain.append(name)
            row = self._by_name[name]
            if self._flags[row] != HARD_LINK:
                break
            name = clean_name(self._entries[row].linkname)
            if name not in self._by_name:
                break
        for link in chain:
            self._add_parents(link)
        self.rows.extend(self._by_name[link] for link in reversed(chain))
        return True

    def _add_parents(self, name: bytes) -> None:
        parts = name.split(b"/")[:-1]
        for parent in (b"", *(b"/".join(parts[: i + 1]) for i in range(len(parts)))):
            if parent in self._by_name and parent not in self._seen:
                self._seen.add(parent)
                self.rows.append(self._by_name[parent])
