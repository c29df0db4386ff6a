"""Images whose layers can be used before they are there: per platform an eStargz manifest, then a zstd:chunked one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from accel.oci import Descriptor, MediaType
from support.images import Built, Layer, image, index
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


def full_image(tars: Sequence[bytes], stargz: Stargz, storage: Storage) -> FullImage:
    """The full image of an image with these layers."""
    return reference_image(tars, stargz, storage)


def containerd_only_image(tars: Sequence[bytes], stargz: Stargz) -> Built:
    """The image of these layers as zstd:chunked in the dialect of stargz-snapshotter."""
    return image([_layer(*stargz.build(tar, "--zstdchunked"), MediaType.OCI_LAYER_ZSTD) for tar in tars])


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
