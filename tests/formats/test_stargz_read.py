"""Tables of contents from strangers: the reference's are read, lies are found and named, nothing costs much."""

import gzip
import hashlib
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from accel.errors import AccelError, DigestMismatch, FormatError, LimitError, UnsupportedError
from accel.formats.stargz import (
    Footer,
    Toc,
    decompress_frame,
    external_toc_json,
    parse_footer,
    parse_toc,
    toc_json,
    toc_member,
)
from accel.images.tree import merge
from accel.oci import digest_of
from support.stargz_blobs import estargz_blob, gzip_member, scan, zstd_blob
from support.tars import file, header, tar_of

DATA = Path(__file__).resolve().parents[1] / "data" / "stargz"
SOURCE = gzip.decompress((DATA / "source.tar.gz").read_bytes())
DATA_END = 1000
SHA = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64


def opened(blob: bytes) -> tuple[Footer, Toc]:
    footer = parse_footer(blob[-72:], len(blob))
    assert footer is not None
    raw = toc_json(footer, blob[footer.toc_offset : footer.toc_offset + footer.toc_comp_size])
    return footer, parse_toc(raw, data_end=footer.data_end, digest=digest_of(raw))


def content(blob: bytes, toc: Toc, chunk: int) -> bytes:
    """A chunk as a reader gets it, from its members or frames alone."""
    chunks = toc.chunks
    stored = blob[chunks.blob_offset[chunk] : chunks.end_offset[chunk]]
    if stored.startswith(b"\x1f\x8b"):
        decoder = zlib.decompressobj(31)
        plain = decoder.decompress(stored)
    else:
        plain = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True).read()
    start = chunks.inner_offset[chunk]
    return plain[start : start + chunks.chunk_size[chunk]]


BLOBS = {name: (DATA / name).read_bytes() for name in ("estargz", "shared-members", "stargz-zstd", "containers-zstd")}
BLOBS |= {"ours": estargz_blob(SOURCE, chunk_bytes=1000).data, "our zstd": zstd_blob(SOURCE, chunk_bytes=1000).data}


@pytest.mark.parametrize("name", BLOBS)
def test_layers_of_every_writer_are_read_chunk_by_chunk(name: str) -> None:
    blob = BLOBS[name]
    _, toc = opened(blob)
    source = scan(SOURCE)
    by_name = {entry.name: entry for entry in source}
    contents: dict[int, bytes] = {}
    for i, row in enumerate(toc.chunks.entry):
        part = content(blob, toc, i)
        assert hashlib.sha256(part).digest() == toc.chunks.digest(i)
        assert len(contents.get(row, b"")) == toc.chunks.chunk_offset[i]
        contents[row] = contents.get(row, b"") + part
    entries = list(toc.entries)
    assert [e.name for e in entries if b"landmark" not in e.name] == [e.name for e in source]
    place = 0
    for entry in entries:
        assert entry.data_offset == place
        place += entry.stored_size
        if b"landmark" in entry.name:
            continue
        wanted = by_name[entry.name]
        data = SOURCE[wanted.data_offset : wanted.data_offset + wanted.stored_size]
        assert contents.get(entry.index, b"") == data
        if entry.index in toc.file_digests:
            assert toc.file_digests[entry.index] == hashlib.sha256(data).digest()
        same = ("typeflag", "size", "mode", "uid", "gid", "linkname", "devmajor", "devminor")
        assert [getattr(entry, key) for key in same] == [getattr(wanted, key) for key in same]
        xattrs = [record for record in wanted.pax if record[0].startswith(b"SCHILY.xattr.")]
        assert list(entry.pax) == xattrs
        got, exact = entry.mtime_s * 10**9 + entry.mtime_ns, wanted.mtime_s * 10**9 + wanted.mtime_ns
        assert abs(got - exact) <= (0 if "containers" in name or name == "our zstd" else 5 * 10**8)
    assert place == toc.content_size


def test_chunks_share_members_where_the_writer_let_them() -> None:
    _, toc = opened(BLOBS["shared-members"])
    assert len(set(toc.chunks.blob_offset)) < len(toc.chunks)
    assert max(toc.chunks.inner_offset) > 0


