"""Odd layers: what we say of them is what the real readers find. What one would refuse is a plain layer."""

from pathlib import Path

import pytest

from accel.oci import digest_of
from support.full_images import one_format
from support.images import Layer
from support.stargz_interop import Stargz
from support.storage_interop import Storage
from support.tar_cases import LEGAL
from support.trees import tree

pytestmark = pytest.mark.interop

TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"
# No file system takes names of more than 255 bytes, whoever unpacks the layer.
TOO_LONG = {"long name", "long link", "long name of exactly one block"}
CASES = {name: tar for name, tar in LEGAL.items() if name not in TOO_LONG} | {"a path twice": tree(1)}


def mounted(layer: Layer, stargz: Stargz, *, zstd: bool = False) -> None:
    """Checks the layer's promises to stargz-snapshotter, if it makes some."""
    toc_digest = layer.descriptor.annotations.get(TOC_DIGEST)
    assert layer.data is not None
    if toc_digest is not None:
        report = stargz.check(layer.data, toc_digest, zstd=zstd)
        assert report["diffID"] == layer.diff_id
        assert all("error" not in row for row in stargz.read(layer.data, toc_digest, zstd=zstd).values())


@pytest.mark.parametrize("case", CASES)
def test_an_odd_layer_is_plain_or_mounted_by_stargz_snapshotter(
    stargz: Stargz, tmp_path: Path, case: str
) -> None:
    mounted(one_format([CASES[case]], tmp_path, format="estargz").layers[0], stargz)
    layer = one_format([CASES[case]], tmp_path, containerd_only=True).layers[0]
    assert layer.diff_id == digest_of(CASES[case])
    mounted(layer, stargz, zstd=True)


@pytest.mark.parametrize("case", CASES)
def test_an_odd_layer_is_plain_or_pulled_partially_by_containers_storage(
    storage: Storage, tmp_path: Path, case: str
) -> None:
    layer = one_format([CASES[case]], tmp_path, format="zstd-chunked").layers[0]
    assert layer.diff_id == digest_of(CASES[case]) and layer.data is not None
    if CHECKSUM in layer.descriptor.annotations:
        report = storage.check(layer.data, layer.descriptor.annotations, layer.diff_id)
        assert report["partial"] and report["exported"] == layer.diff_id
