"""Limits of a host: so many requests at a time, so many a second, and nobody waits for himself."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from accel.config.service import service_registries, service_settings
from accel.convert import ConvertOptions, convert
from accel.errors import ConfigError
from accel.oci import Descriptor, MediaType
from accel.registry import HostOptions, RegistryOptions, RegistryStore
from support.images import gzip_layer, image, put, random_tar
from support.registry_faults import FakeRegistry

WAIT_S = 20.0


@dataclass
class Gate:
    """Counts who is inside; lets nobody out before ``n`` are."""

    n: int
    inside: int = 0
    most: int = 0
    total: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def pass_through(self) -> None:
        with self.changed:
            self.inside += 1
            self.total += 1
            self.most = max(self.most, self.inside)
            goal = -(-self.total // self.n) * self.n  # until this one's group is complete
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.total >= goal, WAIT_S)
            self.inside -= 1


def limited(
    reg: FakeRegistry, max_requests: int | None, requests_per_s: float | None = None, **changes: object
) -> RegistryOptions:
    host = HostOptions(plain_http=True, max_requests=max_requests, requests_per_s=requests_per_s)
    return reg.options(hosts={reg.host: host}, **changes)


def test_never_more_requests_at_once_than_allowed_and_never_fewer(reg: FakeRegistry) -> None:
    digest = reg.add_image("app", "v1", [b"layer"])
    gate = Gate(3)
    reg.fail_next("", times=1000, act=gate.pass_through)
    options = limited(reg, 3)
    # several clients of one process, as a registry has several repositories and a worker several jobs
    stores = [RegistryStore(f"{reg.host}/app:v1", options) for _ in range(4)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda i: stores[i % 4].tag_digest("v1"), range(24)))
    for store in stores:
        store.close()
    assert (set(found), gate.total, gate.most) == ({digest}, 24, 3)


def test_token_requests_to_the_host_and_repeated_ones_count_too(reg: FakeRegistry) -> None:
    reg.auth, reg.anonymous_pull = "token", True
    reg.add_image("app", "v1", [b"layer"])
    gate = Gate(1)
    reg.fail_next("HEAD", times=2, status=503, act=gate.pass_through)
    reg.fail_next("", times=1000, act=gate.pass_through)
    with closing(RegistryStore(f"{reg.host}/app:v1", limited(reg, 1))) as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(store.tag_digest, ["v1"] * 8))
    assert gate.most == 1 and gate.total >= 11


def test_who_reads_one_answer_may_ask_for_another(reg: FakeRegistry) -> None:
    data = bytes(3 << 20)
    digest = reg.add_blob("app", data)
    reg.add_image("app", "v1", [b"layer"])
    with closing(RegistryStore(f"{reg.host}/app:v1", limited(reg, 1))) as store:
        chunks = iter(store.blob(Descriptor(MediaType.OCTET_STREAM, digest, len(data))).stream(4096))
        got = len(next(chunks))
        assert store.tag_digest("v1")
        assert got + sum(map(len, chunks)) == len(data)


def test_a_blob_is_copied_within_a_host_that_takes_one_request_at_a_time(reg: FakeRegistry) -> None:
    data = random_tar(3, 20, 50_000)
    desc = Descriptor.of(data, MediaType.OCTET_STREAM)
    reg.add_blob("from", data)

    class Chunks:
        def __init__(self, store: RegistryStore) -> None:
            self._store = store

        def __iter__(self) -> Iterator[bytes]:
            yield from self._store.blob(desc).stream()

    options = limited(reg, 1, chunk_bytes=1 << 16)
    with (
        closing(RegistryStore(f"{reg.host}/from:x", options)) as source,
        closing(RegistryStore(f"{reg.host}/to:x", options)) as dest,
    ):
        dest.put_blob(desc, Chunks(source))
    assert reg.blobs("to")[desc.digest] == data
    assert [request.method for request in reg.seen("PUT", "/to/")] == ["PUT"]  # streamed, not in chunks


@pytest.mark.parametrize("mode", ["index-only", "full"])
def test_an_image_is_converted_with_one_request_at_a_time(reg: FakeRegistry, mode: str) -> None:
    options = limited(reg, 1)
    with closing(RegistryStore(f"{reg.host}/app:v1", options)) as store:
        put(store, image([gzip_layer(random_tar(i, 10, 3000)) for i in range(4)]), tag="v1")
    gate = Gate(1)
    reg.fail_next("", times=10_000, act=gate.pass_through)
    chosen = ConvertOptions(mode=mode, min_layer_bytes=0, threads=3)
    report = convert(f"{reg.host}/app:v1", f"{reg.host}/other:v1", chosen, registries=options)
    assert report.digest == reg.tags("other")["v1"]


def test_a_request_that_fails_gives_its_place_back(reg: FakeRegistry) -> None:
    reg.add_image("app", "v1", [b"layer"])
    reg.fail_next("HEAD", times=3, drop=True)
    with closing(RegistryStore(f"{reg.host}/app:v1", limited(reg, 1))) as store:
        assert store.tag_digest("v1")


class Time:
    """Stands still but for those who sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds


