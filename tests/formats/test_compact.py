"""The compact index: what goes in comes out, damage is found and named, and nobody's bytes get to use much memory."""

import gzip
import hashlib
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import zstandard

from accel.errors import AccelError, FormatError, LimitError, TruncatedError, UnsupportedError
from accel.formats.compact import MAGIC, CompactIndex, decode, encode, open_compact
from accel.formats.compact.header import (
    CHECKPOINTS,
    COLUMN,
    FIXED_BYTES,
    SPAN_DIGESTS,
    WINDOW_RUNS,
    WINDOWS_PER_GROUP,
    Header,
    pack_header,
)
from accel.formats.compact.header import WINDOW_BYTES as KEPT_BYTES
from accel_core import LayerIndex, LayerScanner, inflate_span
from accel_core.checkpoints import WINDOW_BYTES, Checkpoints
from accel_core.entries import EntryTable
from accel_core.toc_split import COLUMNS
from accel_core.ztoc import decode as decode_ztoc
from support.contents import contents
from support.tar_cases import LEGAL

TAR = contents()["mixed tar"]
DATA = Path(__file__).resolve().parents[1] / "data" / "soci"
HASH_BYTES = 32


def scan(blob: bytes, span_bytes: int = 1 << 22, **options: object) -> LayerIndex:
    scanner = LayerScanner(span_bytes=span_bytes, **options)  # type: ignore[arg-type]
    scanner.feed(blob)
    return scanner.finish()


def padded(window: memoryview) -> bytes:
    return window.tobytes().ljust(WINDOW_BYTES, b"\0")


def assert_same(ours: LayerIndex, theirs: LayerIndex) -> None:
    """Equal in all but the form of the checkpoints: windows that are all zero need not be there."""
    points, wanted = ours.checkpoints, theirs.checkpoints
    assert tuple(points.comp_offset) == tuple(wanted.comp_offset)
    assert tuple(points.uncomp_offset) == tuple(wanted.uncomp_offset)
    assert bytes(points.bits) == bytes(wanted.bits)
    for i in range(len(wanted)):
        assert padded(points.window(i)) == padded(wanted.window(i))
    assert list(ours.entries) == list(theirs.entries)
    assert ours.entries.all_flags == theirs.entries.all_flags
    same = {"checkpoints": wanted, "entries": theirs.entries}
    assert replace(ours, **same) == theirs  # type: ignore[arg-type]


def small_index(n_checkpoints: int = 3, **changes: object) -> LayerIndex:
    """A made-up layer with some of everything."""
    rng = random.Random(n_checkpoints)
    entries = EntryTable()
    for i, name in enumerate((b"usr/", b"usr/bin/", b"usr/bin/python3", b"usr/bin/python")):
        entries.append(
            name=name, typeflag="5502"[i], header_offset=1024 * i, data_offset=1024 * i + 512,
            size=300 if i == 2 else 0, uid=i, mtime_s=1_700_000_000 + i, uname=b"root",
            linkname=b"python3" if i == 3 else b"",
            pax=[(b"SCHILY.xattr.user.k", b"value")] if i == 2 else (),
        )  # fmt: skip
    window = rng.randbytes(100).ljust(WINDOW_BYTES, b"\0")
    index = LayerIndex(
        compression="gzip",
        comp_size=100_000,
        uncomp_size=1_000_000,
        archive_size=900_000,
        span_bytes=4 << 20,
        checkpoints=Checkpoints(
            comp_offset=[10 + 100 * i for i in range(n_checkpoints)],
            uncomp_offset=[1000 * i for i in range(n_checkpoints)],
            bits=bytes(i % 8 for i in range(n_checkpoints)),
            windows=bytes(WINDOW_BYTES) + b"".join(bytes([i % 251 + 1]) + window[1:] for i in range(1, n_checkpoints)),
        ),
        span_digests=tuple(f"sha256:{rng.randbytes(32).hex()}" for _ in range(n_checkpoints)),
        entries=entries,
        digest=f"sha256:{rng.randbytes(32).hex()}",
        diff_id=f"sha256:{rng.randbytes(32).hex()}",
        members=2,
        trailing_bytes=7,
    )
    return replace(index, **changes)  # type: ignore[arg-type]


