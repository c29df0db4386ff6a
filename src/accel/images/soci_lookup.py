"""Finding the SOCI index of an image, in the order of the snapshotter, and reading its zTOCs."""

from dataclasses import dataclass

from accel.blobs import read_whole
from accel.errors import FormatError, NotFoundError
from accel.formats.soci import Annotation, SociIndex, SociType
from accel.images.manifests import Child, Image
from accel.oci import Descriptor
from accel.stores import ImageStore
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import decode

MAX_ZTOC_BYTES = 1 << 30  # twice what the format's own 32-bit sizes make likely


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """The SOCI index of one image, and the store that has its zTOCs."""

    soci: SociIndex
    store: ImageStore

    @property
    def ztocs(self) -> dict[str, Descriptor]:
        """The zTOC of each indexed layer, by the layer's digest, in the order of the index."""
        found: dict[str, Descriptor] = {}
        for ztoc in self.soci.ztocs:
            found.setdefault(ztoc.annotations[Annotation.LAYER_DIGEST], ztoc)
        return found

    def load(self, ztoc: Descriptor) -> LayerIndex:
        """The layer index in ``ztoc``, verified against its digest. Raises ``FormatError``, ``DigestMismatch``."""
        raw = read_whole(self.store.blob(ztoc), ztoc, max_bytes=MAX_ZTOC_BYTES)
        try:
            index: LayerIndex = decode(raw)[0]
        except FormatError as error:
            error.blob = error.blob or ztoc.digest
            raise
        return index


def find_soci_index(image: Image, child: Child) -> FoundIndex | None:
    """The index of ``child``: version 2 by its annotation, else version 1 by referrers; None if there is neither.

    Raises ``FormatError`` for an index that is none, ``NotFoundError`` for one that is named but not there.
    """
    assert child.manifest is not None
    digest = child.manifest.annotations.get(Annotation.INDEX_DIGEST)
    if digest:
        return FoundIndex(read_soci_index(image.store, digest), image.store)
    for referrer in image.store.referrers(child.descriptor.digest, SociType.INDEX_V1):
        return FoundIndex(read_soci_index(image.store, referrer.digest), image.store)
    return None


def read_soci_index(store: ImageStore, digest: str) -> SociIndex:
    """The SOCI index with this digest."""
    try:
        _, raw = store.get_manifest(digest)
    except NotFoundError as error:
        raise NotFoundError(f"SOCI index {digest} is not in {store.name}") from error
    try:
        return SociIndex.parse(raw)
    except FormatError as error:
        error.blob = error.blob or digest
        raise
