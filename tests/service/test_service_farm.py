"""Servers and workers on one PostgreSQL, as if on machines of their own: a network namespace for each worker."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from accel.registry import RegistryStore
from support.images import gzip_layer, image, put, random_tar
from support.postgres import Postgres
from support.registry_docker import DockerRegistry, require_program
from support.running_service import RunningService, wait_for

pytestmark = [pytest.mark.registry, pytest.mark.timeout(600)]

HOST = "10.213.77.1"
TAKEOVER_S = 60.0  # about 15 on a machine that does nothing else
N_IMAGES = 12


class Machines:
    """Network namespaces on a bridge of ours; ``HOST`` is this machine as they see it."""

    def __init__(self, names: list[str]) -> None:
        require_program("ip", "iproute2", "ACCEL_REQUIRE_POSTGRES")
        if os.geteuid() != 0:
            pytest.skip("network namespaces need root")
        self._names = {name: f"accel-{os.getpid() % 10_000}-{name}" for name in names}
        self._bridge = f"accelbr{os.getpid() % 10_000}"

    def inside(self, name: str) -> list[str]:
        """What a command has to be run with to be on that machine."""
        return ["ip", "netns", "exec", self._names[name]]

    def address(self, name: str) -> str:
        """Of that machine."""
        return f"{HOST.rpartition('.')[0]}.{list(self._names).index(name) + 2}"

    def __enter__(self) -> "Machines":
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
        except subprocess.CalledProcessError:
            pytest.skip("this kernel makes no bridges")
        _ip("addr", "add", f"{HOST}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, space in enumerate(self._names.values(), 2):
            outside, inner = f"av{os.getpid() % 10_000}o{number}", f"av{os.getpid() % 10_000}i{number}"
            _ip("netns", "add", space)
            _ip("link", "add", outside, "type", "veth", "peer", "name", inner, "netns", space)
            _ip("link", "set", outside, "master", self._bridge, "up")
            _ip("-n", space, "addr", "add", f"10.213.77.{number}/24", "dev", inner)
            _ip("-n", space, "link", "set", inner, "up")
            _ip("-n", space, "link", "set", "lo", "up")
        return self

    def unplug(self, name: str) -> None:
        """Cut a machine off: nothing it says arrives any more."""
        space = self._names[name]
        number = list(self._names).index(name) + 2
        _ip("-n", space, "link", "set", f"av{os.getpid() % 10_000}i{number}", "down")

    def __exit__(self, *_: object) -> None:
        for space in self._names.values():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[Machines]:
    with Machines(["one", "two"]) as running:
        yield running


def test_work_of_a_machine_that_vanishes_is_finished_elsewhere(tmp_path: Path, machines: Machines) -> None:
    for folder in ("registry", "postgres"):
        (tmp_path / folder).mkdir()
    with (
        DockerRegistry(tmp_path / "registry", address=HOST) as registry,
        Postgres(tmp_path / "postgres", host=HOST) as postgres,
    ):
        shared = {
            "registries": [{"host": registry.host, "plain_http": True}],
            "rules": [{"name": "all", "mode": "full"}],
            "store": {"url": postgres.url},
        }
        api = {"auth": "none", "worker_listen": "0.0.0.0:8087"}
        service = RunningService(tmp_path / "service", **shared, limits={"layers": 0})
        workers = RunningService(tmp_path / "workers", **shared, limits={"layers": 1}, api=api)
        with service:
            try:
                for name in ("one", "two"):
                    workers.start("worker", name, machines.inside(name))
                wait_for(lambda: len(workers_of(service)) == 2, "two workers")
                wait_for(lambda: answers(f"http://{machines.address('one')}:8087/readyz"), "a worker's health")
                wait_for(lambda: answers(f"http://{machines.address('two')}:8087/metrics"), "a worker's metrics")
                push_images(registry)
                service.api("POST", "/backfill", {"registry": registry.host, "repositories": ["**"]})
                wait_for(lambda: begun(workers, "one"), "work on machine one")
                machines.unplug("one")
                cut = time.time()
                lost = begun(workers, "one")
                wait_for(lambda: counts(service) == {"done": N_IMAGES}, "all work done", 120)
                jobs = {job["id"]: job for job in service.api("GET", "/jobs?limit=100")["jobs"]}
                assert lost, "the machine was doing nothing when it vanished"
                assert max(jobs[one]["finished_at"] for one in lost) - cut < TAKEOVER_S
                wait_for(lambda: len(workers_of(service)) == 1, "one worker left")
            finally:
                workers.kill("one")
                workers.stop()


def answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=5).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def push_images(registry: DockerRegistry) -> None:
    for i in range(N_IMAGES):
        store = RegistryStore(f"{registry.host}/app{i}:v1", registry.options())
        put(store, image([gzip_layer(random_tar(i, 80, 200_000))], platform="linux/amd64"), tag="v1")
        store.close()


def counts(service: RunningService) -> dict[str, int]:
    found: dict[str, int] = service.api("GET", "/stats")["jobs"]
    return found


def workers_of(service: RunningService) -> list[str]:
    found: list[str] = service.api("GET", "/stats")["workers"]
    return found


def begun(workers: RunningService, name: str) -> set[str]:
    """Jobs whose layers a worker began to make and did not finish."""
    open_: set[str] = set()
    for line in workers.log(name).splitlines():
        if line.startswith("{") and line.endswith("}"):
            said = json.loads(line)
            if said["message"].startswith("making"):
                open_.add(said["job"])
            elif said["message"].startswith("kept"):
                open_.discard(said["job"])
    return open_