# Round trips


@pytest.mark.parametrize("name", LEGAL)
def test_the_index_of_every_archive_comes_back(name: str) -> None:
    index = scan(gzip.compress(LEGAL[name]), diff_id=True)
    assert_same(decode(encode(index)), index)
    if LEGAL[name]:
        index = scan(LEGAL[name], compression="tar", span_bytes=1000)
        assert_same(decode(encode(index)), index)


@pytest.mark.parametrize("options", [{}, {"digest": False, "span_digests": False}, {"placement": "soci"}], ids=str)
def test_the_index_of_a_layer_with_many_spans_comes_back(options: dict[str, object]) -> None:
    index = scan(gzip.compress(TAR * 3), 20_000, **options)
    assert len(index.checkpoints) > WINDOWS_PER_GROUP
    assert_same(decode(encode(index)), index)


def test_an_index_that_came_from_a_ztoc_comes_back() -> None:
    index, _, _ = decode_ztoc(gzip.decompress((DATA / "v2-span1000.ztoc.gz").read_bytes()))
    assert_same(decode(encode(index)), index)


def test_every_field_comes_back() -> None:
    assert_same(decode(encode(small_index())), small_index())


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": None},
        {"diff_id": None},
        {"span_digests": ()},
        {"comp_size": (1 << 63) - 1, "uncomp_size": (1 << 63) - 1, "archive_size": (1 << 62)},
        {"entries": EntryTable(), "archive_size": 0},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_what_is_not_known_or_huge_comes_back(changes: dict[str, object]) -> None:
    assert_same(decode(encode(small_index(**changes))), small_index(**changes))


def test_the_same_index_gives_the_same_bytes() -> None:
    blob = gzip.compress(TAR)
    assert encode(scan(blob, 20_000)) == encode(scan(blob, 20_000))
    again = encode(scan(blob, 20_000))
    assert encode(decode(again)) == again


def test_windows_that_are_shared_or_not_needed_stay_so() -> None:
    a, b = b"a".ljust(WINDOW_BYTES, b"\0"), b"b".rjust(WINDOW_BYTES, b"\0")
    windows, rows = a + bytes(WINDOW_BYTES) + b, [-1, 2, 0, 2, 1, 0]
    points = Checkpoints([10, 20, 30, 40, 50, 60], [0, 1, 2, 3, 4, 5], bytes(6), windows, rows)
    index = small_index(6, checkpoints=points)
    decoded = decode(encode(index)).checkpoints
    assert decoded.rows == (-1, 0, 1, 0, -1, 1)
    assert decoded.windows == b + a


def test_the_digests_of_a_file_are_real() -> None:
    """Someone who knows the last 32 bytes of the header, and only that, can check every byte of the file."""
    data = encode(small_index())
    header = open_bytes(data).header
    end = min(section.offset for section in header.sections.values())
    assert hashlib.sha256(data[: end - HASH_BYTES]).digest() == data[end - HASH_BYTES : end]
    at = end
    for section in sorted(header.sections.values(), key=lambda section: section.offset):
        assert section.offset == at
        stored = data[at : at + section.stored_bytes]
        assert hashlib.sha256(stored).digest() == section.sha256
        assert len(zstandard.ZstdDecompressor().decompress(stored)) == section.raw_bytes
        at += section.stored_bytes
    assert at == len(data)


# Use


@pytest.mark.parametrize("eager", [False, True], ids=["lazy", "eager"])
def test_every_span_inflates_from_its_checkpoint(eager: bool) -> None:
    blob, data = gzip.compress(TAR * 2), TAR * 2
    file = encode(scan(blob, 20_000, sparse_windows=True))
    index = decode(file) if eager else open_bytes(file).layer_index()
    assert zlib.decompress(blob, 31) == data
    for i in range(index.n_spans):
        start, end = index.span_comp(i)
        at = index.checkpoints.uncomp_offset[i]
        until = index.checkpoints.uncomp_offset[i + 1] if i + 1 < index.n_spans else len(data)
        window = index.checkpoints.window(i)
        assert inflate_span(blob[start:end], index.checkpoints.bits[i], window, until - at) == data[at:until]


