"""Where images live: the seam between conversion and registries, layouts and archives."""

from collections.abc import Iterable
from typing import Protocol

from accel.blobs import Blob, Chunk
from accel.oci import Descriptor


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
