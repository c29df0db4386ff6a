"""Reading an OCI layout, wherever its files are: what a directory and an archive have in common."""

import logging
from abc import ABC, abstractmethod
from dataclasses import replace

from accel.blobs import Blob, read_whole
from accel.errors import DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.layout.index_json import fallback_tag, find_tag, image_entries, only_image, tags_of
from accel.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    check_digest,
    digest_of,
    is_foreign_layer,
    parse_manifest,
)

MAX_INDEX_JSON_BYTES = 4 * MAX_MANIFEST_BYTES  # it may list the images of a whole registry mirror

_log = logging.getLogger(__name__)


class LayoutReader(ABC):
    """The reading half of an ImageStore over ``index.json`` and ``blobs/``."""

    name: str

    @abstractmethod
    def _index_bytes(self) -> bytes:
        """``index.json``. Raises NotFoundError where there is no layout."""

    @abstractmethod
    def _find(self, digest: str) -> Blob | None:
        """The blob stored under ``digest``."""

    def tags(self) -> list[str]:
        """The tags in the layout, in the order of ``index.json``."""
        return tags_of(self._index())

    def get_manifest(self, ref: str) -> tuple[Descriptor, bytes]:
        """See :class:`accel.stores.ImageStore`. A full name (``docker.io/library/x:1``) is as good as a tag."""
        if ref.startswith(("sha256:", "sha512:")):
            return self._manifest_by_digest(check_digest(ref))
        index = self._index()
        entry = find_tag(index, ref, self.name) if ref else only_image(index, self._images(index), self.name)
        if entry is None:
            return index.descriptor(), index.raw
        raw = read_whole(self.blob(entry), entry)
        parse_manifest(raw, entry.media_type)
        return entry, raw

    def blob(self, desc: Descriptor) -> Blob:
        """The blob of ``desc``. Raises NotFoundError, or DigestMismatch where it has another size."""
        blob = self._find(desc.digest)
        if blob is None:
            raise NotFoundError(f"blob {desc.digest} is not in {self.name}")
        if blob.size != desc.size:
            raise DigestMismatch(
                f"{desc.size} bytes", f"{blob.size} bytes", n_bytes=blob.size, blob=desc.digest
            )
        return blob

    def has_blob(self, desc: Descriptor) -> bool:
        """Whether the blob is there with the right size."""
        blob = self._find(desc.digest)
        return blob is not None and blob.size == desc.size

    def has_manifest(self, digest: str) -> bool:
        """Whether there is a blob with this digest."""
        return self._find(digest) is not None

    def referrers(self, digest: str, artifact_type: str | None = None) -> list[Descriptor]:
        """See :class:`accel.stores.ImageStore`.

        Found are manifests listed in ``index.json`` whose subject is ``digest``, and what the index under the
        fallback tag lists.
        """
        index = self._index()
        found: dict[str, Descriptor] = {}
        for entry in index.manifests:
            manifest = self._parsed(entry)
            if manifest and manifest.subject and manifest.subject.digest == digest:
                found.setdefault(entry.digest, _as_referrer(manifest))
        for descriptor in self._fallback_index(index, digest):
            found.setdefault(descriptor.digest, descriptor)
        return [d for d in found.values() if artifact_type is None or d.artifact_type == artifact_type]

    def _check_complete(self, manifest: Manifest | Index) -> None:
        """Raise NotFoundError if the config or a layer is not stored.

        Foreign layers may be absent, and so may children of an index: parts of images are copied on purpose.
        """
        if isinstance(manifest, Index):
            return
        for desc in (manifest.config, *manifest.layers):
            if not is_foreign_layer(desc.media_type) and not self.has_blob(desc):
                raise NotFoundError(
                    f"manifest {manifest.digest} needs blob {desc.digest}, which is not in {self.name}"
                )

    def _index(self) -> Index:
        return Index.parse(self._index_bytes(), max_bytes=MAX_INDEX_JSON_BYTES)

    def _images(self, index: Index) -> list[Descriptor]:
        images = image_entries(index)
        if len(images) < 2:
            return images
        parsed = [(entry, self._parsed(entry)) for entry in images]
        return [entry for entry, manifest in parsed if not (manifest and manifest.subject)]

    def _manifest_by_digest(self, digest: str) -> tuple[Descriptor, bytes]:
        blob = self._find(digest)
        if blob is None:
            raw = self._index_bytes()
            if digest_of(raw) != digest:  # index.json can be the image itself, see only_image
                raise NotFoundError(f"manifest {digest} is not in {self.name}")
        else:
            raw = read_whole(blob, Descriptor("", digest, blob.size))
        return Descriptor(parse_manifest(raw).media_type, digest, len(raw)), raw

    def _fallback_index(self, index: Index, digest: str) -> tuple[Descriptor, ...]:
        try:
            fallback = self._parsed(find_tag(index, fallback_tag(digest), self.name))
        except NotFoundError:
            return ()
        return fallback.manifests if isinstance(fallback, Index) else ()

    def _parsed(self, entry: Descriptor) -> Manifest | Index | None:
        """The manifest of an entry of ``index.json``; None where it is absent, or broken (then a warning is logged).

        For looking around: a bad neighbour must not keep an image from being used.
        """
        if entry.media_type not in MANIFEST_TYPES | INDEX_TYPES or not self.has_blob(entry):
            return None
        try:
            return parse_manifest(read_whole(self.blob(entry), entry), entry.media_type)
        except (FormatError, DigestMismatch, LimitError, UnsupportedError) as e:
            _log.warning("%s: manifest %s is left out of account: %s", self.name, entry.digest, e)
            return None


def _as_referrer(manifest: Manifest | Index) -> Descriptor:
    """The descriptor that a list of referrers holds (distribution-spec «Listing Referrers»)."""
    config_type = manifest.config.media_type if isinstance(manifest, Manifest) else ""
    return replace(
        manifest.descriptor(),
        annotations=manifest.annotations,
        artifact_type=manifest.artifact_type or config_type,
    )
