"""Which layers a reader would refuse or show wrongly, and why; such a layer is better written without a TOC.

*stargz* is stargz-snapshotter, which mounts a layer by its TOC (eStargz, or the zstd blob with its annotations).
*containers* is containers/storage (podman, buildah, skopeo, CRI-O), which pulls a zstd layer partially: the pull of the
whole image fails if its TOC and the tar differ, so nothing may be left to chance there.

=================================  ===========================  =================================================
entry                              stargz                       containers
=================================  ===========================  =================================================
sparse file                        refused                      refused: the tar cannot be rebuilt from the file
type other than the usual seven    refused; contiguous is a     refused, contiguous files and global headers too
                                   file, global headers do not
                                   count
data claimed by a link or device   no matter                    refused: unclear how long the entry is
name of something else than a      no matter                    refused: opened as it is
directory that ends in a slash,
any name with ..
extended attribute without name    no matter                    refused: its JSON parser has no empty keys
tar that ends inside padding, or   no matter                    refused (``TarSplit.refusal``)
is followed by more than blocks
of zeros
owner above 32 bits                refused                      refused
time outside the years 0 to 9999   refused                      refused
text that is no UTF-8              refused: shown as U+FFFD     no matter: bytes in the TOC as they are
path that comes twice              refused in a zstd layer,     refused
                                   which keeps the tar;
                                   eStargz drops the earlier,
                                   unless others depend on it
hard link without its target       refused                      refused
hard link before its target        refused: one of the          no matter
                                   snapshotter's two stores
hard link to a directory           refused                      refused
path below a file or symlink       refused: not found           refused: goes through a link
root that is no directory          refused                      refused
=================================  ===========================  =================================================

Sources: stargz-snapshotter ``estargz/estargz.go`` (``initFields``), ``estargz/build.go``, ``metadata/db``;
containers/storage ``pkg/chunked/compression_linux.go`` (``ensureTOCMatchesTarSplit``), ``storage_linux.go``.
"""

from collections.abc import Collection
from dataclasses import dataclass

from accel.formats.stargz.names import MAX_TOC_BYTES
from accel.formats.stargz.order import GLOBAL_HEADER, HARD_LINK
from accel.formats.stargz.tar_split import TarSplit
from accel_core.entries import FLAG_GNU_SPARSE, FLAG_PAX_SPARSE, FLAG_SIZE_ON_NON_FILE, EntryTable
from accel_core.entry import Entry
from accel_core.path_survey import (
    cleaned_names,
    climbing,
    files_with_slash,
    nameless_xattrs,
    not_utf8,
    pax_times_out_of_range,
    typeflags,
)
from accel_core.ztoc_survey import ODD_OWNER, ODD_TIME, clean_name, odd_rows

