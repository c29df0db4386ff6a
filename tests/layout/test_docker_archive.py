"""``docker save`` archives: the image in them, presented with a Docker manifest."""

import gzip
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from accel.blobs import verified
from accel.errors import AccelError, DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.layout import REF_NAME, DockerArchiveStore, OciArchiveStore
from accel.oci import Descriptor, ImageConfig, Manifest, MediaType, Platform, digest_of
from accel.stores import ImageStore
from support.images import (
    Layer,
    TarEntry,
    file,
    gzip_layer,
    image,
    layer_of,
    plain_layer,
    random_tar,
    symlink,
    tar_of,
)

LAYERS = [plain_layer(random_tar(i), docker=True) for i in (1, 2)]


def config_of(layers: Sequence[Layer], platform: str = "linux/amd64") -> bytes:
    built = image(layers, platform=platform, docker=True)
    return built.blobs[Manifest.parse(built.raw).config.digest]


def legacy(layers: Sequence[Layer], names: Any = ("app:v1",), **changes: Any) -> list[TarEntry]:
    """As Docker before 25 writes it: a directory a layer, equal layers linked."""
    config = config_of(layers)
    entries, seen, paths = [], dict[str, str](), []
    for i, layer in enumerate(layers):
        path = f"{i:064}/layer.tar"
        first = seen.setdefault(layer.descriptor.digest, path)
        entries.append(file(path, layer.data or b"") if first == path else symlink(path, f"../{first}"))
        paths.append(path)
    config_name = digest_of(config).removeprefix("sha256:") + ".json"
    fields = {"Config": config_name, "RepoTags": names, "Layers": paths} | changes
    return [*entries, file(config_name, config), file("manifest.json", json.dumps([fields]).encode())]


def hybrid(layers: Sequence[Layer], name: str = "app:v1") -> list[TarEntry]:
    """As Docker from 25 on writes it: an OCI layout with a manifest.json beside it."""
    built = image(layers)
    config = Manifest.parse(built.raw).config.digest
    listed = Descriptor.of(
        built.raw,
        built.media_type,
        annotations={
            "io.containerd.image.name": f"docker.io/library/{name}",
            REF_NAME: name.partition(":")[2],
        },
    )
    names = {digest: "blobs/" + digest.replace(":", "/") for digest in [*built.blobs, built.digest]}
    manifest = [
        {
            "Config": names[config],
            "RepoTags": [name],
            "Layers": [names[layer.descriptor.digest] for layer in layers],
            "LayerSources": {layer.diff_id: layer.descriptor.to_json() for layer in layers},
        }
    ]
    return [
        *(file(names[digest], data) for digest, data in built.blobs.items()),
        file(names[built.digest], built.raw),
        file("index.json", json.dumps({"schemaVersion": 2, "manifests": [listed.to_json()]}).encode()),
        file("manifest.json", json.dumps(manifest).encode()),
        file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
    ]


def write(path: Path, entries: Sequence[TarEntry]) -> Path:
    path.write_bytes(tar_of(*entries))
    return path


def check_image(store: ImageStore, ref: str, layers: Sequence[Layer]) -> Descriptor:
    """The manifest under ``ref`` is whole, and its layers are the files in the archive."""
    descriptor, raw = store.get_manifest(ref)
    manifest = Manifest.parse(raw, descriptor.media_type)
    assert (descriptor.digest, descriptor.size) == (digest_of(raw), len(raw))
    assert [(d.digest, d.size) for d in manifest.layers] == [
        (layer.descriptor.digest, layer.descriptor.size) for layer in layers
    ]
    config = b"".join(verified(store.blob(manifest.config).stream(), manifest.config))
    assert ImageConfig.parse(config).diff_ids == tuple(layer.diff_id for layer in layers)
    for desc, layer in zip(manifest.layers, layers, strict=True):
        assert store.has_blob(desc)
        assert b"".join(verified(store.blob(desc).stream(), desc)) == layer.data
    assert store.has_manifest(descriptor.digest)
    assert store.get_manifest(descriptor.digest)[1] == raw
    return descriptor


