"""From a wanted image to its tags: the working part of the service, in this process, against real registries."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from accel.convert import ConvertOptions, convert
from accel.oci import Platform
from accel.registry import Credential, Given, RegistryOptions
from accel.service.core import Core
from accel.service.database import layer_results, open_database
from accel.service.jobs.control import Jobs
from accel.service.jobs.dispatch import Submitter
from accel.service.loops import Loop
from accel.service.model import OutEvent, Recipe, Wanted
from accel.service.settings import ServiceSettings
from support.images import Built, file, foreign_layer, gzip_layer, image, layer_of, random_tar, tar_of
from support.registry_faults import FakeRegistry
from support.repositories import Repositories

BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello")))
INDEX = Recipe(min_layer_bytes=0)
WAIT_S = 60.0


def options_of(recipe: Recipe, threads: int) -> ConvertOptions:
    return ConvertOptions(
        mode=recipe.mode,
        format=recipe.format,
        platforms=tuple(Platform.parse(one) for one in recipe.platforms),
        min_layer_bytes=recipe.min_layer_bytes,
        containerd_only=recipe.containerd_only,
        threads=threads,
    )


def tags_of(recipe: Recipe, tag: str) -> tuple[str, ...]:
    result = recipe.tag.format(tag=tag)
    return (result, result + "_indexed") if "," in recipe.mode else (result,)


@dataclass
class NoProtection:
    kept: list[dict[str, Any]] = field(default_factory=list)
    recorded: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, **facts: Any) -> None:
        self.kept.append(facts)

    def record(self, connection: sa.Connection, **facts: Any) -> None:
        self.recorded.append(facts)


class Running(Repositories):
    """A core with its submitter, and words to use it."""

    def __init__(self, folder: Path, registry: FakeRegistry, **limits: Any) -> None:
        self.registry = registry
        given = Given({registry.host: Credential("ada", registry.users["ada"])})
        self.options = registry.options(credentials=given if registry.auth != "open" else None)
        self.settings = ServiceSettings.model_validate(
            {
                "store": {"path": str(folder)},
                "api": {"auth": "none"},
                "registries": [{"host": registry.host, "plain_http": True}],
                "limits": {"backoff": "10ms", "threads": 2, **limits},
            }
        )
        self.database = open_database(self.settings.store)
        self.told: list[OutEvent] = []
        self.protector = NoProtection()
        self.core = Core(
            self.settings,
            self.options,
            self.database,
            emit=lambda _, event: self.told.append(event),
            protector=lambda _: self.protector,
            options_of=options_of,
            result_tags=tags_of,
            resolve=lambda event: [],
            deleted=lambda event: [],
        )
        self.submitter = Loop("submit", Submitter(self.core.jobs, self.core.engine, 50).run_once, 0.05)

    def __enter__(self) -> "Running":
        self.core.start(works=True)
        self.submitter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.submitter.stop()
        self.core.close()
        self.database.close()

    def place(self) -> tuple[str, RegistryOptions]:
        return self.registry.host, self.options

    def wanted(self, name: str, tag: str, digest: str, recipe: Recipe = INDEX) -> Wanted:
        return Wanted(self.registry.host, name, tag, digest, "all", recipe)

    def submit(self, *wanted: Wanted) -> list[str]:
        return self.core.jobs.submit(wanted, lambda one: tags_of(one.recipe, one.tag))

    def ended(self, job: str, *states: str) -> Any:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            row = self.core.jobs.get(job)
            assert row is not None
            if row["state"] in (states or ("done", "skipped", "failed", "superseded", "cancelled")):
                return row
            time.sleep(0.05)
        raise AssertionError(f"{dict(row)} did not end")

    def fetched(self, layer: str) -> int:
        return len(self.registry.seen("GET", f"/blobs/{layer}"))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def service(tmp_path: Path, registry: FakeRegistry) -> Iterator[Running]:
    with Running(tmp_path, registry) as running:
        yield running
    assert [one.name for one in threading.enumerate() if one.name.startswith("accel-")] == []


def an_image(*more: Any) -> Built:
    return image([BASE, TOP, *more], platform="linux/amd64")


@pytest.mark.parametrize("mode", ["index-only", "full", "index-only,full"])
def test_what_is_published_is_what_the_command_line_makes(service: Running, mode: str) -> None:
    digest = service.push("app", an_image(), "v1")
    recipe = replace(INDEX, mode=mode)
    (job,) = service.submit(service.wanted("app", "v1", digest, recipe))
    row = service.ended(job)
    assert (row["state"], row["reason"]) == ("done", "")
    host = service.registry.host
    whole = convert(
        f"{host}/app:v1", f"{host}/cli:v1", options_of(recipe, 2), registries=service.registry.options()
    )
    assert service.digest("app", "v1_accelerated") == whole.digest
    if whole.index_only is not None:
        assert service.digest("app", "v1_accelerated_indexed") == whole.index_only.digest
    assert [event.type for event in service.told][:2] == ["queued", "started"]
    assert {event.tag for event in service.told if event.type == "done"} == set(tags_of(recipe, "v1"))


def test_fifty_tags_and_ten_pushes_of_an_image_are_one_conversion(service: Running) -> None:
    tags = [f"v{i}" for i in range(50)]
    digest = service.push("app", an_image(), *tags)
    jobs = service.submit(*[service.wanted("app", tag, digest) for tag in tags + tags[:10]])
    assert len(set(jobs)) == 1
    assert service.ended(jobs[0])["state"] == "done"
    assert len({service.digest("app", f"{tag}_accelerated") for tag in tags}) == 1
    assert service.fetched(BASE.descriptor.digest) == 1


def test_a_new_tag_of_a_converted_image_reads_no_layer(service: Running) -> None:
    digest = service.push("app", an_image(), "v1", "v2")
    (job,) = service.submit(service.wanted("app", "v1", digest))
    service.ended(job)
    before = service.fetched(BASE.descriptor.digest)
    service.submit(service.wanted("app", "v2", digest))
    assert service.ended(job)["state"] == "done"
    assert service.digest("app", "v2_accelerated") == service.digest("app", "v1_accelerated")
    assert service.fetched(BASE.descriptor.digest) == before


def test_only_new_layers_are_read_and_other_repositories_mount(service: Running) -> None:
    first = service.push("app", an_image(), "v1")
    (job,) = service.submit(service.wanted("app", "v1", first))
    service.ended(job)
    new = gzip_layer(random_tar(7, 5, 1000))
    second = service.push("other", an_image(new), "v1")
    (job,) = service.submit(service.wanted("other", "v1", second))
    assert service.ended(job)["state"] == "done"
    reused = {row["layer"]: row["reused"] for row in service.core.jobs.layers_of(job)}
    assert reused == {
        BASE.descriptor.digest: True,
        TOP.descriptor.digest: True,
        new.descriptor.digest: False,
    }
    assert service.fetched(BASE.descriptor.digest) == 1
    mounts = [request.query.get("from") for request in service.registry.seen("POST", "mount=")]
    assert "app" in mounts


def test_a_tag_that_moved_during_the_conversion_keeps_the_newest(service: Running) -> None:
    old = service.push("app", an_image(), "v1")
    newer = an_image(gzip_layer(random_tar(9, 5, 1000)))
    moved = threading.Event()

    def move() -> None:
        if not moved.is_set():
            moved.set()
            service.push("app", newer, "v1")

    service.registry.fail_next("GET", f"/blobs/{BASE.descriptor.digest}", act=move)
    (job,) = service.submit(service.wanted("app", "v1", old))
    assert service.ended(job)["state"] == "superseded"
    assert service.digest("app", "v1_accelerated") is None
    (job,) = service.submit(service.wanted("app", "v1", newer.descriptor.digest))
    assert service.ended(job)["state"] == "done"
    result = service.digest("app", "v1_accelerated")
    (late,) = service.submit(service.wanted("app", "v1", old))
    assert service.ended(late)["state"] == "superseded"
    assert service.digest("app", "v1_accelerated") == result


def test_zstd_in_index_only_mode_is_unsupported_and_the_source_stays(service: Running) -> None:
    zstd = layer_of(
        b"\x28\xb5\x2f\xfd" + bytes(100), "application/vnd.oci.image.layer.v1.tar+zstd"
    )
    digest = service.push("app", image([zstd], platform="linux/amd64"), "v1")
    (job,) = service.submit(service.wanted("app", "v1", digest))
    row = service.ended(job)
    assert row["state"] == "skipped" and row["reason"].startswith("unsupported: ")
    assert service.digest("app", "v1_accelerated") is None
    assert service.digest("app", "v1") == digest


def test_a_result_is_not_converted_again(service: Running) -> None:
    digest = service.push("app", an_image(), "v1")
    (job,) = service.submit(service.wanted("app", "v1", digest))
    service.ended(job)
    result = service.digest("app", "v1_accelerated")
    assert result is not None
    (job,) = service.submit(service.wanted("app", "copy", result))
    assert service.ended(job)["reason"] == "it is the result of a conversion"


def test_what_may_pass_is_tried_again(service: Running, registry: FakeRegistry) -> None:
    digest = service.push("app", an_image(), "v1")
    # more failures than one step bears by itself
    registry.fail_next("GET", f"/blobs/{BASE.descriptor.digest}", status=503, times=8)
    (job,) = service.submit(service.wanted("app", "v1", digest))
    row = service.ended(job)
    assert (row["state"], row["attempt"]) == ("done", 2)


def test_what_will_not_pass_fails_at_once_and_says_why(service: Running, registry: FakeRegistry) -> None:
    digest = service.push("app", an_image(), "v1")
    registry.fail_next("PUT", r"/manifests/v1_accelerated", status=412, times=99)
    (job,) = service.submit(service.wanted("app", "v1", digest))
    row = service.ended(job)
    assert (row["state"], row["attempt"]) == ("failed", 1)
    assert "412" in row["reason"]
    assert [event.type for event in service.told][-1] == "failed"


def test_a_missing_image_fails_with_its_name(service: Running) -> None:
    (job,) = service.submit(service.wanted("app", "v1", "sha256:" + "0" * 64))
    row = service.ended(job)
    assert row["state"] == "failed" and "NotFoundError" in row["reason"]


def test_results_that_the_registry_lost_are_made_again(service: Running, registry: FakeRegistry) -> None:
    digest = service.push("app", an_image(), "v1")
    (job,) = service.submit(service.wanted("app", "v1", digest))
    service.ended(job)
    with service.database.read() as connection:
        results = list(connection.scalars(sa.select(layer_results.c.result)))
    for result in results:
        service.registry.content.repositories["app"].blobs.pop(result["blob"]["digest"], None)
    service.push("app", an_image(), "v2")
    service.submit(service.wanted("app", "v2", digest))
    row = service.ended(job)
    assert row["state"] == "done"
    assert json.loads(json.dumps(row["report"]))


def test_thresholds_skip_with_the_reason(service: Running) -> None:
    digest = service.push("app", an_image(), "v1")
    for change, reason in (
        ({"min_image_bytes": 1 << 40}, "too small"),
        ({"max_image_bytes": 1}, "too large"),
        ({"max_layer_bytes": 1}, "a layer is too large"),
    ):
        (job,) = service.submit(service.wanted("app", "v1", digest, replace(INDEX, **change)))
        row = service.ended(job)
        assert row["state"] == "skipped" and row["reason"].startswith(reason)


def test_limits_of_disk_that_a_layer_cannot_meet_are_final(tmp_path: Path, registry: FakeRegistry) -> None:
    with Running(tmp_path, registry, disk="1KiB") as service:
        digest = service.push("app", an_image(), "v1")
        (job,) = service.submit(service.wanted("app", "v1", digest))
        row = service.ended(job)
        assert row["state"] == "failed" and "limits.disk" in row["reason"]


def test_a_cancelled_job_stops_inside_a_layer(service: Running, registry: FakeRegistry) -> None:
    digest = service.push("app", an_image(), "v1")
    reached = threading.Event()
    registry.fail_next("GET", f"/blobs/{BASE.descriptor.digest}", act=reached.set, drip_s=0.2, times=9)
    (job,) = service.submit(service.wanted("app", "v1", digest))
    assert reached.wait(WAIT_S)
    control = Jobs(service.core.jobs, lambda one: (), service.core.engine.cancel, service.submitter.wake)
    control.cancel(job)
    assert service.ended(job)["state"] == "cancelled"
    assert service.digest("app", "v1_accelerated") is None


@pytest.mark.parametrize("mode", ["index-only", "full"])
def test_a_job_outlives_what_registries_do(tmp_path: Path, mode: str) -> None:
    """Tokens that die in mid-job, redirects with signatures that expire, 429, answers and uploads that break off."""
    with FakeRegistry(auth="token", storage=True) as registry, Running(tmp_path, registry) as service:
        digest = service.push("app", an_image(), "v1")
        layer = f"/blobs/{BASE.descriptor.digest}"
        registry.expire_tokens()
        registry.fail_next("GET", layer, status=429, retry_after=1)
        registry.fail_next("GET", layer, act=registry.expire_tokens)
        registry.fail_next("GET", layer, act=registry.expire_signatures, cut_after=1000)
        registry.fail_next("GET", layer, cut_after=30_000)
        registry.fail_next("PATCH", "", act=registry.expire_tokens)
        registry.fail_next("PUT", "/blobs/uploads", take=100)
        registry.fail_next("PUT", "/manifests/", status=503, times=2)
        (job,) = service.submit(service.wanted("app", "v1", digest, replace(INDEX, mode=mode)))
        row = service.ended(job)
        assert (row["state"], row["reason"]) == ("done", "")
        assert service.digest("app", "v1_accelerated")
        assert 429 in {request.status for request in registry.seen("GET", layer)}


def test_urls_of_foreign_layers_are_not_followed(service: Running) -> None:
    """An image may name any address: nobody makes us ask there."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/layer"
        foreign = foreign_layer()
        foreign = replace(foreign, descriptor=replace(foreign.descriptor, urls=(url,)))
        digest = service.push("app", image([BASE, foreign], platform="linux/amd64"), "v1")
        for recipe in (INDEX, replace(INDEX, mode="full")):
            (job,) = service.submit(service.wanted("app", "v1", digest, recipe))
            assert service.ended(job)["state"] in ("done", "failed")
        with pytest.raises(TimeoutError):
            trap.accept()
