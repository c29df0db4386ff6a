"""Sources that results need are kept, guarded and put back; the judge is the real registry and its clean-up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from accel.convert import ConvertOptions, convert
from accel.errors import ConfigError, NotFoundError
from accel.images import load
from accel.oci import Descriptor, MediaType
from accel.registry import RegistryOptions, RegistryStore
from accel.service.database import Database, dependencies, kept_manifests
from accel.service.model import Event, Recipe
from accel.service.protect import InUse, Protector
from accel.service.protect.watch import Watch
from accel.service.settings import ProtectionSettings
from support.images import Built, attestation_of, file, gzip_layer, image, index, put, random_tar, tar_of
from support.postgres import Postgres
from support.registry_docker import DockerRegistry
from support.registry_faults import FakeRegistry

BASE = gzip_layer(random_tar(1, 20, 4000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello")))
ARM = gzip_layer(random_tar(2, 20, 4000))
SOURCE = image([BASE, TOP])
DAY_S = 86400.0
on_both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


def two_platforms() -> Built:
    return index([SOURCE, image([ARM, TOP], platform="linux/arm64"), attestation_of(SOURCE)])


@dataclass
class Place:
    """A protected repository."""

    host: str
    options: RegistryOptions
    database: Database
    now: float = 1e9
    alarms: list[tuple[str, str]] = field(default_factory=list)

    def protector(self, **settings: Any) -> Protector:
        def alarm(job: str, words: str) -> None:
            self.alarms.append((job, words))

        chosen = ProtectionSettings(**settings)
        return Protector(self.database, chosen, self.store_of, lambda: self.now, alarm)

    def store_of(self, registry: str, repository: str) -> RegistryStore:
        assert registry == self.host
        return RegistryStore(f"{registry}/{repository}:x", self.options)

    def push(self, built: Built, *tags: str, name: str = "app") -> str:
        with closing(self.store_of(self.host, name)) as store:
            for tag in tags:
                put(store, built, tag=tag)
        return built.digest

    def digest(self, tag: str, name: str = "app") -> str | None:
        with closing(self.store_of(self.host, name)) as store:
            return store.tag_digest(tag)

    def delete(self, digest: str, name: str = "app") -> Event:
        """The event that tells of it."""
        with closing(self.store_of(self.host, name)) as store:
            store.delete_manifest(digest)
        return self.event(digest=digest, repository=name)

    def event(self, **about: Any) -> Event:
        return Event("main", "1", "delete", self.host, **({"repository": "app"} | about))

    def accelerate(
        self, protector: Protector, tag: str, recipe: Recipe | None = None, name: str = "app"
    ) -> str:
        """As the service does it: convert, keep, tag, record."""
        recipe = recipe or Recipe(min_layer_bytes=0)
        where = {"registry": self.host, "repository": name}
        source = self.digest(tag, name)
        assert source is not None
        protector.keep(**where, source_digest=source)
        report = convert(
            f"{self.host}/{name}:{tag}",
            f"{self.host}/{name}:{tag}_accelerated",
            ConvertOptions(
                mode=recipe.mode,
                min_layer_bytes=recipe.min_layer_bytes,
                containerd_only=recipe.containerd_only,
                threads=1,
            ),
            registries=self.options,
        )
        assert report.digest is not None
        with self.database.write() as connection:
            protector.record(
                connection,
                job="job",
                **where,
                source_tag=tag,
                source_digest=source,
                tag=f"{tag}_accelerated",
                digest=report.digest,
                needs_source=recipe.needs_source,
            )
        return report.digest

    def rows(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(sa.select(dependencies).order_by(dependencies.c.tag)).mappings())

    def kept(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.scalars(sa.select(kept_manifests.c.digest)))

    def assert_readable(self, built: Built, tag: str) -> None:
        """Every manifest and blob below a tag, read and verified."""
        with closing(self.store_of(self.host, "app")) as store:
            assert store.tag_digest(tag) == built.digest
            for child in load(store, tag).walk():
                assert child.kind != "absent"
            for digest, data in built.blobs.items():
                blob = store.blob(Descriptor(MediaType.OCTET_STREAM, digest, len(data)))
                assert blob.read_at(0, len(data)) == data


@pytest.fixture(params=["sqlite"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/service.sqlite"
        if request.param == "postgresql":
            (tmp_path / "postgres").mkdir()
            server = stack.enter_context(Postgres(tmp_path / "postgres"))
            url = "postgresql+psycopg://" + server.url.partition("://")[2]
        with closing(Database(url)) as made:
            yield made
    assert [one.name for one in threading.enumerate() if one.name.startswith("accel-")] == []


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    (tmp_path / "registry").mkdir()
    with DockerRegistry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def place(registry: DockerRegistry, database: Database) -> Place:
    return Place(registry.host, registry.options(), database)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def played(fake: FakeRegistry, database: Database) -> Place:
    """A place whose registry can fail."""
    return Place(fake.host, fake.options(), database)


def actions(done: list[dict[str, Any]]) -> list[str]:
    return [one["action"] for one in done]


# --- put back ------------------------------------------------------------------------------------------------------


@pytest.mark.registry
@pytest.mark.parametrize("built", [SOURCE, two_platforms()], ids=["image", "index"])
def test_a_deleted_source_comes_back_to_the_byte_although_the_registry_cleaned_up(
    place: Place, registry: DockerRegistry, built: Built
) -> None:
    source = place.push(built, "v1")
    place.push(image([gzip_layer(random_tar(9, 3, 900))]), "unprotected")
    protector = place.protector()
    place.accelerate(protector, "v1")
    unprotected = place.digest("unprotected")
    assert unprotected is not None
    place.delete(unprotected)
    told = place.delete(source)
    registry.collect_garbage()
    lost = gzip_layer(random_tar(9, 3, 900)).descriptor
    with closing(place.store_of(place.host, "app")) as store:
        assert not store.has_blob(lost)  # so blobs that nothing lists are really gone
        assert not store.has_manifest(source)
    assert actions(protector.on_delete(told)) == ["repaired"]
    place.assert_readable(built, "v1")
    assert place.alarms == []
    assert [row["state"] for row in place.rows()] == ["ok"]


@pytest.mark.registry
def test_a_deletion_that_is_told_again_changes_nothing(place: Place) -> None:
    source = place.push(SOURCE, "v1")
    protector = place.protector()
    place.accelerate(protector, "v1")
    told = place.delete(source)
    assert actions(protector.on_delete(told)) == ["repaired"]
    before = place.rows(), place.kept()
    assert actions(protector.on_delete(told)) == ["none"]
    assert (place.rows(), place.kept()) == before
    assert protector.on_delete(place.event(digest="sha256:" + "0" * 64, tag="other")) == []


@pytest.mark.registry
def test_a_deleted_platform_comes_back_by_event_and_by_sweep(place: Place) -> None:
    built = two_platforms()
    place.push(built, "v1")
    protector = place.protector()
    place.accelerate(protector, "v1")
    told = place.delete(built.children[1].digest)
    assert actions(protector.on_delete(told)) == ["repaired"]
    place.assert_readable(built, "v1")
    place.delete(built.children[0].digest)
    place.now += DAY_S
    assert protector.sweep() == 1
    place.assert_readable(built, "v1")


@on_both
def test_indexes_in_indexes_come_back_from_the_inside(played: Place, fake: FakeRegistry) -> None:
    inner = index([image([BASE], platform="linux/amd64"), image([ARM], platform="linux/arm64")])
    middle = index([inner])
    outer = index([middle])
    played.push(outer, "v1")
    protector = played.protector()
    played.accelerate(protector, "v1")
    repository = fake.content.repository("app")
    for gone in (outer, middle, inner, *inner.children):
        del repository.manifests[gone.digest]
    repository.tags.pop("v1")
    assert actions(protector.on_delete(played.event(digest=outer.digest))) == ["repaired"]
    assert played.digest("v1") == outer.digest
    assert {one.digest for one in (middle, inner, *inner.children)} <= set(repository.manifests)


@pytest.mark.registry
def test_a_tag_that_moved_meanwhile_stays_where_it_is(place: Place) -> None:
    source = place.push(SOURCE, "v1")
    protector = place.protector()
    place.accelerate(protector, "v1")
    told = place.delete(source)
    newer = place.push(image([TOP]), "v1")
    assert actions(protector.on_delete(told)) == ["repaired"]
    assert place.digest("v1") == newer
    with closing(place.store_of(place.host, "app")) as store:
        assert store.has_manifest(source)


@pytest.mark.registry
def test_alarm_tells_once_and_ignore_does_not(place: Place) -> None:
    source = place.push(SOURCE, "v1")
    protector = place.protector(on_delete="alarm")
    place.accelerate(protector, "v1")
    told = place.delete(source)
    assert actions(place.protector(on_delete="ignore").on_delete(told)) == ["ignored"]
    assert [row["state"] for row in place.rows()] == ["ok"] and place.alarms == []
    for _ in range(2):
        assert actions(protector.on_delete(told)) == ["alarm"]
    assert place.alarms == [("job", "app:v1_accelerated: the source tag v1 is gone")]
    assert [row["state"] for row in place.rows()] == ["broken"]
    assert place.digest("v1") is None


@pytest.mark.registry
@pytest.mark.parametrize("about", ["tag", "digest"])
def test_when_the_accelerated_tag_is_deleted_nothing_is_needed_any_more(place: Place, about: str) -> None:
    place.push(SOURCE, "v1")
    protector = place.protector()
    digest = place.accelerate(protector, "v1")
    told = place.delete(digest)
    if about == "tag":
        told = place.event(tag="v1_accelerated")
    assert actions(protector.on_delete(told)) == ["released"]
    assert place.rows() == []
    assert protector.check(place.host, "app", "v1").allowed


def test_a_source_whose_blobs_are_gone_cannot_be_put_back_and_says_so(
    played: Place, fake: FakeRegistry
) -> None:
    source = played.push(SOURCE, "v1")
    protector = played.protector()
    played.accelerate(protector, "v1", Recipe(mode="full", containerd_only=True, min_layer_bytes=0))
    told = played.delete(source)
    del fake.content.repository("app").blobs[BASE.descriptor.digest]
    assert actions(protector.on_delete(told)) == ["alarm"]
    assert "cannot be put back" in played.alarms[0][1]


# --- guarded ---------------------------------------------------------------------------------------------------------


@pytest.mark.registry
def test_what_is_needed_is_not_deleted_and_the_users_are_named(place: Place) -> None:
    built = two_platforms()
    source = place.push(built, "v1", "latest")
    protector = place.protector()
    place.accelerate(protector, "v1")
    users = ("app:v1_accelerated",)
    check = protector.check
    assert check(place.host, "app", "v1").used_by == users
    assert check(place.host, "app", digest=source).used_by == users
    assert check(place.host, "app", digest=built.children[0].digest).used_by == users
    assert check(place.host, "app", "latest").allowed  # the tag alone: the manifest stays
    assert check(place.host, "other", "v1").allowed
    for tag in ("v1", "latest"):
        for force in (False, True):
            with pytest.raises(InUse) as caught:
                protector.delete_source(place.host, "app", tag, force=force)
            assert caught.value.used_by == users
    assert place.digest("v1") == source


@pytest.mark.registry
def test_other_tags_of_the_same_image_are_not_deleted_unless_forced(place: Place) -> None:
    place.push(SOURCE, "v1", "latest", *(f"t{i}" for i in range(70)))
    protector = place.protector()
    with pytest.raises(InUse) as caught:
        protector.delete_source(place.host, "app", "v1")
    assert len(caught.value.used_by) == 71 and "app:latest" in caught.value.used_by
    done = protector.delete_source(place.host, "app", "v1", force=True)
    assert done["deleted"] == SOURCE.digest and len(done["tags"]) == 72
    assert place.digest("latest") is None
    with pytest.raises(NotFoundError):
        protector.delete_source(place.host, "app", "v1")


@pytest.mark.registry
def test_a_tag_that_moved_on_may_be_deleted_but_not_what_it_named(place: Place) -> None:
    source = place.push(SOURCE, "v1")
    protector = place.protector()
    place.accelerate(protector, "v1")
    newer = place.push(image([TOP]), "v1")
    assert protector.check(place.host, "app", "v1").allowed
    assert not protector.check(place.host, "app", digest=source).allowed
    assert protector.delete_source(place.host, "app", "v1") == {"deleted": newer, "tags": ["v1"]}


@pytest.mark.registry
def test_full_results_need_nothing_and_containerd_only_results_do(place: Place) -> None:
    protector = place.protector()
    for tag, containerd_only in (("v1", False), ("v2", True)):
        place.push(image([BASE, gzip_layer(random_tar(len(tag) + containerd_only, 5, 300))]), tag)
        recipe = Recipe(mode="full", containerd_only=containerd_only, min_layer_bytes=0)
        place.accelerate(protector, tag, recipe)
        assert protector.check(place.host, "app", tag).allowed is not containerd_only
    assert [row["source_tag"] for row in place.rows()] == ["v2"]


# --- held by a tag -------------------------------------------------------------------------------------------------


@pytest.mark.registry
def test_a_keep_tag_holds_the_source_until_nobody_needs_it(place: Place, registry: DockerRegistry) -> None:
    source = place.push(SOURCE, "v1")
    protector = place.protector(keep_tags=True)
    accelerated = place.accelerate(protector, "v1")
    keep_tag = place.rows()[0]["keep_tag"]
    assert keep_tag.startswith("accel-keep-") and place.digest(keep_tag) == source
    told = place.delete(source)
    assert place.digest(keep_tag) is None
    protector.on_delete(told)
    assert (place.digest(keep_tag), place.digest("v1")) == (source, source)
    place.now += 2 * DAY_S
    protector.sweep()
    assert place.digest(keep_tag) == source and place.kept() == {source}
    protector.on_delete(place.delete(accelerated))
    protector.sweep()
    assert (place.digest(keep_tag), place.kept()) == (source, {source})  # who knows, it may come back
    place.now += 2 * DAY_S
    protector.sweep()
    assert (place.digest(keep_tag), place.digest("v1"), place.kept()) == (None, source, set())
    with closing(place.store_of(place.host, "app")) as store:
        assert store.tags() == ["v1"]


@pytest.mark.registry
def test_a_tag_is_deleted_and_what_it_names_stays(place: Place) -> None:
    source = place.push(SOURCE, "v1", "v2")
    with closing(place.store_of(place.host, "app")) as store:
        store.delete_tag("v2")
        assert store.tags() == ["v1"]
        assert store.tag_digest("v1") == source


@on_both
def test_what_was_kept_for_a_result_that_is_still_being_made_stays(played: Place) -> None:
    played.push(SOURCE, "v1")
    protector = played.protector(keep_tags=True)
    protector.keep(registry=played.host, repository="app", source_digest=SOURCE.digest)
    played.now += DAY_S / 2
    protector.keep(registry=played.host, repository="app", source_digest=SOURCE.digest)
    played.now += DAY_S / 2 + 1
    protector.sweep()
    assert played.kept() == {SOURCE.digest}
    played.now += DAY_S
    protector.sweep()
    assert played.kept() == set()
    assert [tag for tag in ("v1", f"accel-keep-{SOURCE.digest[7:19]}") if played.digest(tag)] == ["v1"]


@on_both
def test_a_keep_tag_that_cannot_be_removed_now_is_removed_later(played: Place, fake: FakeRegistry) -> None:
    played.push(SOURCE, "v1")
    protector = played.protector(keep_tags=True)
    protector.keep(registry=played.host, repository="app", source_digest=SOURCE.digest)
    played.now += 2 * DAY_S
    fake.fail_next("DELETE", status=503, times=6)
    protector.sweep()
    assert played.kept() == {SOURCE.digest}
    protector.sweep()
    assert played.kept() == set() and set(fake.tags("app")) == {"v1"}


def test_a_keep_tag_where_nothing_may_be_deleted_is_given_up(played: Place, fake: FakeRegistry) -> None:
    played.push(SOURCE, "v1")
    protector = played.protector(keep_tags=True)
    protector.keep(registry=played.host, repository="app", source_digest=SOURCE.digest)
    played.now += 2 * DAY_S
    fake.fail_next("DELETE", status=403, times=99)
    protector.sweep()
    assert played.kept() == set()


# --- checked from time to time ---------------------------------------------------------------------------------------


def lose(fake: FakeRegistry, digest: str) -> bytes:
    data: bytes = fake.content.repository("app").blobs.pop(digest)
    return data


def test_a_lost_blob_is_found_named_and_told_once(played: Place, fake: FakeRegistry) -> None:
    played.push(SOURCE, "v1")
    protector = played.protector()
    played.accelerate(protector, "v1")
    assert protector.sweep() == 1 and protector.sweep() == 0  # checked, and not due again
    data = lose(fake, BASE.descriptor.digest)
    for _ in range(3):
        played.now += DAY_S
        assert protector.sweep() == 1
    assert played.alarms == [("job", f"app:v1_accelerated: blob {BASE.descriptor.digest} is gone")]
    lose(fake, TOP.descriptor.digest)
    played.now += DAY_S
    protector.sweep()
    assert len(played.alarms) == 2  # another problem
    for layer in (data, TOP.data):
        assert layer is not None
        fake.add_blob("app", layer)
    played.now += DAY_S
    protector.sweep()
    assert [(row["state"], row["problem"]) for row in played.rows()] == [("ok", "")]


def test_blobs_that_only_the_source_lists_are_checked_too(played: Place, fake: FakeRegistry) -> None:
    played.push(SOURCE, "v1")
    protector = played.protector()
    played.accelerate(protector, "v1", Recipe(mode="full", containerd_only=True, min_layer_bytes=0))
    lose(fake, BASE.descriptor.digest)
    protector.sweep()
    assert [row["problem"] for row in played.rows()] == [f"blob {BASE.descriptor.digest} of the source is gone"]


def test_what_many_results_share_is_asked_for_once(played: Place, fake: FakeRegistry) -> None:
    protector = played.protector()
    for i in range(5):
        played.push(image([BASE, gzip_layer(random_tar(i, 2, 100))]), f"v{i}")
        played.accelerate(protector, f"v{i}")
    fake.requests.clear()
    assert protector.sweep() == 5
    assert len(fake.seen("HEAD", f"/blobs/{BASE.descriptor.digest}")) == 1


def many(played: Place, n: int, repositories: int = 1) -> Protector:
    """Dependencies on one small image."""
    protector = played.protector()
    for number in range(repositories):
        name = f"app{number}"
        source = played.push(SOURCE, "v1", name=name)
        with played.database.write() as connection:
            for i in range(n):
                protector.record(
                    connection,
                    job="job",
                    registry=played.host,
                    repository=name,
                    source_tag="v1",
                    source_digest=source,
                    tag="v1" if i == 0 else f"t{i}",  # any tag will do as a result
                    digest=source,
                    needs_source=True,
                )
        with closing(played.store_of(played.host, name)) as store:
            for i in range(1, n):
                store.put_manifest(SOURCE.raw, SOURCE.media_type, tag=f"t{i}")
    return protector


@on_both
def test_batches_take_what_was_never_checked_first_and_then_the_oldest(played: Place) -> None:
    many(played, 5)
    with played.database.write() as connection:
        for tag, at in (("v1", 1.0), ("t1", 2.0)):
            connection.execute(
                dependencies.update().where(dependencies.c.tag == tag).values(checked_at=at)
            )
    watch = watching(played)
    assert checked(played, lambda: watch.sweep(limit=3)) == {"t2", "t3", "t4"}
    assert checked(played, lambda: watch.sweep(limit=1)) == {"v1"}
    assert checked(played, lambda: watch.sweep(limit=3)) == {"t1"}
    assert watch.sweep() == 0


def watching(played: Place) -> Watch:
    """The sweeping part, for small batches."""
    found = played.protector()._watch
    assert isinstance(found, Watch)
    return found


def checked(played: Place, sweep: Callable[[], int]) -> set[str]:
    """The tags that a sweep checked."""
    played.now += 1
    n_checked = sweep()
    tags = {row["tag"] for row in played.rows() if row["checked_at"] == played.now}
    assert len(tags) == n_checked
    return tags


def test_no_answer_is_no_problem_and_is_asked_for_again(played: Place, fake: FakeRegistry) -> None:
    source = played.push(SOURCE, "v1")
    protector = played.protector()
    played.accelerate(protector, "v1")
    before = played.rows()
    fake.fail_next("HEAD", status=503, times=6)
    told = played.delete(source)
    assert actions(protector.on_delete(told)) == ["put off"]
    fake.fail_next("HEAD", status=503, times=6)
    assert protector.sweep() == 0
    fake.fail_next("HEAD", f"/blobs/{BASE.descriptor.digest}", status=429, times=6)
    assert protector.sweep() == 0
    fake.fail_next("PUT", status=503, times=6)
    assert protector.sweep() == 0
    assert played.alarms == []
    assert [{**row, "checked_at": None} for row in played.rows()] == [dict(row) for row in before]
    assert protector.sweep() == 1
    assert played.digest("v1") == source


@pytest.mark.parametrize("status", [401, 503])
def test_a_repository_that_does_not_answer_does_not_keep_others_waiting(
    played: Place, fake: FakeRegistry, status: int
) -> None:
    protector = many(played, 2, repositories=3)
    fake.fail_next("", "/app0/", status=status, times=10_000)
    n_checked = 0
    for _ in range(3):
        played.now += 1
        n_checked += protector.sweep()
    assert n_checked == 4
    assert {row["repository"] for row in played.rows() if row["state"] != "ok"} == set()
    assert played.alarms == []


def test_a_registry_that_is_configured_no_longer_is_left_alone(played: Place) -> None:
    many(played, 1)

    def refuse(registry: str, repository: str) -> RegistryStore:
        raise ConfigError(f"registry {registry} is not configured")

    settings = ProtectionSettings()
    protector = Protector(played.database, settings, refuse, lambda: played.now)
    assert protector.sweep() == 0
    assert [row["state"] for row in played.rows()] == ["ok"]


def test_an_accelerated_image_that_cannot_be_read_is_broken(played: Place, fake: FakeRegistry) -> None:
    played.push(SOURCE, "v1")
    protector = played.protector()
    digest = played.accelerate(protector, "v1")
    fake.content.repository("app").manifests[digest].raw = b"{not json"
    protector.sweep()
    assert [row["state"] for row in played.rows()] == ["broken"]
    assert len(played.alarms) == 1