@pytest.mark.parametrize("ref", ["", "v1", "app:v1", "docker.io/library/app:v1", "library/app:v1"])
def test_a_legacy_archive_is_a_docker_image(tmp_path: Path, ref: str) -> None:
    store = DockerArchiveStore(write(tmp_path / "x.tar", legacy(LAYERS)))
    descriptor = check_image(store, ref, LAYERS)
    assert descriptor.media_type == MediaType.DOCKER_MANIFEST
    assert descriptor.annotations[REF_NAME] == "v1"
    manifest = Manifest.parse(store.get_manifest(ref)[1])
    assert {d.media_type for d in manifest.layers} == {MediaType.DOCKER_LAYER}
    assert manifest.config.media_type == MediaType.DOCKER_CONFIG
    assert store.tags() == ["docker.io/library/app:v1"]


def test_linked_and_repeated_layers_are_the_same_layer(tmp_path: Path) -> None:
    layers = [LAYERS[0], LAYERS[1], LAYERS[0]]
    check_image(DockerArchiveStore(write(tmp_path / "x.tar", legacy(layers))), "", layers)
    once = legacy(LAYERS[:1])
    config = config_of([LAYERS[0], LAYERS[0]])
    twice = {"Config": "c.json", "RepoTags": None, "Layers": [once[0].info.name] * 2}
    entries = [once[0], file("c.json", config), file("manifest.json", json.dumps([twice]).encode())]
    check_image(DockerArchiveStore(write(tmp_path / "y.tar", entries)), "", [LAYERS[0]] * 2)


def test_a_hybrid_archive_gives_the_same_layers_either_way(tmp_path: Path) -> None:
    layers = [gzip_layer(random_tar(1)), plain_layer(random_tar(2))]
    path = write(tmp_path / "x.tar", hybrid(layers))
    descriptor = check_image(DockerArchiveStore(path), "app:v1", layers)
    as_docker = Manifest.parse(DockerArchiveStore(path).get_manifest("")[1])
    assert [d.media_type for d in as_docker.layers] == [MediaType.DOCKER_LAYER_GZIP, MediaType.DOCKER_LAYER]
    store = OciArchiveStore(path)
    as_oci = Manifest.parse(store.get_manifest("docker.io/library/app:v1")[1])
    assert [d.digest for d in as_oci.layers] == [d.digest for d in as_docker.layers]
    assert as_oci.config.digest == as_docker.config.digest
    assert descriptor.digest != as_oci.digest


