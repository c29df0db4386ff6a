"""Entry tables as columns: every table comes back, and columns that lie are refused."""

import gzip
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_core import FormatError, LayerIndex, LayerScanner
from accel_core.entries import EntryTable
from accel_core.toc_join import join
from accel_core.toc_split import COLUMNS, split
from support.instrumented import fewer
from support.tar_cases import LEGAL

ARCHIVE = 1 << 50
Split = tuple[tuple[int, int, int, int], list[bytes]]


def table(*rows: dict[str, Any]) -> EntryTable:
    """Rows one behind the other, as in an archive."""
    entries, at = EntryTable(), 0
    for row in rows:
        entries.append(**{"name": b"x", "data_offset": at + 512, "header_offset": at} | row)
        at = entries[len(entries) - 1].end_offset
    return entries


def joined(parts: Split, n_entries: int, archive_size: int = ARCHIVE, **changes: int) -> EntryTable:
    (kinds, times, records, string_bytes), columns = parts
    counts = {"entries": n_entries, "kinds": kinds, "times": times, "records": records, "string_bytes": string_bytes}
    return join(columns, **counts | {"archive_size": archive_size} | changes)


def there_and_back(entries: EntryTable, archive_size: int = ARCHIVE) -> EntryTable:
    return joined(split(entries, archive_size), len(entries), archive_size)


def assert_same(ours: EntryTable, theirs: EntryTable) -> None:
    assert list(ours) == list(theirs)
    assert ours.all_flags == theirs.all_flags


def scan(tar: bytes) -> LayerIndex:
    scanner = LayerScanner(digest=False, span_digests=False)
    scanner.feed(gzip.compress(tar))
    return scanner.finish()


@pytest.mark.parametrize("name", LEGAL)
def test_the_entries_of_every_archive_come_back(name: str) -> None:
    index = scan(LEGAL[name])
    assert_same(there_and_back(index.entries, index.archive_size), index.entries)


numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 300))
texts = st.binary(max_size=30)
paths = st.builds(b"/".join, st.lists(st.sampled_from([b"usr", b"lib", b"a", b"ab", b"\xff", b"", b"__init__.py"])))
said = [b"path", b"linkpath", b"uname", b"gname", b"size", b"uid", b"gid", b"mtime", b"atime", b"SCHILY.xattr.user.a"]
row_values = st.fixed_dictionaries(
    {
        "name": st.one_of(texts, paths),
        "typeflag": st.characters(max_codepoint=255),
        "linkname": st.one_of(st.just(b""), texts, paths),
        "uname": st.sampled_from([b"", b"root", b"\xff"]),
        "gname": st.sampled_from([b"", b"root", b"staff"]),
        "size": st.sampled_from([0, 1, 511, 512, 513, 100_000, 1 << 40]),
        "mode": numbers,
        "uid": numbers,
        "gid": numbers,
        "mtime_s": numbers,
        "mtime_ns": st.one_of(st.just(0), st.integers(0, 999_999_999)),
        "has_mtime": st.booleans(),
        "devmajor": numbers,
        "devminor": numbers,
        "flags": st.integers(0, 65535),
        "pax": st.lists(st.tuples(st.one_of(texts, st.sampled_from(said)), texts), max_size=4),
    }
)


def with_said_records(row: dict[str, Any], keys: list[bytes]) -> dict[str, Any]:
    """The row with records that repeat what its fields say, as real archives have them."""
    fraction = f".{row['mtime_ns']:09}".rstrip("0") if row["mtime_ns"] else ""
    values = {
        b"path": row["name"],
        b"linkpath": row["linkname"],
        b"uname": row["uname"],
        b"gname": row["gname"],
        **{key.encode(): b"%d" % row[key] for key in ("size", "uid", "gid")},
        b"mtime": f"{row['mtime_s']}{fraction}".encode(),
    }
    return row | {"pax": [*row["pax"], *((key, values[key]) for key in keys)]}


rows_with_records = st.builds(with_said_records, row_values, st.lists(st.sampled_from(said[:8]), max_size=8))


@settings(max_examples=fewer(300), deadline=None)
@given(st.lists(rows_with_records, max_size=12))
def test_any_entries_come_back_as_they_were(rows: list[dict[str, Any]]) -> None:
    assert_same(there_and_back(table(*rows)), table(*rows))


