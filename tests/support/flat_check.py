"""A zTOC read with Google's FlatBuffers runtime, checking on the way what its verifiers check (alignment, NULs)."""

from typing import Any

import flatbuffers.number_types as N
from flatbuffers.table import Table

_STRINGS = {0: "name", 1: "type", 4: "linkname", 8: "uname", 9: "gname", 10: "mod_time"}
_NUMBERS = {
    2: ("offset", N.Int64Flags),
    3: ("size", N.Int64Flags),
    5: ("mode", N.Int64Flags),
    6: ("uid", N.Uint32Flags),
    7: ("gid", N.Uint32Flags),
    11: ("devmajor", N.Int64Flags),
    12: ("devminor", N.Int64Flags),
}


def read_ztoc(data: bytes) -> dict[str, Any]:
    """Everything in a zTOC."""
    root = Table(data, N.UOffsetTFlags.py_type(int.from_bytes(data[:4], "little")))
    toc, info = _child(root, 4), _child(root, 5)
    rows = _vector(toc, 0)
    return {
        "version": _string(root, 0),
        "tool": _string(root, 1),
        "comp_size": _number(root, 2, N.Int64Flags),
        "archive_size": _number(root, 3, N.Int64Flags),
        "algorithm": _number(info, 0, N.Int8Flags, 1),
        "max_span": _number(info, 1, N.Int32Flags),
        "digests": [_string_at(info, at) for at in _vector(info, 2)],
        "zinfo": _string(info, 3, vector=True),
        "rows": [_row(Table(data, toc.Indirect(at))) for at in rows],
    }


def _row(table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {name: _string(table, field) for field, name in _STRINGS.items()}
    row |= {name: _number(table, field, kind) for field, (name, kind) in _NUMBERS.items()}
    row["xattrs"] = []
    for at in _vector(table, 13):
        record = Table(table.Bytes, table.Indirect(at))
        row["xattrs"].append((_string(record, 0), _string(record, 1)))
    return row


def _place(table: Table, field: int) -> int:
    assert table.Pos % 4 == 0
    vtable = table.Pos - table.Get(N.SOffsetTFlags, table.Pos)
    assert vtable % 2 == 0 and 0 <= vtable < len(table.Bytes)
    offset = table.Offset(4 + 2 * field)
    return table.Pos + offset if offset else 0


def _number(table: Table, field: int, kind: Any, default: int = 0) -> int:
    at = _place(table, field)
    assert at % kind.bytewidth == 0
    return int(table.Get(kind, at)) if at else default


def _string(table: Table, field: int, *, vector: bool = False) -> bytes:
    at = _place(table, field)
    return _string_at(table, at, vector=vector) if at else b""


def _string_at(table: Table, at: int, *, vector: bool = False) -> bytes:
    assert at % 4 == 0
    text = bytes(table.String(at))
    start = table.Indirect(at)
    assert start % 4 == 0
    assert vector or table.Bytes[start + 4 + len(text)] == 0
    return text


def _vector(table: Table, field: int) -> list[int]:
    """Positions of the elements."""
    at = _place(table, field)
    if not at:
        return []
    start = table.Vector(at - table.Pos)
    return [start + 4 * i for i in range(table.VectorLen(at - table.Pos))]


def _child(table: Table, field: int) -> Table:
    return Table(table.Bytes, table.Indirect(_place(table, field)))
