"""Where the files of an uncompressed tar are, so that they can be read in place.

The tar comes from strangers, and Python's tarfile trusts it: a header may ask it to read gigabytes into memory or to
go backwards for ever. :class:`_Rationed` stands between them.
"""

import os
import posixpath
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

from accel.blobs import FileBlob
from accel.errors import FormatError, LimitError, NotFoundError, UnsupportedError

_MAX_READ_BYTES = 1 << 20  # PAX headers and long names are the only things read whole
_MAX_READS = 1 << 20  # a member takes two to six
_MAX_LINKS = 16
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    size: int
    link: str  # the name it stands for, "" for a regular file


class TarMembers:
    """The regular files and links of one tar, by name; the last of several with one name counts."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Reads all headers. Raises FileNotFoundError, FormatError, LimitError; UnsupportedError if compressed."""
        self._path = os.path.abspath(path)
        whole = FileBlob(self._path)
        head = whole.read_at(0, min(8, whole.size))
        for magic, compression in _COMPRESSIONS.items():
            if head.startswith(magic):
                raise UnsupportedError(
                    f"{os.fspath(path)} is compressed with {compression}; uncompress the archive first "
                    "(its layers can only be read in place from a plain tar)"
                )
        with open(self._path, "rb") as file:
            self._identity = FileBlob.identity_of(os.fstat(file.fileno()))
            self._members = _scan(file, whole.size)

    @property
    def names(self) -> list[str]:
        """Names of the regular files and links, in the order of their first appearance."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def blob(self, name: str) -> FileBlob:
        """The file called ``name``, links followed within the archive. Raises NotFoundError, FormatError."""
        wanted = name
        for _ in range(_MAX_LINKS):
            member = self._members.get(name)
            if member is None:
                raise NotFoundError(f"no file {wanted[:300]!r} in the archive {self._path}")
            if not member.link:
                return FileBlob(self._path, member.offset, member.size, identity=self._identity)
            name = member.link
        raise FormatError(f"{wanted[:300]!r} is a chain or circle of links in the archive {self._path}")

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """All bytes of a small file. Raises LimitError past ``max_bytes``, and what :meth:`blob` raises."""
        blob = self.blob(name)
        if blob.size > max_bytes:
            raise LimitError(f"{name[:300]!r} has {blob.size} bytes", limit=max_bytes)
        return blob.read_at(0, blob.size)

    @property
    def identity(self) -> tuple[int, ...]:
        """Changes when the file at the path does."""
        return self._identity


class _Rationed:
    """A file for tarfile to read headers from: small reads, a bounded number of them, and no way back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0
        self._last_read = 0

    def read(self, n_bytes: int = -1) -> bytes:
        self._reads += 1
        if not 0 <= n_bytes <= _MAX_READ_BYTES:
            raise LimitError("the archive has an oversized header", limit=_MAX_READ_BYTES)
        if self._reads > _MAX_READS:
            raise LimitError("the archive has too many headers", limit=_MAX_READS)
        self._last_read = self._file.tell()
        return self._file.read(n_bytes)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        # tarfile looks at the byte before the next header: back by one, but never to before what it read last.
        if whence == os.SEEK_SET and offset < self._last_read:
            raise FormatError("a header of the archive points back", comp_offset=self._last_read)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _scan(file: BinaryIO, file_bytes: int) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    try:
        with tarfile.open(fileobj=_Rationed(file), mode="r:", errorlevel=2) as tar:  # type: ignore[call-overload]
            for info in tar:
                tar.members.clear()  # tarfile would keep all of them
                if info.isreg() and not info.issparse():
                    if info.size < 0 or info.offset_data + info.size > file_bytes:
                        raise FormatError(
                            f"{info.name[:300]!r} has no right size, or goes past the end",
                            comp_offset=info.offset,
                        )
                    members[_clean(info.name)] = _Member(info.offset_data, info.size, "")
                elif info.islnk():
                    members[_clean(info.name)] = _Member(0, 0, _inside(info.linkname, info.name))
                elif info.issym():
                    link = posixpath.join(posixpath.dirname(info.name), info.linkname)
                    members[_clean(info.name)] = _Member(0, 0, _inside(link, info.name))
    except (LimitError, FormatError):
        raise
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as e:
        raise FormatError(f"not a tar archive, or a damaged one: {str(e)[:200]}", blob=file.name) from e
    return members


def _clean(name: str) -> str:
    return posixpath.normpath(name.lstrip("/"))


def _inside(link: str, name: str) -> str:
    cleaned = posixpath.normpath(link)
    # A link that leaves the archive leads nowhere. It is kept: it only matters if somebody asks for it.
    return cleaned if not cleaned.startswith(("/", "..")) else f"{name[:100]} -> {link[:100]} (outside)"
