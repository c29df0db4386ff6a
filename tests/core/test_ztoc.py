"""zTOCs: byte for byte those of SOCI's builder, small ones that any FlatBuffers reader reads, and hostile ones."""

import datetime
import gzip
import hashlib
import posixpath
import random
import struct
from dataclasses import replace
from pathlib import Path

import flatbuffers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_core import FormatError, LayerScanner, LimitError, UnsupportedError
from accel_core.checkpoints import Checkpoints
from accel_core.entries import EntryTable
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import decode, encode
from accel_core.ztoc_encode import tar_zinfo
from accel_core.ztoc_survey import clean_name
from support.flat_check import read_ztoc
from support.instrumented import fewer

DATA = Path(__file__).resolve().parents[1] / "data" / "soci"
TOOL = "AWS SOCI CLI v0.2"
DIGEST = "sha256:" + "ab" * 32

VECTORS = {
    "v1": ("v1.tar.gz", 4194304, 33360, "a8b8e745b3b6c443dd0a541d3fae4752a53e251ae83a504b31d998f1a878ef3b"),
    "v2-span1000": (
        "v2.tar.gz",
        1000,
        99992,
        "e7befce9720be7c635819b462a8ab17e508a55001cd86e2461a053dc65546958",
    ),
    "v2": ("v2.tar.gz", 4194304, 34256, "eac3487989be245033cac9f82e3f5d4e336d2f64a98e537193441f3280af8698"),
    "v3": ("v2.tar.gz", 2048, 1752, "0deb1aa06f9e610215e61dbafd9fa88d9cb41f94b97ff0e690a7e17decb389cf"),
}


