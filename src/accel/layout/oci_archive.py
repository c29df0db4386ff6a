"""A tar that holds an OCI layout, as ``skopeo copy … oci-archive:FILE`` writes it.

Reading happens in place, by offset. Writing goes into a layout directory beside the file; :meth:`OciArchiveStore.close`
makes the tar of it and of what the file held before, and gives it the file's name. A compressed archive is refused.
"""

import os
import shutil
import tarfile
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from accel.aside import sync_directory, write_aside
from accel.blobs import Blob, Chunk, FileBlob, MemoryBlob
from accel.errors import AccelError, FormatError, NotFoundError, UnsupportedError
from accel.layout.index_json import EMPTY_INDEX
from accel.layout.layout_reader import MAX_INDEX_JSON_BYTES, LayoutReader
from accel.layout.oci_dir import LayoutStore, StagedLayoutBlob
from accel.layout.tar_members import TarMembers
from accel.oci import Descriptor, check_digest, parse_manifest, split_digest
from accel.stores import ImageStore

_LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_BLOCK_BYTES = 512


class OciArchiveStore(LayoutReader):
    """An ImageStore in one file, absent at first or not.

    What was written appears in the file on ``close()``, and only if something was tagged (or linked as a referrer):
    the tag comes last, so without it the work is unfinished. As a context manager it is closed at the end, or
    discarded if the block raises.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises FormatError, UnsupportedError (compressed), NotFoundError (no layout in the tar)."""
        self._path = os.path.abspath(path)
        self.name = f"oci-archive:{os.fspath(path)}"
        self._lock = threading.Lock()
        self._aside: LayoutStore | None = None
        self._remove_aside: weakref.finalize[..., OciArchiveStore] | None = None
        self._finished = False
        self._old = TarMembers(self._path) if os.path.lexists(self._path) else None
        if self._old and ("index.json" not in self._old or "oci-layout" not in self._old):
            raise NotFoundError(f"no OCI layout in {self.name} (oci-layout or index.json is missing)")

    def put_blob(self, desc: Descriptor, chunks: Iterable[Chunk]) -> None:
        """See :class:`accel.stores.ImageStore`."""
        if not self.has_blob(desc):
            self._begin().put_blob(desc, chunks)

    def stage_blob(self) -> StagedLayoutBlob:
        """See :class:`accel.stores.ImageStore`."""
        return self._begin().stage_blob()

    def mount_blob(self, desc: Descriptor, source: ImageStore) -> bool:
        """See :class:`accel.stores.ImageStore`: spares a copy where ``source`` is a layout directory."""
        if self.has_blob(desc):
            return True
        return isinstance(source, LayoutStore) and self._begin().mount_blob(desc, source)

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        """See :class:`accel.stores.ImageStore`. Raises NotFoundError if the config or a layer is not stored."""
        self._check_complete(parse_manifest(raw, media_type))
        descriptor = self._begin().store_manifest(raw, media_type, tag=tag)
        self._finished = self._finished or tag is not None
        return descriptor

    def add_referrer(self, subject: Descriptor, referrer: Descriptor) -> None:
        """See :class:`accel.stores.ImageStore`."""
        self._begin().add_referrer(subject, referrer)
        self._finished = True

    def close(self) -> None:
        """Publish the archive, as described above. Whatever happens, nothing else is left behind."""
        try:
            if self._aside and self._finished:
                self._check_unchanged()
                with write_aside(self._path) as file:
                    for chunk in self._tar():
                        file.write(chunk)
                sync_directory(os.path.dirname(self._path))
                self._old = None
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written since the store was opened."""
        with self._lock:
            if self._remove_aside:
                self._remove_aside()
            self._aside = None
            self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def _index_bytes(self) -> bytes:
        if self._aside:
            return self._aside._index_bytes()
        if not self._old:
            raise NotFoundError(f"there is no archive at {self.name}")
        return self._old.read("index.json", max_bytes=MAX_INDEX_JSON_BYTES)

    def _find(self, digest: str) -> Blob | None:
        name = "/".join(("blobs", *split_digest(digest)))
        blob = self._aside._find(digest) if self._aside else None
        if blob is None and self._old and name in self._old:
            return self._old.blob(name)
        return blob

    def _begin(self) -> LayoutStore:
        """The layout that collects what is written, made by the first write."""
        with self._lock:
            if self._aside is None:
                first = self._index_bytes() if self._old else EMPTY_INDEX
                directory, base = os.path.split(self._path)
                path = tempfile.mkdtemp(prefix=f".{base[:32]}.", suffix=".tmp", dir=directory)
                # Also runs when the store is forgotten without close(), and when the interpreter ends.
                self._remove_aside = weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
                self._aside = LayoutStore(path, durable=False, first_index=first)
                self._aside.create()
            return self._aside

    def _check_unchanged(self) -> None:
        try:
            now: tuple[int, ...] | None = FileBlob.identity_of(os.stat(self._path))
        except FileNotFoundError:
            now = None
        if now != (self._old.identity if self._old else None):
            raise AccelError(f"{self.name} was changed by somebody else meanwhile; nothing was written to it")

    def _tar(self) -> Iterator[bytes]:
        """The archive: the same images give the same bytes."""
        members: dict[str, Blob] = {}
        for name in self._old.names if self._old else ():
            if _is_blob_name(name):
                members[name] = self._old.blob(name)  # type: ignore[union-attr]
        if self._aside:
            members |= {f"blobs/{'/'.join(split_digest(d))}": b for d, b in self._aside.blobs()}
        yield from _tar_member("oci-layout", MemoryBlob(_LAYOUT_FILE))
        yield from _tar_member("index.json", MemoryBlob(self._index_bytes()))
        for name in sorted(members):
            yield from _tar_member(name, members[name])
        yield bytes(2 * _BLOCK_BYTES)


def _is_blob_name(name: str) -> bool:
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return False
    try:
        check_digest(f"{parts[1]}:{parts[2]}")
    except (FormatError, UnsupportedError):
        return False
    return True


def _tar_member(name: str, blob: Blob) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = blob.size, 0o644
    yield info.tobuf(tarfile.GNU_FORMAT)  # sizes past 8 GiB in base 256, no PAX headers
    yield from blob.stream()
    yield bytes(-blob.size % _BLOCK_BYTES)
