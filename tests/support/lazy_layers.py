"""Outside judges of eStargz and zstd:chunked layers: zlib, zstandard, json, tarfile and hashlib, none of our own code.

Facts of the formats are written down here a second time, from the formats' own documents, so that a mistake in one
place is seen.
"""

import base64
import hashlib
import io
import json
import tarfile
import zlib
from typing import Any

import zstandard

TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
UNCOMP_SIZE = "io.containers.estargz.uncompressed-size"
CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"
POSITION = "io.github.containers.zstd-chunked.manifest-position"
TAR_SPLIT = "io.github.containers.zstd-chunked.tarsplit-position"
STARGZ_CHECKSUM = "io.containers.zstd-chunked.manifest-checksum"
STARGZ_POSITION = "io.containers.zstd-chunked.manifest-position"
LANDMARKS = {".prefetch.landmark", ".no.prefetch.landmark"}


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def gunzip(blob: bytes) -> bytes:
    """All members, one after the other."""
    out = []
    while blob:
        member = zlib.decompressobj(31)
        out.append(member.decompress(blob))
        assert member.eof
        blob = member.unused_data
    return b"".join(out)


def unzstd(blob: bytes) -> bytes:
    """All frames; skippable ones give nothing."""
    with zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True) as reader:
        return reader.read()


Files = dict[str, dict[str, Any]]