def vector(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.ztoc.gz").read_bytes())


@pytest.mark.parametrize("name", VECTORS)
def test_a_scanned_layer_gives_the_real_builders_bytes(name):
    layer_name, span_bytes, size, sha256 = VECTORS[name]
    layer = (DATA / layer_name).read_bytes()
    if name == "v3":
        layer = gzip.decompress(layer)
    scanner = LayerScanner(span_bytes=span_bytes, placement="soci")
    scanner.feed(layer)
    ztoc = encode(scanner.finish(), tool=TOOL, share=False)
    assert (len(ztoc), hashlib.sha256(ztoc).hexdigest()) == (size, sha256)


@pytest.mark.parametrize("name", VECTORS)
def test_a_decoded_ztoc_encodes_to_the_same_bytes(name):
    ztoc = vector(name)
    index, version, tool = decode(ztoc)
    assert (version, tool) == ("0.9", TOOL)
    assert encode(index, tool=tool, share=False) == ztoc


def test_decoding_gives_what_the_notes_of_the_vector_say():
    index, _, _ = decode(vector("v2-span1000"))
    assert (index.comp_size, index.archive_size, index.span_bytes) == (863, 7168, 1000)
    assert index.checkpoints.comp_offset == (10, 314, 548)
    assert index.checkpoints.uncomp_offset == (0, 2300, 4000)
    assert index.checkpoints.bits == bytes([0, 6, 3])
    windows = [hashlib.sha256(index.checkpoints.window(i)).hexdigest()[:16] for i in range(3)]
    assert windows == ["c35020473aed1b46", "b88fb7fd31549780", "59e7167c8aff450e"]
    assert [digest[7:23] for digest in index.span_digests] == [
        "ba70e8accdd56164",
        "64a8c8105575d947",
        "494f8f6888d60898",
    ]
    rows = [(e.name, e.typeflag, e.header_offset, e.data_offset, e.size, e.mtime_ns) for e in index.entries]
    assert rows == [
        (b"d/", "5", 0, 512, 0, 0),
        (b"d/one", "0", 512, 2048, 600, 500_000_000),
        (b"d/lnk", "1", 3072, 3584, 0, 0),
        (b"d/sym", "2", 3584, 4096, 0, 0),
        (b"d/.wh.gone", "0", 4096, 4608, 0, 0),
        (b"d/two", "0", 4608, 5120, 300, 0),
        (b"d/nul", "3", 5632, 6144, 0, 0),
    ]
    assert (index.entries[6].devmajor, index.entries[6].devminor) == (1, 1)
    assert index.entries[1].pax == ((b"SCHILY.xattr.user.k", b"v"), (b"mtime", b"1700000000.5"))


def index_of(entries: EntryTable, **changes) -> LayerIndex:
    archive_size = max((e.end_offset for e in entries), default=0) + 1024
    checkpoints = Checkpoints((10,), (0,), b"\0", bytes(32768))
    index = LayerIndex(
        "gzip", archive_size, archive_size, archive_size, 4 << 20, checkpoints, (DIGEST,), entries
    )
    return replace(index, **changes)


def table(*rows: dict) -> EntryTable:
    """Rows one behind the other, as in an archive."""
    entries, at = EntryTable(), 0
    for row in rows:
        fields = {"name": b"x", "data_offset": at + 512, "header_offset": at} | row
        entries.append(**fields)
        at = entries[len(entries) - 1].end_offset
    return entries


names = st.binary(max_size=40)
row_values = st.fixed_dictionaries(
    {
        "name": names,
        "typeflag": st.sampled_from("0123456"),
        "linkname": names,
        "uname": st.sampled_from([b"", b"root", b"\xff"]),
        "gname": st.sampled_from([b"", b"root", b"staff"]),
        "size": st.sampled_from([0, 1, 512, 100_000, 1 << 40]),
        "mode": st.integers(-(2**63), 2**63 - 1),
        "uid": st.integers(0, 2**32 - 1),
        "gid": st.integers(0, 2**32 - 1),
        "mtime_s": st.integers(-62167219200, 253402300799),
        "mtime_ns": st.sampled_from([0, 1, 500_000_000, 123_456_789, 999_999_999]),
        "devmajor": st.sampled_from([0, 1, -1, 2**63 - 1]),
        "devminor": st.integers(0, 300),
        "pax": st.dictionaries(
            st.sampled_from(
                [b"mtime", b"SCHILY.xattr.a", b"SCHILY.xattr.b", b"SCHILY.xattr.", b"SCHILY.xattr.b\xff"]
            ),
            st.sampled_from([b"", b"v", b"\x00\x01" * 9]),
        ).map(lambda records: tuple(records.items())),
    }
).map(lambda row: row if row["typeflag"] == "0" else row | {"size": 0})


def values_of(entries: EntryTable, *, xattrs_only: bool) -> list[tuple]:
    rows = []
    for e in entries:
        pax = {k: v for k, v in e.pax if not xattrs_only or (k.startswith(b"SCHILY.xattr.") and len(k) > 13)}
        rows.append(replace(e, pax=tuple(sorted(pax.items()))))
    return rows


@settings(max_examples=fewer(150), deadline=None)
@given(st.lists(row_values, max_size=12), st.booleans())
def test_any_entries_come_back_as_they_were(rows, share):
    entries = table(*rows)
    index = index_of(entries)
    ztoc = encode(index, tool="tool é", share=share)
    decoded, version, tool = decode(ztoc)
    assert (version, tool) == ("0.9", "tool é")
    assert values_of(decoded.entries, xattrs_only=share) == values_of(entries, xattrs_only=share)
    assert (decoded.checkpoints.comp_offset, decoded.span_digests) == ((10,), (DIGEST,))
    # ... and Google's runtime reads the same, every number aligned and every string ended.
    theirs = read_ztoc(ztoc)
    assert [row["name"] for row in theirs["rows"]] == [e.name for e in entries]
    assert [(row["offset"], row["size"], row["mode"], row["uid"], row["gid"]) for row in theirs["rows"]] == [
        (e.data_offset, e.size, e.mode, e.uid, e.gid) for e in entries
    ]
    assert [tuple(row["xattrs"]) for row in theirs["rows"]] == [
        e.pax for e in values_of(entries, xattrs_only=share)
    ]
    assert theirs["tool"] == "tool é".encode()
    assert not share or len(ztoc) <= len(encode(index, tool="tool é", share=False))


@given(st.integers(-62167219200, 253402300799), st.integers(0, 999_999_999))
@settings(max_examples=200, deadline=None)
def test_times_are_written_as_rfc_3339_in_utc(seconds, ns):
    text = read_ztoc(encode(index_of(table({"mtime_s": seconds, "mtime_ns": ns})), tool=""))["rows"][0][
        "mod_time"
    ].decode()
    whole, _, fraction = text.removesuffix("Z").partition(".")
    assert text.endswith("Z")
    assert fraction == (f"{ns:09}".rstrip("0") if ns else "")
    if seconds >= -62135596800:  # year 1, where datetime begins
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
        assert whole == moment.isoformat(timespec="seconds")
    else:
        assert whole.startswith("0000-")


TIMES = {
    b"2023-11-14T22:13:20Z": (1_700_000_000, 0),
    b"2023-11-15T03:43:20+05:30": (1_700_000_000, 0),
    b"2023-11-14T14:13:20-08:00": (1_700_000_000, 0),
    b"2023-11-14T22:13:20.5Z": (1_700_000_000, 500_000_000),
    b"2023-11-14T22:13:20.1234567899Z": (1_700_000_000, 123_456_789),
    b"1969-12-31T23:59:59.25Z": (-1, 250_000_000),
    b"0001-01-01T00:00:00Z": (-62135596800, 0),
    b"0000-02-29T00:00:00Z": (-62162121600, 0),
    b"2000-02-29T00:00:00Z": (951_782_400, 0),
}
NO_TIMES = [
    b"2023-11-14", b"2023-11-14T22:13:20", b"2023-11-14 22:13:20Z", b"2023-02-29T00:00:00Z", b"2023-13-01T00:00:00Z",
    b"2023-00-01T00:00:00Z", b"2023-01-32T00:00:00Z", b"2023-01-01T24:00:00Z", b"2023-01-01T00:60:00Z",
    b"2023-01-01T00:00:60Z", b"2023-01-01T00:00:00.Z", b"2023-01-01T00:00:00+1:00", b"2023-01-01T00:00:00+24:00",
    b"2023-01-01T00:00:00ZZ", b"2023-01-01T00:00:00.5", b"-023-01-01T00:00:00Z", b"1900-02-29T00:00:00Z",
]  # fmt: skip


def with_time(text: bytes) -> bytes:
    """A zTOC whose only entry has this time, in the place of a name of the same length."""
    marker = b"#" * len(text)
    ztoc = encode(index_of(table({"mtime_s": 1, "name": marker})), tool="", share=True)
    name_at = ztoc.index(marker) - 4
    time_ref = ztoc.index(b"1970-01-01T00:00:01Z") - 4
    # Point the time field at the name's string: find the reference and write another distance.
    for at in range(0, len(ztoc) - 4, 4):
        if at + int.from_bytes(ztoc[at : at + 4], "little") == time_ref:
            patched = bytearray(ztoc)
            patched[at : at + 4] = (name_at - at).to_bytes(4, "little")
            patched[name_at + 4 : name_at + 4 + len(text)] = text
            return bytes(patched)
    raise AssertionError("no reference to the time")


@pytest.mark.parametrize("text", TIMES)
def test_times_are_read_with_any_zone(text):
    entry = decode(with_time(text))[0].entries[0]
    assert (entry.mtime_s, entry.mtime_ns, entry.has_mtime) == (*TIMES[text], True)


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(FormatError, match="RFC 3339"):
        decode(with_time(text))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("row", [{"has_mtime": False}, {"mtime_s": 253402300800}, {"mtime_s": -62167219201}])
def test_no_time_and_times_past_the_year_9999_are_empty(row, share):
    ztoc = encode(index_of(table(row)), tool="", share=share)
    assert read_ztoc(ztoc)["rows"][0]["mod_time"] == b""
    assert not decode(ztoc)[0].entries[0].has_mtime


def test_the_small_layout_writes_the_same_thing_once():
    pax = ((b"SCHILY.xattr.user.long", b"v" * 500), (b"mtime", b"1.5"), (b"LIBARCHIVE.creationtime", b"2"))
    rows = [
        {"name": b"name %d" % i, "uname": b"u" * 100, "linkname": b"same target " * 20, "pax": pax}
        for i in range(500)
    ]
    index = index_of(table(*rows))
    shared, apart = encode(index, tool=""), encode(index, tool="", share=False)
    for text in (b"u" * 100, b"same target " * 20, b"v" * 500, b"SCHILY.xattr.user.long", b"reg\0"):
        assert (shared.count(text), apart.count(text)) == (1, 500)
    assert (shared.count(b"LIBARCHIVE"), apart.count(b"LIBARCHIVE")) == (0, 500)
    # Per row: offset to it, soffset, name, type, linkname, uname, time, records: 8 x 4; offset, mode: 2 x 8; its name.
    assert (len(shared) - len(encode(index_of(table(*rows[:1])), tool=""))) / 499 <= 8 * 4 + 2 * 8 + 4 + 12


def test_the_small_layout_sets_right_what_the_real_reader_trips_over():
    entries = table(
        {"name": b"d/", "typeflag": "5", "size": 4096, "flags": 8},
        {"name": b"c", "typeflag": "7", "size": 10},
    )
    decoded = decode(encode(index_of(entries), tool=""))[0].entries
    assert [(e.typeflag, e.size) for e in decoded] == [("5", 0), ("0", 10)]
    with pytest.raises(UnsupportedError, match="'7'"):
        encode(index_of(entries), tool="", share=False)


def test_owners_are_cut_to_32_bits():
    decoded = decode(encode(index_of(table({"uid": (1 << 32) + 7, "gid": -1})), tool="", share=False))[
        0
    ].entries[0]
    assert (decoded.uid, decoded.gid) == (7, 0xFFFFFFFF)


@pytest.mark.parametrize("typeflag", ["g", "S", "V", "\0"])
@pytest.mark.parametrize("share", [True, False])
def test_types_without_a_soci_word_are_refused_by_name(typeflag, share):
    with pytest.raises(UnsupportedError, match="entry 1.*odd name"):
        encode(index_of(table({}, {"name": b"odd name", "typeflag": typeflag})), tool="", share=share)


def test_of_a_repeated_pax_key_the_last_counts():
    pax = ((b"SCHILY.xattr.k", b"1"), (b"SCHILY.xattr.k", b"3"), (b"SCHILY.xattr.k", b"2"))
    for share in (True, False):
        assert decode(encode(index_of(table({"pax": pax})), tool="", share=share))[0].entries[0].pax == (
            (b"SCHILY.xattr.k", b"2"),
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"span_digests": ()},
        {"span_digests": (DIGEST, DIGEST)},
        {"checkpoints": Checkpoints((10,), (0,), b"\0", bytes(100))},
        {"checkpoints": Checkpoints((10, 20), (0,), b"\0", bytes(32768))},
        {"compression": "tar", "span_bytes": 0},
        {"compression": "tar", "span_bytes": 100},
    ],
)
def test_checkpoints_and_digests_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match="digests|windows"):
        encode(index_of(table({}), **changes), tool="")


