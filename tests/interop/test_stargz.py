"""Full images against stargz-snapshotter's own code, and each of their blobs against gzip, zstd and tarfile."""

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest

from accel.oci import MediaType, digest_of
from support.full_images import full_image
from support.go_programs import Refused
from support.images import Layer, directory, file, tar_of
from support.layer_views import compare, tarfile_view
from support.stargz_interop import LANDMARK, NO_TIME_S, PREFETCH_LANDMARK, Stargz, in_whole_seconds
from support.trees import tree

pytestmark = pytest.mark.interop

TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
TOC = b"stargz.index.json"
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}
BIG = tar_of(file("big", random.Random(3).randbytes((9 << 20) + 1)), file("next", b"to it"))
EXACT = tar_of(file("exactly two chunks", bytes(8 << 20)), directory("d"))
LAYERS = {
    "pax": tree(1, twice=False, tar_format=tarfile.PAX_FORMAT),
    "gnu": tree(2, twice=False, tar_format=tarfile.GNU_FORMAT),
    "below ./": tar_of(directory("./"), directory("./etc"), file("./etc/passwd", b"root"), file("./empty")),
    "below /": tar_of(directory("/etc"), file("/etc/passwd", b"root")),
    "three chunks": BIG,
    "exactly two chunks": EXACT,
    "nothing": tar_of(),
}


def our_layer(tar: bytes, folder: Path) -> Layer:
    return full_image([tar], folder).estargz.layers[0]


@pytest.mark.parametrize("case", LAYERS)
def test_every_file_of_our_estargz_is_what_tarfile_says(stargz: Stargz, tmp_path: Path, case: str) -> None:
    layer = our_layer(LAYERS[case], tmp_path)
    assert layer.data is not None
    seen = stargz.read(layer.data, layer.descriptor.annotations[TOC_DIGEST])
    assert seen.pop(LANDMARK)["size"] == 1
    assert compare(seen, in_whole_seconds(tarfile_view(LAYERS[case]))) == []


@pytest.mark.parametrize("case", LAYERS)
def test_our_estargz_keeps_all_its_promises(stargz: Stargz, tmp_path: Path, case: str) -> None:
    layer = our_layer(LAYERS[case], tmp_path)
    assert layer.data is not None
    report = stargz.check(layer.data, layer.descriptor.annotations[TOC_DIGEST])
    assert report["errors"] == [] and report["diffID"] == layer.diff_id
    tar = gzip.decompress(layer.data)
    assert digest_of(tar) == layer.diff_id
    assert layer.descriptor.annotations["io.containers.estargz.uncompressed-size"] == str(len(tar))
    assert layer.descriptor.media_type == MediaType.OCI_LAYER_GZIP


@pytest.mark.parametrize("case", LAYERS)
def test_a_runtime_that_knows_no_estargz_gets_the_same_files(
    stargz: Stargz, tmp_path: Path, case: str
) -> None:
    layer = our_layer(LAYERS[case], tmp_path)
    assert layer.data is not None
    found = tarfile_view(gzip.decompress(layer.data))
    assert found.pop(LANDMARK)["mode"] == 0 and found.pop(TOC)["mode"] == 0
    assert found == tarfile_view(LAYERS[case])
    unpacked = tarfile_view(stargz.unpack(layer.data))
    assert unpacked.pop(LANDMARK) and unpacked == found


def test_files_that_share_members_are_what_tarfile_says(stargz: Stargz, tmp_path: Path) -> None:
    """As the library verifies them, which refuses those of its own writer, and as the snapshotter reads them."""
    small = [file(f"small/{i}", random.Random(i).randbytes(i * 40)) for i in range(300)]
    big = file("big", random.Random(3).randbytes((9 << 20) + 1))
    tar = tar_of(*small, big, *(file(f"{i}", b"x" * i) for i in range(99)))
    for prefetch in ((), (b"/small/7", b"/98")):
        layer = full_image([tar], tmp_path, prefetch=prefetch, min_chunk_bytes=64 << 10).estargz.layers[0]
        assert layer.data is not None
        toc_digest = layer.descriptor.annotations[TOC_DIGEST]
        report = stargz.check(layer.data, toc_digest)
        assert report["errors"] == [] and report["diffID"] == layer.diff_id
        seen = stargz.read(layer.data, toc_digest)
        assert seen.pop(PREFETCH_LANDMARK if prefetch else LANDMARK)["size"] == 1
        assert compare(seen, in_whole_seconds(tarfile_view(tar))) == []
    theirs, said = stargz.build(tar, "--min-chunk-size", "50000")
    with pytest.raises(Refused, match="found twice"):
        stargz.check(theirs, said["tocDigest"])


def test_a_changed_byte_is_refused(stargz: Stargz, tmp_path: Path) -> None:
    """Guards the guard: whatever chunk it is in."""
    layer = our_layer(LAYERS["three chunks"], tmp_path)
    assert layer.data is not None
    toc_digest = layer.descriptor.annotations[TOC_DIGEST]
    for at in (5 << 20, len(layer.data) - 100):
        spoilt = bytearray(layer.data)
        spoilt[at] ^= 0x10
        with pytest.raises(Refused):
            stargz.check(bytes(spoilt), toc_digest)
    with pytest.raises(Refused, match="invalid TOC JSON"):
        stargz.check(layer.data, digest_of(b"another"))
    with pytest.raises(Refused):
        stargz.read(layer.data, digest_of(b"another"))


@pytest.mark.parametrize("tar_format", FORMATS)
def test_the_reference_zstd_chunked_is_read_too(stargz: Stargz, tar_format: str) -> None:
    tar = tree(4, tar_format=FORMATS[tar_format])
    blob, said = stargz.build(tar, "--zstdchunked", "--chunk-size", "1000")
    report = stargz.check(blob, said["tocDigest"], zstd=True)
    assert report["diffID"] == said["diffID"] and report["chunks"] > report["files"]
    seen = stargz.read(blob, said["tocDigest"], zstd=True)
    assert seen.pop(LANDMARK) and compare(seen, in_whole_seconds(tarfile_view(tar), NO_TIME_S)) == []


def test_prioritised_files_come_first(stargz: Stargz) -> None:
    tar = tree(5)
    blob, said = stargz.build(tar, prioritized=["/etc/setuid", "./etc/zero", "not/there"])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
        names = archive.getnames()
    assert names[: names.index(PREFETCH_LANDMARK.decode())] == ["etc", "etc/setuid", "etc/zero"]
    assert stargz.check(blob, said["tocDigest"])["errors"] == []