def test_requests_are_spread_over_time_and_none_are_saved_up(reg: FakeRegistry) -> None:
    reg.add_image("app", "v1", [b"layer"])
    time = Time()
    started: list[float] = []
    reg.fail_next("", times=1000, act=lambda: started.append(time.now))
    options = limited(reg, None, 4.0, clock=lambda: time.now, sleep=time.sleep)
    with closing(RegistryStore(f"{reg.host}/app:v1", options)) as store:
        for _ in range(9):
            store.tag_digest("v1")
        assert started == [1000.0 + i / 4 for i in range(9)]
        time.now += 500
        started.clear()
        for _ in range(3):
            store.tag_digest("v1")
    assert started == [1502.0, 1502.25, 1502.5]


def test_the_rate_is_of_all_threads_together(reg: FakeRegistry) -> None:
    reg.add_image("app", "v1", [b"layer"])
    waits: list[float] = []
    options = limited(reg, 2, 2.0, clock=lambda: 0.0, sleep=waits.append)
    with closing(RegistryStore(f"{reg.host}/app:v1", options)) as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(store.tag_digest, ["v1"] * 10))
    assert sorted(waits) == [i / 2 for i in range(1, 10)]  # the clock stands, so each waits for all before it


def test_other_hosts_are_not_held_up() -> None:
    options = RegistryOptions(hosts={"a.example": HostOptions(max_requests=1)})
    with options.limit("a.example").place(), options.limit("b.example").place():
        assert options.limit("a.example") is options.limit("a.example")


def test_docker_hub_is_limited_by_its_own_name() -> None:
    options = RegistryOptions(hosts={"docker.io": HostOptions(max_requests=2)})
    assert options.host("registry-1.docker.io") == HostOptions(max_requests=2)


@pytest.mark.parametrize("wrong", [{"max_requests": 0}, {"requests_per_s": 0.0}, {"requests_per_s": float("nan")}])
def test_limits_that_let_nothing_pass_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        HostOptions(**wrong)  # type: ignore[arg-type]


def test_the_limits_of_the_service_configuration_reach_the_client(tmp_path: Path) -> None:
    config = tmp_path / "accel.yaml"
    config.write_text(
        """
        api: {listen: "127.0.0.1:1", tokens: [{name: a, token: "a long enough token", scope: admin}]}
        registries:
          - {host: "one.example", max_requests: 5, requests_per_s: 2.5}
          - {host: "two.example"}
        """
    )
    options = service_registries(service_settings(str(config), {}), {})
    assert options.host("one.example") == HostOptions(max_requests=5, requests_per_s=2.5)
    assert options.host("two.example") == HostOptions(max_requests=32)