# Hostile input

SMALL = encode(decode(vector("v3"))[0], tool=TOOL)


def survives(data: bytes) -> bool:
    """Whether it decodes; anything but a FormatError beside that is a failure."""
    try:
        index, _, _ = decode(data)
    except FormatError:
        return False
    assert sum(len(e.name) + len(e.linkname) for e in index.entries) < 1 << 20
    return True


def test_a_ztoc_cut_anywhere_is_refused():
    for n in range(len(SMALL) - 1):  # the last byte is the NUL behind the version, which no reader looks at
        assert not survives(SMALL[:n]), n


@pytest.mark.parametrize("name", ["v3", "v1"])
def test_any_changed_byte_is_refused_or_read(name):
    ztoc = SMALL if name == "v3" else vector(name)
    # The windows of v1 say nothing; its first bytes and its last are the tables.
    places = [*range(min(len(ztoc), 400)), *range(max(0, len(ztoc) - 1200), len(ztoc))]
    accepted = 0
    for at in places:
        for value in (0, 1, 0x7F, 0x80, 0xFF, ztoc[at] ^ 4):
            accepted += survives(ztoc[:at] + bytes([value]) + ztoc[at + 1 :])
    assert 0 < accepted < 6 * len(places)


def test_any_changed_offset_is_refused_or_read():
    rng = random.Random(1)
    for _ in range(20_000):
        data = bytearray(SMALL)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(0, len(data) - 4, 2)
            value = rng.choice(
                [rng.randrange(len(data)), rng.getrandbits(32), 0xFFFFFFFF, 0x7FFFFFFF, 4, 0x80000000]
            )
            data[at : at + 4] = value.to_bytes(4, "little")
        survives(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(data):
    assert not survives(data)


class Forge:
    """A zTOC made with Google's builder, wrong in one way; ``make`` fills the rest in."""

    def __init__(self) -> None:
        self.b = flatbuffers.Builder(1 << 16)

    def refs(self, offsets: list[int]) -> int:
        self.b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.b.PrependUOffsetTRelative(offset)
        return self.b.EndVector()

    def row(
        self,
        *,
        name: int | None = None,
        type: bytes = b"reg",
        offset: int = 512,
        size: int = 0,
        xattrs: int | None = None,
    ) -> int:
        type_at = self.b.CreateString(type)
        self.b.StartObject(14)
        if name is not None:
            self.b.PrependUOffsetTRelativeSlot(0, name, 0)
        self.b.PrependUOffsetTRelativeSlot(1, type_at, 0)
        self.b.PrependInt64Slot(2, offset, 0)
        self.b.PrependInt64Slot(3, size, 0)
        if xattrs is not None:
            self.b.PrependUOffsetTRelativeSlot(13, xattrs, 0)
        return self.b.EndObject()

    def make(
        self,
        rows: list[int],
        *,
        zinfo: bytes = struct.pack("<iq", 1, 4 << 20) + struct.pack("<qqB", 10, 0, 0) + bytes(32768),
        digests: tuple[bytes, ...] = (DIGEST.encode(),),
        max_span: int | None = None,
        algorithm: int = 1,
        comp_size: int = 1000,
        archive_size: int = 1 << 20,
    ) -> bytes:
        b = self.b
        rows_at = self.refs(rows)
        b.StartObject(1)
        b.PrependUOffsetTRelativeSlot(0, rows_at, 0)
        toc = b.EndObject()
        zinfo_at = b.CreateByteVector(zinfo)
        digests_at = self.refs([b.CreateString(digest) for digest in digests])
        b.StartObject(4)
        b.PrependInt8Slot(0, algorithm, 1)
        b.PrependInt32Slot(1, len(digests) - 1 if max_span is None else max_span, 0)
        b.PrependUOffsetTRelativeSlot(2, digests_at, 0)
        b.PrependUOffsetTRelativeSlot(3, zinfo_at, 0)
        info = b.EndObject()
        b.StartObject(6)
        b.PrependInt64Slot(2, comp_size, 0)
        b.PrependInt64Slot(3, archive_size, 0)
        b.PrependUOffsetTRelativeSlot(4, toc, 0)
        b.PrependUOffsetTRelativeSlot(5, info, 0)
        b.Finish(b.EndObject())
        return bytes(b.Output())


def zinfo_of(*points: tuple[int, int, int], count: int | None = None) -> bytes:
    head = struct.pack("<iq", len(points) if count is None else count, 1000)
    return head + b"".join(struct.pack("<qqB", *point) + b"w" * 32768 for point in points)


def test_a_ztoc_of_googles_builder_is_read():
    f = Forge()
    index, version, tool = decode(f.make([f.row(name=f.b.CreateString("a"), size=5), f.row(offset=1536)]))
    assert [(e.name, e.size, e.header_offset) for e in index.entries] == [(b"a", 5, 0), (b"", 0, 1024)]
    assert (version, tool, index.entries[0].has_mtime) == ("", "", False)


def test_entries_out_of_order_keep_their_order_and_get_their_headers():
    f = Forge()
    rows = [f.row(offset=2048), f.row(offset=512, size=600), f.row(offset=4096, size=0)]
    index, _, _ = decode(f.make(rows))
    assert [e.header_offset for e in index.entries] == [1536, 0, 2048]


def test_a_version_1_zinfo_has_its_first_checkpoint_implied():
    f = Forge()
    data = f.make([], zinfo=zinfo_of((20, 1000, 3), (30, 2500, 0), count=3), digests=(DIGEST.encode(),) * 3)
    points = decode(data)[0].checkpoints
    assert (points.comp_offset, points.uncomp_offset, points.bits) == (
        (10, 20, 30),
        (0, 1000, 2500),
        b"\0\3\0",
    )
    assert bytes(points.windows) == bytes(32768) + b"w" * 65536


WRONG = {
    "entries overlap": lambda f: f.make([f.row(offset=512, size=600), f.row(offset=1024)]),
    "past the archive": lambda f: f.make([f.row(offset=512, size=1 << 20)]),
    "negative offset": lambda f: f.make([f.row(offset=-512)]),
    "negative size": lambda f: f.make([f.row(size=-1)]),
    "offset and size overflow": lambda f: f.make([f.row(offset=1 << 62, size=(1 << 62) + (1 << 61))]),
    "size overflows when aligned": lambda f: f.make([f.row(offset=0, size=(1 << 63) - 1)]),
    "unknown type": lambda f: f.make([f.row(type=b"door")]),
    "no compressed size": lambda f: f.make([], comp_size=0),
    "negative archive size": lambda f: f.make([], archive_size=-1),
    "unknown algorithm": lambda f: f.make([], algorithm=3),
    "too few digests": lambda f: f.make([], digests=(), max_span=0),
    "too many digests": lambda f: f.make([], digests=(DIGEST.encode(),) * 2, max_span=0),
    "wrong last span": lambda f: f.make([], max_span=7),
    "digest of another kind": lambda f: f.make([], digests=(b"md5:" + b"a" * 67,)),
    "digest in capitals": lambda f: f.make([], digests=(DIGEST.upper().encode(),)),
    "no zinfo": lambda f: f.make([], zinfo=b""),
    "zinfo of no checkpoints": lambda f: f.make([], zinfo=zinfo_of(count=0)),
    "zinfo of too many": lambda f: f.make([], zinfo=zinfo_of((10, 0, 0), count=3)),
    "zinfo of a negative number": lambda f: f.make([], zinfo=zinfo_of((10, 0, 0), count=-1)),
    "zinfo cut": lambda f: f.make([], zinfo=zinfo_of((10, 0, 0))[:-1]),
    "first checkpoint not at 0": lambda f: f.make([], zinfo=zinfo_of((10, 5, 0))),
    "9 bits": lambda f: f.make([], zinfo=zinfo_of((10, 0, 9))),
    "checkpoint before the blob": lambda f: f.make([], zinfo=zinfo_of((-10, 0, 0))),
    "checkpoint past the blob": lambda f: f.make([], zinfo=zinfo_of((1001, 0, 0))),
    "checkpoints go back": lambda f: f.make([], zinfo=zinfo_of((10, 0, 0), (9, 7, 0)), digests=(DIGEST.encode(),) * 2),
    "outputs stand still": lambda f: f.make([], zinfo=zinfo_of((10, 0, 0), (20, 0, 0)), digests=(DIGEST.encode(),) * 2),
    "tar zinfo of noise": lambda f: f.make([], algorithm=2, zinfo=b"\xff" * 48),
    "tar zinfo of nothing": lambda f: f.make([], algorithm=2, zinfo=b""),
    "tar zinfo of another size": lambda f: f.make([], algorithm=2, zinfo=tar_zinfo(999, 1000)),
    "tar zinfo of no span": lambda f: f.make([], algorithm=2, zinfo=tar_zinfo(1000, 0)),
    "tar zinfo of a negative span": lambda f: f.make([], algorithm=2, zinfo=tar_zinfo(1000, -5)),
    "tar zinfo of many spans": lambda f: f.make([], algorithm=2, zinfo=tar_zinfo(1000, 1)),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_well_formed_buffers_with_wrong_claims_are_refused(case):
    with pytest.raises(FormatError, match="zTOC"):
        decode(WRONG[case](Forge()))


def test_strings_that_overlap_cannot_multiply():
    f = Forge()
    # Each 4 bytes of the vector read as the length of a string that goes on to nearly its end.
    n = 20_000
    vector_at = f.b.CreateByteVector(b"".join(struct.pack("<I", 4 * n - 4 * i - 4) for i in range(n)))
    rows = [f.row(name=vector_at - 4 - 4 * i, offset=512 * (i + 1)) for i in range(200)]
    with pytest.raises(FormatError, match="strings overlap"):
        decode(f.make(rows, archive_size=1 << 30))


def test_one_table_for_many_entries_cannot_multiply():
    f = Forge()
    row = f.row(offset=512)
    with pytest.raises(FormatError, match="more entries than"):
        decode(f.make([row] * 100_000))


def test_record_lists_that_overlap_cannot_multiply():
    f = Forge()
    f.b.StartObject(2)
    record = f.b.EndObject()
    n = 4000
    lists = f.refs([record] * n)
    # A list that begins inside the list: its count is one of the offsets, which are 4 more each.
    rows = [f.row(xattrs=lists - 4 - 4 * i, offset=512 * (i + 1)) for i in range(n // 2)]
    with pytest.raises(FormatError, match="overlap|outside"):
        decode(f.make(rows, archive_size=1 << 30))


def test_shared_lists_and_strings_are_kept_once():
    f = Forge()
    key, value = f.b.CreateString("SCHILY.xattr.k"), f.b.CreateString("v" * 1000)
    f.b.StartObject(2)
    f.b.PrependUOffsetTRelativeSlot(0, key, 0)
    f.b.PrependUOffsetTRelativeSlot(1, value, 0)
    records = f.refs([f.b.EndObject()])
    rows = [f.row(name=value, xattrs=records, offset=512 * (i + 1)) for i in range(5000)]
    index, _, _ = decode(f.make(rows, archive_size=1 << 30))
    assert {e.pax for e in index.entries} == {((b"SCHILY.xattr.k", b"v" * 1000),)}
    assert {e.name for e in index.entries} == {b"v" * 1000}


def test_a_ztoc_past_2_gib_is_refused_before_memory_is_taken():
    f = Forge()
    value = f.b.CreateString("v" * 1_000_000)
    f.b.StartObject(2)
    f.b.PrependUOffsetTRelativeSlot(1, value, 0)
    records = f.refs([f.b.EndObject()])
    rows = [f.row(xattrs=records, offset=512 * (i + 1)) for i in range(2200)]
    index, _, tool = decode(f.make(rows, archive_size=1 << 30))
    for share in (True, False):  # even where sharing would save it: what it takes is not known beforehand
        with pytest.raises(LimitError, match="2200 entries"):
            encode(index, tool=tool, share=share)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".",
        b"./",
        b"/",
        b"a",
        b"./a",
        b"/a/",
        b"a//b",
        b"a/./b",
        b"a/../b",
        b"../a",
        b"..",
        b"a/..",
        b".a",
        b"..a/.b",
        b"a/b/../../..//c/",
        b"./.wh.x",
        b"././/.//a",
        b"a/.",
        b"...",
        b"a./b.",
    ],
)
def test_names_are_cleaned_as_readers_do(name):
    assert clean_name(name) == posixpath.normpath(b"/" + name).lstrip(b"/")