def open_bytes(data: bytes, log: list[tuple[int, int]] | None = None, **options: int) -> CompactIndex:
    def read_at(offset: int, n: int) -> bytes:
        if log is not None:
            log.append((offset, offset + n))
        return data[offset : offset + n]

    return open_compact(read_at, len(data), **options)


def test_a_reader_loads_only_what_it_asks_for() -> None:
    data = encode(small_index(100))
    log: list[tuple[int, int]] = []
    opened = open_bytes(data, log)
    sections = opened.header.sections
    assert log == [(0, min(len(data), 16384))]

    def read_by(action: Callable[[], object]) -> list[tuple[int, int]]:
        log.clear()
        action()
        return [key for place in log for key, s in sections.items() if place == (s.offset, s.offset + s.stored_bytes)]

    assert read_by(lambda: opened.checkpoints.comp_offset) == [(CHECKPOINTS, 0)]
    assert read_by(lambda: opened.checkpoints.window(0)) == []
    assert read_by(lambda: opened.checkpoints.window(50)) == [(WINDOW_RUNS, 3), (KEPT_BYTES, 3)]
    assert read_by(lambda: [opened.checkpoints.window(i) for i in range(49, 65)]) == []
    assert read_by(lambda: opened.span_digests) == [(SPAN_DIGESTS, 0)]
    assert {kind for kind, _ in read_by(lambda: opened.entries)} <= set(range(COLUMN, COLUMN + len(COLUMNS)))
    assert read_by(opened.layer_index) == []


def test_lazy_checkpoints_are_those_of_the_whole_file() -> None:
    index = small_index(40)
    lazy = open_bytes(encode(index)).checkpoints
    assert isinstance(lazy, Checkpoints)
    assert len(lazy) == 40
    assert lazy.span_start(3) == index.checkpoints.span_start(3)
    for i in [*range(39, 0, -7), *range(40)]:
        assert padded(lazy.window(i)) == index.checkpoints.window(i)
    assert lazy.windows == decode(encode(index)).checkpoints.windows


def test_a_real_tree_costs_a_few_bytes_an_entry() -> None:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(Path(tarfile.__file__).parent / "email", "usr/lib/python3/email")
        tar.add(Path(tarfile.__file__).parent / "asyncio", "usr/lib/python3/asyncio")
    index = scan(out.getvalue(), compression="tar", span_digests=False)
    columns = [s for (kind, _), s in open_bytes(encode(index)).header.sections.items() if kind >= COLUMN]
    assert sum(section.stored_bytes for section in columns) < 20 * len(index.entries) + 400


# What cannot be written

GOING_BACK = Checkpoints((20, 10), (0, 1), bytes(2), bytes(2 * WINDOW_BYTES))
STANDING = Checkpoints((10, 20), (0, 0), bytes(2), bytes(2 * WINDOW_BYTES))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"digest": "sha512:" + "ab" * 64}, UnsupportedError, "SHA-256 digests only"),
        ({"span_digests": ("sha256:" + "AB" * 32,) * 3}, UnsupportedError, "SHA-256 digests only"),
        ({"span_digests": ("sha256:" + "ab" * 32,) * 2}, FormatError, "2 digests of 3 spans"),
        ({"checkpoints": Checkpoints((), (), b"", b""), "span_digests": ()}, FormatError, "0 checkpoints in a gzip"),
        ({"compression": "tar"}, FormatError, "3 checkpoints in a tar layer"),
        ({"uncomp_size": 899_999}, FormatError, "larger than the layer"),
        ({"comp_size": 200}, FormatError, "does not follow"),
        ({"checkpoints": GOING_BACK}, FormatError, "do not advance"),
        ({"checkpoints": STANDING, "span_digests": ()}, FormatError, "does not follow"),
        ({"archive_size": 1024}, FormatError, "outside the archive"),
        ({"span_bytes": 0}, FormatError, "out of range"),
        ({"comp_size": 1 << 63}, FormatError, "out of range"),
        ({"trailing_bytes": -1}, FormatError, "out of range"),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_is_not_written(
    changes: dict[str, object], error: type[AccelError], message: str
) -> None:
    with pytest.raises(error, match=message):
        encode(small_index(**changes))


