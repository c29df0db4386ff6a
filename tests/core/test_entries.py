"""The entry table: what is appended comes back, as bytes, and nothing half-appended stays."""

from dataclasses import asdict
from typing import Any

import pytest

from accel_core.entries import FLAG_GLOBAL, FLAG_UNKNOWN_TYPE, Entry, EntryTable

FULL: dict[str, Any] = {
    "name": b"\xff\xfe/n\xc3\xa9", "typeflag": "2", "header_offset": 1 << 40, "data_offset": (1 << 40) + 512,
    "size": (1 << 63) - 1, "stored_size": 7, "mode": 0o120777, "uid": -1, "gid": 1 << 62, "mtime_s": -(1 << 63),
    "mtime_ns": 999_999_999, "has_mtime": False, "devmajor": -5, "devminor": 6, "linkname": b"t\0t",
    "uname": b"root", "gname": b"\x80", "flags": FLAG_UNKNOWN_TYPE,
    "pax": ((b"SCHILY.xattr.user.k", b"\0\xff"), (b"mtime", b"")),
}  # fmt: skip


def table_of(*rows: dict[str, Any]) -> EntryTable:
    table = EntryTable()
    for row in rows:
        table.append(**row)
    return table


def test_every_field_comes_back_as_it_was() -> None:
    (entry,) = table_of(FULL)
    assert asdict(entry) == {"index": 0, **FULL}
    assert type(entry) is Entry


def test_what_is_not_given_is_a_plain_file() -> None:
    (entry,) = table_of({"name": b"a", "size": 5})
    assert entry == Entry(
        index=0, header_offset=0, data_offset=0, size=5, stored_size=5, mode=0o644, uid=0, gid=0, mtime_s=0, mtime_ns=0,
        has_mtime=True, devmajor=0, devminor=0, name=b"a", linkname=b"", uname=b"", gname=b"", typeflag="0", flags=0,
        pax=(),
    )  # fmt: skip


@pytest.mark.parametrize("typeflag", "123456")
def test_links_directories_and_devices_store_nothing(typeflag: str) -> None:
    assert table_of({"name": b"a", "typeflag": typeflag, "size": 5})[0].stored_size == 0


def test_rows_are_reached_by_index_from_both_ends() -> None:
    table = table_of(*({"name": b"%d" % i} for i in range(1000)))
    assert len(table) == 1000
    assert [entry.name for entry in table] == [b"%d" % i for i in range(1000)]
    assert [table[i].index for i in (0, 999, -1, -1000)] == [0, 999, 999, 0]
    for outside in (1000, -1001, 1 << 62):
        with pytest.raises(IndexError):
            table[outside]


def test_many_strings_and_records_survive_growth() -> None:
    rows = [{"name": b"n" * (i % 300), "pax": [(b"k%d" % k, b"v" * i) for k in range(i % 5)]} for i in range(500)]
    for i, entry in enumerate(table_of(*rows)):
        assert entry.name == rows[i]["name"]
        assert list(entry.pax) == rows[i]["pax"]


def test_all_flags_are_those_of_all_rows() -> None:
    table = table_of({"name": b"a", "flags": FLAG_GLOBAL}, {"name": b"b"}, {"name": b"c", "flags": FLAG_UNKNOWN_TYPE})
    assert table.all_flags == FLAG_GLOBAL | FLAG_UNKNOWN_TYPE
    assert EntryTable().all_flags == 0


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": "text"}, TypeError),
        ({"name": None}, TypeError),
        ({}, TypeError),
        ({"name": b"a", "no_such_field": 1}, TypeError),
        ({"name": b"a", "size": 1 << 63}, OverflowError),
        ({"name": b"a", "uid": -(1 << 63) - 1}, OverflowError),
        ({"name": b"a", "flags": 1 << 16}, OverflowError),
        ({"name": b"a", "stored_size": 1 << 63}, OverflowError),
        ({"name": b"a", "typeflag": ""}, ValueError),
        ({"name": b"a", "typeflag": "00"}, ValueError),
        ({"name": b"a", "typeflag": "€"}, ValueError),
        ({"name": b"a", "mtime_ns": 1_000_000_000}, ValueError),
        ({"name": b"a", "mtime_ns": -1}, ValueError),
        ({"name": b"a", "pax": [(b"k", "text")]}, TypeError),
        ({"name": b"a", "pax": [(b"k", b"v"), (b"k",)]}, ValueError),
    ],
)
def test_a_refused_row_leaves_the_table_as_it_was(fields: dict[str, Any], error: type[Exception]) -> None:
    table = table_of(FULL)
    with pytest.raises(error):
        table.append(**fields)
    assert len(table) == 1 and asdict(table[0]) == {"index": 0, **FULL}
    assert table.all_flags == FULL["flags"]


def test_what_an_entry_says_of_itself() -> None:
    table = table_of(
        {"name": b"f", "data_offset": 512, "size": 513}, {"name": b"d", "typeflag": "5", "data_offset": 2048},
        {"name": b"s", "typeflag": "S", "data_offset": 2560, "size": 1 << 40, "stored_size": 512},
        {"name": b"c", "typeflag": "7", "data_offset": 3584}, {"name": b"g", "typeflag": "g", "data_offset": 5120},
    )  # fmt: skip
    assert [entry.is_file for entry in table] == [True, False, True, True, False]
    assert [entry.end_offset for entry in table] == [1536, 2048, 3072, 3584, 5120]
