"""The tar scan: any cut of the stream, any end, any lie. What members mean is checked against other readers."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_core.entries import (
    FLAG_GLOBAL,
    FLAG_GNU_SPARSE,
    FLAG_PAX_SPARSE,
    FLAG_SIZE_ON_NON_FILE,
    FLAG_UNKNOWN_TYPE,
    Entry,
    EntryTable,
)
from accel_core.errors import AccelError, FormatError, LimitError, TruncatedError
from accel_core.tar_scan import TarScanner
from support import tar_cases
from support.instrumented import fewer
from support.tars import (
    BLOCK_BYTES,
    END,
    base256,
    directory,
    file,
    global_pax,
    gnu_sparse,
    header,
    long_name,
    pax,
    record,
    special,
    symlink,
    tar_of,
    unsigned_sum,
)

ALL_CASES = {**tar_cases.LEGAL, **tar_cases.CORRUPT, **tar_cases.TRUNCATED}


def scan(archive: bytes, **limits: int) -> EntryTable:
    scanner = TarScanner(**limits)
    scanner.feed(archive)
    return scanner.close()


def outcome(pieces: Iterable[bytes], **limits: int) -> tuple[Any, ...]:
    """All that a scan gives: rows, where the archive ended, and the error with its place."""
    scanner = TarScanner(**limits)
    try:
        for piece in pieces:
            scanner.feed(piece)
        return list(scanner.close()), scanner.archive_size
    except AccelError as error:
        return type(error), str(error), scanner.n_entries


def one_byte_each(archive: bytes) -> list[bytes]:
    return [archive[i : i + 1] for i in range(len(archive))]


def random_pieces(archive: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(archive) + 1) for _ in range(rng.randrange(1, 20)))
    return [archive[a:b] for a, b in zip([0, *cuts], [*cuts, len(archive)], strict=True)]


@pytest.mark.parametrize("name", ALL_CASES)
def test_pieces_of_any_size_give_the_same(name: str) -> None:
    archive = ALL_CASES[name][:20_000]
    whole = outcome([archive])
    assert outcome(one_byte_each(archive)) == whole
    rng = random.Random(name)
    for _ in range(10):
        assert outcome(random_pieces(archive, rng)) == whole


@pytest.mark.parametrize("name", tar_cases.CORRUPT)
def test_corruption_is_reported_where_it_is(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        scan(tar_cases.CORRUPT[name])
    assert not isinstance(caught.value, TruncatedError)
    assert caught.value.uncomp_offset is not None
    assert caught.value.uncomp_offset < len(tar_cases.CORRUPT[name])


@pytest.mark.parametrize("name", tar_cases.TRUNCATED)
def test_a_cut_archive_says_so_at_its_end(name: str) -> None:
    with pytest.raises(TruncatedError) as caught:
        scan(tar_cases.TRUNCATED[name])
    assert caught.value.uncomp_offset == len(tar_cases.TRUNCATED[name])


def test_every_member_starts_where_the_padded_data_of_the_one_before_ends() -> None:
    for archive in tar_cases.LEGAL.values():
        end = 0
        for entry in scan(archive):
            assert entry.header_offset == end
            assert entry.data_offset > entry.header_offset
            end = entry.end_offset


@pytest.mark.parametrize(
    ("archive", "offset"),
    [
        (tar_of(file(b"a", b"x"), b"\1" * 512), 1024),
        (tar_of(file(b"a", b"x"), bytes(512), file(b"b")), 1536),
        (tar_of(file(b"a"), pax((b"k", b"v")), header(b"b", mode=b"x")), 1536),
        (tar_of(file(b"a"), pax((b"uid", b"x")), file(b"b")), 512),
        (tar_of(file(b"a"), special(b"x", record(b"k", b"v") + b"6 k=v.")), 1024 + 6),
        (tar_of(file(b"a"), special(b"L", b"n" * (1 << 21))), 512),
    ],
)
def test_errors_name_the_offset(archive: bytes, offset: int) -> None:
    with pytest.raises(FormatError) as caught:
        scan(archive)
    assert caught.value.uncomp_offset == offset


# An archive in parts. A cut is legal between members, and in padding or right before it.
CUT_PARTS = [
    ("header", file(b"a", b"x" * 700)[:512]), ("body", b"x" * 700), ("padding", bytes(324)),
    ("header", pax((b"k", b"v"))[:512]), ("body", record(b"k", b"v")), ("padding", bytes(506)),
    ("header", symlink(b"l", b"t")),
    ("header", long_name(b"n" * 511)[:512]), ("body", b"n" * 511 + b"\0"),
    ("header", directory(b"d")),
    ("header", global_pax((b"k", b"v"))[:512]), ("body", record(b"k", b"v")), ("padding", bytes(506)),
    ("header", header(b"m", typeflag=b"M", size=1)), ("body", b"x"), ("padding", bytes(511)),
    ("header", bytes(512)), ("header", bytes(512)), ("rest", bytes(600)),
]  # fmt: skip


def legal_cuts() -> set[int]:
    legal, at = {0}, 0
    for i, (kind, part) in enumerate(CUT_PARTS):
        followed_by_body = i + 1 < len(CUT_PARTS) and CUT_PARTS[i + 1][0] == "body"
        if kind in ("padding", "rest"):
            legal.update(range(at, at + len(part) + 1))
        at += len(part)
        if not followed_by_body:
            legal.add(at)
    return legal


@pytest.mark.parametrize("cut_feed", [lambda a: [a], one_byte_each], ids=["whole", "one byte each"])
def test_cut_at_every_byte_it_ends_or_says_truncated(cut_feed: Callable[[bytes], list[bytes]]) -> None:
    archive = b"".join(part for _, part in CUT_PARTS)
    legal = legal_cuts()
    for cut in range(len(archive) + 1) if cut_feed is not one_byte_each else range(0, len(archive) + 1, 61):
        result = outcome(cut_feed(archive[:cut]))
        if cut in legal:
            assert result[1] == min(cut, len(archive) - 600), cut
        else:
            assert result[0] is TruncatedError, cut


def test_a_row_is_there_when_its_last_header_block_is() -> None:
    archive = tar_of(pax((b"k", b"v")), file(b"a", b"x" * 5000))
    scanner = TarScanner()
    seen = []
    for i in range(0, len(archive), BLOCK_BYTES):
        scanner.feed(archive[i : i + BLOCK_BYTES])
        seen.append(scanner.n_entries)
    assert seen[:4] == [0, 0, 1, 1]


def test_after_the_end_everything_is_ignored_but_counted() -> None:
    scanner = TarScanner()
    archive = tar_of(file(b"a", b"x"))
    assert scanner.feed(archive[:-1]) is False
    assert (scanner.archive_size, scanner.position) == (-1, len(archive) - 1)
    assert scanner.feed(archive[-1:] + b"garbage") is True
    assert scanner.feed(b"more") is True
    assert scanner.feed(b"") is True
    assert (scanner.archive_size, scanner.position) == (len(archive), len(archive) + 11)
    assert len(scanner.close()) == 1
    assert scanner.close() is scanner.close()


def test_an_error_stays() -> None:
    scanner = TarScanner()
    for _ in range(2):
        with pytest.raises(FormatError, match="checksum"):
            scanner.feed(b"x" * 512)
    with pytest.raises(FormatError, match="checksum"):
        scanner.close()


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))])
def test_takes_any_buffer(make: Callable[[bytes], Any]) -> None:
    scanner = TarScanner()
    assert scanner.feed(make(tar_of(file(b"a"))))
    assert [entry.name for entry in scanner.close()] == [b"a"]


@pytest.mark.parametrize("wrong", [None, "text", 5, [1, 2]])
def test_refuses_what_is_no_buffer(wrong: Any) -> None:
    with pytest.raises(TypeError):
        TarScanner().feed(wrong)


def flags(*members: bytes) -> list[int]:
    return [entry.flags for entry in scan(tar_of(*members))]


def test_flags_say_what_is_unusual() -> None:
    sparse_pax = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
    members = (
        file(b"a", b"x"), file(b"c", b"x", typeflag=b"7"), directory(b"d", size=9), directory(b"e"),
        file(b"v", typeflag=b"V"), global_pax((b"k", b"v")), gnu_sparse(b"s", [(0, 1)], 9, b"x"), sparse_pax,
        file(b"p"),
    )  # fmt: skip
    assert flags(*members) == [
        0, 0, FLAG_SIZE_ON_NON_FILE, 0, FLAG_UNKNOWN_TYPE, FLAG_GLOBAL, FLAG_GNU_SPARSE, FLAG_PAX_SPARSE,
    ]  # fmt: skip
    assert scan(tar_of(*members)).all_flags == sum(set(flags(*members)))


def test_a_global_header_is_a_row_without_data_that_changes_no_other() -> None:
    records = (b"path", b"p"), (b"uid", b"7"), (b"size", b"99")
    table = scan(tar_of(file(b"a", b"x"), global_pax(*records), file(b"b", b"y")))
    g, b = table[1], table[2]
    assert (g.typeflag, g.header_offset, g.data_offset, g.size, g.stored_size) == ("g", 1024, 2048, 0, 0)
    assert g.pax == records
    assert (b.name, b.uid, b.size, b.header_offset, b.pax) == (b"b", 0, 1, 2048, ())


def test_sparse_members_have_two_sizes() -> None:
    fragments = [(i * 4096, 512) for i in range(26)]
    table = scan(tar_of(long_name(b"s" * 150), gnu_sparse(b"s", fragments, 1 << 35, b"x" * 26 * 512), file(b"after")))
    entry = table[0]
    assert (entry.size, entry.stored_size) == (1 << 35, 26 * 512)
    assert (entry.header_offset, entry.data_offset) == (0, 1024 + 512 + 2 * 512)
    assert table[1].name == b"after"


def test_records_of_the_last_header_only_in_archive_order_each_key_once() -> None:
    last = pax((b"z", b"1"), (b"a", b"2"), (b"z", b"3"), (b"m", b""))
    (entry,) = scan(tar_of(pax((b"lost", b"")), last, file(b"f")))
    assert entry.pax == ((b"a", b"2"), (b"z", b"3"), (b"m", b""))


def test_many_records_keep_order_and_last_values() -> None:
    keys = [b"k%d" % (i * 7919 % 1000) for i in range(3000)]
    (entry,) = scan(tar_of(pax(*((key, b"%d" % i) for i, key in enumerate(keys))), file(b"f")))
    last = {key: i for i, key in enumerate(keys)}
    assert entry.pax == tuple((key, b"%d" % i) for key, i in sorted(last.items(), key=lambda item: item[1]))


# Limits


def test_too_many_entries_are_refused() -> None:
    archive = tar_of(*(file(b"%d" % i) for i in range(11)))
    assert len(scan(archive, max_entries=11)) == 11
    with pytest.raises(LimitError, match="entries") as caught:
        scan(archive, max_entries=10)
    assert caught.value.limit == 10
    assert outcome(one_byte_each(archive), max_entries=10) == outcome([archive], max_entries=10)


def test_too_many_string_bytes_are_refused() -> None:
    archive = tar_of(*(long_name(b"%04d" % i + b"n" * 996) + file(b"a") for i in range(10)))
    assert len(scan(archive, max_string_bytes=10_000)) == 10
    with pytest.raises(LimitError, match="names") as caught:
        scan(archive, max_string_bytes=9_999)
    assert caught.value.limit == 9_999


def test_records_without_text_count_too() -> None:
    with pytest.raises(LimitError):
        scan(tar_of(pax(*((b"%05d" % i, b"") for i in range(1000))), file(b"a")), max_string_bytes=20_000)


def test_superseded_special_headers_take_no_room() -> None:
    chain = b"".join(pax((b"k", b"v" * 300_000)) + long_name(b"n" * 300_000) for _ in range(20))
    (entry,) = scan(tar_of(chain, pax((b"k", b"v")), long_name(b"n"), file(b"a")), max_string_bytes=100)
    assert (entry.name, entry.pax, entry.header_offset) == (b"n", ((b"k", b"v"),), 0)


def test_one_string_that_many_rows_share_is_stored_once() -> None:
    members = [pax((b"SCHILY.xattr.user.comment", b"v")) + file(b"a", uname=b"u" * 30, gname=b"g" * 30)] * 100
    table = scan(tar_of(*members), max_string_bytes=100 * (16 + 2) + 25 + 30 + 30)
    assert len(table) == 100
    assert {(entry.uname, entry.gname, entry.pax) for entry in table} == {
        (b"u" * 30, b"g" * 30, ((b"SCHILY.xattr.user.comment", b"v"),))
    }


@pytest.mark.parametrize("limits", [{"max_entries": -1}, {"max_string_bytes": -1}, {"max_string_bytes": 1 << 32}])
def test_limits_that_cannot_work_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limits"):
        TarScanner(**limits)


@pytest.mark.timeout(20)
def test_a_megabyte_of_records_with_one_key_is_quick() -> None:
    body = record(b"k", b"") * ((1 << 20) // len(record(b"k", b"")))
    (entry,) = scan(tar_of(special(b"x", body), file(b"a")))
    assert entry.pax == ((b"k", b""),)


@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 63) - 512, (1 << 63) - 1023])
def test_a_member_beyond_the_last_offset_is_corrupt(size: int) -> None:
    with pytest.raises(FormatError, match="beyond") as caught:
        scan(header(b"a", size=base256(size, 12)))
    assert not isinstance(caught.value, TruncatedError)


def test_the_greatest_member_that_fits_is_only_cut() -> None:
    with pytest.raises(TruncatedError):
        scan(header(b"a", size=base256((1 << 63) - 1024, 12)))


# Any bytes


def entries_are_sane(entries: list[Entry]) -> None:
    end = 0
    for i, entry in enumerate(entries):
        assert entry.index == i
        assert entry.header_offset == end
        assert entry.data_offset >= end + BLOCK_BYTES
        assert entry.stored_size >= 0
        assert 0 <= entry.mtime_ns < 1_000_000_000
        assert entry.typeflag != "\0"
        end = entry.end_offset


BASES = [name for name, archive in ALL_CASES.items() if BLOCK_BYTES <= len(archive) < 50_000]


@given(data=st.data())
@settings(max_examples=fewer(1500), derandomize=True, deadline=None, database=None)
def test_changed_headers_give_sane_rows_or_an_error_whatever_the_pieces(data: st.DataObject) -> None:
    archive = bytearray(ALL_CASES[data.draw(st.sampled_from(BASES))])
    for _ in range(data.draw(st.integers(1, 3))):
        block = data.draw(st.integers(0, (len(archive) - 1) // BLOCK_BYTES)) * BLOCK_BYTES
        for _ in range(data.draw(st.integers(1, 6))):
            at = min(block + data.draw(st.integers(0, BLOCK_BYTES - 1)), len(archive) - 1)
            archive[at] = data.draw(st.integers(0, 255))
        part = bytes(archive[block : block + BLOCK_BYTES])
        if len(part) == BLOCK_BYTES and data.draw(st.booleans()):
            archive[block + 148 : block + 156] = b"%06o\0 " % unsigned_sum(part)
    whole = outcome([bytes(archive)])
    rng = random.Random(data.draw(st.integers(0, 1 << 32)))
    assert outcome(random_pieces(bytes(archive), rng)) == whole
    if isinstance(whole[0], list):
        entries_are_sane(whole[0])


def test_random_bytes_are_no_tar() -> None:
    rng = random.Random(11)
    for _ in range(300):
        result = outcome([rng.randbytes(rng.randrange(1, 3000))])
        assert result[0] in (FormatError, TruncatedError)
    assert outcome([END + rng.randbytes(100)]) == ([], 1024)