def files_of(tar: bytes) -> Files:
    """What an ordinary extraction gives: of each path the last entry, with its content."""
    found: Files = {}
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as opened:
        for member in opened:
            data = opened.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
            name = member.name.removeprefix("./").strip("/")
            found.pop(name, None)
            found[name] = {
                "type": member.type, "data": data, "mode": member.mode, "uid": member.uid, "gid": member.gid,
                "mtime": int(member.mtime), "link": member.linkname,
                "xattrs": {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")},
            }  # fmt: skip
    return found


def check_estargz(blob: bytes, annotations: dict[str, str], source_tar: bytes) -> str:
    """Everything that stargz-snapshotter relies on; gives the diffID. ``source_tar`` has no landmark or TOC itself."""
    tar = gunzip(blob)
    assert annotations[UNCOMP_SIZE] == str(len(tar))
    footer = blob[-51:]
    assert footer[:16].hex() == "1f8b08040000000000ff1a0053471600"
    assert footer[32:].hex() == "53544152475a010000ffff" + "00" * 8
    toc_tar, raw = _toc_member(blob)
    assert tar.endswith(toc_tar)
    assert annotations[TOC_DIGEST] == sha256(raw)
    ours = files_of(tar)
    assert ours.pop("stargz.index.json")
    [landmark] = LANDMARKS & ours.keys()
    mark = ours.pop(landmark)
    assert (mark["data"], mark["mode"]) == (b"\x0f", 0)
    assert ours == files_of(source_tar)
    from_toc = _read_toc(json.loads(raw), lambda start, end: gunzip_at(blob, start), ours)
    assert from_toc.pop(landmark) == b"\x0f"
    assert from_toc == {name: facts["data"] for name, facts in ours.items() if facts["type"] == tarfile.REGTYPE}
    return sha256(tar)


def toc_of(blob: bytes) -> list[dict[str, Any]]:
    """The entries of the TOC of an eStargz blob."""
    entries: list[dict[str, Any]] = json.loads(_toc_member(blob)[1])["entries"]
    return entries


def _toc_member(blob: bytes) -> tuple[bytes, bytes]:
    """The tar that the last member of an eStargz blob holds, and the JSON in it."""
    toc_tar = gunzip(blob[int(blob[-51:][16:32], 16) : -51])
    with tarfile.open(fileobj=io.BytesIO(toc_tar)) as opened:
        [member] = opened.getmembers()
        assert member.name == "stargz.index.json"
        return toc_tar, opened.extractfile(member).read()  # type: ignore[union-attr]


def gunzip_at(blob: bytes, offset: int) -> bytes:
    """What the first member at or behind ``offset`` holds that holds something."""
    left = blob[offset:]
    while True:
        member = zlib.decompressobj(31)
        data = member.decompress(left)
        if data or not member.unused_data:
            return data
        left = member.unused_data


def check_zstd(blob: bytes, annotations: dict[str, str], tar: bytes, *, containerd: bool = False) -> None:
    """Everything that containers/storage (or with ``containerd`` stargz-snapshotter) relies on."""
    assert unzstd(blob) == tar
    position = annotations[STARGZ_POSITION if containerd else POSITION]
    offset, comp_size, uncomp_size, kind = map(int, position.split(":"))
    comp_toc = blob[offset : offset + comp_size]
    assert blob[offset - 8 : offset] == bytes.fromhex("502a4d18") + comp_size.to_bytes(4, "little")
    assert sha256(comp_toc) == annotations[STARGZ_CHECKSUM if containerd else CHECKSUM]
    raw = zstandard.ZstdDecompressor().decompress(comp_toc)
    assert (len(raw), kind) == (uncomp_size, 1)
    footer = blob[-48:]
    assert footer[:8] == bytes.fromhex("502a4d18") + (40).to_bytes(4, "little") and footer[-8:] == b"GnUlInUx"
    assert [int.from_bytes(footer[i : i + 8], "little") for i in (8, 16, 24, 32)] == [offset, comp_size, uncomp_size, 1]
    toc = json.loads(raw.decode("utf-8", "surrogateescape"))
    files = files_of(tar)
    from_toc = _read_toc(toc, lambda start, end: unzstd_frame(blob, start, end), files)
    assert from_toc == {name: facts["data"] for name, facts in files.items() if facts["type"] == tarfile.REGTYPE}
    if containerd:
        assert annotations[TOC_DIGEST] == sha256(raw) and annotations[UNCOMP_SIZE] == str(len(tar))
        assert CHECKSUM not in annotations
        return
    assert TOC_DIGEST not in annotations and STARGZ_CHECKSUM not in annotations
    start, size, uncomp_size = map(int, annotations[TAR_SPLIT].split(":"))
    split = blob[start : start + size]
    assert toc["tarSplitDigest"] == sha256(split)
    assert reassembled(unzstd(split), {e["name"]: from_toc.get(_clean(e["name"]), b"") for e in toc["entries"]}) == tar


def unzstd_frame(blob: bytes, start: int, end: int) -> bytes:
    """The frames in a range, which holds nothing else."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    data = frame.decompress(blob[start:end] if end else blob[start:])
    assert not end or frame.unused_data == b""
    return data


def reassembled(lines: bytes, contents: dict[str, bytes]) -> bytes:
    """The tar of which ``lines`` are the tar-split."""
    out = []
    for number, line in enumerate(lines.splitlines()):
        item = json.loads(line)
        assert item["position"] == number
        if item["type"] == 2:
            out.append(base64.b64decode(item["payload"]))
        else:
            name = item.get("name") or base64.b64decode(item["name_raw"]).decode("utf-8", "surrogateescape")
            data = contents[name] if item.get("size") else b""
            assert len(data) == item.get("size", 0)
            out.append(data)
    return b"".join(out)


def _clean(name: str) -> str:
    return name.removeprefix("./").strip("/")


def _read_toc(toc: dict[str, Any], read: Any, files: Files) -> dict[str, bytes]:
    """The files as the TOC says; ``read(start, end)`` decompresses from a position on (end 0: not said)."""
    assert toc["version"] == 1
    found: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    names = []
    offsets = [entry["offset"] for entry in toc["entries"] if "chunkDigest" in entry]
    assert offsets == sorted(set(offsets))
    for at, entry in enumerate(toc["entries"]):
        name = _clean(entry["name"])
        if entry["type"] not in ("reg", "chunk"):
            names.append(name)
            continue
        if entry["type"] == "reg":
            names.append(name)
            found[name] = b""
            digests[name] = entry.get("digest", "")
            size = entry.get("size", 0)
            assert entry.get("mode", 0) == (files[name]["mode"] if name in files else 0)
            if not size:
                continue
        assert entry.get("chunkOffset", 0) == len(found[name])
        n_bytes = entry.get("chunkSize") or size
        following = toc["entries"][at + 1 : at + 2]
        last = not (following and following[0]["type"] == "chunk")
        inner = entry.get("innerOffset", 0)
        data = read(entry["offset"], entry.get("endOffset", 0) if last else 0)[inner : inner + n_bytes]
        assert sha256(data) == entry["chunkDigest"]
        found[name] += data
    assert len(names) == len(set(names)) and set(files) <= set(names)
    for name, data in found.items():
        assert digests[name] == sha256(data) or (not data and not digests[name])
    return found
