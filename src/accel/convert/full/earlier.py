"""Layers that an earlier run converted, found by the annotations that it left on them."""

import logging
from collections.abc import Iterable, Mapping

from accel.convert.full.image import NewLayer
from accel.convert.full.job import Outcome
from accel.convert.full.names import OPTIONS, PLAIN, SOURCE_DIGEST, TOC_ANNOTATIONS
from accel.convert.report import OutputReport
from accel.errors import DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.formats.stargz import lazy_readers
from accel.images import Child, config_of, load
from accel.oci import Descriptor
from accel.stores import ImageStore

_log = logging.getLogger(__name__)
_UNUSABLE = (FormatError, DigestMismatch, LimitError, NotFoundError, UnsupportedError)

Found = dict[tuple[str, str], Outcome]  # by digest of the source's layer, and format


def find_converted(
    places: Iterable[tuple[ImageStore, str]], wanted: Mapping[str, str], layers: frozenset[str]
) -> Found:
    """Those of ``layers`` (digests) that the images at ``places`` (store and tag) have in a format.

    ``wanted`` are the formats, with the fingerprint of the options that must be the same. What is broken is passed
    over: it will be made anew.
    """
    found: Found = {}
    for store, tag in places:
        if len(found) == len(wanted) * len(layers):
            break
        try:
            images = load(store, tag, keep_broken=True).images()
        except _UNUSABLE as error:
            _log.info("%s in %s lends no layers: %s", tag, store.name, error)
            continue
        for child in images:
            try:
                _take(found, store, child, wanted, layers)
            except _UNUSABLE as error:
                _log.info("%s of %s lends no layers: %s", child.descriptor.digest, store.name, error)
    return found


def _take(
    found: Found, store: ImageStore, child: Child, wanted: Mapping[str, str], layers: frozenset[str]
) -> None:
    assert child.manifest is not None
    made_by = {fingerprint: format for format, fingerprint in wanted.items()}
    ours = [
        (i, layer, made_by[layer.annotations.get(OPTIONS, "")])
        for i, layer in enumerate(child.manifest.layers)
        if layer.annotations.get(OPTIONS) in made_by and layer.annotations.get(SOURCE_DIGEST) in layers
    ]
    if not ours:
        return
    diff_ids = config_of(store, child.manifest).diff_ids
    if len(diff_ids) != len(child.manifest.layers):
        raise FormatError("config and manifest differ in their number of layers", blob=child.descriptor.digest)
    for i, layer, format in ours:
        key = (layer.annotations[SOURCE_DIGEST], format)
        if key not in found and store.has_blob(layer):
            found[key] = _outcome(store, layer, diff_ids[i], format)


def _outcome(store: ImageStore, layer: Descriptor, diff_id: str, format: str) -> Outcome:
    kept = {key: value for key, value in layer.annotations.items() if key in TOC_ANNOTATIONS}
    descriptor = Descriptor(layer.media_type, layer.digest, layer.size, annotations=kept)
    report = OutputReport(
        format, "already converted", layer.digest, layer.size, lazy_readers(kept), kept.get(PLAIN, "")
    )
    return Outcome(NewLayer(descriptor, diff_id), report, store)