@pytest.mark.parametrize(
    "row",
    [
        {"header_offset": 0, "data_offset": 0},
        {"header_offset": 5, "data_offset": ARCHIVE, "size": 7, "stored_size": 0},
        {"data_offset": ARCHIVE, "stored_size": 511},
        {"typeflag": "5", "size": -(1 << 63), "stored_size": 0},
        {"typeflag": "5", "size": (1 << 63) - 1, "stored_size": 0},
        {"typeflag": "S", "size": (1 << 63) - 1, "stored_size": 3},
        {"mtime_s": -1, "mtime_ns": 500_000_000, "pax": [(b"mtime", b"-0.5")]},
        {"pax": [(b"k", b"1"), (b"k", b"2"), (b"", b"")]},
        {"size": 7, "pax": [(b"size", b"07"), (b"size", b"+7"), (b"uid", b"0"), (b"uid", b"-0")]},
    ],
)
def test_extremes_come_back(row: dict[str, Any]) -> None:
    assert_same(there_and_back(table({}, row)), table({}, row))


def test_rows_out_of_order_come_back() -> None:
    entries = EntryTable()
    for offset in (5120, 0, 1 << 40, 512):
        entries.append(name=b"%d" % offset, header_offset=offset, data_offset=offset)
    assert_same(there_and_back(entries), entries)


def test_no_entries_are_no_bytes() -> None:
    assert split(EntryTable(), 0) == ((0, 0, 0, 0), [b""] * len(COLUMNS))
    assert len(there_and_back(EntryTable(), 0)) == 0


def test_what_follows_from_the_entry_before_costs_nothing() -> None:
    """A plain tree: only sizes and what is new in each name are left, and a byte each for a few small numbers."""
    rows = [{"name": b"usr/lib/python3/%05d.py" % i, "size": 200 + i % 50, "mtime_s": 5} for i in range(10_000)]
    _, columns = split(table(*rows), ARCHIVE)
    by_name = dict(zip(COLUMNS, columns, strict=True))
    for name in ("gaps between entries", "header sizes", "stored sizes", "PAX values", "nanoseconds"):
        assert by_name[name] == b""
    assert len(by_name["text of strings"]) < 3 * len(rows)
    assert len(by_name["kinds"]) <= 2 * 11
    assert sum(map(len, columns)) < 9.1 * len(rows)


def test_records_that_say_what_the_fields_say_cost_nothing() -> None:
    rows = [
        {"name": b"n%d" % i, "uid": i, "pax": [(b"path", b"n%d" % i), (b"uid", b"%d" % i)]} for i in range(100)
    ]
    by_name = dict(zip(COLUMNS, split(table(*rows), ARCHIVE)[1], strict=True))
    assert (by_name["PAX values"], by_name["text of PAX values"]) == (b"", b"")


def test_many_kinds_and_times_come_back() -> None:
    rng = random.Random(5)
    rows = [
        {"uid": rng.getrandbits(40), "mtime_s": rng.getrandbits(30), "uname": rng.randbytes(3)} for _ in range(5000)
    ]
    assert_same(there_and_back(table(*rows, *rows)), table(*rows, *rows))


@pytest.mark.parametrize(
    "row",
    [
        {"header_offset": 513, "data_offset": 512},
        {"header_offset": -1},
        {"data_offset": ARCHIVE + 512},
        {"data_offset": ARCHIVE, "stored_size": 512},
        {"stored_size": (1 << 63) - 1},
        {"stored_size": -1},
        {"size": -1, "stored_size": 0},
    ],
)
def test_an_entry_outside_the_archive_is_not_written(row: dict[str, Any]) -> None:
    entries = table({})
    entries.append(**{"name": b"x", "header_offset": 512, "data_offset": 1024} | row)
    with pytest.raises(FormatError, match="entry 1 lies outside the archive"):
        split(entries, ARCHIVE)


# Hostile columns

MTIME = b"1700000001.000000005"
ROWS: list[dict[str, Any]] = [
    {"name": b"usr/", "typeflag": "5", "uname": b"root", "mtime_s": 1_700_000_000},
    {"name": b"usr/a.py", "size": 600, "mtime_s": 1_700_000_001, "mtime_ns": 5, "pax": [(b"mtime", MTIME)]},
    {"name": b"usr/b.py", "typeflag": "2", "linkname": b"usr/a.py", "pax": [(b"SCHILY.xattr.user.k", b"v" * 20)]},
    {"name": b"usr/b/c", "size": 7000, "uid": 1 << 40, "gid": -1, "pax": [(b"path", b"usr/b/c"), (b"size", b"7000")]},
    {"name": b"dev", "typeflag": "3", "devmajor": 5, "devminor": 1, "header_offset": 1 << 30, "data_offset": 1 << 31},
]  # fmt: skip


