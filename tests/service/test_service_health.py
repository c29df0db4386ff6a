"""Health for probes: what is wrong is named, in bounded time, and nothing piles up on what hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from accel.service.database import Database, inbox, inbox_tables
from accel.service.health import Health


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/service.sqlite")
    yield made
    made.close()


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/inbox.sqlite", inbox_tables)
    yield made
    made.close()


@pytest.fixture
def health_of(database: Database, events: Database) -> Iterator[Callable[..., Health]]:
    made: list[Health] = []

    def make(**options: object) -> Health:
        settings = {"threads": lambda: {"dispatch": True}, "engine_started": lambda: True, **options}
        made.append(Health(database, events, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for health in made:
        health.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("health-")]


def wrong(report: object) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.ok}  # type: ignore[attr-defined]


def test_all_is_well(health_of: Callable[..., Health], tmp_path: Path) -> None:
    health = health_of(folders=[tmp_path], min_free_bytes=1)
    for _ in range(2):
        report = health.ready()
        assert (report.status, wrong(report)) == (200, {})
    assert [check.name for check in report.checks] == ["threads", "engine", "database", "inbox", "disk"]
    assert report.as_dict()["status"] == "ok"
    assert all(0 <= check.seconds < 2 for check in report.checks)


def test_a_thread_that_ended_is_named_and_means_not_alive(health_of: Callable[..., Health]) -> None:
    health = health_of(threads=lambda: {"web": True, "dispatch": False})
    assert health.health().status == 503 and wrong(health.health()) == {"threads": "ended: dispatch"}
    assert not health.ready().ok


def test_an_engine_that_has_not_started_is_not_ready_but_alive(health_of: Callable[..., Health]) -> None:
    health = health_of(engine_started=lambda: False)
    assert health.health().ok and wrong(health.ready()) == {"engine": "not started"}


def test_a_broken_database_is_not_ready_and_its_error_is_no_news_for_strangers(
    health_of: Callable[..., Health], database: Database
) -> None:
    with database.write() as connection:
        connection.execute(sa.text("DROP TABLE facts"))
    report = health_of().ready()
    assert report.as_dict()["status"] == "failed" and wrong(report) == {"database": "OperationalError"}


def test_a_full_disk_is_not_ready(health_of: Callable[..., Health], tmp_path: Path) -> None:
    report = health_of(folders=[tmp_path], min_free_bytes=1 << 62).ready()
    assert not report.ok and "MiB free" in wrong(report)["disk"]


def test_a_stuck_inbox_degrades_and_still_takes_events(health_of: Callable[..., Health], events: Database) -> None:
    with events.write() as connection:
        connection.execute(sa.insert(inbox).values(source="s", event_id="1", received_at=time.time() - 999, event={}))
    report = health_of(stuck_after_s=300).ready()
    assert report.status == 200 and report.as_dict()["status"] == "degraded" and "waits" in wrong(report)["inbox"]
    assert wrong(health_of(stuck_after_s=3600).ready()) == {}


def test_a_database_that_hangs_is_told_in_bounded_time_and_asked_once(
    health_of: Callable[..., Health], database: Database
) -> None:
    health = health_of(timeout_s=0.2)
    with database.write():  # nobody else may write
        for _ in range(3):
            report = health.ready()
            assert "no answer" in wrong(report)["database"]
        asking = [thread for thread in threading.enumerate() if thread.name == "health-database"]
        assert len(asking) == 1
    asking[0].join(10)
    assert health.ready().ok
