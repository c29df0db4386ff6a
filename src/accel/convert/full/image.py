"""The manifests of a fully converted image, put together from the source's and the new layers.

::

    index ─┬─ linux/amd64  eStargz         what Docker and containerd take: the first of their platform
           ├─ linux/amd64  zstd:chunked    annotated, which makes podman, buildah and CRI-O prefer it
           ├─ linux/arm64  …
           └─ all other entries as they were

eStargz changes the tar of a layer, so it comes with a config of its own; zstd:chunked keeps the source's config.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from accel.convert.full.names import SOURCE_DIGEST, TOC_ANNOTATIONS, without
from accel.convert.options import ESTARGZ
from accel.formats.soci import Annotation as SociAnnotation
from accel.formats.soci import SociType
from accel.formats.stargz import Annotation as StargzAnnotation
from accel.images import Child
from accel.oci import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    Platform,
    canonical_json,
    sorted_map,
    with_attested,
)
from accel.oci.fields import JsonObject

_AS_OCI = {
    MediaType.DOCKER_LAYER: MediaType.OCI_LAYER,
    MediaType.DOCKER_LAYER_GZIP: MediaType.OCI_LAYER_GZIP,
    MediaType.DOCKER_LAYER_ZSTD: MediaType.OCI_LAYER_ZSTD,
    MediaType.DOCKER_FOREIGN: MediaType.OCI_FOREIGN,
    MediaType.DOCKER_FOREIGN_GZIP: MediaType.OCI_FOREIGN_GZIP,
}


def as_oci(media_type: str) -> str:
    """OCI's name for the type of a layer."""
    return _AS_OCI.get(media_type, media_type)


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A layer of the result. ``diff_id`` None: as the source's config says."""

    descriptor: Descriptor
    diff_id: str | None


Layers = Mapping[tuple[str, str], NewLayer]  # by digest of the source's layer, and format


@dataclass(frozen=True, slots=True)
class NewImage:
    """One manifest of the result, and its config if that is new."""

    source: Child
    format: str
    manifest: Manifest
    config: bytes | None = field(default=None, repr=False)


def new_image(
    child: Child, config: ImageConfig, layers: Layers, format: str, messages: list[str]
) -> NewImage | None:
    """The image ``child`` with its layers in ``format``; None if none of them is.

    Adds to ``messages`` what is wrong with the source.
    """
    manifest = child.manifest
    assert manifest is not None
    if not any((layer.digest, format) in layers for layer in manifest.layers):
        return None
    if len(config.diff_ids) != len(manifest.layers):
        messages.append(
            f"manifest {manifest.digest}: {len(config.diff_ids)} diffIDs for {len(manifest.layers)} layers: "
            "kept as it is"
        )
        return None
    new_layers, diff_ids = [], []
    for source, source_json, old_id in zip(
        manifest.layers, manifest.data["layers"], config.diff_ids, strict=True
    ):
        new = layers.get((source.digest, format))
        if new is None:
            new_layers.append(_kept(source_json))
            diff_ids.append(old_id)
            continue
        descriptor = new.descriptor
        if format != ESTARGZ and new.diff_id not in (None, old_id):
            messages.append(
                f"layer {source.digest}: its diffID is {new.diff_id}, the image config says {old_id}: "
                "clients that check it will refuse the image"
            )
            descriptor = replace(descriptor, annotations=without(descriptor.annotations, TOC_ANNOTATIONS))
        new_layers.append(_rewritten(source, descriptor))
        diff_ids.append(new.diff_id or old_id)
    new_config = None
    if format == ESTARGZ and tuple(diff_ids) != config.diff_ids:
        rootfs = {**config.data["rootfs"], "diff_ids": diff_ids}
        new_config = canonical_json({**config.data, "rootfs": rootfs})
    return NewImage(child, format, _manifest(manifest, new_layers, new_config), new_config)


def _manifest(source: Manifest, layers: list[JsonObject], config: bytes | None) -> Manifest:
    described = {**source.data["config"], "mediaType": MediaType.OCI_CONFIG}
    if config is not None:
        described |= {"digest": Descriptor.of(config, "").digest, "size": len(config)}
        described.pop("data", None)
    # An index of the source's layers says nothing about these.
    annotations = without(source.annotations, {SociAnnotation.INDEX_DIGEST})
    annotations.setdefault(SOURCE_DIGEST, source.digest)
    data: JsonObject = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST}
    data |= {key: value for key, value in source.data.items() if key not in data}
    data |= {"config": described, "layers": layers, "annotations": sorted_map(annotations)}
    return Manifest.parse(canonical_json(data))


def _kept(source: JsonObject) -> JsonObject:
    """The layer as it was, under OCI's name for its type."""
    kept = {**source, "mediaType": as_oci(source["mediaType"])}
    annotations = source.get("annotations") or {}
    if StargzAnnotation.TOC_DIGEST in annotations and StargzAnnotation.CHECKSUM in annotations:
        # With both, podman refuses the whole image.
        kept["annotations"] = without(annotations, TOC_ANNOTATIONS)
    return kept


def _rewritten(source: Descriptor, new: Descriptor) -> JsonObject:
    annotations = without(source.annotations, TOC_ANNOTATIONS) | dict(new.annotations)
    return replace(new, annotations=annotations).to_json()


def new_index(
    source: Manifest | Index, images: Sequence[NewImage], platform: Platform | None, dropped: frozenset[str]
) -> bytes:
    """The index that lists ``images`` in the place of the source's, without the entries ``dropped``.

    ``platform`` is that of a source that is no index.
    """
    if isinstance(source, Index):
        data = dict(source.data)
    else:
        data = {"manifests": [replace(source.descriptor(), platform=platform).to_json()]}
    by_source: dict[str, list[NewImage]] = {}
    for image in images:
        by_source.setdefault(image.source.descriptor.digest, []).append(image)
    first_made = {digest: made[0].manifest.digest for digest, made in by_source.items()}
    entries: list[JsonObject] = []
    for entry in data["manifests"]:
        made = by_source.get(entry["digest"])
        if made:
            entries += [_entry(entry, image, alone=len(made) == 1) for image in made]
        elif entry["digest"] not in dropped and not _is_outdated(entry, by_source):
            # Tools look for attestations by the digest of a manifest of this index: the first one made.
            entries.append(with_attested(entry, first_made))
    index: JsonObject = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX}
    index |= {key: value for key, value in data.items() if key not in index}
    index["manifests"] = entries
    index["annotations"] = sorted_map({SOURCE_DIGEST: source.digest} | (data.get("annotations") or {}))
    return canonical_json(index)


def _entry(source: JsonObject, image: NewImage, *, alone: bool) -> JsonObject:
    annotations = without(source.get("annotations") or {}, {SociAnnotation.INDEX_DIGEST})
    annotations.setdefault(SOURCE_DIGEST, source["digest"])
    annotations.pop(StargzAnnotation.PREFER_ZSTD, None)
    if image.format != ESTARGZ and not alone:
        annotations[StargzAnnotation.PREFER_ZSTD] = "true"
    entry = {**source, **image.manifest.descriptor().to_json(), "annotations": sorted_map(annotations)}
    entry.pop("data", None)  # the old manifest's bytes
    return entry


def _is_outdated(entry: JsonObject, by_source: Mapping[str, object]) -> bool:
    """Whether this is an index of layers that are no longer there."""
    annotations = entry.get("annotations") or {}
    if entry.get("artifactType") == SociType.INDEX_V2:
        return annotations.get(SociAnnotation.IMAGE_MANIFEST_DIGEST) in by_source
    return False
