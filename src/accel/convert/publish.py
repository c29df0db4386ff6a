"""Putting a result where it belongs: blobs, then what lists them, and the tag at the very end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from accel.blobs import Blob
from accel.convert.plan import Plan
from accel.convert.pool import run_all
from accel.convert.result import Result
from accel.convert.scan import Ztoc
from accel.images import Image
from accel.oci import EMPTY_CONFIG, EMPTY_JSON, Descriptor, Manifest, MediaType
from accel.progress import Progress
from accel.stores import ImageStore


@dataclass(frozen=True, slots=True)
class Copier:
    """Brings blobs to ``dest``, from ``source`` or from us, and reports what it sends."""

    source: ImageStore
    dest: ImageStore
    progress: Progress
    threads: int

    def copy_blobs(self, manifests: Iterable[Manifest]) -> None:
        """Configs and layers of ``manifests``, as far as ``dest`` has them not."""
        wanted: dict[str, Descriptor] = {}
        for manifest in manifests:
            for blob in (manifest.config, *manifest.layers):
                # a foreign layer may be in no registry at all: its URLs go along in the manifest
                if not blob.is_foreign or self.source.has_blob(blob):
                    wanted.setdefault(blob.digest, blob)
        run_all(
            sorted(wanted.values(), key=lambda blob: -blob.size),
            self._copy,
            self.progress,
            threads=self.threads,
        )

    def _copy(self, blob: Descriptor, progress: Progress) -> None:
        self.copy_from(self.source, blob, progress)

    def copy_from(self, store: ImageStore, blob: Descriptor, progress: Progress) -> None:
        """One blob of ``store``: mounted if that can be, else sent."""
        if not self.dest.mount_blob(blob, store) and not self.dest.has_blob(blob):
            self.transfer(blob, _Stream(store.blob(blob)), progress)

    def transfer(self, blob: Descriptor, chunks: Iterable[bytes], progress: Progress) -> None:
        """One blob of which we have the bytes."""
        with pushing(blob, progress) as advance:
            self.dest.put_blob(blob, _Reported(chunks, advance))


@contextmanager
def pushing(blob: Descriptor, progress: Progress) -> Iterator[Callable[[int], None]]:
    """A stage of ``progress`` in which ``blob`` is sent; it is told of bytes by what this gives."""
    stage = f"push {blob.digest}"
    progress.begin(stage, blob.size)
    outcome = "failed"
    try:
        yield partial(progress.advance, stage)
        outcome = "pushed"
    finally:
        progress.end(stage, outcome)


def manifests_of(image: Image) -> Iterator[Manifest]:
    """Every image and artifact manifest of ``image``, each digest once."""
    seen: set[str] = set()
    for child in image.walk():
        if child.manifest is not None and child.descriptor.digest not in seen:
            seen.add(child.descriptor.digest)
            yield child.manifest


@dataclass(frozen=True, slots=True)
class Publisher:
    """Writes one result to ``dest``. Whatever fails before the tag is set leaves the tag as it was."""

    plan: Plan
    dest: ImageStore
    progress: Progress
    threads: int

    def publish(self, result: Result, ztocs: Sequence[Ztoc], tag: str | None) -> Descriptor:
        """Everything of ``result``, tagged ``tag`` last (None: without a tag)."""
        if self.dest is not self.plan.image.store:
            self._copier.copy_blobs(manifests_of(self.plan.image))
        new = [ztoc for ztoc in ztocs if ztoc.content is not None]
        run_all(new, self._put_ztoc, self.progress, threads=self.threads)
        self.dest.put_blob(EMPTY_CONFIG, [EMPTY_JSON])
        rewritten = {manifest.digest for manifest in result.image.manifests}
        for soci in result.image.soci:
            self.dest.put_manifest(soci.raw, MediaType.OCI_MANIFEST)
        for manifest in result.image.manifests:
            self.dest.put_manifest(manifest.raw, manifest.media_type)
        if self.dest is not self.plan.image.store:
            self._copy_manifests(rewritten)
        self.link(result)
        return self.dest.put_manifest(result.image.raw, MediaType.OCI_INDEX, tag=tag)

    def link(self, result: Result) -> None:
        """Attach the version 1 indexes to the images they are for."""
        for subject, soci in result.referrers:
            self.dest.put_manifest(soci.raw, MediaType.OCI_MANIFEST)
            self.dest.add_referrer(subject, replace(soci.descriptor(), annotations=soci.annotations))

    def is_complete(self, result: Result, tagged: Descriptor) -> bool:
        """Whether ``tagged`` is this result and everything it lists is there."""
        if tagged.digest != result.image.descriptor().digest:
            return False
        listed = [soci.digest for soci in result.image.soci] + [m.digest for m in result.image.manifests]
        return all(self.dest.has_manifest(digest) for digest in listed)

    def _put_ztoc(self, ztoc: Ztoc, progress: Progress) -> None:
        self._copier.transfer(ztoc.descriptor, ztoc, progress)

    @property
    def _copier(self) -> Copier:
        return Copier(self.plan.image.store, self.dest, self.progress, self.threads)

    def _copy_manifests(self, rewritten: set[str]) -> None:
        kept = [manifest for manifest in manifests_of(self.plan.image) if manifest.digest not in rewritten]
        for manifest in kept:
            self.dest.put_manifest(manifest.raw, manifest.media_type)


@dataclass(frozen=True, slots=True)
class _Stream:
    """A blob as something to iterate over more than once."""

    blob: Blob

    def __iter__(self) -> Iterator[bytes]:
        return self.blob.stream()


@dataclass(frozen=True, slots=True)
class _Reported:
    """Chunks that are counted as they pass; can be iterated again if the inner ones can."""

    chunks: Iterable[bytes]
    on_bytes: Callable[[int], None]

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.on_bytes(len(chunk))
            yield chunk
