"""Jobs: what submitting, control and pruning make of the rows."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from accel.errors import ConfigError, NotFoundError
from accel.service.database import Database, jobs, open_database, targets
from accel.service.engine import Outcome
from accel.service.jobs.control import Jobs
from accel.service.jobs.dispatch import Dispatcher, Submitter
from accel.service.jobs.ids import job_id, recipe_from
from accel.service.jobs.layers import LayerStore, Wish
from accel.service.jobs.store import JobStore
from accel.service.model import Event, OutEvent, Recipe, Wanted
from accel.service.settings import StoreSettings

D1, D2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ONE = Wanted("r.example", "team/app", "v1", D1, "all", Recipe())


def tags_of(wanted: Wanted) -> tuple[str, ...]:
    return (wanted.tag + "_accelerated",)


class FakeEngine:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.submitted: dict[str, tuple[str, dict[str, Any], int]] = {}
        self.states: dict[str, str] = {}
        self.cancelled: list[str] = []

    def submit(
        self, workflow: str, id: str, args: dict[str, Any], *, queue: str, priority: int = 1, delay_s: float = 0
    ) -> None:
        self.submitted.setdefault(id, (workflow, args, priority))
        self.states.setdefault(id, "waiting")

    def state(self, id: str) -> Outcome | None:
        return Outcome(self.states[id]) if id in self.states else None  # type: ignore[arg-type]


class Service:
    """The parts around the rows, with a clock that tests set."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.time = 1000.0
        self.told: list[OutEvent] = []
        self.store = JobStore(database, lambda _, event: self.told.append(event), now=lambda: self.time)
        self.engine = FakeEngine()
        self.submitter = Submitter(self.store, self.engine, window=10)
        self.jobs = Jobs(self.store, tags_of, self.engine.cancelled.append, lambda: None)

    def row(self, job: str) -> Any:
        row = self.store.get(job)
        assert row is not None
        return row

    def finish(self, job: str, state: Any = "done", tag_state: str = "set", reason: str = "") -> None:
        with self.database.write() as connection:
            run = self.row(job)["run"]
            connection.execute(targets.update().where(targets.c.job == job).values(state=tag_state))
            assert self.store.end(connection, job, run, state, reason)

    def tags(self, job: str) -> list[tuple[str, str]]:
        with self.database.read() as connection:
            query = sa.select(targets.c.tag, targets.c.state).where(targets.c.job == job)
            return sorted((tag, state) for tag, state in connection.execute(query))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    database = open_database(StoreSettings(path=str(tmp_path)))
    yield Service(database)
    database.close()


def test_ten_pushes_and_fifty_tags_of_an_image_are_one_job(service: Service) -> None:
    pushes = [replace(ONE, tag=f"v{i}") for i in range(50)] + [ONE] * 10
    found = set(service.store.submit(pushes, tags_of))
    assert len(found) == 1
    assert len(service.tags(found.pop())) == 50
    assert [event.type for event in service.told] == ["queued"]


def test_another_recipe_digest_or_repository_is_another_job(service: Service) -> None:
    others = [replace(ONE, digest=D2), replace(ONE, repository="x"), replace(ONE, recipe=Recipe(mode="full"))]
    assert len(set(service.store.submit([ONE, *others], tags_of))) == 4


def test_the_tag_template_is_not_part_of_what_is_made(service: Service) -> None:
    renamed = replace(ONE, recipe=Recipe(tag="fast-{tag}"))
    assert len(set(service.store.submit([ONE, renamed], tags_of))) == 1


def test_a_recipe_survives_its_json() -> None:
    recipe = Recipe(platforms=("linux/amd64",), prefetch=("/bin/sh",))
    assert recipe_from({k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}) == recipe


def test_recipes_and_names_of_jobs_of_before_members_were_shared() -> None:
    old = asdict(Recipe())
    del old["min_chunk_bytes"]
    assert recipe_from(old) == Recipe(min_chunk_bytes=0)
    assert job_id(ONE) == "4dbb94ca5318f7a842eb" != job_id(replace(ONE, recipe=Recipe(min_chunk_bytes=0)))


