"""The manifests of the accelerated image, put together from the source's and the new zTOCs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from accel.convert.options import ConvertOptions
from accel.convert.plan import Plan
from accel.formats.soci import (
    Annotation,
    IndexedManifest,
    RewrittenImage,
    SociIndex,
    rewrite_image,
    soci_index,
)
from accel.images import Child, Image
from accel.oci import Descriptor, Index, Manifest, Platform, canonical_json, sorted_map


@dataclass(frozen=True, slots=True)
class Result:
    """``image`` is what gets the tag; ``referrers`` are version 1 indexes with the image manifest each is for."""

    image: RewrittenImage
    referrers: tuple[tuple[Descriptor, SociIndex], ...]


def build_result(plan: Plan, ztocs: Mapping[str, Descriptor], options: ConvertOptions) -> Result | None:
    """The accelerated image, None if no image has a layer in ``ztocs`` (zTOC descriptors by layer digest)."""
    indexed: list[IndexedManifest] = []
    referrers: list[tuple[Descriptor, SociIndex]] = []
    for child in plan.targets:
        assert child.manifest is not None
        own = _ztocs_of(child.manifest, ztocs)
        if not own:
            continue
        platform = child.platform or Platform("unknown", "unknown")
        indexed.append(IndexedManifest(child.descriptor.digest, soci_index(own, options.soci), platform))
        if options.referrers:
            subject = child.manifest.descriptor()
            referrers.append((subject, soci_index(own, options.soci, subject=subject)))
    if not indexed:
        return None
    top = plan.image.top
    source = top.manifest or flat_index(plan.image)
    assert source is not None
    raw = {
        child.descriptor.digest: child.manifest.raw
        for child in plan.image.walk()
        if child.manifest is not None
    }
    return Result(rewrite_image(source, indexed, options.soci, manifests=raw), tuple(referrers))


def _ztocs_of(manifest: Manifest, ztocs: Mapping[str, Descriptor]) -> list[Descriptor]:
    """In layer order, each once; the media type is the one this manifest gives the layer."""
    found: dict[str, Descriptor] = {}
    for layer in manifest.layers:
        if layer.digest in ztocs and layer.digest not in found:
            ztoc = ztocs[layer.digest]
            annotations = {**ztoc.annotations, Annotation.LAYER_MEDIA_TYPE: layer.media_type}
            found[layer.digest] = replace(ztoc, annotations=annotations)
    return list(found.values())


def flat_index(image: Image) -> Index:
    """The index at the top with the entries of nested indexes in their place: what runtimes pick from is the same.

    SOCI knows no nesting, and its own index entries must follow the image in the same list.
    """
    top = image.top.index
    assert top is not None
    if not any(child.kind == "index" for child in image.top.children):
        return top
    entries = [entry.to_json() for entry in _leaves(image.top)]
    annotations = {Annotation.SOURCE_DIGEST: top.digest} | dict(top.annotations)
    return Index.parse(
        canonical_json(top.data | {"manifests": entries, "annotations": sorted_map(annotations)}),
        top.media_type,
    )


def _leaves(child: Child) -> list[Descriptor]:
    leaves: list[Descriptor] = []
    for below in child.children:
        leaves += _leaves(below) if below.kind == "index" else [below.descriptor]
    return leaves
