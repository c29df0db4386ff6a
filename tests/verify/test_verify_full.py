"""Converted layers read back and verified; what a stranger changed is found. Contents are judged by tarfile."""

import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accel
from accel.convert import ConvertOptions, convert
from accel.errors import DigestMismatch, FormatError
from accel.layout import LayoutStore
from accel.oci import Descriptor, Index, Manifest, MediaType, canonical_json
from accel.reader import open_image
from accel.reader.describe import describe_image
from support.images import directory, file, gzip_layer, hardlink, image, put, symlink, tar_of, whiteout
from support.lazy_layers import CHECKSUM, POSITION, TAR_SPLIT, TOC_DIGEST, UNCOMP_SIZE, files_of

RNG = random.Random(11)
BASE_TAR = tar_of(
    directory("usr"), directory("usr/bin"), file("usr/bin/tool", RNG.randbytes(70_000), 0o755, mtime=1_600_000_000),
    file("usr/big", RNG.randbytes(9_000_000)), file("usr/gone", b"x"), file("usr/empty"),
    hardlink("usr/bin/link", "usr/bin/tool"), symlink("t", "usr/bin/tool"),
)  # fmt: skip
TOP_TAR = tar_of(file("etc/motd", b"hello\n"), whiteout("usr/gone"))
IMAGE = image([gzip_layer(BASE_TAR), gzip_layer(TOP_TAR)])
FORMATS = {
    "estargz": ConvertOptions(mode="full", format="estargz"),
    "prefetch": ConvertOptions(mode="full", format="estargz", prefetch=(b"/usr/big",)),
    "zstd-chunked": ConvertOptions(mode="full", format="zstd-chunked"),
    "containerd": ConvertOptions(mode="full", containerd_only=True),
}


