"""A full conversion put where it belongs: blobs, configs, manifests, and the tag at the very end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from accel.convert.full.image import NewImage
from accel.convert.full.job import Outcome
from accel.convert.pool import run_all
from accel.convert.publish import Copier, manifests_of, pushing
from accel.images import Child, Image
from accel.oci import Descriptor, Index, MediaType
from accel.progress import Progress


@dataclass(frozen=True, slots=True)
class Result:
    """``index`` are the bytes that get the tag, ``images`` the new manifests it lists, ``kept`` the source's."""

    index: bytes
    images: Sequence[NewImage]
    kept: Sequence[Child]

    def descriptor(self) -> Descriptor:
        """Of the index."""
        return Descriptor.of(self.index, MediaType.OCI_INDEX)


@dataclass(frozen=True, slots=True)
class FullPublisher:
    """Writes a result. Whatever fails before the tag is set leaves the tag as it was."""

    source: Image
    copier: Copier
    outcomes: Mapping[str, Outcome]  # by digest of the new layer

    def publish(self, result: Result, tag: str | None) -> Descriptor:
        """Everything of ``result``, tagged ``tag`` last (None: without a tag)."""
        dest, copier = self.copier.dest, self.copier
        run_all(
            sorted(self._layers(result.images).values(), key=lambda layer: -layer.size),
            self._put_layer,
            copier.progress,
            threads=copier.threads,
        )
        for image in result.images:
            config = image.manifest.config
            if image.config is not None:
                dest.put_blob(config, [image.config])
            else:
                copier.copy_from(copier.source, config, copier.progress)
        for image in result.images:
            dest.put_manifest(image.manifest.raw, image.manifest.media_type)
        if dest is not copier.source:
            self._copy_kept(result.kept)
        return dest.put_manifest(result.index, MediaType.OCI_INDEX, tag=tag)

    def is_complete(self, result: Result, tagged: Index | None) -> bool:
        """Whether ``tagged`` is this result and everything it lists is there."""
        if tagged is None or tagged.digest != result.descriptor().digest:
            return False
        return all(self.copier.dest.has_manifest(image.manifest.digest) for image in result.images)

    def _layers(self, images: Iterable[NewImage]) -> dict[str, Descriptor]:
        return {layer.digest: layer for image in images for layer in image.manifest.layers}

    def _put_layer(self, layer: Descriptor, progress: Progress) -> None:
        outcome = self.outcomes.get(layer.digest)
        if outcome is not None and outcome.staged is not None:
            self._put_staged(layer, outcome, progress)
            return
        store = outcome.store if outcome is not None else self.copier.source
        if layer.is_foreign and not store.has_blob(layer):
            return
        self.copier.copy_from(store, layer, progress)

    def _put_staged(self, layer: Descriptor, outcome: Outcome, progress: Progress) -> None:
        assert outcome.staged is not None
        with pushing(layer, progress) as advance:
            if self.copier.dest.has_blob(layer):
                outcome.staged.discard()
            else:
                outcome.staged.publish(layer)
            advance(layer.size)

    def _copy_kept(self, kept: Sequence[Child]) -> None:
        wanted = {child.descriptor.digest for child in kept}
        manifests = [manifest for manifest in manifests_of(self.source) if manifest.digest in wanted]
        self.copier.copy_blobs(manifests)
        for manifest in manifests:
            self.copier.dest.put_manifest(manifest.raw, manifest.media_type)
