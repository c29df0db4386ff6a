"""Where images live: the seam between conversion and registries, layouts and archives."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol

from accel.aside import unnamed_file, write_all
from accel.blobs import CHUNK_BYTES, Blob, Chunk
from accel.errors import TruncatedError
from accel.oci import Descriptor


class StagedBlob(Protocol):
    """A blob being written whose digest is not known yet. Nobody sees it before ``publish``."""

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``."""

    def publish(self, desc: Descriptor) -> None:
        """Store it as the blob ``desc``, which the caller knows to be right. It is closed then."""

    def discard(self) -> None:
        """Forget it, unless it was published. May be called twice."""


class SpooledBlob:
    """A staged blob in an unnamed temporary file, stored by ``put`` in the end."""

    def __init__(self, put: Callable[[Descriptor, Iterable[Chunk]], None]) -> None:
        self._put = put
        self._file = unnamed_file()

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._file, data)

    def publish(self, desc: Descriptor) -> None:
        self._put(desc, FileChunks(self._file, desc.size))
        self.discard()

    def discard(self) -> None:
        self._file.close()


class FileChunks:
    """The first ``size`` bytes of a file in chunks, as often as they are asked for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        offset = 0
        while offset < self._size:
            chunk = os.pread(self._file.fileno(), min(CHUNK_BYTES, self._size - offset), offset)
            if not chunk:
                raise TruncatedError("the file ended early", comp_offset=offset)
            yield chunk
            offset += len(chunk)


class ImageStore(Protocol):
    """One repository, layout or archive. Calls may come from several threads at once.

    Whatever can be missing raises NotFoundError; what a store cannot do at all raises UnsupportedError.
    """

    name: str
    """For messages, for example ``docker://host/repository`` or ``oci:DIR``."""

    def get_manifest(self, ref: str) -> tuple[Descriptor, bytes]:
        """Descriptor and verified bytes of a manifest or index. ``ref`` is a tag or a digest.

        "" is the only image of a layout or archive. There the descriptor carries the annotations of ``index.json``,
        so the tag, if there is one, is its ``org.opencontainers.image.ref.name``.
        """

    def blob(self, desc: Descriptor) -> Blob:
        """The blob, its bytes not verified (see :func:`accel.blobs.verified`)."""

    def has_blob(self, desc: Descriptor) -> bool:
        """Whether the blob is there with the right size."""

    def has_manifest(self, digest: str) -> bool:
        """Whether the manifest or index can be had by its digest."""

    def put_blob(self, desc: Descriptor, chunks: Iterable[Chunk]) -> None:
        """Store a blob; if it is there, ``chunks`` is not touched. After a DigestMismatch nothing is stored."""

    def stage_blob(self) -> StagedBlob:
        """A new blob to write, where it will stay if it can."""

    def mount_blob(self, desc: Descriptor, source: "ImageStore") -> bool:
        """Whether the blob is here now without its bytes having passed through us (mount, hard link)."""

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        """Store a manifest or index whose blobs and children are there, and point ``tag`` at it.

        None: only by digest (children of an index, referrers). "" in a layout or archive: listed without a name.
        """

    def referrers(self, digest: str, artifact_type: str | None = None) -> list[Descriptor]:
        """Manifests whose ``subject`` is ``digest``, with artifact type and annotations; empty if there are none."""

    def add_referrer(self, subject: Descriptor, referrer: Descriptor) -> None:
        """Make ``referrer`` findable from ``subject``, after ``put_manifest``; does nothing where the store did it."""

    def close(self) -> None:
        """Release what is held; an archive written to is published here. May be called twice."""
