"""Images whose layers can be used before they are there: per platform an eStargz manifest, then a zstd:chunked one."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import accel
from accel.convert import ConvertOptions
from accel.layout import LayoutStore
from accel.oci import Descriptor, ImageConfig, Index, Manifest, MediaType
from support.images import Built, Layer, gzip_layer, image, index, put
from support.stargz_interop import Stargz
from support.storage_interop import Storage

PREFER_ZSTD = {"io.github.containers.compression.zstd": "true"}


@dataclass(frozen=True)
class FullImage:
    """The index, and its two manifests for the only platform."""

    index: Built

    @property
    def estargz(self) -> Built:
        return self.index.children[0]

    @property
    def zstd(self) -> Built:
        return self.index.children[1]


def full_image(tars: Sequence[bytes], folder: Path, **options: Any) -> FullImage:
    """What we make of an image with these layers; ``options`` are those of a conversion."""
    return FullImage(_converted(tars, folder, **options))


def one_format(tars: Sequence[bytes], folder: Path, **options: Any) -> Built:
    """The only manifest that we make with these options."""
    made = _converted(tars, folder, **options)
    (manifest,) = made.children or (made,)
    return manifest


def _converted(tars: Sequence[bytes], folder: Path, **options: Any) -> Built:
    place = Path(tempfile.mkdtemp(dir=folder))
    put(LayoutStore(place / "in"), image([gzip_layer(tar) for tar in tars]), "v1")
    accel.convert(f"oci:{place}/in:v1", f"oci:{place}/out:v1", ConvertOptions(mode="full", **options))
    return built_of(LayoutStore(place / "out"), "v1")


def built_of(store: LayoutStore, name: str) -> Built:
    """An image or index of a layout, with all that is below it."""
    descriptor, raw = store.get_manifest(name)
    if descriptor.media_type == MediaType.OCI_INDEX:
        children = [(entry, built_of(store, entry.digest)) for entry in Index.parse(raw).manifests]
        below = [replace(child, descriptor=entry) for entry, child in children]
        blobs = {digest: data for child in below for digest, data in child.blobs.items()}
        return Built(raw, descriptor, blobs, children=tuple(below))
    manifest = Manifest.parse(raw)
    blobs = {one.digest: _data(store, one) for one in (manifest.config, *manifest.layers)}
    diff_ids = ImageConfig.parse(blobs[manifest.config.digest]).diff_ids
    layers = [
        Layer(blobs[layer.digest], layer, diff_id)
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    ]
    return Built(raw, descriptor, blobs, layers=tuple(layers))


def _data(store: LayoutStore, descriptor: Descriptor) -> bytes:
    return store.blob(descriptor).read_at(0, descriptor.size)


def reference_image(tars: Sequence[bytes], stargz: Stargz, storage: Storage) -> FullImage:
    """The same, put together from what the reference writers make of each layer."""
    estargz = image([_layer(*stargz.build(tar), MediaType.OCI_LAYER_GZIP) for tar in tars])
    zstd = image([_layer(*storage.compress(tar), MediaType.OCI_LAYER_ZSTD) for tar in tars])
    preferred = replace(zstd, descriptor=replace(zstd.descriptor, annotations=PREFER_ZSTD))
    return FullImage(index([estargz, preferred]))


def _layer(blob: bytes, said: dict[str, object], media_type: str) -> Layer:
    annotations = said["annotations"]
    assert isinstance(annotations, dict)
    return Layer(blob, Descriptor.of(blob, media_type, annotations=annotations), str(said["diffID"]))
