"""`accel serve` as operators run it, with the real registry."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from accel.registry import RegistryStore
from support.images import Built, file, gzip_layer, image, put, random_tar, tar_of
from support.registry_docker import DockerRegistry
from support.running_service import RunningService, free_port, wait_for

pytestmark = pytest.mark.registry

BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello")))


@dataclass
class Place:
    """A registry that tells a service of its pushes."""

    registry: DockerRegistry
    service: RunningService

    def push(self, name: str, built: Built, *tags: str) -> str:
        store = self.store(name)
        for tag in tags:
            put(store, built, tag=tag)
        store.close()
        return built.descriptor.digest

    def store(self, name: str) -> RegistryStore:
        return RegistryStore(f"{self.registry.host}/{name}:x", self.registry.options())

    def digest(self, name: str, tag: str) -> str | None:
        store = self.store(name)
        try:
            return store.tag_digest(tag)
        finally:
            store.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    port = free_port()
    host = f"127.0.0.1:{port}"
    service = RunningService(tmp_path / "service", registries=[{"host": host, "plain_http": True}])
    (tmp_path / "registry").mkdir()
    with DockerRegistry(tmp_path / "registry", notify=service.notify, port=port) as registry, service:
        yield Place(registry, service)


def test_a_push_leads_to_the_accelerated_tag(place: Place) -> None:
    place.push("team/app", image([BASE, TOP], platform="linux/amd64"), "v1")
    wait_for(lambda: place.digest("team/app", "v1_accelerated"), "the accelerated tag")
    (job,) = wait_for(lambda: place.service.api("GET", "/jobs?state=done")["jobs"], "the job's end")
    detail = place.service.api("GET", f"/jobs/{job['id']}")
    assert [one["state"] for one in detail["layers"]] == ["indexed", "indexed"]
