"""Putting a result where it belongs: blobs, then what lists them, and the tag at the very end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from accel.blobs import Blob
from accel.convert.plan import Plan
from accel.convert.pool import run_all
from accel.convert.result import Result
from accel.convert.scan import Ztoc
from accel.images import Child
from accel.oci import EMPTY_CONFIG, EMPTY_JSON, Descriptor, Manifest, MediaType, is_foreign_layer
from accel.progress import Progress
from accel.stores import ImageStore


@dataclass(frozen=True, slots=True)
class Publisher:
    """Writes one result to ``dest``. Whatever fails before the tag is set leaves the tag as it was."""

    plan: Plan
    dest: ImageStore
    progress: Progress
    threads: int

    def publish(self, result: Result, ztocs: Sequence[Ztoc], tag: str) -> Descriptor:
        """Everything of ``result``, tagged ``tag`` last."""
        if self.dest is not self.plan.image.store:
            self._copy_blobs()
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
        self._transfer(ztoc.descriptor, ztoc, progress)

    def _copy_blobs(self) -> None:
        source = self.plan.image.store
        wanted: dict[str, Descriptor] = {}
        for manifest in self._manifests():
            for blob in (manifest.config, *manifest.layers):
                # a foreign layer may be in no registry at all: its URLs go along in the manifest
                if not (is_foreign_layer(blob.media_type) or blob.urls) or source.has_blob(blob):
                    wanted.setdefault(blob.digest, blob)
        run_all(
            sorted(wanted.values(), key=lambda blob: -blob.size),
            self._copy,
            self.progress,
            threads=self.threads,
        )

    def _copy(self, blob: Descriptor, progress: Progress) -> None:
        if not self.dest.mount_blob(blob, self.plan.image.store) and not self.dest.has_blob(blob):
            self._transfer(blob, _Stream(self.plan.image.store.blob(blob)), progress)

    def _transfer(self, blob: Descriptor, chunks: Iterable[bytes], progress: Progress) -> None:
        stage = f"push {blob.digest}"
        progress.begin(stage, blob.size)
        outcome = "failed"
        try:
            self.dest.put_blob(blob, _Reported(chunks, lambda n_bytes: progress.advance(stage, n_bytes)))
            outcome = "pushed"
        finally:
            progress.end(stage, outcome)

    def _copy_manifests(self, rewritten: set[str]) -> None:
        kept = [manifest for manifest in self._manifests() if manifest.digest not in rewritten]
        for manifest in kept:
            self.dest.put_manifest(manifest.raw, manifest.media_type)

    def _manifests(self) -> Iterator[Manifest]:
        seen: set[str] = set()
        child: Child
        for child in self.plan.image.walk():
            if child.manifest is not None and child.descriptor.digest not in seen:
                seen.add(child.descriptor.digest)
                yield child.manifest


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