def test_compressed_layers_are_told_by_their_bytes(tmp_path: Path) -> None:
    zstd = layer_of(b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00\x99\xe9\xd8\x51", "x/y", digest_of(b""))
    layers = [gzip_layer(random_tar(1), docker=True), zstd]
    store = DockerArchiveStore(write(tmp_path / "x.tar", legacy(layers)))
    check_image(store, "", layers)
    types = [d.media_type for d in Manifest.parse(store.get_manifest("")[1]).layers]
    assert types == [MediaType.DOCKER_LAYER_GZIP, MediaType.DOCKER_LAYER_ZSTD]


def test_one_of_several_images_is_chosen_by_name(tmp_path: Path) -> None:
    arm = config_of(LAYERS[:1], "linux/arm64")
    entries = legacy(LAYERS)
    images = json.loads(entries.pop().data)
    images.append(
        {"Config": "b.json", "RepoTags": ["host:5000/b:v2", "b:v1"], "Layers": images[0]["Layers"][:1]}
    )
    entries += [file("b.json", arm), file("manifest.json", json.dumps(images).encode())]
    store = DockerArchiveStore(write(tmp_path / "x.tar", entries))
    check_image(store, "app:v1", LAYERS)
    descriptor = check_image(store, "v2", LAYERS[:1])
    assert descriptor.annotations["io.containerd.image.name"] == "host:5000/b:v2"
    config = Manifest.parse(store.get_manifest("host:5000/b:v2")[1]).config
    assert ImageConfig.parse(store.blob(config).read_at(0, config.size)).platform == Platform(
        "linux", "arm64"
    )
    for ref in ("", "v1"):
        with pytest.raises(NotFoundError, match="2 times an image"):
            store.get_manifest(ref)
    with pytest.raises(NotFoundError, match=r"no image called 'v3'.*docker\.io/library/app:v1"):
        store.get_manifest("v3")


def test_it_cannot_be_written(tmp_path: Path) -> None:
    store = DockerArchiveStore(write(tmp_path / "x.tar", legacy(LAYERS)))
    descriptor = Descriptor.of(b"", "a/b")
    for call in (
        lambda: store.put_blob(descriptor, []),
        lambda: store.put_manifest(b"", "a/b", tag="v1"),
        lambda: store.mount_blob(descriptor, store),
        lambda: store.add_referrer(descriptor, descriptor),
    ):
        with pytest.raises(UnsupportedError, match="only be read"):
            call()
    assert store.referrers(descriptor.digest) == []
    assert not store.has_blob(descriptor)
    with pytest.raises(NotFoundError):
        store.blob(descriptor)


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"Layers": ["absent.tar", "b"]}, NotFoundError, "absent.tar"),
        ({"Layers": ["../../etc/passwd", "b"]}, NotFoundError, "passwd"),
        ({"Layers": ["manifest.json"]}, FormatError, "2 diffIDs for 1 layers"),
        ({"Layers": [1]}, FormatError, r"Layers\[0\] is not a string"),
        ({"Config": "absent"}, NotFoundError, "absent"),
        ({"Config": None}, FormatError, "Config is missing"),
        ({"Config": f"{0:064}/layer.tar"}, FormatError, "config is not"),
        ({"RepoTags": "x"}, FormatError, "RepoTags is not a list"),
    ],
)
def test_bad_archives_are_refused(tmp_path: Path, changes: Any, error: type[Exception], why: str) -> None:
    path = write(tmp_path / "x.tar", legacy(LAYERS, **changes))
    with pytest.raises(error, match=why):
        DockerArchiveStore(path).get_manifest("")


def test_a_layer_that_is_not_its_diff_id_is_refused(tmp_path: Path) -> None:
    entries = legacy(LAYERS)
    swapped = [file(entries[0].info.name, entries[1].data), *entries[1:]]
    with pytest.raises(DigestMismatch) as caught:
        DockerArchiveStore(write(tmp_path / "x.tar", swapped)).get_manifest("")
    assert caught.value.wanted == LAYERS[0].diff_id


def test_names_that_are_no_references_are_matched_as_they_are(tmp_path: Path) -> None:
    store = DockerArchiveStore(write(tmp_path / "x.tar", legacy(LAYERS, ["Not A Name", "x:y"])))
    check_image(store, "Not A Name", LAYERS)
    check_image(store, "y", LAYERS)


@pytest.mark.parametrize("data", [b"", b"[1]", b"{}", b"[[]]", b"null", b"[" * 100])
def test_a_bad_list_of_images_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FormatError):
        DockerArchiveStore(write(tmp_path / "x.tar", [file("manifest.json", data)]))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no manifest\.json"):
        DockerArchiveStore(write(tmp_path / "x.tar", [file("a")]))
    with pytest.raises(FileNotFoundError):
        DockerArchiveStore(tmp_path / "absent.tar")
    (tmp_path / "y.tar").write_bytes(gzip.compress(tar_of(*legacy(LAYERS))))
    with pytest.raises(UnsupportedError, match="gzip"):
        DockerArchiveStore(tmp_path / "y.tar")
    with pytest.raises(LimitError):
        DockerArchiveStore(write(tmp_path / "z.tar", [file("manifest.json", bytes(5 << 20))]))


@pytest.mark.timeout(120)
def test_archives_cut_anywhere_are_refused_or_read_right(tmp_path: Path) -> None:
    whole = tar_of(*legacy(LAYERS), tar_format=tarfile.GNU_FORMAT)
    path = tmp_path / "x.tar"
    for end in range(0, len(whole), 509):
        path.write_bytes(whole[:end])
        try:
            check_image(DockerArchiveStore(path), "", LAYERS)
        except AccelError:
            pass
