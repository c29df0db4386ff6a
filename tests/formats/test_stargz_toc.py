"""Tables of contents as written: every field against ``tarfile`` and ``hashlib``, and our own reader."""

import base64
import datetime
import gzip
import hashlib
import io
import json
import random
import tarfile
from array import array
from pathlib import Path

import pytest
import zstandard

from accel.formats.stargz import (
    NO_PREFETCH,
    Annotation,
    ChunkTable,
    estargz_toc,
    parse_footer,
    parse_toc,
    toc_json,
    zstd_toc,
)
from support.stargz_blobs import Blob, estargz_blob, scan, zstd_blob
from support.tars import base256, directory, file, header, pax, tar_of

DATA = Path(__file__).resolve().parents[1] / "data" / "stargz"
SOURCE = gzip.decompress((DATA / "source.tar.gz").read_bytes())
TYPES = {
    tarfile.REGTYPE: "reg", tarfile.AREGTYPE: "reg", tarfile.LNKTYPE: "hardlink", tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.DIRTYPE: "dir", tarfile.FIFOTYPE: "fifo",
}  # fmt: skip
KINDS = [tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
DIGEST = hashlib.sha256(b"").digest()


def random_tar(seed: int) -> bytes:
    """Members of all types with random owners, times, attributes and contents, in one of three formats."""
    rng = random.Random(seed)
    out = io.BytesIO()
    form = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)[seed % 3]
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for i in range(60):
            kind = rng.choice(KINDS)
            info = tarfile.TarInfo(f"{rng.choice('abc')}-{rng.choice(['<&>', 'é', 'ü' * 9, chr(0x1F600), chr(34)])}{i}")
            info.type = kind
            info.mode = rng.randrange(0o10000)
            info.uid, info.gid = rng.randrange(1 << 18), rng.randrange(3)
            info.mtime = rng.randrange(1 << 31)
            if form == tarfile.PAX_FORMAT:
                info.mtime += rng.choice([0, 0.5, 0.25, 0.75])
                if rng.random() < 0.5:
                    info.pax_headers = {
                        f"SCHILY.xattr.user.{rng.choice('xyz')}": rng.choice(["", "value", "ü"]),
                        "atime": f"{rng.randrange(1 << 31)}.{rng.randrange(10**9):09}",
                        "ctime": str(rng.randrange(1 << 31)),
                    }
            if kind == tarfile.SYMTYPE:
                info.linkname = "target" * rng.randrange(1, 16)
            if kind == tarfile.CHRTYPE:
                info.devmajor, info.devminor = rng.randrange(256), rng.randrange(256)
            content = rng.randbytes(rng.choice([0, 1, 511, 512, 513, 3000])) if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if content else None)
    return out.getvalue()


