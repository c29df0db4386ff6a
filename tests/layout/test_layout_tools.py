"""Other people's tools accept our layouts and archives, and we theirs."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from accel.blobs import verified
from accel.layout import DockerArchiveStore, LayoutStore, OciArchiveStore
from accel.oci import Index, Manifest, digest_of
from accel.stores import ImageStore
from support.images import (
    Built,
    attestation_of,
    file,
    gzip_layer,
    image,
    index,
    plain_layer,
    put,
    random_tar,
    tar_of,
)

pytestmark = [pytest.mark.tools, pytest.mark.timeout(120)]

BASE = gzip_layer(tar_of(file("etc/motd", b"hello\n"), file("bin/true", b"\x7fELF", mode=0o755)))
AMD64 = image([BASE, gzip_layer(random_tar(2)), BASE], annotations={"org.x": "<a&b>"})
ARM64 = image([BASE, plain_layer(random_tar(3))], platform="linux/arm64/v8")
MULTI = index([AMD64, ARM64, attestation_of(AMD64)])


def run(tool: str, *args: object) -> bytes:
    """What the tool prints; the test fails with its messages if it fails."""
    if not (path := shutil.which(tool)):
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([path, *map(str, args)], capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def skopeo_copy(source: str, target: str, *options: str) -> None:
    run("skopeo", "--insecure-policy", "copy", *options, source, target)


def check_whole(store: ImageStore, ref: str) -> list[str]:
    """Every digest below ``ref`` is right; gives the diffIDs as Python computes them from the stored layers."""
    descriptor, raw = store.get_manifest(ref)
    manifest = Manifest.parse(raw, descriptor.media_type)
    config = b"".join(verified(store.blob(manifest.config).stream(), manifest.config))
    for layer in manifest.layers:
        assert sum(map(len, verified(store.blob(layer).stream(), layer))) == layer.size
    return json.loads(config)["rootfs"]["diff_ids"]  # type: ignore[no-any-return]


def diff_ids(built: Built) -> list[str]:
    return [layer.diff_id for layer in built.layers]


@pytest.fixture(params=["oci", "oci-archive"])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of ours with the index under multi and its first image under one, as skopeo names it."""
    path = tmp_path / "ours"
    store = LayoutStore(path) if request.param == "oci" else OciArchiveStore(path)
    put(store, MULTI, "multi")
    put(store, AMD64, "one")
    store.close()
    return f"{request.param}:{path}"


def test_skopeo_sees_the_same_digests(ours: str) -> None:
    assert run("skopeo", "inspect", "--raw", f"{ours}:multi") == MULTI.raw
    assert run("skopeo", "inspect", "--raw", f"{ours}:one") == AMD64.raw
    seen = json.loads(run("skopeo", "inspect", f"{ours}:one"))
    assert (seen["Digest"], seen["Architecture"]) == (AMD64.digest, "amd64")
    assert seen["Layers"] == [layer.descriptor.digest for layer in AMD64.layers]


def test_skopeo_copies_an_index_out_and_back(ours: str, tmp_path: Path) -> None:
    skopeo_copy(f"{ours}:multi", f"oci:{tmp_path}/theirs:v1", "--all", "--preserve-digests")
    store = LayoutStore(tmp_path / "theirs")
    descriptor, raw = store.get_manifest("")
    assert (descriptor.digest, raw) == (MULTI.digest, MULTI.raw)
    for child in Index.parse(raw).manifests:
        check_whole(store, child.digest)


def test_skopeo_reads_our_layers_into_a_docker_archive_and_we_read_that(ours: str, tmp_path: Path) -> None:
    skopeo_copy(f"{ours}:one", f"docker-archive:{tmp_path}/d.tar:host.example/app:v1")
    store = DockerArchiveStore(tmp_path / "d.tar")
    assert store.tags() == ["host.example/app:v1"]
    assert check_whole(store, "v1") == diff_ids(AMD64)
    manifest = Manifest.parse(store.get_manifest("")[1])
    assert [layer.digest for layer in manifest.layers] == diff_ids(AMD64)


def test_we_read_archives_of_skopeo(ours: str, tmp_path: Path) -> None:
    skopeo_copy(f"{ours}:one", f"oci-archive:{tmp_path}/x.tar:v1")
    store = OciArchiveStore(tmp_path / "x.tar")
    assert store.get_manifest("v1")[1] == AMD64.raw
    assert check_whole(store, "") == diff_ids(AMD64)


def test_skopeo_reads_an_archive_that_we_added_to(tmp_path: Path) -> None:
    first = tmp_path / "l"
    put(LayoutStore(first), AMD64, "one")
    skopeo_copy(f"oci:{first}:one", f"oci-archive:{tmp_path}/x.tar:one")
    with OciArchiveStore(tmp_path / "x.tar") as store:
        put(store, ARM64, "two")
    for name, built in (("one", AMD64), ("two", ARM64)):
        assert run("skopeo", "inspect", "--raw", f"oci-archive:{tmp_path}/x.tar:{name}") == built.raw


def test_skopeo_adds_to_our_layout(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path / "ours"), AMD64, "one")
    put(LayoutStore(tmp_path / "other"), ARM64, "two")
    skopeo_copy(f"oci:{tmp_path}/other:two", f"oci:{tmp_path}/ours:two")
    store = LayoutStore(tmp_path / "ours")
    assert store.tags() == ["one", "two"]
    assert store.get_manifest("one")[1] == AMD64.raw
    assert check_whole(store, "two") == diff_ids(ARM64)


def test_umoci_lists_and_unpacks_our_layout(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path / "ours"), AMD64, "one")
    put(LayoutStore(tmp_path / "ours"), ARM64, "two")
    assert run("umoci", "ls", "--layout", tmp_path / "ours").split() == [b"one", b"two"]
    stat = json.loads(run("umoci", "stat", "--json", "--image", f"{tmp_path}/ours:one"))
    layers = [entry["layer"]["digest"] for entry in stat["history"] if entry.get("layer")]
    assert layers == [layer.descriptor.digest for layer in AMD64.layers]
    run("umoci", "raw", "unpack", "--rootless", "--image", f"{tmp_path}/ours:one", tmp_path / "root")
    assert (tmp_path / "root" / "etc" / "motd").read_bytes() == b"hello\n"


def test_we_read_and_add_to_a_layout_of_umoci(tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    run("umoci", "init", "--layout", root)
    run("umoci", "new", "--image", f"{root}:v1")
    (tmp_path / "layer.tar").write_bytes(tar_of(file("a", b"x")))
    run("umoci", "raw", "add-layer", "--image", f"{root}:v1", tmp_path / "layer.tar")
    store = LayoutStore(root)
    assert check_whole(store, "v1") == [digest_of(tar_of(file("a", b"x")))]
    put(store, AMD64, "v2")
    assert run("umoci", "ls", "--layout", root).split() == [b"v1", b"v2"]
    run("umoci", "gc", "--layout", root)
    assert check_whole(store, "v2") == diff_ids(AMD64)
    for path in (root / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