def test_a_push_of_what_is_done_changes_nothing(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.finish(job)
    assert service.jobs.submit(ONE) == job
    assert (service.row(job)["state"], service.row(job)["run"]) == ("done", 1)


@pytest.mark.parametrize("tag_state", ["superseded"])
def test_a_tag_that_came_back_to_an_image_is_set_again(service: Service, tag_state: str) -> None:
    job = service.jobs.submit(ONE)
    service.finish(job, tag_state=tag_state)
    service.jobs.submit(ONE)
    assert (service.row(job)["state"], service.row(job)["run"]) == ("queued", 2)
    assert service.tags(job) == [("v1_accelerated", "pending")]


def test_a_new_tag_of_a_finished_image_runs_its_job_again(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.finish(job)
    service.jobs.submit(replace(ONE, tag="v2"))
    assert service.row(job)["state"] == "queued"
    assert service.tags(job) == [("v1_accelerated", "set"), ("v2_accelerated", "pending")]


def test_a_scan_that_saw_a_tag_missing_has_it_set_again(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.finish(job)
    service.jobs.submit(replace(ONE, origin="scan"))
    assert service.row(job)["state"] == "queued"


def test_an_image_that_was_skipped_stays_skipped_and_says_why(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.finish(job, "skipped", "pending", "unsupported: compression")
    service.jobs.submit(ONE)
    assert (service.row(job)["state"], service.row(job)["reason"]) == ("skipped", "unsupported: compression")
    assert service.tags(job) == [("v1_accelerated", "left")]
    assert [event.type for event in service.told] == ["queued", "skipped"]


def test_a_failed_image_is_tried_again_when_it_is_pushed_again(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.finish(job, "failed", "pending")
    service.jobs.submit(ONE)
    assert service.row(job)["state"] == "queued"


def test_repositories_take_turns(service: Service) -> None:
    many = [replace(ONE, digest=f"sha256:{i:064x}", tag=f"t{i}") for i in range(5)]
    service.store.submit(many, tags_of)
    (other,) = service.store.submit([replace(ONE, repository="other")], tags_of)
    assert service.row(other)["priority"] == 1
    service.submitter.run_once()
    order = sorted(service.engine.submitted.values(), key=lambda one: one[2])
    assert other in [args["job"] for _, args, _ in order[:2]]


def test_no_more_jobs_are_submitted_than_fit_the_window(service: Service) -> None:
    service.store.submit([replace(ONE, digest=f"sha256:{i:064x}") for i in range(25)], tags_of)
    assert service.submitter.run_once() == 10
    assert service.submitter.run_once() == 0
    for _, args, _ in list(service.engine.submitted.values()):
        service.finish(args["job"])
    assert service.submitter.run_once() == 10


def test_a_paused_service_begins_nothing(service: Service) -> None:
    service.jobs.submit(ONE)
    service.jobs.pause_all(True)
    assert service.submitter.run_once() == 0
    service.jobs.pause_all(False)
    assert service.submitter.run_once() == 1


def test_a_retry_waits_for_its_time(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.submitter.run_once()
    with service.database.write() as connection:
        service.store.requeue(connection, job, 1, attempt=2, not_before=service.time + 60, reason="503")
    assert service.submitter.run_once() == 0
    service.time += 61
    assert service.submitter.run_once() == 1
    assert f"{job}#2" in service.engine.submitted


def test_cancel_pause_resume_and_retry_follow_the_drawing(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.submitter.run_once()
    service.jobs.pause(job)
    assert (service.row(job)["state"], service.engine.cancelled) == ("paused", [f"{job}#1"])
    service.jobs.resume(job)
    assert (service.row(job)["state"], service.row(job)["run"]) == ("queued", 2)
    service.jobs.cancel(job)
    assert service.row(job)["state"] == "cancelled"
    with pytest.raises(ConfigError):
        service.jobs.cancel(job)
    with pytest.raises(ConfigError):
        service.jobs.resume(job)
    service.jobs.retry(job)
    assert (service.row(job)["state"], service.row(job)["run"]) == ("queued", 3)
    with pytest.raises(NotFoundError):
        service.jobs.retry("nobody")


def test_an_old_run_changes_nothing_any_more(service: Service) -> None:
    job = service.jobs.submit(ONE)
    service.jobs.pause(job)
    service.jobs.resume(job)
    with service.database.write() as connection:
        assert not service.store.end(connection, job, 1, "failed", "late")
    assert service.row(job)["state"] == "queued"


def test_what_the_engine_lost_runs_again_and_what_it_gave_up_fails(service: Service) -> None:
    lost, crashed, fine = service.store.submit(
        [replace(ONE, digest=f"sha256:{i:064x}") for i in range(3)], tags_of
    )
    service.submitter.run_once()
    del service.engine.states[f"{lost}#1"]
    service.engine.states[f"{crashed}#1"] = "failed"
    assert service.submitter.reconcile() == 0  # they have not been silent for long
    service.time += 3600
    assert service.submitter.reconcile() == 2
    assert [service.row(job)["state"] for job in (lost, crashed, fine)] == ["queued", "failed", "queued"]
    assert service.row(lost)["run"] == 2


def test_old_jobs_are_forgotten_unless_a_tag_is_theirs(service: Service) -> None:
    kept, gone = service.store.submit([ONE, replace(ONE, digest=D2)], tags_of)
    service.finish(kept)
    service.finish(gone, "failed", "pending")
    assert service.store.prune(service.time + 1) == 1
    assert (service.store.get(kept) is not None, service.store.get(gone)) == (True, None)


WISH = Wish("sha256:" + "a" * 64, 100, {"soci": "ka"}, {"digest": "sha256:" + "a" * 64})


def test_a_layer_of_two_images_is_made_by_one_workflow_and_reused_later(service: Service) -> None:
    first, second, third = service.store.submit(
        [replace(ONE, digest=f"sha256:{i:064x}") for i in range(3)], tags_of
    )
    layers = LayerStore(service.database, lambda: service.time)
    ((workflow, args),) = layers.claim(first, [WISH], {"job": first}, lambda _: False)
    assert layers.claim(second, [WISH], {"job": second}, lambda _: False) == [(workflow, args)]
    assert args["keys"] == {"soci": "ka"}
    row = {"state": "indexed"}
    layers.store({"ka": {"row": row}}, ("r", "a"), workflow, seconds=1, row=row, state="indexed")
    assert layers.claim(third, [WISH], {"job": third}, lambda _: False) == []
    assert [row["reused"] for row in service.store.layers_of(third)] == [True]
    assert [row["state"] for row in service.store.layers_of(second)] == ["indexed"]
    assert layers.places("ka") == [("r", "a")]


def test_a_layer_whose_workflow_died_or_whose_blobs_are_lost_is_made_again(service: Service) -> None:
    (job,) = service.store.submit([ONE], tags_of)
    layers = LayerStore(service.database, lambda: service.time)
    ((workflow, _),) = layers.claim(job, [WISH], {}, lambda _: False)
    ((again, _),) = layers.claim(job, [WISH], {}, lambda _: True)
    assert again != workflow
    layers.store({"ka": {"row": {}}}, ("r", "a"), again, seconds=1, row=None, state="indexed")
    layers.lost(["ka"])
    assert layers.missing({"soci": "ka"}) == ["soci"]
    ((third, _),) = layers.claim(job, [WISH], {}, lambda _: False)
    assert third not in (workflow, again)


def test_a_layer_with_one_output_more_makes_only_that(service: Service) -> None:
    (job,) = service.store.submit([ONE], tags_of)
    layers = LayerStore(service.database, lambda: service.time)
    ((workflow, _),) = layers.claim(job, [WISH], {}, lambda _: False)
    both = replace(WISH, keys={"soci": "ka", "estargz": "kb"})
    waiting = dict(layers.claim(job, [both], {}, lambda _: False))
    assert waiting.pop(workflow)["keys"] == {"soci": "ka"}
    assert [args["keys"] for args in waiting.values()] == [{"estargz": "kb"}]


class FakeInbox:
    def __init__(self, events: list[Event]) -> None:
        self.events = list(enumerate(events))
        self.outcomes: dict[int, str] = {}

    def open(self, limit: int) -> list[tuple[int, Event]]:
        return [one for one in self.events if one[0] not in self.outcomes][:limit]

    def handled(self, ids: Any, outcome: str) -> None:
        self.outcomes |= dict.fromkeys(ids, outcome)


class FakeRules:
    def decide(
        self, registry: str, repository: str, tag: str, digest: str, pusher: str | None, origin: str
    ) -> list[Wanted]:
        if tag == "t" * 128:
            raise ConfigError("too long")
        if repository != "team/app":
            return []
        return [Wanted(registry, repository, tag, digest, "all", Recipe(), origin, pusher)]  # type: ignore[arg-type]

    def is_own_tag(self, tag: str) -> bool:
        return tag.endswith("_accelerated")

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()


def test_every_event_has_an_outcome_and_pushes_become_jobs(service: Service) -> None:
    push = Event("s", "1", "push", "r.example", "team/app", "v1", D1)
    inbox = FakeInbox(
        [
            push,
            replace(push, event_id="2", tag="v1_accelerated"),
            replace(push, event_id="3", tag=None),
            replace(push, event_id="4", digest=None),
            replace(push, event_id="5", action="delete"),
            replace(push, event_id="6", action="other"),
            replace(push, event_id="7", repository="elsewhere"),
            replace(push, event_id="8", tag="t" * 128),
        ]
    )
    dispatcher = Dispatcher(inbox, service.store, FakeRules(), service.engine, tags_of)
    assert dispatcher.run_once() == 8
    assert list(inbox.outcomes.values()) != []
    assert [inbox.outcomes[i] for i in range(8)] == [
        "converted",
        "own tag",
        "no tag",
        "looked into",
        "looked into",
        "no push",
        "no rule",
        "refused: too long",
    ]
    assert sorted(service.engine.submitted) == ["deleted:s:5", "resolve:s:4"]
    with service.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(jobs)) == 1


def test_a_push_of_our_own_result_under_another_tag_is_no_job(service: Service) -> None:
    job = service.jobs.submit(ONE)
    with service.database.write() as connection:
        connection.execute(targets.update().where(targets.c.job == job).values(digest=D2))
    inbox = FakeInbox([Event("s", "1", "push", "r.example", "team/app", "copy", D2)])
    Dispatcher(inbox, service.store, FakeRules(), service.engine, tags_of).run_once()
    assert inbox.outcomes == {0: "own result"}