_DIRECTORY = ord("5")
_STARGZ_TYPES = "01234567g"
_CONTAINERS_TYPES = "0123456"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why each reader would not take a layer by its TOC; "" if it would."""

    stargz: str = ""
    containers: str = ""


def estargz_refusal(entries: EntryTable, dropped: Collection[int] = ()) -> str:
    """Why stargz-snapshotter would not mount an eStargz layer of ``entries`` without ``dropped``; "" if it would.

    ``entries`` are in the order of the layer they come from; prefetched files, which come with what they need, do not
    change the answer.
    """
    return _entries_refusal(entries, frozenset(dropped)).stargz or _tree_refusal(entries, frozenset(dropped)).stargz


def zstd_refusal(entries: EntryTable, tar_split: TarSplit | None = None) -> Refusal:
    """Why each reader would not take a zstd layer that holds all ``entries``; the tar-split knows of its end."""
    by_entry, by_tree = _entries_refusal(entries, frozenset()), _tree_refusal(entries, frozenset())
    containers = by_entry.containers or by_tree.containers
    if tar_split is not None:
        containers = containers or tar_split.refusal
    return Refusal(by_entry.stargz or by_tree.stargz, containers)


def toc_size_refusal(toc_bytes: int) -> str:
    """Why containers/storage would not take a TOC of this size into memory; "" if it would."""
    return f"its TOC has {toc_bytes} bytes, more than {MAX_TOC_BYTES}" if toc_bytes > MAX_TOC_BYTES else ""


def _entries_refusal(entries: EntryTable, dropped: frozenset[int]) -> Refusal:
    """By what single entries are."""
    stargz = containers = ""
    for i, odd in odd_rows(entries):
        if i in dropped or (stargz and containers):
            continue
        entry = entries[i]
        both = _wrong_for_both(entry, odd)
        if not stargz:
            stargz = both or _wrong_type(entry, _STARGZ_TYPES)
        if not containers:
            containers = both or _wrong_type(entry, _CONTAINERS_TYPES)
        if not containers and entry.flags & FLAG_SIZE_ON_NON_FILE:
            containers = f"{_named(entry)} claims {entry.size} bytes of data, but its type has none"
    if not containers:
        containers = _wrong_for_containers(entries)
    if not stargz:
        for i in not_utf8(entries):
            if i not in dropped and entries[i].typeflag != "g":
                stargz = f"{_named(entries[i])}: a name that is not UTF-8 would be changed"
                break
    return Refusal(stargz, containers)


def _wrong_for_both(entry: Entry, odd: int) -> str:
    if entry.flags & (FLAG_GNU_SPARSE | FLAG_PAX_SPARSE):
        return f"{_named(entry)} is a sparse file"
    if odd & ODD_OWNER:
        return f"{_named(entry)} has owner {entry.uid}:{entry.gid}, which does not fit 32 bits"
    if odd & ODD_TIME and entry.typeflag != "g":
        return f"{_named(entry)} has a time outside the years 0 to 9999"
    return ""


def _wrong_for_containers(entries: EntryTable) -> str:
    for i in files_with_slash(entries):
        return f"{_named(entries[i])} is no directory, but its name ends in a slash"
    for i in climbing(entries):
        return f"{_named(entries[i])} has a .. in its path"
    for i in nameless_xattrs(entries):
        return f"{_named(entries[i])} has an extended attribute without a name"
    for i in pax_times_out_of_range(entries):
        return f"{_named(entries[i])} has an access or change time outside the years 0 to 9999"
    return ""


def _wrong_type(entry: Entry, types: str) -> str:
    return "" if entry.typeflag in types else f"{_named(entry)} is an entry of type {entry.typeflag!r}"


def _tree_refusal(entries: EntryTable, dropped: frozenset[int]) -> Refusal:
    """By how entries belong together."""
    names, flags = cleaned_names(entries), typeflags(entries)
    rows: dict[bytes, int] = {}
    twice = ""
    for i, name in enumerate(names):
        if i in dropped or flags[i] == GLOBAL_HEADER:
            continue
        if name in rows:
            twice = twice or f"{_named(entries[i])}: its path is there twice"
        else:
            rows[name] = i
    if not twice:
        twice = _wrong_drop(entries, names, rows, flags, dropped)
    forward, both = "", twice or _wrong_parent(entries, rows, flags)
    if not both:
        both, forward = _wrong_links(entries, rows, flags)
    return Refusal(both or forward, both)


def _wrong_drop(
    entries: EntryTable, names: list[bytes], rows: dict[bytes, int], flags: bytes, dropped: frozenset[int]
) -> str:
    """Why an earlier entry of a path cannot go: it is a directory and the later one is not, or the reverse."""
    for i in sorted(dropped):
        later = rows.get(names[i])
        if later is not None and flags[i] != GLOBAL_HEADER and (flags[i] == _DIRECTORY) != (flags[later] == _DIRECTORY):
            return f"{_named(entries[i])}: its path is there twice, once as a directory"
    return ""


def _wrong_parent(entries: EntryTable, rows: dict[bytes, int], flags: bytes) -> str:
    root = rows.get(b"")
    if root is not None and flags[root] != _DIRECTORY:
        return f"{_named(entries[root])} is in the place of the root directory"
    good: set[bytes] = {b""}
    for name, i in rows.items():
        parent = name.rpartition(b"/")[0]
        while parent not in good:
            row = rows.get(parent)
            if row is not None and flags[row] != _DIRECTORY:
                return f"{_named(entries[i])} is below {_named(entries[row])}, which is no directory"
            good.add(parent)
            parent = parent.rpartition(b"/")[0]
    return ""


def _wrong_links(entries: EntryTable, rows: dict[bytes, int], flags: bytes) -> tuple[str, str]:
    """``(for both readers, for stargz)``."""
    forward = ""
    for i in rows.values():
        if flags[i] != HARD_LINK:
            continue
        target = rows.get(clean_name(entries[i].linkname))
        if target is None:
            return f"{_named(entries[i])} is a hard link to something that is not in the layer", ""
        if flags[target] == _DIRECTORY:
            return f"{_named(entries[i])} is a hard link to a directory", ""
        if target == i or (target > i and flags[target] == HARD_LINK):
            return f"{_named(entries[i])} is a hard link to a later hard link", ""
        if target > i:
            forward = forward or f"{_named(entries[i])} is a hard link to a later entry"
    return "", forward


def _named(entry: Entry) -> str:
    return f"entry {entry.index} ({entry.name.decode('utf-8', 'backslashreplace')[:200]!r})"
