"""Full images against containers/storage and containers/image, what podman, buildah, skopeo and CRI-O pull with."""

import random
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from accel.oci import MediaType, digest_of
from support.full_images import full_image
from support.go_programs import Refused
from support.images import directory, file, image, index, tar_of
from support.registry_docker import DockerRegistry, pushed
from support.storage_interop import Storage
from support.trees import tree

pytestmark = [pytest.mark.interop, pytest.mark.registry]

CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"
LAYERS = {
    "pax": tree(1, twice=False, tar_format=tarfile.PAX_FORMAT),
    "gnu": tree(2, twice=False, tar_format=tarfile.GNU_FORMAT),
    "large": tar_of(file("big", random.Random(3).randbytes((9 << 20) + 1)), file("next", b"to it")),
    "zeros": tar_of(file("zeros", bytes(9 << 20)), directory("d")),
    "nothing": tar_of(),
}


@pytest.mark.parametrize("case", LAYERS)
def test_our_zstd_layers_are_pulled_partially_and_give_their_tar_back(
    storage: Storage, tmp_path: Path, case: str
) -> None:
    layer = full_image([LAYERS[case]], tmp_path).zstd.layers[0]
    assert layer.diff_id == digest_of(LAYERS[case]) and layer.data is not None
    report = storage.check(layer.data, layer.descriptor.annotations, layer.diff_id)
    assert report["partial"] and report["exported"] == layer.diff_id
    assert report["tocDigest"] == layer.descriptor.annotations[CHECKSUM]


def test_our_estargz_layers_are_pulled_whole(storage: Storage, tmp_path: Path) -> None:
    layer = full_image([LAYERS["pax"]], tmp_path).estargz.layers[0]
    assert layer.data is not None
    report = storage.check(layer.data, layer.descriptor.annotations, layer.diff_id)
    assert not report["partial"] and "estargz" in report["fallback"]


def test_a_wrong_diff_id_is_refused(storage: Storage, tmp_path: Path) -> None:
    """Guards the guard."""
    layer = full_image([LAYERS["large"]], tmp_path).zstd.layers[0]
    assert layer.data is not None
    with pytest.raises(Refused, match="diffID"):
        storage.check(layer.data, layer.descriptor.annotations, digest_of(b"another"))
    spoilt = bytearray(layer.data)
    spoilt[len(spoilt) // 2] ^= 1
    with pytest.raises(Refused):
        storage.check(bytes(spoilt), layer.descriptor.annotations, layer.diff_id)


@pytest.mark.parametrize("partial", [True, False])
def test_of_the_two_manifests_it_takes_the_zstd_one(
    storage: Storage, tmp_path: Path, registry: DockerRegistry, partial: bool
) -> None:
    tars = [LAYERS["pax"], LAYERS["large"]]
    made = full_image(tars, tmp_path)
    name = pushed(registry, made.index, f"storage/index:{partial}")
    copied = storage.copy(name, partial=partial)
    assert copied["manifest"] == made.zstd.digest
    assert [layer["exported"] for layer in copied["layers"]] == [digest_of(tar) for tar in tars]
    tocs = [layer.descriptor.annotations[CHECKSUM] for layer in made.zstd.layers]
    assert [layer["tocDigest"] for layer in copied["layers"]] == (tocs if partial else ["", ""])


def test_it_takes_the_estargz_one_alone_as_well(
    storage: Storage, tmp_path: Path, registry: DockerRegistry
) -> None:
    made = full_image([LAYERS["gnu"]], tmp_path)
    name = pushed(registry, index([made.estargz]), "storage/estargz:v1")
    copied = storage.copy(name)
    assert copied["manifest"] == made.estargz.digest
    assert [layer["exported"] for layer in copied["layers"]] == [made.estargz.layers[0].diff_id]


def test_annotations_of_both_dialects_on_one_layer_are_refused(
    storage: Storage, tmp_path: Path, registry: DockerRegistry
) -> None:
    layer = full_image([LAYERS["gnu"]], tmp_path).zstd.layers[0]
    both = dict(layer.descriptor.annotations) | {
        "containerd.io/snapshot/stargz/toc.digest": digest_of(b"toc")
    }
    assert layer.descriptor.media_type == MediaType.OCI_LAYER_ZSTD
    spoilt = image([replace(layer, descriptor=replace(layer.descriptor, annotations=both))])
    name = pushed(registry, spoilt, "storage/both:v1")
    with pytest.raises(Refused, match="both zstd:chunked and eStargz TOC found"):
        storage.copy(name)
