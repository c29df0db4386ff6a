"""kill -9 of servers and workers at random moments: all work ends, no tag is wrong, nothing stored is made twice."""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.registry import RegistryStore
from support.images import Built, gzip_layer, image, put, random_tar
from support.postgres import Postgres
from support.registry_docker import DockerRegistry
from support.running_service import RunningService, free_port, wait_for

pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.timeout(1200)]

KILLS = int(os.environ.get("ACCEL_SERVICE_KILLS", "50"))  # of each of the two tests
N_IMAGES = 3 * KILLS // 2
SHARED = gzip_layer(random_tar(1, 60, 60_000))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    (tmp_path / "registry").mkdir()
    with DockerRegistry(tmp_path / "registry") as running:
        yield running


def images() -> list[Built]:
    """Each with a layer of its own and one of all."""
    return [
        image([SHARED, gzip_layer(random_tar(i + 2, 30, 30_000))], platform="linux/amd64") for i in range(N_IMAGES)
    ]


def place_of(i: int) -> tuple[str, str]:
    return f"app{i % 3}", f"v{i}"


class Work:
    """Images pushed a few at a time while processes are killed, and what must be true in the end."""

    def __init__(self, registry: DockerRegistry, service: RunningService) -> None:
        self._registry = registry
        self._service = service
        self._images = images()
        self._n_pushed = 0

    def push(self, n: int) -> None:
        for i in range(self._n_pushed, min(self._n_pushed + n, len(self._images))):
            name, tag = place_of(i)
            store = self._store(name)
            put(store, self._images[i], tag=tag)
            store.close()
            self._n_pushed += 1

    def check(self) -> None:
        self.push(len(self._images))
        wait_for(self._all_done, "all images done", 240)
        self._check_tags()
        self._check_logs()

    def _all_done(self) -> bool:
        counts = self._service.api("GET", "/stats")["jobs"]
        return counts == {"done": len(self._images)}

    def _check_tags(self) -> None:
        for i, built in enumerate(self._images):
            name, tag = place_of(i)
            store = self._store(name)
            _, raw = store.get_manifest(f"{tag}_accelerated")
            store.close()
            made_of = {one["annotations"]["dev.accel.source-digest"] for one in json.loads(raw)["manifests"]
                       if "dev.accel.source-digest" in one.get("annotations", {})}  # fmt: skip
            assert made_of == {built.descriptor.digest}

    def _check_logs(self) -> None:
        """No layer is begun after it was kept."""
        lines = []
        for path in self._service.folder.glob("*.log"):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("{") and line.endswith("}"):
                    said = json.loads(line)
                    if said["logger"].endswith("jobs.layer"):
                        lines.append((said["time"], said["message"].split()[0], said["layer"]))
        kept: set[str] = set()
        for _, word, layer in sorted(lines):
            if word == "kept":
                kept.add(layer)
            else:
                assert layer not in kept, f"{layer} was made again"
        assert len(kept) == len(self._images) + 1

    def _store(self, name: str) -> RegistryStore:
        return RegistryStore(f"{self._registry.host}/{name}:x", self._registry.options())


def settings(host: str) -> dict[str, object]:
    scan = {"every": "1s", "repositories": ["**"]}
    return {"registries": [{"host": host, "plain_http": True, "scan": scan}]}


def test_a_server_on_an_embedded_store_is_killed_again_and_again(
    tmp_path: Path, registry: DockerRegistry
) -> None:
    rng = random.Random(11)
    service = RunningService(tmp_path / "service", **settings(registry.host))
    work = Work(registry, service)
    with service:
        for _ in range(KILLS):
            work.push(rng.randrange(4))
            time.sleep(rng.uniform(0.0, 3.0))
            service.kill()
            service.start("serve")
        service.ready()
        work.check()


def test_servers_and_workers_on_postgresql_are_killed_one_after_the_other(
    tmp_path: Path, registry: DockerRegistry
) -> None:
    rng = random.Random(12)
    (tmp_path / "postgres").mkdir()
    with Postgres(tmp_path / "postgres") as postgres:
        service = RunningService(
            tmp_path / "service", store={"url": postgres.url}, port=free_port(), **settings(registry.host)
        )
        work = Work(registry, service)
        with service:
            for name in ("one", "two"):
                service.start("worker", name)
            for _ in range(KILLS):
                work.push(rng.randrange(4))
                time.sleep(rng.uniform(0.0, 3.0))
                name = rng.choice(["serve", "one", "two"])
                service.kill(name)
                service.start("serve" if name == "serve" else "worker", name)
            service.ready()
            work.check()