@pytest.mark.parametrize("offsets", [(100, 100, 100), (100, 120, 140)])
def test_a_chunk_reaches_to_the_first_one_of_the_next_member(offsets: tuple[int, int, int]) -> None:
    """Whether chunks of a member have an offset in common (the reference) or empty members before it (ours)."""
    files = [file_entry(str(i), 10, at, innerOffset=600 * i) for i, at in enumerate(offsets)]
    toc = parse_toc(toc_of(*files, file_entry("next", 10, 150)), data_end=DATA_END)
    assert list(toc.chunks.blob_offset) == [*offsets, 150]
    assert list(toc.chunks.end_offset) == [150, 150, 150, DATA_END]


def test_the_entries_make_a_tree() -> None:
    tree = merge([opened(BLOBS["ours"])[1].entries])
    assert tree.problems == []
    assert tree.find(b"usr/link")[1] is tree.find(b"usr/sym")[1]


def test_the_digest_of_the_annotation_counts() -> None:
    raw = toc_of(file_entry())
    assert parse_toc(raw, data_end=DATA_END, digest=digest_of(raw)).digest == digest_of(raw)
    with pytest.raises(DigestMismatch):
        parse_toc(raw + b" ", data_end=DATA_END, digest=digest_of(raw))
    with pytest.raises(FormatError):
        parse_toc(raw, data_end=DATA_END, digest="sha256:12")


# What may not be

Entry = dict[str, Any]


def file_entry(name: str = "f", size: int = 10, offset: int = 100, **more: Any) -> Entry:
    return {"name": name, "type": "reg", "size": size, "offset": offset, "digest": SHA, **more}


def chunk_entry(offset: int, at: int, size: int = 0, **more: Any) -> Entry:
    place = {"offset": offset, "chunkOffset": at, "chunkSize": size}
    return {"name": "f", "type": "chunk", **place, "chunkDigest": SHA, **more}


def toc_of(*entries: Entry, **more: Any) -> bytes:
    return json.dumps({"version": 1, "entries": entries, **more}).encode()


