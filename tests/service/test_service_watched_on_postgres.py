"""Job log, gauges and health on PostgreSQL, where all tables are in one database and the clock is the server's."""

import io
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from accel.service.database import Database, inbox, inbox_tables, job_log, jobs, leases
from accel.service.health import Health
from accel.service.job_log import JobLog
from accel.service.logs import Redactor, log_context, logging_to
from accel.service.state_metrics import StateMetrics

postgres = pytest.importorskip("support.postgres")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("postgres")
    with postgres.Postgres(folder) as server:
        yield "postgresql+psycopg://" + server.url.partition("://")[2]


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    yield made
    made.close()


@pytest.fixture
def events(url: str) -> Iterator[Database]:
    made = Database(url, inbox_tables)
    yield made
    made.close()


def test_the_tables_are_told_as_gauges(database: Database, events: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.insert(leases).values(name="worker/a", holder="a", beat=database.clock))
    with events.write() as connection:
        connection.execute(
            sa.insert(inbox).values(source="s", event_id="1", received_at=events.clock - 100, event={"a": 1})
        )
    samples = [sample for metric in StateMetrics(database, events).collect() for sample in metric.samples]
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert values["accel_database_up",] == 1
    assert values["accel_leases_alive", "worker"] == 1
    assert values["accel_inbox_events",] == 1
    assert 99 < values["accel_inbox_age_seconds",] < 200


def test_processes_ask_for_health_at_once(database: Database, events: Database) -> None:
    made = [Health(database, events, threads=dict, engine_started=lambda: True) for _ in range(5)]
    with ThreadPoolExecutor(len(made)) as pool:
        reports = list(pool.map(lambda health: health.ready(), made * 3))
    for health in made:
        health.close()
    assert [check for report in reports for check in report.checks if not check.ok] == []


def test_lines_of_a_job_are_stored_whatever_is_in_them(database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            sa.insert(jobs).values(
                id="j1", seq=1, registry="r", repository="app", source_digest="sha256:0", rule="all", recipe={},
                origin="event", state="running", created_at=time.time(), updated_at=0,
            )
        )  # fmt: skip
    redactor = Redactor()
    with logging_to(io.StringIO(), redactor=redactor, extra=[JobLog(database, redactor)]), log_context(job="j1"):
        logging.getLogger("accel.test").info("a zero \0 and half a character \ud800")
    with database.read() as connection:
        [message] = connection.scalars(sa.select(job_log.c.message).where(job_log.c.job == "j1"))
    assert message.startswith("a zero")
