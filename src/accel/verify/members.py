"""A table of contents against the tar itself, as Python's own :mod:`tarfile` reads it."""

import hashlib
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from accel.verify.streams import PullFile
from accel_core.entry import Entry

_XATTR = "SCHILY.xattr."
_TYPES = {
    tarfile.REGTYPE: "0",
    tarfile.AREGTYPE: "0",
    tarfile.CONTTYPE: "0",
    tarfile.LNKTYPE: "1",
    tarfile.SYMTYPE: "2",
    tarfile.CHRTYPE: "3",
    tarfile.BLKTYPE: "4",
    tarfile.DIRTYPE: "5",
    tarfile.FIFOTYPE: "6",
}
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One member as tarfile sees it. ``sha256`` is of its data, None for anything but a regular file."""

    offset: int
    name: bytes
    typeflag: str
    size: int
    facts: dict[str, object]
    end: int  # where the next member's headers start
    sha256: str | None


def members(file: PullFile) -> Iterator[Member]:
    """Every member of the tar in ``file``, in order, reading each one's data."""
    with tarfile.open(
        fileobj=file, mode="r|", bufsize=_PIECE_BYTES, encoding="utf-8", errors="surrogateescape"
    ) as tar:  # type: ignore[call-overload]
        while (info := tar.next()) is not None:
            tar.members = []  # otherwise it keeps all of them
            sha256 = _data_digest(tar, info) if info.isreg() else None
            yield Member(
                offset=info.offset_data,
                name=_raw(info.name),
                typeflag=_TYPES.get(info.type, info.type.decode("latin-1")),
                size=info.size if info.isreg() else 0,
                facts=_facts(info),
                end=info.offset_data + ((info.size + 511) // 512 * 512 if info.isreg() else 0),
                sha256=sha256,
            )


def differences(entry: Entry, member: Member, *, without: Collection[str] = ()) -> Iterator[str]:
    """What ``entry`` says otherwise than ``member``, one text a field, but those of ``without``."""
    if entry.name.rstrip(b"/") != member.name.rstrip(b"/"):
        yield f"name is {entry.name!r}, in the tar {member.name!r}"
    typeflag = "0" if entry.typeflag == "7" else entry.typeflag
    if typeflag != member.typeflag:
        yield f"type is {entry.typeflag!r}, in the tar {member.typeflag!r}"
    if entry.size != member.size:
        yield f"size is {entry.size}, in the tar {member.size}"
    for name, theirs in member.facts.items():
        ours = _entry_fact(entry, name)
        if name not in without and ours is not None and theirs is not None and ours != theirs:
            yield f"{name} is {ours!r}, in the tar {theirs!r}"


def _data_digest(tar: tarfile.TarFile, info: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    data = tar.extractfile(info)
    assert data is not None
    while piece := data.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _facts(info: tarfile.TarInfo) -> dict[str, object]:
    facts: dict[str, object] = {
        "mode": info.mode,
        "uid": info.uid & 0xFFFFFFFF,  # a zTOC has 32 bits for them
        "gid": info.gid & 0xFFFFFFFF,
        "owner": _raw(info.uname),
        "group": _raw(info.gname),
        "mtime": _mtime(info),
        "xattrs": {
            key.encode("utf-8", "surrogateescape"): value.encode("utf-8", "surrogateescape")
            for key, value in info.pax_headers.items()
            if key.startswith(_XATTR)
        },
    }
    if info.islnk() or info.issym():
        facts["linkname"] = _raw(info.linkname)
    if info.isdev() and not info.isfifo():
        facts["device"] = (info.devmajor, info.devminor)
    return facts


def _entry_fact(entry: Entry, name: str) -> object:
    match name:
        case "mode":
            return entry.mode
        case "uid":
            return entry.uid & 0xFFFFFFFF
        case "gid":
            return entry.gid & 0xFFFFFFFF
        case "owner":
            return entry.uname
        case "group":
            return entry.gname
        case "mtime":
            return (entry.mtime_s, entry.mtime_ns) if entry.has_mtime else None
        case "xattrs":
            return {key: value for key, value in entry.pax if key.startswith(_XATTR.encode())}
        case "linkname":
            return entry.linkname
        case "device":
            return entry.devmajor, entry.devminor
    return None


def _mtime(info: tarfile.TarInfo) -> tuple[int, int] | None:
    # tarfile keeps PAX times as floats, which are too coarse; the record has the digits
    text = info.pax_headers.get("mtime")
    if not text:
        return int(info.mtime), 0
    try:
        ns = int(Decimal(text) * 1_000_000_000)
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return ns // 1_000_000_000, ns % 1_000_000_000


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