FIRST = file_entry(chunkSize=4, chunkDigest=SHA)
DIRECTORY = {"name": "d", "type": "dir"}
LIES: dict[str, tuple[bytes, str]] = {
    "overlap": (toc_of(file_entry(endOffset=151), file_entry("g", offset=150)), "behind the beginning"),
    "same place": (toc_of(file_entry(), file_entry("g")), "overlap"),
    "backwards": (toc_of(file_entry(), file_entry("g", offset=99)), "backwards"),
    "inside another member": (toc_of(file_entry(), file_entry("g", offset=119, innerOffset=10)), "begins elsewhere"),
    "overlap in a member": (toc_of(file_entry(), file_entry("g", innerOffset=9)), "overlap"),
    "negative inner offset": (toc_of(file_entry(innerOffset=-1)), "impossible"),
    "inner offset beyond all": (toc_of(file_entry(innerOffset=(1 << 63) - 1)), "impossible"),
    "outside": (toc_of(file_entry(offset=DATA_END)), "outside"),
    "negative offset": (toc_of(file_entry(offset=-1)), "outside"),
    "end outside": (toc_of(file_entry(endOffset=DATA_END + 1)), "behind that of the blob"),
    "end before start": (toc_of(file_entry(endOffset=100)), "before its data"),
    "negative end": (toc_of(file_entry(endOffset=-5)), "before its data"),
    "chunk first": (toc_of(chunk_entry(100, 0)), "without a file"),
    "chunk of a directory": (toc_of(DIRECTORY, chunk_entry(100, 0)), "without a file"),
    "chunk of an empty file": (toc_of(file_entry(size=0), chunk_entry(100, 0)), "without a file"),
    "chunk of another file": (toc_of(FIRST, chunk_entry(200, 4, name="g")), "not of the file"),
    "chunk too many": (toc_of(file_entry(), chunk_entry(200, 10)), "longer"),
    "gap": (toc_of(FIRST, chunk_entry(200, 5)), "follow"),
    "again": (toc_of(FIRST, chunk_entry(200, 0)), "follow"),
    "too long": (toc_of(FIRST, chunk_entry(200, 4, 7)), "longer"),
    "too short": (toc_of(FIRST, chunk_entry(200, 4, 5)), "less"),
    "negative chunk": (toc_of(FIRST, chunk_entry(200, 4, -1)), "longer"),
    "first chunk alone": (toc_of(FIRST), "less"),
    "first chunk alone, then another": (toc_of(FIRST, DIRECTORY), "less"),
    "negative size": (toc_of(file_entry(size=-1)), "negative"),
    "sizes without end": (toc_of(*(file_entry(f"{i}", 1 << 62, 100 + i) for i in range(3))), r"2\*\*63"),
    "no digest": (toc_of({"name": "f", "type": "reg", "size": 1, "offset": 5}), "without a digest"),
    "digest of the file only": (toc_of({**FIRST, "chunkDigest": ""}, chunk_entry(200, 4)), "without a digest"),
    "two digests": (toc_of(file_entry(chunkDigest=OTHER)), "two digests"),
    "short digest": (toc_of(file_entry(digest="sha256:12")), "not a SHA-256"),
    "upper case digest": (toc_of(file_entry(digest=SHA.upper())), "not a SHA-256"),
    "hex that is none": (toc_of(file_entry(digest=SHA[:-1] + "g")), "not a SHA-256"),
    "md5": (toc_of(file_entry(digest="md5:" + "0" * 67)), "not a SHA-256"),
    "attribute": (toc_of({**DIRECTORY, "xattrs": {"k": "YQ"}}), "base64"),
    "attribute with white space": (toc_of({**DIRECTORY, "xattrs": {"k": "YWF\n"}}), "base64"),
    "attribute padded inside": (toc_of({**DIRECTORY, "xattrs": {"k": "Y=Q="}}), "base64"),
    "attribute all padding": (toc_of({**DIRECTORY, "xattrs": {"k": "===="}}), "base64"),
    "attributes in a list": (toc_of({**DIRECTORY, "xattrs": []}), "JSON of a table"),
    "time": (toc_of({**DIRECTORY, "modtime": "yesterday"}), "time"),
    "day that is none": (toc_of({**DIRECTORY, "modtime": "2023-02-29T00:00:00Z"}), "time"),
    "no name": (toc_of({"type": "dir"}), "without a name"),
    "no type": (toc_of({"name": "d"}), "without a type"),
    "unknown type": (toc_of({"name": "d", "type": "sparse"}), "unknown type"),
    "NUL": (toc_of({"name": "d\0", "type": "dir"}), "NUL"),
    "name twice": (toc_of(DIRECTORY, {"name": "./d/", "type": "dir"}), "twice"),
    "key twice": (b'{"version":1,"entries":[{"name":"d","type":"dir","name":"e"}]}', "twice"),
    "entries twice": (b'{"version":1,"entries":[],"entries":[]}', "twice"),
    "version twice": (b'{"version":1,"version":1,"entries":[]}', "twice"),
    "split twice": (b'{"version":1,"entries":[],"tarSplitDigest":"a","tarSplitDigest":"a"}', "twice"),
    "split of no digest": (toc_of(tarSplitDigest="é"), "digest"),
    "no entries": (b'{"version":1}', "no entries"),
    "no version": (b'{"entries":[]}', "version 0"),
    "another version": (b'{"version":2,"entries":[]}', "version 2"),
    "link to itself": (toc_of({"name": "a", "type": "hardlink", "linkName": "./a"}), "itself"),
    "links in a circle": (
        toc_of(*({"name": str(i), "type": "hardlink", "linkName": str((i + 1) % 9)} for i in range(9))), "itself"
    ),
    "bytes behind": (toc_of() + b"{}", "behind"),
    "NUL behind": (toc_of() + b"\0", "behind"),
    "size as text": (toc_of(file_entry(size="10")), "number"),  # type: ignore[arg-type]
    "size as fraction": (toc_of(file_entry(size=1.5)), "whole"),  # type: ignore[arg-type]
    "size beyond 64 bits": (toc_of(file_entry(size=1 << 63)), "too large"),
    "deep": (b'{"version":1,"entries":[{"x":' + b"[" * 100_000, "deep"),
    "deep objects": (b'{"x":' + b'{"x":' * 100_000, "deep"),
    "empty": (b"", "JSON"),
    "not an object": (b"[]", "JSON"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_and_named(name: str) -> None:
    raw, what = LIES[name]
    with pytest.raises(FormatError, match=what):
        parse_toc(raw, data_end=DATA_END)


def test_what_is_unusual_but_true_is_read() -> None:
    toc = parse_toc(toc_of(
        {"name": "../../etc/passwd", "type": "symlink", "linkName": "/x", "NumLink": 0,
         "unknown": [{"a": [1.5e3, None, True]}]},
        {"name": "null", "type": "dir", "xattrs": None, "modtime": "", "uid": None},
        {"name": "zone", "type": "dir", "modtime": "2020-01-01T00:00:00.25+01:00"},
        {"name": "negative", "type": "dir", "uid": -1, "mode": -(1 << 63)},
        {"name": "é\"\\\n", "type": "fifo", "xattrs": {"": "", "k": "/+8="}, "userName": "u", "groupName": "g"},
        file_entry(chunkSize=4, chunkDigest=SHA, innerOffset=600, offset=0, endOffset=0),
        chunk_entry(90, 4, 6, chunkType="zeros"),
        {"name": "late", "type": "hardlink", "linkName": "later"},
        {"name": "lost", "type": "hardlink", "linkName": "nowhere"},
        file_entry("later", 3, 95), tarSplitDigest=OTHER,
    ), data_end=DATA_END)  # fmt: skip
    entries = list(toc.entries)
    assert entries[0].name == b"../../etc/passwd"
    assert entries[2].mtime_s * 4 + entries[2].mtime_ns // 250_000_000 == 1_577_833_200 * 4 + 1
    assert (entries[1].has_mtime, entries[3].uid, entries[3].mode) == (False, -1, -(1 << 63))
    assert entries[4].name == "é\"\\\n".encode()
    assert entries[4].pax == ((b"SCHILY.xattr.", b""), (b"SCHILY.xattr.k", b"\xff\xef"))
    assert (entries[4].uname, entries[4].gname) == (b"u", b"g")
    assert list(toc.chunks.end_offset) == [90, 95, DATA_END]
    assert toc.file_digests == {5: bytes.fromhex(SHA[7:])}
    assert toc.tar_split_digest == OTHER


def test_names_keep_bytes_that_are_no_utf8() -> None:
    raw = b'{"version":1,"entries":[{"type":"symlink","name":"\xff\\u00e9","linkName":"\xed\xa0\x80\\ud83d\\ude00"}]}'
    entry = parse_toc(raw, data_end=1).entries[0]
    assert (entry.name, entry.linkname) == (b"\xff\xc3\xa9", b"\xed\xa0\x80\xf0\x9f\x98\x80")


def verdict(raw: bytes) -> bool:
    try:
        parse_toc(raw, data_end=DATA_END)
    except FormatError:
        return False
    return True


def is_json(raw: bytes) -> bool:
    """As ``json`` has it, without what it adds to the standard, and without lone surrogates."""
    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        value = json.loads(raw.decode("utf-8", "surrogateescape"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return not any(0xD800 <= ord(c) < 0xDC80 or ord(c) > 0xDCFF and ord(c) < 0xE000 for c in repr_of(value))


def repr_of(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(k + repr_of(v) for k, v in value.items())
    return "".join(map(repr_of, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


VALUES = [
    "0", "-0", "-1", "01", "1.", ".5", "1.5", "1e5", "1E+5", "1e-05", "1e", "+1", "-", "NaN",
    "Infinity", "0x1", "1_000", "true", "tru",
    "false", "null", "nul", "nullx", '""', '"a', '"\\', '"\\u12"', '"\\u12g4"', '"\\ud800"', '"\\udc00"',
    '"\\ud83d\\ude00"',
    '"\\ud83dx"', '"\\ud83d\\u0041"', '"\\x"', '"\\/\\b\\f\\n\\r\\t\\"\\\\"', '"\t"', '"\x7f"', '"\n"',
    "[]", "[", "[,]", "[1,]", "[1 2]", "[1,2]", "[[],{}]",
    "{}", "{", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', '{a:1}',
    "{1:2}", '{"a":{"b":[{"c":null}]}}', " 1 ", "\v1", "\ufeff1", "'a'",
    "[" * 40 + "]" * 40, "// c\n1", "",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_unknown_values_are_json_exactly_if_python_says_so(value: str) -> None:
    for form in ('{"version":1,"x":%s,"entries":[]}', '{"version":1,"entries":[{"name":"d","x":%s,"type":"dir"}]}'):
        raw = (form % value).encode("utf-8", "surrogatepass")
        assert verdict(raw) == is_json(raw), raw


def test_white_space_may_be_anywhere_json_allows_it() -> None:
    raw = toc_of(file_entry(xattrs={"a": "YQ=="}))
    spaced = json.dumps(json.loads(raw), indent="\t").replace("\n", "\r\n ").encode() + b"\n"
    assert list(parse_toc(spaced, data_end=DATA_END).entries) == list(parse_toc(raw, data_end=DATA_END).entries)


def test_cut_at_any_byte_it_is_refused() -> None:
    raw = toc_of(FIRST, chunk_entry(200, 4), {**DIRECTORY, "xattrs": {"é": "YQ=="}}, tarSplitDigest=SHA)
    assert verdict(raw)
    assert not any(verdict(raw[:n]) for n in range(len(raw)))


def test_with_any_byte_changed_it_is_read_or_refused_as_json_has_it() -> None:
    rng = random.Random(1)
    raw = toc_of(FIRST, chunk_entry(200, 4), {**DIRECTORY, "xattrs": {"é": "YQ=="}, "modtime": "2020-01-01T00:00:00Z"})
    for i in range(len(raw)):
        changed = raw[:i] + bytes([rng.randrange(256)]) + raw[i + 1 :]
        if verdict(changed):
            assert is_json(changed), changed


# Limits

def test_entries_and_chunks_are_limited() -> None:
    raw = toc_of(FIRST, chunk_entry(200, 4), DIRECTORY)
    assert len(parse_toc(raw, data_end=DATA_END, max_rows=3).entries) == 2
    with pytest.raises(LimitError, match="too many"):
        parse_toc(raw, data_end=DATA_END, max_rows=2)
    attributes = toc_of({**DIRECTORY, "xattrs": {str(i): "" for i in range(12)}})
    assert len(parse_toc(attributes, data_end=DATA_END, max_rows=3).entries[0].pax) == 12
    with pytest.raises(LimitError, match="too many"):
        parse_toc(attributes, data_end=DATA_END, max_rows=2)


def test_memory_is_bounded_by_the_text() -> None:
    texts = [b'{"version":1,"entries":[' + b"{}," * 300_000, b'{"x":[' + b"[]," * 300_000, b'{"x":"' + b"a" * 1_000_000]
    for raw in texts:
        tracemalloc.start()
        with pytest.raises(FormatError):
            parse_toc(raw, data_end=DATA_END)
        assert tracemalloc.get_traced_memory()[1] < 100_000
        tracemalloc.stop()


GZIP = Footer("gzip", 5, 5)
ZSTD = Footer("zstd", 9, 5)


def bad_tar() -> bytes:
    return gzip_member(tar_of(file(b"other.json", b"{}")))


@pytest.mark.parametrize(("footer", "comp", "what"), [
    (GZIP, b"", "cut short"), (GZIP, b"junk", "inflate"), (GZIP, gzip_member(toc_member(b"{}"))[:-1], "cut short"),
    (GZIP, gzip_member(toc_member(b"{}")) + b"x", "behind"), (GZIP, bad_tar(), "no stargz"),
    (GZIP, gzip_member(tar_of()), "no stargz"), (GZIP, gzip_member(b"x" * 512), "checksum"),
    (GZIP, gzip_member(tar_of(header(b"stargz.index.json", typeflag=b"5"))), "no stargz"),
    (GZIP, gzip_member(header(b"stargz.index.json", size=5000)), "ends inside"),
    (ZSTD, b"", "cut short"), (ZSTD, b"junk!", "decompress"), (ZSTD, zstandard.compress(b"{}")[:-1], "cut short"),
    (ZSTD, zstandard.compress(b"{}") + b"x", "behind"), (ZSTD, zstandard.compress(b"{}") * 2, "behind"),
    (Footer("external", -1, 0), b"", "not in the blob"),
])  # fmt: skip
def test_what_is_no_toc_where_the_footer_says_is_refused(footer: Footer, comp: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        toc_json(footer, comp)


def test_an_external_toc_is_the_same_member() -> None:
    assert external_toc_json(gzip_member(toc_member(b"{}"))) == b"{}"


BOMB = b"{}" + b" " * (64 << 20)


@pytest.mark.parametrize("make", [lambda: gzip_member(toc_member(BOMB), 9), lambda: zstandard.compress(BOMB)])
def test_bombs_are_not_inflated(make: Callable[[], bytes]) -> None:
    comp = make()
    footer = GZIP if comp[:2] == b"\x1f\x8b" else ZSTD
    tracemalloc.start()
    with pytest.raises(LimitError):
        toc_json(footer, comp, max_bytes=1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 24 << 20
    tracemalloc.stop()
    with pytest.raises(LimitError):
        toc_json(footer, b"x" * 101, max_bytes=100)


def test_a_frame_that_claims_much_is_not_believed() -> None:
    huge = b"\x28\xb5\x2f\xfd\xe0" + (1 << 60).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(AccelError):
        decompress_frame(huge, "table of contents", max_bytes=1000)


def test_other_digest_algorithms_of_a_tar_split_are_said_to_be_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="sha3"):
        parse_toc(toc_of(tarSplitDigest="sha3:12"), data_end=DATA_END)
