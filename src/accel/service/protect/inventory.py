"""What one repository has. Every thing is asked for once, however many results need it."""

from collections.abc import Iterable

from accel.errors import NotFoundError
from accel.images import load
from accel.oci import Descriptor
from accel.registry.store import RegistryStore
from accel.service.stores import each


class Inventory:
    """Remembers the registry's answers about manifests and blobs, so use it for one look only; tags are asked anew."""

    def __init__(self, store: RegistryStore) -> None:
        self.store = store
        self._there: dict[str, bool] = {}
        self._problems: dict[str, str] = {}

    def problem_of(self, digest: str) -> str:
        """What the image ``digest`` lists and the repository has not, in words; "" if all is there.

        Raises FormatError and its like for an image that cannot be read.
        """
        if digest not in self._problems:
            self._problems[digest] = self._look_through(digest)
        return self._problems[digest]

    def missing_manifests(self, digests: Iterable[str]) -> list[str]:
        """Those of ``digests`` that are not there."""
        wanted = list(dict.fromkeys(digests))
        new = [digest for digest in wanted if digest not in self._there]
        self._there.update(zip(new, each(self.store.has_manifest, new), strict=True))
        return [digest for digest in wanted if not self._there[digest]]

    def missing_blobs(self, blobs: Iterable[Descriptor]) -> list[str]:
        """The digests of those that are not there. What lives outside every registry counts as there."""
        wanted = {blob.digest: blob for blob in blobs if not blob.is_foreign}
        new = [blob for digest, blob in wanted.items() if digest not in self._there]
        self._there.update(zip((blob.digest for blob in new), each(self.store.has_blob, new), strict=True))
        return [digest for digest in wanted if not self._there[digest]]

    def _look_through(self, digest: str) -> str:
        try:
            image = load(self.store, digest, keep_broken=True)
        except NotFoundError as error:
            return str(error)
        blobs: list[Descriptor] = []
        for child in image.walk():
            if child.kind in ("absent", "broken"):
                return f"manifest {child.descriptor.digest} is {child.kind}"
            if child.manifest is not None:
                blobs += (child.manifest.config, *child.manifest.layers)
        return blobs_in_words(self.missing_blobs(blobs))


def blobs_in_words(digests: list[str], whose: str = "") -> str:
    """Which blobs are gone; "" for none."""
    if not digests:
        return ""
    more = f", and {len(digests) - 1} more" if len(digests) > 1 else ""
    return f"blob {digests[0]}{whose} is gone{more}"
