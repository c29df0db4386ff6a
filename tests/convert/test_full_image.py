"""Whole images to eStargz and zstd:chunked: every kind of place, every kind of image, judged from outside."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from accel.convert import ConvertOptions, ConvertReport, convert
from accel.errors import Cancelled, ConfigError
from accel.layout import LayoutStore
from accel.oci import Descriptor, Index, Manifest, MediaType, Platform, digest_of
from accel.progress import CancelToken
from accel.registry import RegistryStore
from accel.stores import ImageStore
from support.images import (
    EMPTY_LAYER,
    Built,
    Layer,
    attestation_of,
    file,
    foreign_layer,
    gzip_layer,
    hardlink,
    image,
    index,
    layer_of,
    plain_layer,
    put,
    random_tar,
    symlink,
    tar_of,
    whiteout,
)
from support.lazy_layers import (
    CHECKSUM,
    STARGZ_CHECKSUM,
    TOC_DIGEST,
    check_estargz,
    check_zstd,
    gunzip,
    unzstd,
)
from support.registry_faults import FakeRegistry

FULL = ConvertOptions(mode="full")
PREFER_ZSTD = "io.github.containers.compression.zstd"
ZSTD_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
GZIP_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

BASE_TAR = random_tar(1, 40, 20_000)
TOP_TAR = tar_of(file("etc/motd", b"hello"), symlink("motd", "etc/motd"), whiteout("usr/share/f0001"))
BASE, TOP = gzip_layer(BASE_TAR), gzip_layer(TOP_TAR)
TARS = {layer.descriptor.digest: tar for layer, tar in ((BASE, BASE_TAR), (TOP, TOP_TAR))}


def known(layer: Layer, tar: bytes) -> Layer:
    TARS[layer.descriptor.digest] = tar
    return layer


THIRD = known(plain_layer(random_tar(3, 9, 3000)), random_tar(3, 9, 3000))
TARS[EMPTY_LAYER.descriptor.digest] = tar_of()


def two_platforms(**changes: bool) -> Built:
    amd64 = image([BASE, TOP], platform="linux/amd64", **changes)
    arm64 = image([BASE, THIRD, EMPTY_LAYER], platform="linux/arm64/v8", **changes)
    return index([amd64, arm64, attestation_of(amd64)], **changes)


@pytest.fixture
def layout(tmp_path: Path) -> tuple[LayoutStore, str]:
    return LayoutStore(tmp_path / "layout"), f"oci:{tmp_path}/layout"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def top_index(store: ImageStore, tag: str) -> Index:
    descriptor, raw = store.get_manifest(tag)
    assert descriptor.media_type == MediaType.OCI_INDEX
    return Index.parse(raw, descriptor.media_type)


def blob(store: ImageStore, descriptor: Descriptor) -> bytes:
    data = b"".join(store.blob(descriptor).stream())
    assert (digest_of(data), len(data)) == (descriptor.digest, descriptor.size)
    return data


def check_manifest(store: ImageStore, entry: Descriptor, source: Built, format: str) -> Manifest:
    """One manifest of the result against the image it was made from."""
    _, raw = store.get_manifest(entry.digest)
    manifest = Manifest.parse(raw, MediaType.OCI_MANIFEST)
    assert entry.size == len(raw) and manifest.data["mediaType"] == MediaType.OCI_MANIFEST
    assert manifest.config.media_type == MediaType.OCI_CONFIG
    config: dict[str, Any] = json.loads(blob(store, manifest.config))
    old_raw = next(data for data in source.blobs.values() if data.startswith(b'{"architecture"'))
    old = json.loads(old_raw)
    assert {**config, "rootfs": None} == {**old, "rootfs": None}
    assert len(manifest.layers) == len(source.layers)
    for layer, was, diff_id in zip(manifest.layers, source.layers, config["rootfs"]["diff_ids"], strict=True):
        tar = TARS[was.descriptor.digest]
        annotations = dict(layer.annotations)
        if format == "estargz":
            assert layer.media_type == GZIP_TYPE and CHECKSUM not in annotations
            assert check_estargz(blob(store, layer), annotations, tar) == diff_id
        else:
            assert layer.media_type == ZSTD_TYPE
            check_zstd(blob(store, layer), annotations, tar, containerd=format == "containerd")
            assert diff_id == digest_of(tar)
    if format != "estargz":
        assert manifest.config.digest == "sha256:" + hashlib.sha256(old_raw).hexdigest()
    return manifest


@pytest.mark.parametrize("docker", [False, True])
def test_each_platform_gets_two_manifests_and_the_first_is_gzip(
    layout: tuple[LayoutStore, str], docker: bool
) -> None:
    store, where = layout
    source = two_platforms(docker=docker)
    put(store, source, "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert report.reference == f"{where}:v1_accelerated" and report.changed
    result = top_index(store, "v1_accelerated")
    assert result.digest == report.digest
    platforms = [str(entry.platform) for entry in result.manifests]
    assert platforms == ["linux/amd64"] * 2 + ["linux/arm64/v8"] * 2 + ["unknown/unknown"]
    for number, entry in enumerate(result.manifests[:4]):
        assert entry.annotations.get(PREFER_ZSTD) == (None, "true")[number % 2]
        assert entry.media_type == MediaType.OCI_MANIFEST
        built = source.children[number // 2]
        assert entry.annotations["dev.accel.source-digest"] == built.digest
        check_manifest(store, entry, built, ("estargz", "zstd")[number % 2])
    assert result.manifests[4].attested_digest == result.manifests[0].digest
    assert store.has_manifest(result.manifests[4].digest)
    assert store.get_manifest("v1")[1] == source.raw


def test_the_report_says_what_became_of_each_layer(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert [layer.state for layer in report.layers] == ["converted"] * 4  # the shared layer once
    assert report.layers[0].platforms == ("linux/amd64", "linux/arm64/v8")
    assert report.totals["lazy"] == 4
    for layer in report.layers:
        assert [(o.format, o.state) for o in layer.outputs] == [
            ("estargz", "converted"),
            ("zstd-chunked", "converted"),
        ]
        assert [o.lazy for o in layer.outputs] == [("stargz-snapshotter",), ("podman",)]
        assert all(store.blob(Descriptor("", o.digest, o.size)).size == o.size for o in layer.outputs)
        assert layer.uncomp_size and layer.seconds and layer.entries is not None
    sums = {f: sum(o.size for layer in report.layers for o in layer.outputs if o.format == f) for f in FULL.formats}
    assert report.output_sizes == sums == report.to_json()["output_sizes"]


@pytest.mark.parametrize("format", ["estargz", "zstd-chunked"])
def test_one_format_only(layout: tuple[LayoutStore, str], format: str) -> None:
    store, where = layout
    source = image([BASE, TOP])
    put(store, source, "v1")
    convert(f"{where}:v1", None, replace(FULL, format=format))
    [entry] = top_index(store, "v1_accelerated").manifests
    assert entry.platform == Platform("linux", "amd64") and PREFER_ZSTD not in entry.annotations
    check_manifest(store, entry, source, format.partition("-")[0])


def test_for_containerd_there_is_another_tag_and_no_gzip(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    source = image([BASE, TOP])
    put(store, source, "v1")
    report = convert(f"{where}:v1", None, replace(FULL, containerd_only=True))
    assert report.reference == f"{where}:v1_containerd_accelerated"
    [entry] = top_index(store, "v1_containerd_accelerated").manifests
    manifest = check_manifest(store, entry, source, "containerd")
    for layer in manifest.layers:
        assert TOC_DIGEST in layer.annotations and STARGZ_CHECKSUM in layer.annotations
    convert(f"{where}:v1", None, FULL)
    assert not convert(f"{where}:v1", None, replace(FULL, containerd_only=True)).changed


def times(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_a_second_run_finds_everything_and_writes_nothing(
    tmp_path: Path, layout: tuple[LayoutStore, str]
) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    first = convert(f"{where}:v1", None, FULL)
    before = times(tmp_path)
    second = convert(f"{where}:v1", None, FULL)
    assert [layer.state for layer in second.layers] == ["already converted"] * 4
    assert (second.digest, second.changed) == (first.digest, False)
    assert [layer.outputs[0].lazy for layer in second.layers] == [("stargz-snapshotter",)] * 4
    assert times(tmp_path) == before


def test_force_writes_again_and_gives_the_same(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    first = convert(f"{where}:v1", None, FULL)
    again = convert(f"{where}:v1", None, replace(FULL, force=True, threads=5))
    assert again.digest == first.digest and {layer.state for layer in again.layers} == {"converted"}


@pytest.mark.parametrize(
    "change", [{"level": "1"}, {"prefetch": (b"/etc/motd",)}, {"min_chunk_bytes": 1000}, {"format": "estargz"}]
)
def test_other_options_are_other_work(layout: tuple[LayoutStore, str], change: dict[str, Any]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    first = convert(f"{where}:v1", None, FULL)
    second = convert(f"{where}:v1", None, replace(FULL, **change))
    assert second.changed and second.digest != first.digest
    reused = {layer.state for layer in second.layers}
    assert reused == ({"already converted"} if "format" in change else {"converted"})


def test_for_old_readers_shared_members_are_written_anew(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    small = tar_of(*(file(str(i), b"small") for i in range(9)))
    put(store, image([known(gzip_layer(small), small)]), "v1")
    estargz = replace(FULL, format="estargz")
    convert(f"{where}:v1", f"{where}:shared", estargz)
    states = {}
    for n_bytes in (16 << 10, 0):
        report = convert(f"{where}:shared", f"{where}:again", replace(estargz, min_chunk_bytes=n_bytes))
        states[n_bytes] = {layer.state for layer in report.layers}
    assert states == {16 << 10: {"already converted"}, 0: {"converted"}}


def test_a_changed_image_reuses_the_layers_it_shares(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    convert(f"{where}:v1", None, FULL)
    changed = image([BASE, known(gzip_layer(random_tar(9)), random_tar(9))])
    put(store, changed, "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert [layer.state for layer in report.layers] == ["already converted", "converted"]
    for entry, format in zip(top_index(store, "v1_accelerated").manifests, ("estargz", "zstd"), strict=True):
        check_manifest(store, entry, changed, format)


def test_duplicate_layers_are_converted_once(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    source = image([BASE, EMPTY_LAYER, TOP, EMPTY_LAYER])
    put(store, source, "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert len(report.layers) == 3
    first, second = top_index(store, "v1_accelerated").manifests
    check_manifest(store, first, source, "estargz")
    manifest = check_manifest(store, second, source, "zstd")
    assert manifest.layers[1] == manifest.layers[3]


COMPRESSED = {
    "zstd": lambda tar: layer_of(zstandard.compress(tar), ZSTD_TYPE, digest_of(tar)),
    "mislabelled": lambda tar: layer_of(gzip.compress(tar), MediaType.OCI_LAYER, digest_of(tar)),
    "docker zstd": lambda tar: layer_of(zstandard.compress(tar), MediaType.DOCKER_LAYER_ZSTD, digest_of(tar)),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_layers_are_told_by_their_bytes(layout: tuple[LayoutStore, str], kind: str) -> None:
    store, where = layout
    source = image([known(COMPRESSED[kind](BASE_TAR), BASE_TAR), TOP])
    put(store, source, "v1")
    convert(f"{where}:v1", None, FULL)
    for entry, format in zip(top_index(store, "v1_accelerated").manifests, ("estargz", "zstd"), strict=True):
        check_manifest(store, entry, source, format)


def test_annotations_of_another_blob_go_and_others_stay(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    stale = {TOC_DIGEST: "sha256:" + "0" * 64, CHECKSUM: "sha256:" + "1" * 64, "org.example": "kept"}
    layer = replace(BASE, descriptor=replace(BASE.descriptor, annotations=stale))
    source = image([layer])
    put(store, source, "v1")
    convert(f"{where}:v1", None, FULL)
    for entry, format in zip(top_index(store, "v1_accelerated").manifests, ("estargz", "zstd"), strict=True):
        manifest = check_manifest(store, entry, source, format)
        assert manifest.layers[0].annotations["org.example"] == "kept"
        assert not set(stale.values()) - {"kept"} & set(manifest.layers[0].annotations.values())


def test_foreign_and_encrypted_layers_stay_as_they_are(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    foreign = foreign_layer()
    secret = layer_of(b"secret", GZIP_TYPE + "+encrypted", digest_of(b"plain"))
    put(store, image([foreign, BASE, secret], platform="windows/amd64"), "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert [layer.state for layer in report.layers] == ["skipped", "converted", "unsupported"]
    assert [output.state for output in report.layers[2].outputs] == ["kept", "kept"]
    assert report.layers[2].outputs[0].reason == "encrypted"
    for entry in top_index(store, "v1_accelerated").manifests:
        manifest = Manifest.parse(store.get_manifest(entry.digest)[1])
        assert manifest.layers[0].digest == foreign.descriptor.digest
        assert manifest.layers[0].urls == foreign.descriptor.urls
        assert manifest.layers[0].media_type == MediaType.OCI_FOREIGN_GZIP
        assert manifest.layers[2] == secret.descriptor
        config = json.loads(blob(store, manifest.config))
        diff_ids = config["rootfs"]["diff_ids"]
        assert (diff_ids[0], diff_ids[2]) == (foreign.diff_id, secret.diff_id)


def test_a_bad_layer_stays_with_a_warning_and_the_rest_is_done(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    cut = gzip.compress(random_tar(4), mtime=0)[:-20]
    bad = layer_of(cut, GZIP_TYPE)
    put(store, image([BASE, bad]), "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert [layer.state for layer in report.layers] == ["converted", "failed"]
    assert any(bad.descriptor.digest in message and "kept" in message for message in report.messages)
    assert [output.state for output in report.layers[1].outputs] == ["kept", "kept"]
    for entry in top_index(store, "v1_accelerated").manifests:
        manifest = Manifest.parse(store.get_manifest(entry.digest)[1])
        assert manifest.layers[1] == bad.descriptor and blob(store, manifest.layers[1]) == cut


def test_only_bad_layers_write_nothing(tmp_path: Path, layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([layer_of(b"\x1f\x8bnothing", GZIP_TYPE)]), "v1")
    before = times(tmp_path)
    report = convert(f"{where}:v1", None, FULL)
    assert report.nothing_to_index and not report.changed
    assert {path.name for path in times(tmp_path)} == {path.name for path in before}


def test_what_a_reader_would_refuse_is_plain_and_the_report_says_why(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    tar = tar_of(file("a", b"x"), hardlink("b", "in/another/layer"))
    layer = known(gzip_layer(tar), tar)
    put(store, image([BASE, layer]), "v1")
    report = convert(f"{where}:v1", None, FULL)
    outputs = report.layers[1].outputs
    assert [(o.state, o.lazy) for o in outputs] == [("plain", ()), ("plain", ())]
    assert all("hard link" in o.reason for o in outputs)
    assert sum("hard link" in message for message in report.messages) == 2
    first, second = top_index(store, "v1_accelerated").manifests
    gzip_layer_, zstd_layer = (
        Manifest.parse(store.get_manifest(entry.digest)[1]).layers[1] for entry in (first, second)
    )
    assert gzip_layer_.digest == layer.descriptor.digest
    assert unzstd(blob(store, zstd_layer)) == tar
    assert not {TOC_DIGEST, CHECKSUM} & (gzip_layer_.annotations.keys() | zstd_layer.annotations.keys())
    again = convert(f"{where}:v1", None, FULL)
    assert not again.changed and [o.reason for o in again.layers[1].outputs] == [o.reason for o in outputs]


def test_a_wrong_diff_id_is_reported_and_not_hidden(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    wrong = replace(BASE, diff_id=digest_of(b"something else"))
    put(store, image([wrong, TOP]), "v1")
    report = convert(f"{where}:v1", None, FULL)
    assert any("diffID" in message and BASE.diff_id in message for message in report.messages)
    first, second = (
        Manifest.parse(store.get_manifest(entry.digest)[1])
        for entry in top_index(store, "v1_accelerated").manifests
    )
    config = json.loads(blob(store, first.config))
    assert config["rootfs"]["diff_ids"][0] == digest_of(gunzip(blob(store, first.layers[0])))
    assert CHECKSUM not in second.layers[0].annotations and CHECKSUM in second.layers[1].annotations


def test_one_platform_only_leaves_the_others_byte_for_byte(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    source = two_platforms()
    put(store, source, "v1")
    convert(f"{where}:v1", None, replace(FULL, platforms=(Platform.parse("linux/arm64"),)))
    entries = top_index(store, "v1_accelerated").manifests
    assert [entry.digest for entry in entries if str(entry.platform) == "linux/amd64"] == [source.children[0].digest]
    assert sum(str(entry.platform) == "linux/arm64/v8" for entry in entries) == 2
    assert entries[-1].attested_digest == source.children[0].digest


def test_converting_a_result_again_gives_the_same_platforms_once(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    convert(f"{where}:v1", None, FULL)
    convert(f"{where}:v1_accelerated", f"{where}:again", replace(FULL, level="1"))
    entries = top_index(store, "again").manifests
    assert [str(e.platform) for e in entries] == ["linux/amd64"] * 2 + ["linux/arm64/v8"] * 2 + ["unknown/unknown"]
    with pytest.raises(ConfigError, match="looks accelerated"):
        convert(f"{where}:v1_accelerated", None, FULL)


def test_an_index_of_the_source_goes_with_what_it_indexes(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    convert(f"{where}:v1", f"{where}:soci", ConvertOptions(min_layer_bytes=0))
    convert(f"{where}:soci", f"{where}:full", FULL)
    entries = top_index(store, "full").manifests
    assert [entry.artifact_type for entry in entries] == ["", ""]
    for entry in entries:
        manifest = Manifest.parse(store.get_manifest(entry.digest)[1])
        assert not [key for key in {*entry.annotations, *manifest.annotations} if key.startswith("com.amazon.soci")]


def test_both_modes_read_each_layer_once(registry: FakeRegistry) -> None:
    import accel

    options = registry.options()
    store = RegistryStore(f"{registry.host}/app:v1", options)
    put(store, two_platforms(), "v1")
    both = ConvertOptions(mode="index-only,full", min_layer_bytes=0, span_bytes=64 << 10)
    index_only = replace(both, mode="index-only")
    alone = convert(f"{registry.host}/app:v1", f"{registry.host}/app:alone", index_only, registries=options)
    full = convert(f"{registry.host}/app:v1", f"{registry.host}/app:full", FULL, registries=options)
    registry.requests.clear()
    report = convert(f"{registry.host}/app:v1", None, replace(both, force=True), registries=options)
    for layer in (BASE, TOP, THIRD):
        assert len([r for r in registry.seen("GET", "/blobs/") if layer.descriptor.digest in r.path]) == 1
    assert report.digest == full.digest
    assert report.index_only is not None and report.index_only.digest == alone.digest
    assert report.index_only.reference == f"docker://{registry.host}/app:v1_accelerated_indexed"
    assert report.to_json()["index_only"]["totals"] == alone.totals
    assert accel.verify(report.index_only.reference, registries=options).ok
    store.close()


# --- places -------------------------------------------------------------------------------------------------


def test_registry_to_itself(registry: FakeRegistry) -> None:
    options = registry.options()
    store = RegistryStore(f"{registry.host}/team/app:v1", options)
    source = two_platforms()
    put(store, source, "v1")
    registry.requests.clear()
    report = convert(f"docker://{registry.host}/team/app:v1", None, FULL, registries=options)
    puts = [r.path.rpartition("/")[2] for r in registry.seen("PUT", "/manifests/")]
    assert puts[-1] == "v1_accelerated" and puts.count("v1_accelerated") == 1
    assert len([r for r in registry.seen("GET", "/blobs/") if BASE.descriptor.digest in r.path]) == 1
    check_manifest(store, top_index(store, "v1_accelerated").manifests[0], source.children[0], "estargz")
    check_manifest(store, top_index(store, "v1_accelerated").manifests[3], source.children[1], "zstd")
    registry.requests.clear()
    again = convert(f"docker://{registry.host}/team/app:v1", None, FULL, registries=options)
    assert not again.changed and again.digest == report.digest
    assert registry.seen("PUT") == registry.seen("POST") == registry.seen("PATCH") == []
    store.close()


@pytest.mark.parametrize("mounts", [True, False])
def test_what_stands_beside_the_source_is_mounted_into_another_repository(
    registry: FakeRegistry, mounts: bool
) -> None:
    registry.mounts = mounts
    options = registry.options()
    store = RegistryStore(f"{registry.host}/one:v1", options)
    source = image([BASE, TOP])
    put(store, source, "v1")
    first = convert(f"{registry.host}/one:v1", None, FULL, registries=options)
    report = convert(f"{registry.host}/one:v1", f"{registry.host}/two:fast", FULL, registries=options)
    assert {layer.state for layer in report.layers} == {"already converted"} and report.digest == first.digest
    uploads = registry.seen("PUT", f"/v2/two/blobs/uploads/.*{first.layers[0].outputs[0].digest}")
    assert bool(uploads) != mounts
    with_store = RegistryStore(f"{registry.host}/two:fast", options)
    check_manifest(with_store, top_index(with_store, "fast").manifests[0], source, "estargz")
    with_store.close()
    store.close()


@pytest.mark.parametrize("place", ["oci", "oci-archive"])
def test_the_result_does_not_need_the_source(tmp_path: Path, layout: tuple[LayoutStore, str], place: str) -> None:
    from accel.layout import OciArchiveStore

    store, where = layout
    source = two_platforms()
    put(store, source, "v1")
    report = convert(f"{where}:v1", f"{place}:{tmp_path}/out:fast", FULL)
    out: ImageStore = LayoutStore(tmp_path / "out") if place == "oci" else OciArchiveStore(tmp_path / "out")
    assert top_index(out, "fast").digest == report.digest
    for number, entry in enumerate(top_index(out, "fast").manifests[:4]):
        check_manifest(out, entry, source.children[number // 2], ("estargz", "zstd")[number % 2])
    assert not out.has_blob(BASE.descriptor)
    out.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "out"]


def test_a_docker_archive_becomes_a_layout(tmp_path: Path) -> None:
    from support.images import tar_of as archive_of

    config = json.dumps(
        {
            "architecture": "amd64", "os": "linux", "history": [{"created_by": "x"}],
            "rootfs": {"type": "layers", "diff_ids": [digest_of(BASE_TAR)]},
        }
    ).encode()  # fmt: skip
    listing = json.dumps([{"Config": "c.json", "RepoTags": ["app:v1"], "Layers": ["a/layer.tar"]}]).encode()
    archive = archive_of(file("manifest.json", listing), file("c.json", config), file("a/layer.tar", BASE_TAR))
    (tmp_path / "app.tar").write_bytes(archive)
    convert(f"docker-archive:{tmp_path}/app.tar", f"oci:{tmp_path}/out:fast", FULL)
    out = LayoutStore(tmp_path / "out")
    first, second = (Manifest.parse(out.get_manifest(e.digest)[1]) for e in top_index(out, "fast").manifests)
    check_zstd(blob(out, second.layers[0]), dict(second.layers[0].annotations), BASE_TAR)
    diff_id = check_estargz(blob(out, first.layers[0]), dict(first.layers[0].annotations), BASE_TAR)
    rootfs = {"type": "layers", "diff_ids": [diff_id]}
    assert json.loads(blob(out, first.config)) == json.loads(config) | {"rootfs": rootfs}
    assert blob(out, second.config) == config


def test_the_bytes_do_not_depend_on_threads_or_place(tmp_path: Path, registry: FakeRegistry) -> None:
    options = registry.options()
    put(LayoutStore(tmp_path / "in"), two_platforms(), "v1")
    store = RegistryStore(f"{registry.host}/app:v1", options)
    put(store, two_platforms(), "v1")
    digests = {
        convert(src, f"oci:{tmp_path}/out{n}:v1", replace(FULL, threads=n), registries=options).digest
        for n in (1, 2, 7)
        for src in (f"oci:{tmp_path}/in:v1", f"{registry.host}/app:v1")
    }
    assert len(digests) == 1
    store.close()


# --- what goes wrong ----------------------------------------------------------------------------------------


class CancelAfter(CancelToken):
    """Cancels itself at the n-th report."""

    def __init__(self, n_reports: int) -> None:
        super().__init__()
        self.left = n_reports

    def advance(self, stage: str, n_bytes: int) -> None:
        self.left -= 1
        if self.left <= 0:
            self.cancel()
        super().advance(stage, n_bytes)


@pytest.mark.parametrize("n_reports", [1, 2, 3, 4, 6])
def test_cancelling_at_any_report_tags_nothing_and_leaves_no_file(tmp_path: Path, n_reports: int) -> None:
    put(LayoutStore(tmp_path / "in"), two_platforms(), "v1")
    before = set(times(tmp_path / "in"))
    with pytest.raises(Cancelled):
        convert(f"oci:{tmp_path}/in:v1", None, FULL, progress=CancelAfter(n_reports))
    assert LayoutStore(tmp_path / "in").tags() == ["v1"]
    new = {path for path in set(times(tmp_path / "in")) - before if not path.is_dir()}
    assert all(path.name == digest_of(path.read_bytes()).removeprefix("sha256:") for path in new)
    if n_reports <= 4:  # nothing was published yet
        assert new == set()


def test_a_failing_upload_leaves_the_tag_as_it_was(registry: FakeRegistry) -> None:
    options = registry.options()
    store = RegistryStore(f"{registry.host}/app:v1", options)
    put(store, two_platforms(), "v1")
    registry.fail_next("PUT", "/manifests/sha256", status=400, times=100)
    with pytest.raises(Exception, match="400"):
        convert(f"{registry.host}/app:v1", None, FULL, registries=options)
    assert store.tags() == ["v1"]
    store.close()


def test_a_layer_that_is_not_what_its_digest_says_stays(tmp_path: Path, layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    path = tmp_path / "layout" / "blobs" / "sha256" / BASE.descriptor.digest.removeprefix("sha256:")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    report = convert(f"{where}:v1", None, FULL)
    assert report.layers[0].state == "failed" and "digest" in report.layers[0].reason
    assert report.layers[1].state == "converted"


WRONG: list[dict[str, Any]] = [
    {"mode": "full", "format": "soci"},
    {"mode": "index-only", "format": "estargz"},
    {"mode": "full", "format": "estargz", "containerd_only": True},
    {"mode": "full", "level": "23"},
    {"mode": "full", "level": "fast"},
    {"mode": "full", "format": "zstd-chunked", "prefetch": (b"/x",)},
    {"mode": "full", "format": "zstd-chunked", "min_chunk_bytes": 1},
    {"mode": "full", "containerd_only": True, "min_chunk_bytes": 1},
    {"mode": "full", "min_chunk_bytes": -1},
    {"mode": "full", "min_chunk_bytes": (1 << 20) + 1},
    {"mode": "index-only", "min_chunk_bytes": 1},
    {"mode": "full", "referrers": True},
    {"mode": "index-only", "level": "3"},
    {"mode": "index-only,full", "format": "estargz"},
    {"mode": ""},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_options_that_do_not_go_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ConvertOptions(**wrong)


def test_formats_by_mode() -> None:
    def formats(**options: Any) -> tuple[str, ...]:
        return ConvertOptions(**options).formats

    assert formats() == ("soci",)
    assert formats(mode="full") == ("estargz", "zstd-chunked")
    assert formats(mode="full, index-only", format="zstd-chunked,soci") == ("soci", "zstd-chunked")
    assert formats(mode="full", containerd_only=True) == ("zstd-chunked",)


def test_nothing_of_this_is_a_report_of_index_only(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE]), "v1")
    report: ConvertReport = convert(f"{where}:v1", None, FULL)
    assert report.index_only is None and report.layers[0].index_size is None