def instant(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def at(seconds: float) -> datetime.datetime | None:
    return EPOCH + datetime.timedelta(seconds=seconds) if seconds else None


def grouped(toc: bytes) -> list[tuple[dict, list[dict]]]:  # type: ignore[type-arg]
    """Entries, each with its further chunks."""
    found: list[tuple[dict, list[dict]]] = []  # type: ignore[type-arg]
    for entry in json.loads(toc)["entries"]:
        if entry["type"] == "chunk":
            assert entry["name"] == found[-1][0]["name"]
            found[-1][1].append(entry)
        else:
            found.append((entry, []))
    return found


def inflated(blob: Blob, start: int, end: int) -> bytes:
    """What the members or frames in a range of the blob hold."""
    data = blob.data[start:end]
    if blob.end is None:
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()


def check_against_tarfile(blob: Blob, *, zstd: bool) -> None:
    rows = grouped(blob.toc)
    data_end = parse_footer(blob.data[-72:], len(blob.data)).data_end  # type: ignore[union-attr]
    starts = [entry["offset"] for row in rows for entry in (row[0], *row[1]) if "offset" in entry]
    assert starts == sorted(set(starts))
    ends = dict(zip(starts, [*starts[1:], data_end], strict=True))
    with tarfile.open(fileobj=io.BytesIO(blob.tar), errors="surrogateescape") as tar:
        members = [m for m in tar.getmembers() if m.name != "stargz.index.json"]
        assert len(members) == len(rows)
        for member, (entry, more) in zip(members, rows, strict=True):
            assert entry["name"].rstrip("/") == member.name
            assert entry["type"] == TYPES[member.type]
            assert entry.get("linkName", "") == member.linkname
            assert entry.get("mode", 0) == member.mode
            assert (entry.get("uid", 0), entry.get("gid", 0)) == (member.uid, member.gid)
            time = member.mtime if zstd else int(member.mtime + 0.5)
            assert instant(entry.get("modtime", "1970-01-01T00:00:00Z")) == (at(time) or EPOCH)
            if member.ischr() or member.isblk() or zstd:
                assert (entry.get("devMajor", 0), entry.get("devMinor", 0)) == (member.devmajor, member.devminor)
            for key, name in (("atime", "accesstime"), ("ctime", "changetime")):
                wanted = float(member.pax_headers.get(key, 0)) if zstd else 0
                got = instant(entry.get(name))      # to the microsecond
                assert abs((got.timestamp() if got else 0) - wanted) < 2e-6
            xattrs = {k: base64.b64decode(v).decode() for k, v in entry.get("xattrs", {}).items()}
            records = {k.partition("SCHILY.xattr."): v for k, v in member.pax_headers.items()}
            assert xattrs == {key: value for (_, prefix, key), value in records.items() if prefix}
            if not member.isreg():
                assert not {"size", "digest", "offset", "chunkDigest"} & set(entry)
                continue
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            assert entry.get("size", 0) == len(content)
            if content or not zstd:
                assert entry["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
            assert ("endOffset" in entry) == (zstd and bool(content))
            done = 0
            for chunk in (entry, *more) if content else ():
                assert chunk.get("chunkOffset", 0) == done
                size = chunk.get("chunkSize", len(content) - done)
                part = content[done : done + size]
                assert chunk["chunkDigest"] == "sha256:" + hashlib.sha256(part).hexdigest()
                assert inflated(blob, chunk["offset"], ends[chunk["offset"]]).startswith(part)
                done += size
            assert done == len(content)
            if zstd and content:
                assert inflated(blob, entry["offset"], entry["endOffset"]) == content


@pytest.mark.parametrize("seed", range(6))
def test_estargz_says_what_tarfile_reads_in_its_own_tar(seed: int) -> None:
    blob = estargz_blob(random_tar(seed), chunk_bytes=1000)
    assert gzip.decompress(blob.data) == blob.tar
    check_against_tarfile(blob, zstd=False)


@pytest.mark.parametrize("seed", range(6))
def test_zstd_says_what_tarfile_reads_in_the_tar_that_came(seed: int) -> None:
    tar = random_tar(seed)
    blob = zstd_blob(tar, chunk_bytes=1000)
    assert zstandard.ZstdDecompressor().stream_reader(blob.data, read_across_frames=True).read() == tar
    check_against_tarfile(blob, zstd=True)


@pytest.mark.parametrize("seed", range(6))
def test_our_reader_finds_the_entries_and_chunks_that_were_written(seed: int) -> None:
    tar = random_tar(seed)
    for blob in (estargz_blob(tar, chunk_bytes=700), zstd_blob(tar, chunk_bytes=700)):
        footer = parse_footer(blob.data[-72:], len(blob.data))
        assert footer is not None
        at_toc = slice(footer.toc_offset, footer.toc_offset + footer.toc_comp_size)
        toc = parse_toc(toc_json(footer, blob.data[at_toc]), data_end=footer.data_end)
        n_landmarks = blob.order is not None
        assert [e.name for e in toc.entries][n_landmarks:] == [e.name for e in blob.entries]
        for got, wanted in zip(list(toc.entries)[n_landmarks:], blob.entries, strict=True):
            same = ("size", "mode", "uid", "gid", "linkname", "typeflag")
            assert [getattr(got, name) for name in same] == [getattr(wanted, name) for name in same]
        assert toc.chunks.blob_offset == blob.chunks.blob_offset
        assert toc.chunks.chunk_size == blob.chunks.chunk_size
        assert toc.chunks.chunk_offset == blob.chunks.chunk_offset
        assert toc.chunks.digests == blob.chunks.digests
        assert toc.content_size == sum(e.stored_size for e in toc.entries)
        if blob.end is not None:
            assert toc.tar_split_digest == blob.tar_split.digest  # type: ignore[union-attr]
            assert toc.digest == blob.end.stargz_annotations(1)[Annotation.TOC_DIGEST]


def test_it_says_what_the_reference_says_but_for_chunk_sizes_and_names_of_owners() -> None:
    ours = grouped(estargz_blob(SOURCE, chunk_bytes=1000).toc)
    raw = (DATA / "estargz").read_bytes()
    footer = parse_footer(raw[-72:], len(raw))
    assert footer is not None
    theirs = grouped(toc_json(footer, raw[footer.toc_offset : footer.footer_offset]))
    ignored = {"offset", "userName", "groupName", "chunkSize"}
    assert [[{k: v for k, v in e.items() if k not in ignored} for e in (row, *more)] for row, more in ours] == [
        [{k: v for k, v in e.items() if k not in ignored} for e in (row, *more)] for row, more in theirs
    ]


def test_the_zstd_dialect_says_what_the_reference_says_but_for_chunks() -> None:
    ours = grouped(zstd_blob(SOURCE).toc)
    raw = (DATA / "containers-zstd").read_bytes()
    footer = parse_footer(raw[-72:], len(raw))
    assert footer is not None
    theirs = grouped(toc_json(footer, raw[footer.toc_offset : footer.toc_offset + footer.toc_comp_size]))

    def facts(entry: dict) -> dict:  # type: ignore[type-arg]
        return {k: v for k, v in entry.items() if not k.startswith("chunk") and k not in ("offset", "endOffset")}

    assert [facts(row) for row, _ in ours] == [facts(row) for row, _ in theirs]


@pytest.mark.parametrize(("ns", "estargz", "zstd"), [
    (b"1.5", "1970-01-01T00:00:02Z", "1970-01-01T00:00:01.5Z"),
    (b"1.499999999", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01.499999999Z"),
    (b"-1.5", "1969-12-31T23:59:59Z", "1969-12-31T23:59:58.5Z"),
    (b"-0.5", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z"),
    (b"0.5", "1970-01-01T00:00:01Z", "1970-01-01T00:00:00.5Z"),
    (b"0", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    (b"253402300799", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
])  # fmt: skip
def test_times_are_rounded_half_up_or_exact(ns: bytes, estargz: str | None, zstd: str | None) -> None:
    entries = scan(tar_of(pax((b"mtime", ns), (b"atime", ns)), directory(b"d/")))
    assert json.loads(estargz_toc(entries, ChunkTable(), {}))["entries"][0].get("modtime") == estargz
    entry = json.loads(zstd_toc(entries, ChunkTable(), {}, "sha256:0"))["entries"][0]
    assert entry.get("modtime") == zstd
    assert entry.get("accesstime") == (zstd if ns != b"0" else None)


def test_times_of_gnu_and_star_headers_reach_the_toc() -> None:
    tar = tar_of(
        file(b"gnu", b"x", form="gnu", at={345: b"00000000777\0", 357: base256(-5, 12)}),
        file(b"star", b"x", form="star", at={476: b"00000000001\0", 488: b"00000000002\0"}),
        pax((b"atime", b"9.25")), file(b"both", form="gnu", at={345: b"00000000777\0"}),
        file(b"none", form="gnu"), file(b"prefix", form="gnu", at={345: b"no/time/at/all"}), file(b"v7", form="v7"),
    )  # fmt: skip
    blob = zstd_blob(tar)
    assert blob.tar_split is not None
    assert blob.tar_split.header_times == {0: (0o777, -5), 1: (1, 2), 2: (0o777, 0)}
    times = [(e.get("accesstime"), e.get("changetime")) for e in json.loads(blob.toc)["entries"]]
    assert times == [
        ("1970-01-01T00:08:31Z", "1969-12-31T23:59:55Z"), ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"),
        ("1970-01-01T00:00:09.25Z", None), *[(None, None)] * 3,
    ]  # fmt: skip


def test_bytes_that_are_no_utf8_stay_as_they_are_and_json_is_escaped() -> None:
    name = b'\xff"\\/\x01\x1f\n\x7f\xe2\x80\xa8<'
    entries = scan(tar_of(pax((b"SCHILY.xattr.\xfe", b"\0\xff\xff")), directory(name)))
    toc = zstd_toc(entries, ChunkTable(), {}, "sha256:0")
    assert b"\xff\\\"\\\\/\\u0001\\u001f" in toc
    entry = json.loads(toc.decode("utf-8", "surrogateescape"))["entries"][0]
    assert entry["name"].encode("utf-8", "surrogateescape") == name
    assert entry["xattrs"] == {"\udcfe": base64.b64encode(b"\0\xff\xff").decode()}


def test_a_file_of_whole_chunks_says_the_size_of_each() -> None:
    toc = grouped(zstd_blob(tar_of(file(b"a", bytes(3000)), file(b"b", bytes(1000))), chunk_bytes=1000).toc)
    assert [[c.get("chunkSize") for c in (row, *more)] for row, more in toc] == [[1000] * 3, [None]]


def test_global_headers_are_not_in_it() -> None:
    entries = scan(tar_of(pax((b"comment", b"x"), typeflag=b"g"), file(b"a")))
    for toc in (estargz_toc(entries, ChunkTable(), {}), zstd_toc(entries, ChunkTable(), {}, "sha256:0")):
        assert [e["name"] for e in json.loads(toc)["entries"]] == ["a"]


def chunks_of(*rows: tuple[int, int, int, int, int]) -> ChunkTable:
    table = ChunkTable()
    for row in rows:
        table.append(*row, DIGEST)
    return table


ENTRIES = scan(tar_of(file(b"a", b"12345"), directory(b"d"), file(b"b", b"67")))
GOOD = chunks_of((0, 0, 3, 10, 20), (0, 3, 2, 20, 30), (2, 0, 2, 30, 40))


@pytest.mark.parametrize("chunks", [
    ChunkTable(), chunks_of((0, 0, 5, 10, 20)), chunks_of((2, 0, 2, 10, 20), (0, 0, 5, 20, 30)),
    chunks_of((0, 0, 5, 10, 20), (2, 0, 1, 20, 30)), chunks_of((0, 0, 5, 10, 20), (2, 0, 3, 20, 30)),
    chunks_of((0, 1, 5, 10, 20), (2, 0, 2, 20, 30)), chunks_of((0, 0, 5, 10, 20), (2, 0, 2, 19, 30)),
    chunks_of((0, 0, 5, 10, 10), (2, 0, 2, 20, 30)), chunks_of((0, 0, 5, 10, 20), (2, 0, 2, 20, 30), (9, 0, 1, 30, 40)),
    chunks_of((0, 0, 5, 10, 20), (0, 5, 0, 20, 20), (2, 0, 2, 20, 30)), chunks_of((1, 0, 5, 10, 20), (2, 0, 2, 20, 30)),
])  # fmt: skip
def test_chunks_that_do_not_fit_the_entries_are_refused(chunks: ChunkTable) -> None:
    assert len(grouped(estargz_toc(ENTRIES, GOOD, {0: DIGEST}))) == 3
    with pytest.raises(ValueError, match="chunks"):
        estargz_toc(ENTRIES, chunks, {0: DIGEST})


def shared(*inner_offsets: int, start: int = 21, end: int = 30) -> ChunkTable:
    """Chunks of which the last two are in one member."""
    table = ChunkTable()
    table.extend([0, 0, 2], [0, 3, 0], [3, 2, 2], [10, 20, start], [20, 30, end], DIGEST * 3, inner_offsets)
    return table


def test_chunks_that_share_a_member_follow_each_other_in_it() -> None:
    entries = json.loads(estargz_toc(ENTRIES, shared(0, 0, 7), {0: DIGEST}))["entries"]
    assert [(e.get("offset"), e.get("innerOffset")) for e in entries] == [(10, None), (20, None), (None, None), (21, 7)]
    wrong_places = (shared(), shared(0, 0, 7, end=31), shared(0, 0, 7, start=20), shared(0, 0, 7, start=30, end=40))
    for wrong in (shared(0, 0, 1), shared(0, 6, 7), shared(0, 0, -1), shared(-1, 0, 2), *wrong_places):
        with pytest.raises(ValueError, match="order of the blob"):
            estargz_toc(ENTRIES, wrong, {0: DIGEST})
    with pytest.raises(ValueError, match="length"):
        shared(0, 0)


def test_what_else_cannot_be_written_is_refused() -> None:
    with pytest.raises(KeyError):
        estargz_toc(ENTRIES, GOOD, {})
    with pytest.raises(ValueError, match="32 bytes"):
        estargz_toc(ENTRIES, GOOD, {0: b"short"})
    for rows in ([3], [-3]):
        with pytest.raises(ValueError, match="of 3"):
            estargz_toc(ENTRIES, ChunkTable(), {}, rows)
    with pytest.raises(ValueError, match="type"):
        estargz_toc(scan(tar_of(header(b"x", typeflag=b"Q"))), ChunkTable(), {})
    with pytest.raises(ValueError, match="32 bytes"):
        GOOD.append(0, 0, 0, 0, 0, b"")
    with pytest.raises(ValueError, match="length"):
        GOOD.extend([1], [], [], [], [], b"")
    unequal = chunks_of((0, 0, 5, 1, 2))
    unequal.end_offset = array("q")
    with pytest.raises(ValueError, match="differ"):
        estargz_toc(ENTRIES, unequal, {})


def test_rows_come_in_any_order_with_the_landmark_anywhere() -> None:
    chunks = chunks_of((2, 0, 2, 10, 20), (NO_PREFETCH, 0, 1, 20, 30), (0, 0, 5, 30, 40))
    names = [e["name"] for e in json.loads(estargz_toc(ENTRIES, chunks, {}, [2, NO_PREFETCH, 0]))["entries"]]
    assert names == ["b", ".no.prefetch.landmark", "a"]
