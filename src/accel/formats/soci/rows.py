"""Rows of an entry table as keyword arguments of ``EntryTable.append``, to copy with changes."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from accel_core.entries import EntryTable
from accel_core.entry import Entry
from accel_core.ztoc_survey import rows_named

Row = Mapping[str, Any]

_FIELDS = tuple(field.name for field in fields(Entry) if field.name != "index")


def row_of(entry: Entry, **changes: Any) -> Row:
    """The row that would give ``entry`` again, with ``changes``."""
    return {name: getattr(entry, name) for name in _FIELDS} | changes


def shown(name: bytes) -> str:
    """A raw name for messages: quoted, bounded, and what is not UTF-8 escaped."""
    return repr(name.decode("utf-8", "backslashreplace")[:200])


def placeholder(entries: EntryTable, entry: Entry) -> Row:
    """An entry of the root directory in the place of ``entry``.

    It has the attributes that the root ends up with anyway.
    """
    roots = [entries[i] for i in rows_named(entries, [b""]).get(b"", ())]
    roots = [root for root in roots if root.typeflag == "5"]
    root: dict[str, Any] = {"mode": 0o755, "has_mtime": False}
    if roots:
        root = dict(row_of(roots[-1]))
    return root | {
        "name": b"./",
        "typeflag": "5",
        "linkname": b"",
        "header_offset": entry.header_offset,
        "data_offset": entry.data_offset,
        "size": 0,
        "stored_size": 0,
        "flags": 0,
    }