def refused_or_sound(parts: Split, n_entries: int, **changes: int) -> bool:
    """False if the columns are refused; otherwise every row is looked at and lies inside the archive."""
    try:
        entries = joined(parts, n_entries, **changes)
    except FormatError as error:
        assert any(str(error).startswith(name) for name in COLUMNS)
        return False
    for entry in entries:
        assert 0 <= entry.header_offset <= entry.data_offset <= ARCHIVE + 511
        assert 0 <= entry.stored_size <= ARCHIVE + 511 - entry.data_offset
        assert entry.size >= 0 or entry.typeflag in "123456"
        assert 0 <= entry.mtime_ns < 1_000_000_000
    return True


@pytest.mark.parametrize("count", ["entries", "kinds", "times", "records", "string_bytes"])
@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_counts_must_agree_with_the_columns(count: str, by: int) -> None:
    parts = split(table(*ROWS), ARCHIVE)
    right = dict(zip(("kinds", "times", "records", "string_bytes"), parts[0], strict=True)) | {"entries": len(ROWS)}
    with pytest.raises(FormatError):
        joined(parts, len(ROWS), **{count: right[count] + by})


@pytest.mark.parametrize("c", range(len(COLUMNS)), ids=COLUMNS)
def test_every_cut_and_every_flipped_bit_is_refused_or_sound(c: int) -> None:
    counts, columns = split(table(*ROWS), ARCHIVE)
    column = columns[c]
    for changed in [
        *(column[:n] for n in range(len(column))),
        column + b"\0",
        column + column,
        *(bytes(8 * len(ROWS)), b"\xff" * 8 * len(ROWS), b"\xff" * 17),
        *(column[:i] + bytes([column[i] ^ 1 << bit]) + column[i + 1 :] for i in range(len(column)) for bit in range(8)),
    ]:
        refused_or_sound((counts, [*columns[:c], changed, *columns[c + 1 :]]), len(ROWS))


@settings(max_examples=fewer(500), deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=8), st.binary(min_size=8, max_size=8)), min_size=17, max_size=17),
    st.lists(st.integers(0, 12), min_size=5, max_size=5),
)
def test_columns_of_chance_are_refused_or_sound(columns: list[bytes], counts: list[int]) -> None:
    entries, *rest = counts
    refused_or_sound((tuple(rest), columns), entries)  # type: ignore[arg-type]


def test_a_string_that_grows_from_the_one_before_stays_within_what_is_declared() -> None:
    """Each name is the one before and one byte more: 20 KB of columns for 2 GB of names."""
    n = 1 << 16
    rows = [{"name": b"x" * i} for i in range(200)]
    counts, columns = split(table(*rows), ARCHIVE)
    width_2 = [i.to_bytes(2, "little") for i in range(n)]
    columns[COLUMNS.index("string prefixes")] = bytes(w[0] for w in width_2) + bytes(w[1] for w in width_2)
    columns[COLUMNS.index("string middles")] = b"\1" * n
    columns[COLUMNS.index("text of strings")] = b"x" * n
    for name in ("kind of each entry", "time of each entry"):
        columns[COLUMNS.index(name)] = b"\0" + b"\1" * (n - 1)
    columns[COLUMNS.index("sizes")] = b""
    tracemalloc.start()
    with pytest.raises(FormatError, match="more strings than declared"):
        joined((counts, columns), n)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_key_without_a_field_cannot_say_what_the_field_says() -> None:
    counts, columns = split(table({"pax": [(b"comment", b"x")]}), ARCHIVE)
    columns[COLUMNS.index("PAX values")] = b"\0"
    columns[COLUMNS.index("text of PAX values")] = b""
    with pytest.raises(FormatError, match="no field says the value"):
        joined((counts, columns), 1)


@pytest.mark.parametrize(
    "arguments", [{"entries": -1}, {"entries": 1 << 32}, {"string_bytes": 1 << 32}, {"archive_size": -1}], ids=str
)
def test_counts_that_no_table_has_are_wrong_usage(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        joined(split(table(*ROWS), ARCHIVE), len(ROWS), **arguments)
    with pytest.raises(ValueError):
        join([], entries=0, kinds=0, times=0, records=0, string_bytes=0, archive_size=0)