# Damage

SMALL = encode(small_index())


def test_a_file_cut_anywhere_is_refused() -> None:
    for n in range(len(SMALL)):
        with pytest.raises(FormatError):
            decode(SMALL[:n])
    with pytest.raises(FormatError, match="goes on after its last section"):
        decode(SMALL + b"\0")
    for n in (20, FIXED_BYTES, FIXED_BYTES + 50, len(SMALL) - 1):
        with pytest.raises(TruncatedError, match="ends inside"):
            decode(SMALL[:n])


def test_every_flipped_bit_is_found() -> None:
    for i in range(len(SMALL)):
        for bit in range(8):
            with pytest.raises((FormatError, UnsupportedError)):
                decode(SMALL[:i] + bytes([SMALL[i] ^ 1 << bit]) + SMALL[i + 1 :])


def test_damage_is_named_with_its_place() -> None:
    sections = open_bytes(SMALL).header.sections
    for (kind, n), name in {
        (CHECKPOINTS, 0): "checkpoints",
        (SPAN_DIGESTS, 0): "span digests",
        (COLUMN + COLUMNS.index("sizes"), 0): "entries: sizes",
        (KEPT_BYTES, 0): "bytes of windows",
    }.items():
        section = sections[kind, n]
        damaged = bytearray(SMALL)
        damaged[section.offset] ^= 1
        message = rf"{name}: damaged \(bytes {section.offset} to {section.offset + section.stored_bytes}\)"
        with pytest.raises(FormatError, match=message):
            decode(damaged)


def test_a_part_that_is_damaged_does_not_spoil_the_others() -> None:
    data = bytearray(encode(small_index(40)))
    opened = open_bytes(bytes(data))
    data[opened.header.sections[WINDOW_RUNS, 1].offset + 6] ^= 1
    opened = open_bytes(bytes(data))
    assert len(opened.entries) == 4
    assert opened.checkpoints.window(3).nbytes == WINDOW_BYTES
    with pytest.raises(FormatError, match="runs of windows 1"):
        opened.checkpoints.window(30)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused() -> None:
    opened = open_compact(lambda offset, n: SMALL[: FIXED_BYTES + 700][offset : offset + n], len(SMALL))
    with pytest.raises(TruncatedError, match="cut short"):
        opened.layer_index()
    with pytest.raises(FormatError):
        open_compact(lambda offset, n: b"", len(SMALL))


def test_other_files_and_later_versions_are_told_apart() -> None:
    for other in (b"", b"\x1f\x8b", b"GZIDX\x01\x00" + bytes(100), bytes(300), MAGIC):
        with pytest.raises(FormatError):
            decode(other)
    with pytest.raises(UnsupportedError, match="version 2"):
        decode(SMALL[:8] + b"\2\0" + SMALL[10:])


# Lies: files whose digests are right and whose contents are not


def rebuilt(
    data: bytes, *, header: dict[str, object] | None = None, raw: dict[int, bytes | None] | None = None,
    extra: tuple[tuple[int, bytes, int], ...] = (),
) -> bytes:  # fmt: skip
    """``data`` with fields of its header or what its sections inflate to changed, and all digests made right."""
    opened = open_bytes(data)
    sections = []
    for (kind, _), section in opened.header.sections.items():
        stored = data[section.offset : section.offset + section.stored_bytes]
        n_bytes = section.raw_bytes
        if raw and kind in raw:
            new = raw[kind]
            if new is None:
                continue
            stored, n_bytes = zstandard.ZstdCompressor().compress(new), len(new)
        sections.append((kind, stored, n_bytes))
    sections += extra
    changed: Header = replace(opened.header, **(header or {}))  # type: ignore[arg-type]
    return pack_header(changed, sections) + b"".join(stored for _, stored, _ in sections)


def resigned(data: bytes, offset: int, value: bytes) -> bytes:
    """``data`` with bytes of its header changed and the header's own digest made right."""
    end = min(section.offset for section in open_bytes(data).header.sections.values())
    header = data[:offset] + value + data[offset + len(value) : end - HASH_BYTES]
    return header + hashlib.sha256(header).digest() + data[end:]


