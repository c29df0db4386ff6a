"""Images that no event told of are found: in named repositories and by catalog, whatever else is broken there."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from accel.errors import ConfigError, RegistryError
from accel.registry import RegistryStore
from accel.registry import catalog as catalog_module
from accel.registry.credentials import Credential, Given
from accel.service.app import Service
from accel.service.catchup import CatchUp
from accel.service.database import Database, jobs, open_database
from accel.service.jobs.ids import job_id
from accel.service.model import Wanted
from accel.service.rules import RuleBook
from accel.service.settings import ServiceSettings
from accel.service.stores import Stores
from support.images import gzip_layer, image, put, random_tar
from support.registry_docker import DockerRegistry
from support.registry_faults import FakeRegistry

SOURCE = image([gzip_layer(random_tar(1, 5, 500))])


def settings(host: str, folder: Path, *, repositories: tuple[str, ...] = ("**",), **more: Any) -> ServiceSettings:
    return ServiceSettings.model_validate(
        {
            "store": {"path": str(folder)},
            "api": {
                "listen": "127.0.0.1:1",
                "tokens": [{"name": "test", "token": "a token for tests only", "scope": "admin"}],
            },
            "registries": [{"host": host, "plain_http": True, "scan": {"repositories": repositories}}],
            "rules": [{"name": "all", "min_layer": 0}],
        }
        | more
    )


@dataclass
class Place:
    """A registry that is caught up with. ``done``: tags whose results are there."""

    registry: FakeRegistry
    settings: ServiceSettings
    stores: Stores
    rules: RuleBook
    done: set[str] = field(default_factory=set)

    @property
    def catch_up(self) -> CatchUp:
        return CatchUp(self.settings, self.stores, self.stores.client, self.rules, self._is_done)

    def _is_done(self, wanted: Wanted, store: RegistryStore) -> bool:
        return wanted.tag in self.done

    def found(self, *patterns: str) -> list[str]:
        looked = self.catch_up.look(self.registry.host, patterns, "backfill")
        return [f"{one.repository}:{one.tag}" for one in looked]

    def scanned(self) -> list[str]:
        return [f"{one.repository}:{one.tag}" for one in self.catch_up.scan(self.registry.host)]


@pytest.fixture
def reg() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def database(tmp_path: Path, reg: FakeRegistry) -> Iterator[Database]:
    made = open_database(settings(reg.host, tmp_path).store)
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path, reg: FakeRegistry, database: Database) -> Iterator[Place]:
    chosen = settings(reg.host, tmp_path)
    stores = Stores(chosen, reg.options())
    yield Place(reg, chosen, stores, RuleBook(database, chosen, lambda: 1.0))
    stores.close()
    assert [one.name for one in threading.enumerate() if one.name.startswith("accel-")] == []


def test_what_is_found_is_what_a_rule_wants_of_the_image_as_it_is_now(place: Place, reg: FakeRegistry) -> None:
    digest = reg.add_image("team/app", "v1", [b"layer"])
    (found,) = place.catch_up.scan(reg.host)
    assert (found.registry, found.repository, found.tag, found.digest) == (reg.host, "team/app", "v1", digest)
    assert (found.rule, found.origin, found.recipe.min_layer_bytes) == ("all", "scan", 0)
    moved = reg.add_image("team/app", "v1", [b"another layer"])
    assert [one.digest for one in place.catch_up.scan(reg.host)] == [moved]


def test_names_and_globs_find_each_repository_once(place: Place, reg: FakeRegistry) -> None:
    for name in ("app", "team/app", "team/web", "team/deep/app"):
        reg.add_image(name, "v1", [name.encode()])
    assert place.found("app") == ["app:v1"]
    assert reg.seen("GET", "_catalog") == []  # not asked for where names are whole
    assert place.found("team/*") == ["team/app:v1", "team/web:v1"]
    assert place.found("team/app", "team/**") == ["team/app:v1", "team/deep/app:v1", "team/web:v1"]
    assert place.found("/(team/)?app/", "app") == ["app:v1", "team/app:v1"]
    assert place.found("none", "no*") == []
    assert place.found() == []


def test_catalogs_and_tags_come_in_pages(place: Place, reg: FakeRegistry) -> None:
    reg.page_size = 3
    for i in range(10):
        reg.add_image(f"app{i}", "v1", [b"layer"])
    for i in range(8):
        reg.add_image("tags", f"v{i}", [b"layer"])
    assert len(place.found("**")) == 18
    assert len(reg.seen("GET", "_catalog")) == 4


@pytest.mark.registry
def test_the_catalog_of_the_real_registry_is_read_to_its_end(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_PAGE", 2)
    (tmp_path / "registry").mkdir()
    with DockerRegistry(tmp_path / "registry") as registry:
        for i in range(5):
            with closing(RegistryStore(f"{registry.host}/team/app{i}:v1", registry.options())) as store:
                put(store, SOURCE, tag="v1")
        chosen = settings(registry.host, tmp_path)
        with closing(Stores(chosen, registry.options())) as stores:
            rules = RuleBook(database, chosen, lambda: 1.0)
            catch_up = CatchUp(chosen, stores, stores.client, rules, lambda wanted, store: False)
            found = list(catch_up.scan(registry.host))
    assert [one.repository for one in found] == [f"team/app{i}" for i in range(5)]
    assert {one.digest for one in found} == {SOURCE.digest}


def test_a_catalog_behind_tokens_is_asked_for_with_its_own_scope(
    reg: FakeRegistry, place: Place
) -> None:
    reg.add_image("app", "v1", [b"layer"])
    reg.auth = "token"
    ada = Given({reg.host: Credential("ada", "lovelace:1")})
    with closing(Stores(place.settings, reg.options(credentials=ada))) as place.stores:
        assert place.found("**") == ["app:v1"]


@pytest.mark.parametrize("status", [401, 404, 405])
def test_where_the_catalog_is_refused_repositories_named_in_full_are_scanned(
    place: Place, reg: FakeRegistry, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    reg.fail_next("GET", "_catalog", status=status, times=99)
    for name in ("app", "team/app"):
        reg.add_image(name, "v1", [b"layer"])
    place.settings = settings(reg.host, Path(place.settings.store.path), repositories=("app", "team/*"))
    assert place.scanned() == ["app:v1"]
    assert "not everything was scanned" in caplog.text
    with pytest.raises(RegistryError):
        place.found("app", "team/*")  # who asks for it now is told


def test_a_registry_that_is_down_is_no_scan(place: Place, reg: FakeRegistry) -> None:
    reg.fail_next("GET", "_catalog", status=503, times=6)
    with pytest.raises(RegistryError):
        place.scanned()


def test_hostile_catalogs_end(place: Place, reg: FakeRegistry) -> None:
    reg.add_image("app", "v1", [b"layer"])
    strange = b'{"repositories": ["../etc", "UPPER", "app", "a b", "' + b"x" * 5000 + b'", "app"]}'
    reg.fail_next("GET", "_catalog", status=200, body=strange)
    assert place.found("**") == ["app:v1"]
    for body in (b"[]", b"{}", b'{"repositories": {"a": 1}}', b'{"repositories": [1]}', b"<html>"):
        reg.fail_next("GET", "_catalog", status=200, body=body)
        with pytest.raises(RegistryError):
            place.found("**")
    elsewhere = {"Link": '<http://127.0.0.2:1/v2/_catalog>; rel="next"'}
    reg.fail_next("GET", "_catalog", status=200, body=b'{"repositories": []}', headers=elsewhere)
    with pytest.raises(RegistryError, match="another host"):
        place.found("**")


def test_an_unknown_registry_is_refused(place: Place) -> None:
    with pytest.raises(ConfigError):
        list(place.catch_up.look("evil.example", ("**",), "backfill"))


@pytest.mark.parametrize("status", [403, 404, 500])
def test_one_broken_repository_does_not_stop_the_rest(place: Place, reg: FakeRegistry, status: int) -> None:
    for name in ("a", "b", "c"):
        reg.add_image(name, "v1", [b"layer"])
    reg.fail_next("GET", "/v2/b/tags", status=status, times=99)
    assert place.found("**") == ["a:v1", "c:v1"]
    assert place.found("a", "absent", "c") == ["a:v1", "c:v1"]


def test_one_broken_tag_does_not_stop_the_rest(place: Place, reg: FakeRegistry) -> None:
    for i in range(9):
        reg.add_image("app", f"v{i}", [b"layer", bytes(i)])
    reg.fail_next("HEAD", "/manifests/v3", status=500, times=6)
    reg.fail_next("HEAD", "/manifests/v4", edit=lambda answer: answer.headers.pop("Docker-Content-Digest"))
    reg.fail_next("GET", "/manifests/v4", status=200, body=b"no manifest")
    reg.fail_next("HEAD", "/manifests/v5", status=400)
    assert place.found("app") == [f"app:v{i}" for i in (0, 1, 2, 6, 7, 8)]


def test_a_repository_that_answers_for_no_tag_is_left(place: Place, reg: FakeRegistry) -> None:
    for i in range(200):
        reg.add_image("app", f"v{i}", [b"layer"])
    reg.add_image("other", "v1", [b"layer"])
    reg.fail_next("HEAD", "/v2/app/", status=403, times=1000)
    assert place.found("**") == ["other:v1"]
    assert len(reg.seen("HEAD", "/v2/app/")) < 100


def test_own_tags_are_not_even_looked_at(place: Place, reg: FakeRegistry) -> None:
    own = (
        "v1_accelerated",
        "v1_accelerated_indexed",
        "v1_containerd_accelerated",
        "accel-keep-0123456789ab",
        "sha256-" + "0" * 64,
        "sha256-" + "0" * 64 + ".sig",
    )
    for tag in ("v1", *own):
        reg.add_image("app", tag, [b"layer"])
    assert place.found("app") == ["app:v1"]
    assert len(reg.seen("HEAD", "/manifests/")) == 1


def test_a_tag_whose_result_would_have_no_valid_name_is_passed_over(place: Place, reg: FakeRegistry) -> None:
    for tag in ("a" * 120, "v1"):
        reg.add_image("app", tag, [b"layer"])
    assert place.found("app") == ["app:v1"]


def test_what_is_done_is_not_found(place: Place, reg: FakeRegistry) -> None:
    for tag in ("v1", "v2"):
        reg.add_image("app", tag, [b"layer"])
    place.done = {"v1"}
    assert place.scanned() == ["app:v2"]


def test_two_thousand_tags_are_each_looked_at_once_in_their_order(place: Place, reg: FakeRegistry) -> None:
    reg.page_size = 500
    digest = reg.add_image("app", "t0000", [b"layer"])
    reg.content.repository("app").tags.update({f"t{i:04}": digest for i in range(2000)})
    assert place.found("app") == [f"app:t{i:04}" for i in range(2000)]
    assert len(reg.seen("HEAD", "/manifests/")) == 2000


def test_a_scan_that_nobody_reads_on_ends_its_threads(place: Place, reg: FakeRegistry) -> None:
    for i in range(100):
        reg.add_image("app", f"v{i}", [b"layer"])
    looking = place.catch_up.look(reg.host, ("app",), "backfill")
    next(looking)
    looking.close()  # type: ignore[attr-defined]


def test_the_service_finds_what_is_not_queued_and_whose_result_is_not_there(
    tmp_path: Path, reg: FakeRegistry
) -> None:
    digest = reg.add_image("app", "v1", [b"layer"])
    result = reg.add_image("app", "result", [b"the result's layer"])
    with ExitStack() as stack:
        chosen = settings(reg.host, tmp_path / "store", rules=[{"name": "all", "tag": ["v*"], "min_layer": 0}])
        service = Service(chosen, reg.options(), stack)

        def found() -> list[str]:
            return [one.tag for one in service.backfill(reg.host, ("app",), True)]

        def set_job(**values: Any) -> None:
            with service.database.write() as connection:
                connection.execute(jobs.update().values(**values))

        assert found() == ["v1"]  # a dry run: still so
        (wanted,) = service.backfill(reg.host, ("app",), False)
        assert found() == []  # it is queued
        assert service.core.jobs.get(job_id(wanted)) is not None
        set_job(state="done", results={"index-only": {"digest": result}})
        assert found() == ["v1"]  # somebody deleted the accelerated tag
        reg.content.repository("app").tags["v1_accelerated"] = digest
        assert found() == ["v1"]  # or moved it
        reg.content.repository("app").tags["v1_accelerated"] = result
        assert found() == []
        set_job(state="superseded")
        assert found() == []  # its tags moved back, and the result is there
        set_job(state="failed")
        assert found() == []
        reg.content.repository("app").tags["v1"] = reg.add_image("app", "v1", [b"a newer layer"])
        assert found() == ["v1"]


def test_a_few_tags_are_asked_for_at_a_time_and_no_more(place: Place, reg: FakeRegistry) -> None:
    digest = reg.add_image("app", "t00", [b"layer"])
    reg.content.repository("app").tags.update({f"t{i:02}": digest for i in range(64)})
    together = threading.Barrier(4, timeout=20)  # never opens for one request after the other
    lock = threading.Lock()
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait()
        with lock:
            inside -= 1

    reg.fail_next("HEAD", times=64, act=enter)
    assert len(place.found("app")) == 64
    assert 4 <= most <= 8
