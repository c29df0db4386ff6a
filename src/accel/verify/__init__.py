"""Recompute everything an accelerated image claims: ``accel.verify("oci:app:1.0_accelerated").ok``.

This module is also what ``accel.verify`` calls, see the end.
"""

import sys
from types import ModuleType

from accel.blobs import Blob
from accel.errors import NotFoundError
from accel.images import Child, Image, load
from accel.images.open import open_store
from accel.images.soci_lookup import FoundIndex, find_soci_index
from accel.images.toc_layer import FoundToc, find_toc, has_toc
from accel.oci import Descriptor, Platform, Reference
from accel.progress import NoProgress, Progress
from accel.registry.options import RegistryOptions
from accel.verify.image import BAD_IMAGE, check_config, check_index, check_soci_index
from accel.verify.layer import LayerCheck
from accel.verify.report import Mismatch, VerifyReport
from accel_core.layer_index import LayerIndex

__all__ = ["Mismatch", "VerifyReport", "verify"]


def verify(
    reference: Reference | str,
    platforms: tuple[Platform, ...] = (),
    *,
    progress: Progress | None = None,
    registries: RegistryOptions | None = None,
) -> VerifyReport:
    """Every claim that does not hold, of all ``platforms`` (default: each one there is).

    Reads all layers whole, one after the other, each distinct one once. Raises only if the image cannot be found or
    reached at all; what is wrong with it is in the report.
    """
    where = Reference.parse(reference) if isinstance(reference, str) else reference
    store = open_store(where, registries)
    try:
        image = load(store, where.selector, keep_broken=True)
        return _Verification(image, VerifyReport(str(where), image.top.descriptor.digest), progress).run(
            platforms
        )
    finally:
        store.close()


class _Verification:
    def __init__(self, image: Image, report: VerifyReport, progress: Progress | None) -> None:
        self._image = image
        self._report = report
        self._progress = progress or NoProgress()
        self._done: set[tuple[object, ...]] = set()

    def run(self, platforms: tuple[Platform, ...]) -> VerifyReport:
        images = self._image.images(platforms)
        if not images:
            raise NotFoundError(f"{self._image.store.name}: no image for {', '.join(map(str, platforms))}")
        check_index(self._image, self._report)
        found = [self._check(child) for child in images]
        if not any(found):
            self._report.mismatch(
                self._image.top.descriptor.digest,
                "no SOCI index, no layer with a table of contents: the image is not accelerated",
            )
        return self._report

    def _check(self, child: Child) -> bool:
        assert child.manifest is not None
        try:
            soci = find_soci_index(self._image, child)
        except BAD_IMAGE as error:
            self._report.mismatch(child.descriptor.digest, f"SOCI index: {error}")
            soci = None
        if soci is not None:
            check_soci_index(self._image, child, soci, self._report)
        is_lazy = any(map(has_toc, child.manifest.layers))
        if soci is None and not is_lazy:
            self._report.notes.append(f"{child.platform or 'image'}: no index")
        config = check_config(self._image, child, self._report)
        diff_ids = config.diff_ids if config else (None,) * len(child.manifest.layers)
        for layer, diff_id in zip(child.manifest.layers, diff_ids, strict=True):
            ztoc = soci.ztocs.get(layer.digest) if soci else None
            key = (layer.digest, diff_id, ztoc.digest if ztoc else None, tuple(sorted(layer.annotations.items())))
            if key not in self._done:
                self._done.add(key)
                self._check_layer(layer, diff_id, self._load(soci, ztoc) if soci and ztoc else None)
        return soci is not None or is_lazy

    def _load(self, soci: FoundIndex, ztoc: Descriptor) -> LayerIndex | None:
        try:
            return soci.load(ztoc)
        except BAD_IMAGE as error:
            self._report.mismatch(ztoc.digest, f"zTOC: {error}")
            return None

    def _load_toc(self, blob: Blob, layer: Descriptor) -> FoundToc | None:
        try:
            return find_toc(blob, layer)
        except BAD_IMAGE as error:
            self._report.mismatch(layer.digest, f"table of contents: {error}")
            return None

    def _check_layer(self, layer: Descriptor, diff_id: str | None, index: LayerIndex | None) -> None:
        if layer.is_foreign and not self._image.store.has_blob(layer):
            self._report.notes.append(f"foreign layer {layer.digest} is not here: not checked")
            return
        self._progress.begin(layer.digest, layer.size)
        n_before = len(self._report.mismatches)
        try:
            blob = self._image.store.blob(layer)
            toc = self._load_toc(blob, layer)
            LayerCheck(blob, layer, diff_id, index, self._report, self._progress, toc).run()
        except BAD_IMAGE as error:
            self._report.mismatch(layer.digest, f"cannot be read: {error}")
        outcome = "ok" if len(self._report.mismatches) == n_before else "mismatches"
        self._progress.end(layer.digest, outcome)


class _CallableModule(ModuleType):
    """``accel.verify`` is this module and, called, its function: one name for both."""

    __call__ = staticmethod(verify)


sys.modules[__name__].__class__ = _CallableModule