@pytest.fixture(params=FORMATS)
def where(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    put(LayoutStore(tmp_path / "l"), IMAGE, "v1")
    convert(f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/l:fast", FORMATS[request.param])
    return f"oci:{tmp_path}/l:fast"


def test_everything_holds(where: str) -> None:
    report = accel.verify(where)
    assert report.mismatches == [] and report.notes == []
    assert report.n_lazy_layers == 2 and report.n_chunks >= 6 and report.n_files >= 4


def test_both_manifests_are_checked(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path / "l"), IMAGE, "v1")
    convert(f"oci:{tmp_path}/l:v1", None, ConvertOptions(mode="full"))
    report = accel.verify(f"oci:{tmp_path}/l:v1_accelerated")
    assert report.ok and report.n_lazy_layers == 4


def test_files_are_read_by_their_chunks_alone(where: str) -> None:
    files = files_of(BASE_TAR)
    with open_image(where) as opened:
        whole = sum(layer.size for layer in opened.manifest.layers)
        names = {info.name for info in opened.ls("/", recursive=True)}
        assert names == {
            "etc", "etc/motd", "t", "usr", "usr/big", "usr/bin", "usr/bin/link", "usr/bin/tool", "usr/empty",
        }  # fmt: skip
        assert opened.fetched_bytes == 0 and opened.index_bytes > 0
        assert b"".join(opened.cat("/t")) == files["usr/bin/tool"]["data"]
        assert 70_000 <= opened.fetched_bytes < 80_000 < whole
        assert b"".join(opened.cat("/usr/big")) == files["usr/big"]["data"]
        assert b"".join(opened.cat("/usr/empty")) == b""
        info = opened.stat("/usr/bin/link")
        assert (info.size, info.mode) == (70_000, 0o755)


def test_extracting_gives_what_tarfile_gives(where: str, tmp_path: Path) -> None:
    with open_image(where) as opened:
        report = opened.extract(tmp_path / "ours")
    assert report.skipped == []
    (tmp_path / "theirs").mkdir()
    (tmp_path / "in.tar").write_bytes(BASE_TAR)
    with tarfile.open(tmp_path / "in.tar") as tar:
        tar.extractall(tmp_path / "theirs", filter="tar")
    for path in sorted((tmp_path / "theirs").rglob("*")):
        name = path.relative_to(tmp_path / "theirs")
        ours = tmp_path / "ours" / name
        if str(name) == "usr/gone":
            assert not ours.exists()
        elif path.is_file() and not path.is_symlink():
            assert ours.read_bytes() == path.read_bytes()
            if path.stat().st_nlink == 1:  # tarfile gives a file the mode of its last link
                assert ours.stat().st_mode == path.stat().st_mode
    link = (tmp_path / "ours/usr/bin/link").stat()
    assert (link.st_nlink, link.st_mode & 0o777) == (2, 0o755)


def test_inspect_says_by_whom_a_layer_is_loaded_lazily(where: str) -> None:
    [platform] = describe_image(where)["platforms"]
    tocs = [layer["toc"] for layer in platform["layers"]]
    assert all(toc["entries"] >= 2 and toc["chunks"] >= 1 for toc in tocs)
    assert {tuple(toc["lazy"]) for toc in tocs} <= {("stargz-snapshotter",), ("podman",)}


def rewritten(store: LayoutStore, change: Callable[[dict[str, Any]], None]) -> None:
    """Give the first layer of the image ``fast`` other annotations, and list that under ``bad``."""
    descriptor, raw = store.get_manifest("fast")
    entry = Index.parse(raw, descriptor.media_type).manifests[0]
    manifest = Manifest.parse(store.get_manifest(entry.digest)[1])
    layers = [dict(layer) for layer in manifest.data["layers"]]
    layers[0]["annotations"] = dict(layers[0]["annotations"])
    change(layers[0])
    new = canonical_json(manifest.data | {"layers": layers})
    store.put_manifest(new, MediaType.OCI_MANIFEST, tag="bad")


def said(layer: dict[str, Any], **annotations: str) -> None:
    layer["annotations"] |= {key.replace("__", "."): value for key, value in annotations.items()}


ZEROS = "sha256:" + "0" * 64
LIES: dict[str, tuple[str, dict[str, str], str]] = {
    "another TOC": ("estargz", {TOC_DIGEST: ZEROS}, "table of contents: digest mismatch"),
    "another size": ("estargz", {UNCOMP_SIZE: "12345"}, "12345"),
    "another compressed TOC": ("zstd-chunked", {CHECKSUM: ZEROS}, "table of contents: digest mismatch"),
    "both kinds": ("zstd-chunked", {UNCOMP_SIZE: "7"}, "annotation says 7"),
    "another position": ("zstd-chunked", {POSITION: "1:2:3:1"}, "annotation says the TOC is at 1:2:3:1"),
    "no tar-split there": ("zstd-chunked", {TAR_SPLIT: "0:10:20"}, "digest of the tar-split"),
    "a tar-split outside": ("zstd-chunked", {TAR_SPLIT: f"{1 << 40}:10:20"}, "where it cannot be"),
    "a tar-split of nonsense": ("zstd-chunked", {TAR_SPLIT: "x"}, "where it cannot be"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_annotations_are_found(tmp_path: Path, lie: str) -> None:
    format, annotations, what = LIES[lie]
    store = LayoutStore(tmp_path / "l")
    put(store, IMAGE, "v1")
    convert(f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/l:fast", FORMATS[format])
    rewritten(store, lambda layer: layer["annotations"].update(annotations))
    report = accel.verify(f"oci:{tmp_path}/l:bad")
    assert any(what in mismatch.what for mismatch in report.mismatches), report.mismatches


def blob_path(tmp_path: Path, layer: Descriptor) -> Path:
    return tmp_path / "l" / "blobs" / "sha256" / layer.digest.removeprefix("sha256:")


@pytest.mark.parametrize("format", ["estargz", "zstd-chunked"])
def test_a_flipped_byte_is_found_by_reader_and_verifier(tmp_path: Path, format: str) -> None:
    store = LayoutStore(tmp_path / "l")
    put(store, IMAGE, "v1")
    convert(f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/l:fast", FORMATS[format])
    with open_image(f"oci:{tmp_path}/l:fast") as opened:
        path = blob_path(tmp_path, opened.manifest.layers[0])
        data = bytearray(path.read_bytes())
        data[40_000] ^= 0x10  # within usr/bin/tool
        path.write_bytes(data)
        with pytest.raises((DigestMismatch, FormatError)):
            b"".join(opened.cat("/usr/bin/tool"))
        assert len(b"".join(opened.cat("/usr/big"))) == 9_000_000
    report = accel.verify(f"oci:{tmp_path}/l:fast")
    assert any("chunk" in mismatch.what for mismatch in report.mismatches)


def test_a_footer_that_is_gone_is_an_error_and_not_another_way_to_read(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "l")
    put(store, IMAGE, "v1")
    convert(f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/l:fast", FORMATS["estargz"])
    with open_image(f"oci:{tmp_path}/l:fast") as opened:
        path = blob_path(tmp_path, opened.manifest.layers[0])
        data = path.read_bytes()
        path.write_bytes(data[:-51] + bytes(51))
        with pytest.raises(FormatError):
            list(opened.ls("/"))
    assert not accel.verify(f"oci:{tmp_path}/l:fast").ok


def test_layers_that_are_right_already_are_taken_over(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "l")
    put(store, IMAGE, "v1")
    both = ConvertOptions(mode="full")
    for format in ("estargz", "zstd-chunked"):
        first = convert(f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/l:{format}", replace(both, format=format))
        rewritten_to = f"oci:{tmp_path}/l:{format}2"
        # With other options nothing of an earlier run fits: only what the blob itself says counts.
        again = convert(f"oci:{tmp_path}/l:{format}", rewritten_to, replace(both, level="2"))
        by_format = [{output.format: output for output in layer.outputs} for layer in again.layers]
        assert [one[format].digest for one in by_format] == [layer.outputs[0].digest for layer in first.layers]
        assert {one[format].state for one in by_format} == {"already converted"}
        assert accel.verify(rewritten_to).ok
        forced = convert(f"oci:{tmp_path}/l:{format}", f"oci:{tmp_path}/l:{format}3", replace(both, force=True))
        assert {output.state for layer in forced.layers for output in layer.outputs} == {"converted"}


def test_annotations_of_two_readers_on_one_layer_become_those_of_one(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "l")
    put(store, IMAGE, "v1")
    convert(f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/l:fast", FORMATS["zstd-chunked"])
    rewritten(store, lambda layer: layer["annotations"].update({TOC_DIGEST: ZEROS}))
    convert(f"oci:{tmp_path}/l:bad", f"oci:{tmp_path}/l:mended", replace(FORMATS["zstd-chunked"], level="2"))
    raw = store.get_manifest("mended")[1]
    manifest = Manifest.parse(store.get_manifest(json.loads(raw)["manifests"][0]["digest"])[1])
    assert TOC_DIGEST not in manifest.layers[0].annotations and CHECKSUM in manifest.layers[0].annotations
