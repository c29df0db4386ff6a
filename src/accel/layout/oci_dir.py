"""An OCI layout directory (image-spec «image layout»).

::

    DIR/oci-layout                 {"imageLayoutVersion":"1.0.0"}
    DIR/index.json                 the images, by tag
    DIR/blobs/sha256/<hex>         layers, configs, manifests, indexes

Blobs are written aside, verified, and then take their name. ``index.json`` changes last, under a lock on the
directory, again by a change of name: readers without the lock see the old or the new one.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from accel.aside import StagedFile, sync_directory, write_all, write_aside
from accel.blobs import Blob, Chunk, FileBlob, verified
from accel.errors import ConfigError, LimitError, NotFoundError, UnsupportedError
from accel.layout.index_json import EMPTY_INDEX, tagged, with_entry
from accel.layout.layout_reader import MAX_INDEX_JSON_BYTES, LayoutReader
from accel.oci import (
    Descriptor,
    canonical_json,
    check_digest,
    parse_json,
    parse_manifest,
    split_digest,
)
from accel.oci.fields import get_text, json_object
from accel.stores import ImageStore

_VERSION = "1.0.0"
_OWN_NAMES = frozenset({"oci-layout", "index.json", "blobs"})
# Not on the same file system, or the file system or the owner of the file does not let us.
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOENT})


class LayoutStore(LayoutReader):
    """An ImageStore in a directory. The layout is created by the first write, into an absent or empty directory."""

    def __init__(
        self, path: str | os.PathLike[str], *, durable: bool = True, first_index: bytes = EMPTY_INDEX
    ) -> None:
        """``durable`` False saves waiting for the disk (for what is thrown away after a crash anyway);
        ``first_index`` is the ``index.json`` of a layout that does not exist yet.
        """
        self._root = os.path.abspath(path)
        self._durable = durable
        self._first_index = first_index
        self.name = f"oci:{os.fspath(path)}"

    def create(self) -> None:
        """Make sure that there is a layout. Raises ConfigError where there is something else."""
        if os.path.exists(os.path.join(self._root, "oci-layout")):
            return
        os.makedirs(self._root, exist_ok=True)
        with self._locked():
            if os.path.exists(os.path.join(self._root, "oci-layout")):
                return
            # What a creation that was cut short left behind is ours; anything else may be somebody's home.
            others = [n for n in os.listdir(self._root) if n not in _OWN_NAMES and not n.endswith(".tmp")]
            if others:
                raise ConfigError(f"{self.name} is neither an OCI layout nor empty (it has {others[0]!r})")
            if not os.path.exists(os.path.join(self._root, "index.json")):
                self._publish("index.json", self._first_index)
            self._publish("oci-layout", canonical_json({"imageLayoutVersion": _VERSION}))

    def put_blob(self, desc: Descriptor, chunks: Iterable[Chunk]) -> None:
        """See :class:`accel.stores.ImageStore`. A stored blob of another size is replaced."""
        if self.has_blob(desc):
            return
        target = self._blob_path(desc.digest)
        self.create()
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with write_aside(target, durable=self._durable) as file:
            for chunk in verified(chunks, desc):
                file.write(chunk)

    def stage_blob(self) -> "StagedLayoutBlob":
        """See :class:`accel.stores.ImageStore`: a file in the layout that has no name yet."""
        self.create()
        directory = os.path.join(self._root, "blobs", "sha256")
        os.makedirs(directory, exist_ok=True)
        return StagedLayoutBlob(self, StagedFile(directory))

    def adopt(self, file: StagedFile, desc: Descriptor) -> None:
        """Let ``file`` be the blob ``desc``, unless that is there."""
        if self.has_blob(desc):
            file.discard()
        else:
            file.appear(self._blob_path(desc.digest), durable=self._durable)

    def mount_blob(self, desc: Descriptor, source: ImageStore) -> bool:
        """See :class:`accel.stores.ImageStore`: a hard link, where ``source`` is a layout on the same file system.

        The bytes are not verified.
        """
        if self.has_blob(desc):
            return True
        if not isinstance(source, LayoutStore) or not source.has_blob(desc):
            return False
        path = os.path.realpath(source._blob_path(desc.digest))
        target = self._blob_path(desc.digest)
        self.create()
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(path, target)
        except FileExistsError:
            return self.has_blob(desc)
        except OSError as e:
            if e.errno not in _NO_LINK:
                raise
            return False
        return True

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        """See :class:`accel.stores.ImageStore`. Raises NotFoundError if the config or a layer is not stored."""
        self._check_complete(parse_manifest(raw, media_type))
        return self.store_manifest(raw, media_type, tag=tag)

    def store_manifest(self, raw: bytes, media_type: str, *, tag: str | None) -> Descriptor:
        """Like :meth:`put_manifest`, for a caller that knows that ``raw`` is a manifest and complete."""
        descriptor = Descriptor.of(raw, media_type)
        self.put_blob(descriptor, [raw])
        if tag is not None:
            self._list(tagged(descriptor, tag))
        return descriptor

    def add_referrer(self, subject: Descriptor, referrer: Descriptor) -> None:
        """List ``referrer`` without a name in ``index.json``, where :meth:`referrers` finds it by its subject."""
        self._list(tagged(referrer, ""))

    def blobs(self) -> Iterator[tuple[str, Blob]]:
        """Digest and blob of all that is stored, whether an image uses it or not."""
        for algorithm in ("sha256", "sha512"):
            directory = os.path.join(self._root, "blobs", algorithm)
            for encoded in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
                if not encoded.startswith("."):
                    digest = check_digest(f"{algorithm}:{encoded}")
                    yield digest, FileBlob(self._blob_path(digest), name=digest)

    def close(self) -> None:
        """Nothing is held open."""

    def _index_bytes(self) -> bytes:
        self._check_version()
        return self._read_file("index.json", MAX_INDEX_JSON_BYTES)

    def _find(self, digest: str) -> Blob | None:
        try:
            return FileBlob(self._blob_path(digest), name=digest)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _blob_path(self, digest: str) -> str:
        # split_digest lets only hex through: nothing from a manifest can point out of the directory.
        return os.path.join(self._root, "blobs", *split_digest(digest))

    def _list(self, entry: Descriptor) -> None:
        """Put ``entry`` into ``index.json``."""
        self.create()
        with self._locked():
            old = self._index()
            new = with_entry(old, entry)
            if new == old.raw:
                return
            if self._durable:
                sync_directory(os.path.dirname(self._blob_path(entry.digest)))
            self._publish("index.json", new)

    def _publish(self, base: str, data: bytes) -> None:
        with write_aside(os.path.join(self._root, base), durable=self._durable) as file:
            file.write(data)
        if self._durable:
            sync_directory(self._root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A lock on the directory itself leaves no file behind. Each call opens its own, so threads exclude each other.
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _check_version(self) -> None:
        text = self._read_file("oci-layout", 4096)
        version = get_text(
            json_object(parse_json(text, "oci-layout"), "oci-layout"), "imageLayoutVersion", "oci-layout"
        )
        if version != _VERSION:
            raise UnsupportedError(
                f"{self.name} has layout version {version[:50]!r}; {_VERSION} is supported"
            )

    def _read_file(self, base: str, max_bytes: int) -> bytes:
        try:
            blob = FileBlob(os.path.join(self._root, base))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"no OCI layout at {self.name} (there is no {base})") from None
        if blob.size > max_bytes:
            raise LimitError(f"{base} of {self.name} has {blob.size} bytes", limit=max_bytes)
        return blob.read_at(0, blob.size)


class StagedLayoutBlob:
    """See :class:`accel.stores.StagedBlob`."""

    def __init__(self, layout: LayoutStore, file: StagedFile) -> None:
        self._layout = layout
        self._file = file

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._file.file, data)

    def publish(self, desc: Descriptor) -> None:
        self._layout.adopt(self._file, desc)

    def discard(self) -> None:
        self._file.discard()