def raw_of(data: bytes, kind: int) -> bytes:
    section = open_bytes(data).header.sections[kind, 0]
    return zstandard.ZstdDecompressor().decompress(data[section.offset : section.offset + section.stored_bytes])


def test_rebuilding_alone_changes_nothing() -> None:
    assert_same(decode(rebuilt(SMALL)), small_index())
    assert resigned(SMALL, 0, b"") == SMALL


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (10, b"\x0f", UnsupportedError),                # an unknown flag
        (10, b"\x06", FormatError),                     # a tar layer with checkpoints
        (12, b"\xff\xff\xff\xff", FormatError),         # a header of 4 GiB
        (12, b"\0\0\0\0", FormatError),                 # ... of nothing
        (76, b"\1", FormatError),                       # one section
        (76, b"\xff\xff\xff\xff", FormatError),
        (68, b"\xff\xff\xff\xff", FormatError),         # windows
        (72, b"\0\0\0\0", FormatError),                 # in groups of none
        (72, b"\xff\xff\xff\xff", FormatError),
        (100, b"\1", FormatError),                      # what must be zero
        (FIXED_BYTES + 2, b"\1", FormatError),
        (FIXED_BYTES, b"\3\0", UnsupportedError),       # a kind that nobody knows
        (FIXED_BYTES, b"\2\0", FormatError),            # span digests twice
        (FIXED_BYTES + 4, b"\0\0\0\0", FormatError),    # a section of nothing
        (FIXED_BYTES + 4, b"\xff\xff\xff\xff", FormatError),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused(offset: int, value: bytes, error: type[AccelError]) -> None:
    with pytest.raises(error):
        decode(resigned(SMALL, offset, value))


def test_sections_that_may_be_ignored_are() -> None:
    unknown = ((0x8000, b"anything", 8), (0xFFFF, b"at all", 1 << 31), (0x8000, b"twice", 5))
    assert_same(decode(rebuilt(SMALL, extra=unknown)), small_index())
    with pytest.raises(UnsupportedError, match="unknown section of kind 32767"):
        decode(rebuilt(SMALL, extra=((0x7FFF, b"anything", 8),)))


def test_every_byte_of_every_section_can_lie() -> None:
    """Whatever the bytes are, the answer is an index that can be read or a typed error."""
    for kind, _ in open_bytes(SMALL).header.sections:
        raw = raw_of(SMALL, kind)
        for i in range(min(len(raw), 200)):
            for value in (0, 1, raw[i] ^ 0x80, 0xFF):
                read_through(rebuilt(SMALL, raw={kind: raw[:i] + bytes([value]) + raw[i + 1 :]}))
        for other in (None, raw[:-1], raw + b"\0", raw * 2, b"\xff" * len(raw)):
            read_through(rebuilt(SMALL, raw={kind: other}))


def read_through(data: bytes) -> None:
    try:
        index = decode(data)
    except AccelError:
        return
    list(index.entries)
    for i in range(index.n_spans):
        assert index.checkpoints.window(i).nbytes in (0, WINDOW_BYTES)
        start, end = index.span_comp(i)
        assert 0 <= start < end <= index.comp_size


CHECKPOINT_LIES = {
    "bits over 7": (0, 8),
    "the first one not at 0": (3 + 24, 1),
    "does not advance": (3 + 24 + 1, 0),
    "before the blob": (3, 0),
    "past the blob": (3 + 3 * 7 + 1, 0x7F),
    "past 64 bits in sum": (3 + 24 + 3 * 7 + 2, 0xFF),
    "a window that no one had": (3 + 48, 2),
    "fewer windows": (3 + 48 + 2, 0),
    "more windows": (3 + 48, 1),
}


@pytest.mark.parametrize("name", CHECKPOINT_LIES)
def test_checkpoints_that_cannot_be_are_refused(name: str) -> None:
    at, value = CHECKPOINT_LIES[name]
    raw = bytearray(raw_of(SMALL, CHECKPOINTS))
    if name == "does not advance":
        raw[3 + 24 + 3 + 1] = 0
    raw[at] = value
    with pytest.raises(FormatError, match="checkpoint"):
        decode(rebuilt(SMALL, raw={CHECKPOINTS: bytes(raw)}))


@contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


def bomb(n_bytes: int) -> bytes:
    """A frame of little that inflates to much."""
    return zstandard.ZstdCompressor().compress(bytes(n_bytes))


@pytest.mark.parametrize("kind", [CHECKPOINTS, SPAN_DIGESTS, WINDOW_RUNS, KEPT_BYTES])
def test_a_section_larger_than_it_can_be_is_not_inflated(kind: int) -> None:
    data = rebuilt(SMALL, raw={kind: bytes(64 << 20)})
    with at_most(4 << 20), pytest.raises(FormatError, match="where .* are possible"):
        decode(data)


@pytest.mark.parametrize("says", [40, 1 << 20, (1 << 32) - 1])
def test_a_frame_that_inflates_to_something_else_than_declared_is_refused(says: int) -> None:
    frame = bomb(1 << 24)
    sections = [(CHECKPOINTS, frame, says)]
    header = replace(open_bytes(SMALL).header, n_windows=0)
    with at_most(4 << 20), pytest.raises(FormatError):
        decode(pack_header(header, sections) + frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"not zstd at all",
        bomb(63)[:-1],
        bomb(63) + b"\0",
        bomb(60) + bomb(3),
        b"\x50\x2a\x4d\x18\x04\0\0\0skip",
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(63)),
    ],
    ids=["text", "cut", "a byte more", "two frames", "skippable", "size not said"],
)
def test_a_section_that_is_not_one_frame_is_refused(frame: bytes) -> None:
    header = replace(open_bytes(SMALL).header, n_windows=0)
    with pytest.raises(FormatError, match="checkpoint"):
        decode(pack_header(header, [(CHECKPOINTS, frame, 63)]) + frame)


@pytest.mark.parametrize(
    "counts",
    [
        {"n_entries": (1 << 32) - 1},
        {"n_records": (1 << 32) - 1},
        {"string_bytes": (1 << 32) - 1},
        {"n_checkpoints": (1 << 32) - 1},
        {"n_checkpoints": (1 << 24)},
        {"n_checkpoints": 1 << 20, "n_windows": 1 << 20, "windows_per_group": 256},
    ],
    ids=str,
)
def test_counts_of_billions_use_no_memory(counts: dict[str, int]) -> None:
    data = rebuilt(SMALL, header=counts, extra=tuple((k, b"x", 1) for k in (WINDOW_RUNS, KEPT_BYTES)) * 4095)
    if "n_windows" not in counts:
        data = rebuilt(SMALL, header=counts)
    with at_most(8 << 20), pytest.raises((LimitError, FormatError)):
        decode(data, max_bytes=1 << 20)


def test_the_limit_is_for_each_part() -> None:
    data = encode(small_index(100))
    with pytest.raises(LimitError, match="bytes of windows"):
        decode(data, max_bytes=3 << 20)
    opened = open_bytes(data, max_bytes=1 << 20)
    assert len(opened.entries) == 4
    assert opened.checkpoints.window(99).nbytes == WINDOW_BYTES
    with pytest.raises(LimitError, match="bytes of entries"):
        _ = open_bytes(data, max_bytes=1000).entries


def test_mutations_of_any_kind_end_in_an_index_or_a_typed_error() -> None:
    """A little of what tests/fuzz does for hours: several bytes of raw sections and header at once."""
    rng = random.Random(7)
    raws = {kind: raw_of(SMALL, kind) for kind, _ in open_bytes(SMALL).header.sections}
    for _ in range(1500):
        changed: dict[int, bytes | None] = {}
        for kind in rng.sample(sorted(raws), rng.randint(1, 3)):
            raw = bytearray(raws[kind])
            for _ in range(rng.randint(1, 4)):
                raw[rng.randrange(len(raw))] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            changed[kind] = bytes(raw)
        string_bytes = open_bytes(SMALL).header.string_bytes + rng.choice([-1, 0, 0, 1])
        fields: dict[str, object] = {"n_entries": rng.choice([3, 4, 4, 5]), "string_bytes": string_bytes}
        read_through(rebuilt(SMALL, raw=changed, header=fields))
