"""Hard links whose target comes later in the archive, which readers refuse.

The link's own place becomes a placeholder; the link itself is written behind its target, as an entry without header or
data at the offset where the next member begins. Readers order entries by offset, so that place must not also be the
target's own: behind an empty target the next member with data is waited for.
"""

from collections.abc import Sequence

from accel.formats.soci.rows import Row, placeholder, row_of, shown
from accel_core.entries import EntryTable
from accel_core.ztoc_survey import rows_named

Link = tuple[int, bytes, bytes]  # row, cleaned name, cleaned target


def place_forward_links(entries: EntryTable, links: Sequence[Link]) -> tuple[str, dict[int, tuple[Row, ...]]]:
    """``(refusal, edits)``: why the layer has a link that no order can save ("" if none), and rows by entry number.

    A single row replaces a link that moved; several are an entry and the links that now follow it.
    """
    rows = rows_named(entries, {target for _, _, target in links})
    forward = []
    for i, name, target in links:
        places = rows.get(target, [])
        if target and (not places or places[0] >= i):
            if not places or target == name:
                return f"{_link(name, target)}: no such target in this layer", {}
            forward.append((i, name, target, next(j for j in places if j >= i)))
    if not forward:
        return "", {}
    refusal = _entangled(entries, links, forward)
    return (refusal, {}) if refusal else _moved(entries, forward)


def _entangled(
    entries: EntryTable, links: Sequence[Link], forward: Sequence[tuple[int, bytes, bytes, int]]
) -> str:
    """Why moving the links could change what the archive means ("" if it cannot)."""
    moving = {name: target for _, name, target, _ in forward}
    if len(moving) != len(forward):
        return "a path is a hard link to a later entry more than once"
    for _, name, target in links:
        if target in moving:
            return f"{_link(name, target)}: the target is itself a hard link to a later entry"
    for name, places in rows_named(entries, moving).items():
        if len(places) > 1:
            return f"{_link(name, moving[name])}: the path occurs more than once"
    return ""


def _moved(
    entries: EntryTable, forward: Sequence[tuple[int, bytes, bytes, int]]
) -> tuple[str, dict[int, tuple[Row, ...]]]:
    edits: dict[int, tuple[Row, ...]] = {}
    followers: dict[int, list[Row]] = {}
    for i, name, target, after in forward:
        link = entries[i]
        while after < len(entries) and entries[after].stored_size == 0:
            after += 1
        if after == len(entries):
            return f"{_link(name, target)}: nothing with data follows the target", {}
        edits[i] = (placeholder(entries, link),)
        place = entries[after].end_offset
        follower = row_of(link, header_offset=place, data_offset=place, size=0, stored_size=0, flags=0)
        followers.setdefault(after, []).append(follower)
    for after, rows in followers.items():
        edits[after] = (row_of(entries[after]), *rows)
    return "", edits


def _link(name: bytes, target: bytes) -> str:
    return f"hard link {shown(name)} to {shown(target)}"
