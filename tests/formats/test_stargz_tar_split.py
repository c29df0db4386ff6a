"""Tar-splits: the tar can be rebuilt from one, it is what the reference writes, and cuts do not matter."""

import base64
import gzip
import json
import random
from pathlib import Path

import pytest
import zstandard

from accel.formats.stargz import TarSplit, TarSplitWriter, parse_footer
from accel.oci import digest_of
from accel_core.crc64 import crc64
from accel_core.entries import EntryTable
from support.contents import contents
from support.stargz_blobs import scan, tar_split_of
from support.tar_cases import LEGAL
from support.tars import directory, file, pax, tar_of

DATA = Path(__file__).resolve().parents[1] / "data" / "stargz"
SOURCE = gzip.decompress((DATA / "source.tar.gz").read_bytes())
TARS = {"source": SOURCE, "mixed": contents()["mixed tar"], **LEGAL}


def lines_of(split: TarSplit) -> bytes:
    assert split.digest == digest_of(split.data)
    lines = zstandard.ZstdDecompressor().stream_reader(split.data).read()
    assert len(lines) == split.uncomp_size
    return lines


def rebuilt(lines: bytes, entries: EntryTable, tar: bytes) -> bytes:
    """The tar from the lines and the contents, as ``tar-split``'s assembler would."""
    out = bytearray()
    members = iter(entries)
    for number, line in enumerate(lines.splitlines()):
        entry = json.loads(line)
        assert entry["position"] == number
        if entry["type"] == 2:
            out += base64.b64decode(entry["payload"], validate=True)
            continue
        member = next(members)
        name = base64.b64decode(entry["name_raw"]) if "name_raw" in entry else entry["name"].encode()
        assert name == member.name
        content = tar[member.data_offset : member.data_offset + member.stored_size]
        assert entry.get("size", 0) == len(content)
        crc = base64.b64decode(entry["payload"]) if content else entry["payload"]
        assert crc == (crc64(content, 0, "plain").to_bytes(8, "big") if content else None)
        out += content
    assert all(member.typeflag == "g" for member in members)     # one whose padding is cut off
    return bytes(out)


@pytest.mark.parametrize("name", TARS)
def test_the_tar_can_be_rebuilt_from_it_and_the_contents(name: str) -> None:
    tar = TARS[name]
    entries = scan(tar)
    assert rebuilt(lines_of(tar_split_of(tar, entries, 1 << 20)), entries, tar) == tar


@pytest.mark.parametrize("name", TARS)
def test_cuts_do_not_matter(name: str) -> None:
    tar = TARS[name]
    entries = scan(tar)
    whole = tar_split_of(tar, entries, 1 << 20)
    for piece_bytes in (1, 511, 512, 700) if len(tar) < 1 << 15 else (513, 70_000):
        assert tar_split_of(tar, entries, piece_bytes) == whole


def test_it_is_what_the_reference_writes() -> None:
    blob = (DATA / "containers-zstd").read_bytes()
    footer = parse_footer(blob[-72:], len(blob))
    assert footer is not None
    assert footer.tar_split is not None
    theirs = blob[footer.tar_split.comp_offset : footer.tar_split.comp_end]
    lines = zstandard.ZstdDecompressor().stream_reader(theirs).read()
    assert lines_of(tar_split_of(SOURCE, scan(SOURCE), 1000)) == lines


def test_long_tails_are_cut_into_lines_of_a_mib() -> None:
    tar = tar_of(file(b"a", b"x")) + random.Random(1).randbytes((9 << 20) + 77)
    entries = scan(tar)
    whole = tar_split_of(tar, entries, len(tar))
    assert tar_split_of(tar, entries, 100_000) == whole
    lines = lines_of(whole)
    sizes = [len(base64.b64decode(json.loads(line)["payload"])) for line in lines.splitlines()[2:]]
    assert sizes == [511 + 1024, *[1 << 20] * 9, 77]
    assert rebuilt(lines, entries, tar) == tar


def test_a_header_of_several_mib_is_one_line() -> None:
    big = pax(*((b"k%d" % i, b"v" * 100_000) for i in range(10)))
    tar = tar_of(big, file(b"a", b"x"))
    entries = scan(tar)
    first = json.loads(lines_of(tar_split_of(tar, entries, 4096)).splitlines()[0])
    assert base64.b64decode(first["payload"]) == tar[: entries[0].data_offset]


def test_table_by_table_gives_the_same_as_one_table() -> None:
    parts = [directory(b"d/"), file(b"d/a", b"x" * 700), file(b"d/b", b""), tar_of(file(b"d/c", b"y"))]
    tar = b"".join(parts)
    entries = scan(tar)
    writer = TarSplitWriter()
    for part, entry in zip(parts, entries, strict=True):
        table = EntryTable()
        table.append(
            name=entry.name, typeflag=entry.typeflag, data_offset=entry.data_offset, size=entry.size,
            stored_size=entry.stored_size,
        )  # fmt: skip
        writer.add(part, table, 0, 1)
    assert writer.finish() == tar_split_of(tar, entries, 1000)


@pytest.mark.parametrize(("tar", "refusal"), [
    (tar_of(file(b"a", b"x")), ""),
    (tar_of(file(b"a", b"x")) + bytes(512 * 17), ""),
    (file(b"a", b"x"), ""),
    (file(b"a", b"x")[:513], ""),
    (file(b"a", b"x")[:514], "inside the padding"),
    (file(b"a", b"x")[:1023], "inside the padding"),
    (tar_of(file(b"a", b"x")) + bytes(100), "blocks of zeros"),
    (tar_of(file(b"a", b"x")) + bytes(511) + b"x", "blocks of zeros"),
    (tar_of(file(b"a", b"x")) + tar_of(file(b"b")), "blocks of zeros"),
    (tar_of(file(b"a", form="gnu", at={345: b"\x80" + bytes(6) + b"\x7f" + bytes(4)})), "years"),
])  # fmt: skip
def test_ends_that_containers_storage_refuses_are_named(tar: bytes, refusal: str) -> None:
    got = tar_split_of(tar, scan(tar), 1 << 20).refusal
    assert refusal in got
    assert bool(refusal) == bool(got)


def test_members_that_are_not_in_the_bytes_are_refused() -> None:
    tar = tar_of(file(b"a", b"x"), file(b"b", b"y"))
    entries = scan(tar)
    for first, end in ((1, 2), (0, 3), (-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="entr"):
            TarSplitWriter().add(tar[:1024], entries, first, end)
    writer = TarSplitWriter()
    writer.add(tar, entries, 0, 0)
    with pytest.raises(ValueError, match="entry 0"):
        writer.add(b"", entries, 0, 1)
    cut = TarSplitWriter()
    cut.add(tar[:512], entries, 0, 1)
    with pytest.raises(ValueError, match="missing"):
        cut.finish()
