"""Finding the SOCI index of an image, in the order of the snapshotter (soci.md §4.7), and reading its zTOCs."""

from dataclasses import dataclass

from accel.blobs import read_whole
from accel.errors import FormatError, NotFoundError
from accel.images import Child, Image
from accel.oci import Descriptor, Manifest
from accel.stores import ImageStore
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import decode

INDEX_DIGEST = "com.amazon.soci.index-digest"
IMAGE_MANIFEST_DIGEST = "com.amazon.soci.image-manifest-digest"
LAYER_DIGEST = "com.amazon.soci.image-layer-digest"
LAYER_MEDIA_TYPE = "com.amazon.soci.image-layer-mediaType"
V1 = "application/vnd.amazon.soci.index.v1+json"
V2 = "application/vnd.amazon.soci.index.v2+json"

MAX_ZTOC_BYTES = 1 << 30  # twice what the format's own 32-bit sizes make likely


@dataclass(frozen=True, slots=True)
class SociIndex:
    """The index of one image. ``ztocs``: descriptor of each zTOC by the digest of its layer, in manifest order."""

    manifest: Manifest
    version: int
    ztocs: dict[str, Descriptor]
    store: ImageStore

    @property
    def digest(self) -> str:
        """Digest of the index manifest."""
        return self.manifest.digest

    def load(self, ztoc: Descriptor) -> LayerIndex:
        """The layer index in ``ztoc``, verified against its digest. Raises ``FormatError``, ``DigestMismatch``."""
        raw = read_whole(self.store.blob(ztoc), ztoc, max_bytes=MAX_ZTOC_BYTES)
        try:
            index: LayerIndex = decode(raw)[0]
        except FormatError as error:
            error.blob = error.blob or ztoc.digest
            raise
        return index

    @staticmethod
    def layer_media_type(ztoc: Descriptor) -> str:
        """What ``ztoc`` says its layer is; "" if it does not."""
        return ztoc.annotations.get(LAYER_MEDIA_TYPE, "")


def find_soci_index(image: Image, child: Child) -> SociIndex | None:
    """The index of ``child``: version 2 by its annotation, else version 1 by referrers; None if there is neither.

    Raises ``FormatError`` for an index that is none, ``NotFoundError`` for one that is named but not there.
    """
    assert child.manifest is not None
    digest = child.manifest.annotations.get(INDEX_DIGEST)
    if digest:
        return read_soci_index(image.store, digest)
    for referrer in image.store.referrers(child.descriptor.digest, V1):
        return read_soci_index(image.store, referrer.digest)
    return None


def read_soci_index(store: ImageStore, digest: str) -> SociIndex:
    """The SOCI index with this digest."""
    try:
        descriptor, raw = store.get_manifest(digest)
    except NotFoundError as error:
        raise NotFoundError(f"SOCI index {digest} is not in {store.name}") from error
    manifest = Manifest.parse(raw, descriptor.media_type)
    if manifest.config.media_type not in (V1, V2):
        raise FormatError(f"not a SOCI index (config is {manifest.config.media_type!r})", blob=digest)
    ztocs: dict[str, Descriptor] = {}
    for layer in manifest.layers:
        layer_digest = layer.annotations.get(LAYER_DIGEST)
        if layer_digest and layer.media_type == "application/octet-stream":
            ztocs.setdefault(layer_digest, layer)
    return SociIndex(manifest, 2 if manifest.config.media_type == V2 else 1, ztocs, store)
