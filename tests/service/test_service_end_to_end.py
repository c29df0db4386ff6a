"""`accel serve` as operators run it, with the real registry."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from accel.convert import convert
from accel.registry import RegistryOptions
from support.images import Built, file, gzip_layer, image, layer_of, random_tar, tar_of
from support.registry_docker import DockerRegistry
from support.repositories import Repositories
from support.running_service import TOKEN, RunningService, free_port, wait_for
from support.webhook_receiver import WebhookReceiver

pytestmark = pytest.mark.registry

BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello")))
KEY = b"a key for tests only"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def an_image(seed: int = 0) -> Built:
    more = [gzip_layer(random_tar(seed, 3, 500))] if seed else []
    return image([BASE, TOP, *more], platform="linux/amd64")


@dataclass
class Place(Repositories):
    """A registry that tells a service of its pushes, and somebody who is told of results."""

    registry: DockerRegistry
    service: RunningService
    receiver: WebhookReceiver

    def place(self) -> tuple[str, RegistryOptions]:
        return self.registry.host, self.registry.options()

    def accelerated(self, name: str, tag: str) -> str:
        digest: str = wait_for(lambda: self.digest(name, f"{tag}_accelerated"), f"{name}:{tag}_accelerated")
        return digest

    def job(self, state: str, n: int = 1) -> dict[str, Any]:
        """The only job in a state, once it is there."""
        jobs = wait_for(lambda: self.jobs(state, n), f"{n} jobs {state}")
        found: dict[str, Any] = jobs[0]
        return found

    def jobs(self, state: str, n: int) -> list[Any]:
        found: list[Any] = self.service.api("GET", f"/jobs?state={state}")["jobs"]
        return found if len(found) >= n else []


def settings(host: str, receiver: WebhookReceiver) -> dict[str, Any]:
    return {
        "registries": [
            {"host": host, "plain_http": True, "scan": {"every": "2s", "repositories": ["**"]}}
        ],
        "endpoints": [
            {"name": "cloud", "url": receiver.url + "/cloud", "secrets": [SECRET], "tag": "_accelerated$",
             "types": ["queued", "started", "done", "skipped", "failed"]},
            {"name": "acr", "url": receiver.url + "/acr", "format": "acr", "tag": "_accelerated$"},
        ],
    }  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, receiver: WebhookReceiver) -> Iterator[Place]:
    port = free_port()
    service = RunningService(tmp_path / "service", **settings(f"127.0.0.1:{port}", receiver))
    (tmp_path / "registry").mkdir()
    with DockerRegistry(tmp_path / "registry", notify=service.notify, port=port) as registry, service:
        yield Place(registry, service, receiver)


def test_a_push_leads_to_the_accelerated_tag_and_both_events(place: Place) -> None:
    source = place.push("team/app", an_image(), "v1")
    digest = place.accelerated("team/app", "v1")
    host = place.registry.host
    whole = convert(
        f"{host}/team/app:v1", f"{host}/cli:v1", registries=place.registry.options(), options=None
    )
    assert whole.nothing_to_index or whole.digest  # both small layers are below the command's default size
    detail = place.service.api("GET", f"/jobs/{place.job('done')['id']}")
    assert [one["state"] for one in detail["layers"]] == ["indexed", "indexed"]
    came = place.receiver.wait_for(4)
    by_type = {one.json["type"]: one for one in came if one.path == "/cloud"}
    assert set(by_type) == {f"dev.accel.conversion.{name}.v1" for name in ("queued", "started", "done")}
    done = by_type["dev.accel.conversion.done.v1"]
    assert done.json["data"]["digest"] == digest
    assert done.json["data"]["source"]["digest"] == source
    signed = f"{done.headers['webhook-id']}.{done.headers['webhook-timestamp']}.".encode() + done.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert done.headers["webhook-signature"] == f"v1,{expected}"
    (acr,) = [one.json for one in came if one.path == "/acr"]
    assert acr["push_data"]["tag"] == "v1_accelerated" and acr["push_data"]["digest"] == digest
    assert acr["repository"]["repo_full_name"] == "team/app"


def test_our_own_pushes_do_not_loop(place: Place) -> None:
    place.push("app", an_image(), "v1")
    place.accelerated("app", "v1")
    place.job("done")
    place.push("app", an_image(5), "v2")
    place.accelerated("app", "v2")
    place.job("done", 2)
    assert len(place.service.api("GET", "/jobs")["jobs"]) == 2


def test_the_catch_up_scan_finds_images_whose_events_were_lost(place: Place) -> None:
    """The registry keeps undelivered events in memory only: service away, registry killed, and they are gone."""
    place.service.kill()
    for i in range(3):
        place.push(f"lost{i}", an_image(), "v1")
    place.registry.restart()
    place.service.start("serve")
    place.service.ready()
    for i in range(3):
        place.accelerated(f"lost{i}", "v1")
    jobs = place.service.api("GET", "/jobs")["jobs"]
    assert {job["origin"] for job in jobs} == {"scan"}


def test_zstd_in_index_only_mode_is_reported_as_unsupported(place: Place) -> None:
    zstd = layer_of(b"\x28\xb5\x2f\xfd" + bytes(100), "application/vnd.oci.image.layer.v1.tar+zstd")
    digest = place.push("app", image([zstd], platform="linux/amd64"), "v1")
    job = place.job("skipped")
    assert job["reason"].startswith("unsupported: ")
    assert (place.digest("app", "v1"), place.digest("app", "v1_accelerated")) == (digest, None)


def test_a_deleted_source_that_is_needed_comes_back(place: Place) -> None:
    digest = place.push("app", an_image(), "v1")
    place.accelerated("app", "v1")
    place.job("done")
    image_name = f"{place.registry.host}/app:v1"
    verdict = place.service.api("GET", f"/protection?image={image_name}")
    assert verdict == {"allowed": False, "used_by": ["app:v1_accelerated"]}
    store = place.store("app")
    store.delete_manifest(digest)
    store.close()
    assert wait_for(lambda: place.digest("app", "v1"), "the source's tag") == digest


def test_backfill_rules_and_explain_work_at_run_time(place: Place) -> None:
    place.service.api("PUT", "/rules/all", {"name": "all", "enabled": False, "min_layer": 0})
    place.push("app", an_image(), "v1")
    explained = place.service.api("POST", "/rules/explain", {"image": f"{place.registry.host}/app:v1"})
    assert [one["reason"] for one in explained["rules"]] == ["disabled"]
    place.service.api("PUT", "/rules/all", {"name": "all", "enabled": True, "min_layer": 0})
    found = place.service.api(
        "POST", "/backfill", {"registry": place.registry.host, "repositories": ["a*"], "dry_run": True}
    )
    assert [one["tag"] for one in found["images"]] in (["v1"], [])  # the scan may have been faster
    place.accelerated("app", "v1")


def test_what_is_done_shows_in_the_metrics(place: Place) -> None:
    place.push("app", an_image(), "v1")
    place.accelerated("app", "v1")
    place.job("done")
    place.receiver.wait_for(4)

    def values() -> dict[str, float]:
        text = urllib3.request("GET", f"{place.service.url}/metrics").data.decode()
        families = text_string_to_metric_families(text)
        return {sample.name: sample.value for one in families for sample in one.samples if sample.value}

    found = wait_for(lambda: (got := values()).get("accel_deliveries_total") and got, "deliveries in the metrics")
    for name in ("accel_conversions_total", "accel_layer_results_total", "accel_layer_read_bytes_total",
                 "accel_events_received_total", "accel_registry_requests_total", "accel_jobs"):  # fmt: skip
        assert found.get(name), (name, sorted(found))


def test_secrets_are_in_no_log(place: Place) -> None:
    place.push("app", an_image(), "v1")
    place.accelerated("app", "v1")
    place.receiver.wait_for(3)
    log = place.service.log()
    assert log
    for secret in (SECRET, KEY.decode(), "a secret for tests only", "a token for tests only"):
        assert secret not in log
    assert all(json.loads(line) for line in log.splitlines())


def test_the_commands_look_at_a_service_and_steer_it(place: Place, tmp_path: Path) -> None:
    place.push("team/app", an_image(), "v1")
    place.accelerated("team/app", "v1")
    job = place.job("done")["id"]
    name = f"{place.registry.host}/team/app:v1"
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")

    def accel(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "accel", *arguments, "--server", place.service.url]
        done = subprocess.run([*command, "--token-file", str(token)], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    assert json.loads(accel("jobs", "list", "--state", "done", "--json")[1])["jobs"][0]["id"] == job
    for arguments, code, said in (
        (("jobs", "list"), 0, "team/app"),
        (("jobs", "show", job), 0, "v1_accelerated"),
        (("jobs", "logs", job), 0, "tag v1_accelerated: set"),
        (("jobs", "watch", job), 0, "done"),
        (("jobs", "cancel", job), 9, "is done"),
        (("jobs", "show", "nobody"), 3, "no job nobody"),
        (("rules", "list"), 0, "everything"),
        (("rules", "explain", name), 0, "index-only as v1_accelerated"),
        (("rules", "disable", "all"), 0, "off"),
        (("rules", "remove", "all"), 9, "configuration file"),
        (("protect", "list"), 0, "v1_accelerated"),
        (("protect", "check", name), 9, "needed by team/app:v1_accelerated"),
        (("protect", "delete", name), 9, "needed by"),
        (("backfill", place.registry.host, "**", "--dry-run"), 0, "0 images would be converted"),
        (("deliveries", "list"), 0, "delivered"),
        (("deliveries", "redeliver", "1"), 0, ""),
        (("jobs", "pause"), 0, ""),
        (("jobs", "resume"), 0, ""),
    ):
        got, text = accel(*arguments)
        assert (got, said in text) == (code, True), (arguments, got, text)
    token.write_text("some other token")
    assert accel("jobs", "list")[0] == 4
