"""Conversions in places other people made: the real docker-registry, and archives of skopeo."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel
from accel.convert import ConvertOptions, convert
from accel.errors import AuthError
from accel.layout import LayoutStore, OciArchiveStore
from accel.oci import Index
from accel.registry import Credential, Given, RegistryStore
from support.images import attestation_of, file, gzip_layer, image, index, put, random_tar, tar_of, whiteout
from support.registry_docker import USERS, DockerRegistry, require_program
from support.registry_tokens import TokenServer

ALL = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10)
BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello"), whiteout("usr/share/f0001")))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.mark.registry
@pytest.mark.parametrize("docker", [False, True])
def test_the_real_registry_takes_and_gives_it(registry: DockerRegistry, docker: bool) -> None:
    options = registry.options()
    name = f"{registry.host}/real/{'docker' if docker else 'oci'}"
    amd64 = image([BASE, TOP], docker=docker)
    store = RegistryStore(f"{name}:v1", options)
    put(store, index([amd64, image([BASE], platform="linux/arm64", docker=docker), attestation_of(amd64)]), "v1")
    wish = ConvertOptions(min_layer_bytes=0, referrers=True)
    report = convert(f"{name}:v1", None, wish, registries=options)
    assert report.changed and accel.verify(report.reference, registries=options).mismatches == []
    assert accel.verify(f"{name}:v1", registries=options).ok  # through the referrers of the source
    assert not convert(f"{name}:v1", None, wish, registries=options).changed
    with accel.open_image(report.reference, "linux/amd64", registries=options) as opened:
        assert b"".join(opened.cat("etc/motd")) == b"hello"
        assert 0 < opened.fetched_bytes < BASE.descriptor.size
    copied = convert(f"{name}:v1", f"{registry.host}/real/copy:{docker}", ALL, registries=options)
    assert accel.verify(copied.reference, registries=options).ok
    store.close()


@pytest.mark.registry
def test_a_registry_with_tokens_needs_credentials(tmp_path: Path) -> None:
    with TokenServer(USERS) as tokens, DockerRegistry(tmp_path, tokens=tokens) as registry:
        ada = Given({registry.host: Credential("ada", USERS["ada"])})
        known = registry.options(credentials=ada)
        store = RegistryStore(f"{registry.host}/app:v1", known)
        put(store, image([BASE, TOP]), "v1")
        store.close()
        with pytest.raises(AuthError):
            convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
        report = convert(f"{registry.host}/app:v1", None, ALL, registries=known)
        assert accel.verify(report.reference, registries=known).ok


@pytest.mark.tools
def test_docker_archives_of_skopeo(tmp_path: Path) -> None:
    skopeo = require_program("skopeo", "skopeo", "ACCEL_REQUIRE_TOOLS")
    put(LayoutStore(tmp_path / "in"), image([BASE, TOP]), "v1")
    archive = tmp_path / "app.tar"
    command = [skopeo, "copy", "-q", f"oci:{tmp_path}/in:v1", f"docker-archive:{archive}:example/app:v1"]
    subprocess.run(command, check=True, timeout=60)
    before = archive.read_bytes()
    report = convert(f"docker-archive:{archive}", f"oci:{tmp_path}/out:v1", ALL)
    assert [layer.state for layer in report.layers] == ["indexed", "indexed"]  # uncompressed there
    assert accel.verify(f"oci:{tmp_path}/out:v1").ok
    assert archive.read_bytes() == before
    with accel.open_image(f"docker-archive:{archive}") as opened:
        assert b"".join(opened.cat("etc/motd")) == b"hello"


@pytest.mark.tools
def test_skopeo_copies_the_result_and_it_still_verifies(tmp_path: Path) -> None:
    skopeo = require_program("skopeo", "skopeo", "ACCEL_REQUIRE_TOOLS")
    put(LayoutStore(tmp_path / "in"), index([image([BASE, TOP]), image([BASE], platform="linux/arm64")]), "v1")
    report = convert(f"oci:{tmp_path}/in:v1", f"oci-archive:{tmp_path}/out.tar:v1", ALL)
    command = [skopeo, "copy", "-q", "--all", f"oci-archive:{tmp_path}/out.tar:v1", f"oci:{tmp_path}/copy:v1"]
    subprocess.run(command, check=True, timeout=60)
    # skopeo 1.9 writes the index anew, in its own order and without artifactType; the manifests stay what they are
    copied = Index.parse(LayoutStore(tmp_path / "copy").get_manifest("v1")[1])
    with OciArchiveStore(tmp_path / "out.tar") as ours:
        wanted = Index.parse(ours.get_manifest(report.digest or "")[1])
    assert [entry.digest for entry in copied.manifests] == [entry.digest for entry in wanted.manifests]
    assert accel.verify(f"oci:{tmp_path}/copy:v1").ok
