"""What Prometheus is told: in its own format, with labels from closed sets, fresh from the database."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from accel.service.database import Database, deliveries, dependencies, inbox, inbox_tables, jobs, leases
from accel.service.metrics import Metrics
from accel.service.settings import ServiceSettings
from accel.service.state_metrics import StateMetrics

SETTINGS = ServiceSettings.model_validate(
    {
        "api": {"auth": "none"},
        "registries": [{"host": "r.example"}],
        "sources": [{"name": "main", "kind": "zot", "registry": "r.example", "auth": {"none": True}}],
    }
)


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


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def add_jobs(database: Database, *states: str, created_at: float = 0) -> None:
    with database.write() as connection:
        n = connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one()
        for seq, state in enumerate(states, n + 1):
            connection.execute(
                sa.insert(jobs).values(
                    id=f"j{seq}", seq=seq, registry="r", repository="app", source_digest="sha256:0", rule="all",
                    recipe={}, origin="event", state=state, created_at=created_at, updated_at=0,
                )
            )  # fmt: skip


def test_what_was_counted_is_what_is_read() -> None:
    metrics = Metrics(SETTINGS)
    metrics.conversion("index-only", "done")
    metrics.conversion("full, index-only", "failed")
    metrics.layer_made(3, read=100, written=40)
    metrics.layer_reused(saved=70)
    metrics.event("main", "stored", 0.004)
    metrics.delivery("retried")
    metrics.request("r.example", 200, 0.1)
    metrics.request("r.example", None, 5)
    expected = {
        ("accel_conversions_total", (("mode", "index-only"), ("outcome", "done"))): 1,
        ("accel_conversions_total", (("mode", "both"), ("outcome", "failed"))): 1,
        ("accel_layer_results_total", (("outcome", "made"),)): 1,
        ("accel_layer_results_total", (("outcome", "reused"),)): 1,
        ("accel_layer_read_bytes_total", ()): 100,
        ("accel_layer_written_bytes_total", ()): 40,
        ("accel_layer_saved_bytes_total", ()): 70,
        ("accel_layer_duration_seconds_bucket", (("le", "2.5"),)): 0,
        ("accel_layer_duration_seconds_bucket", (("le", "5.0"),)): 1,
        ("accel_events_received_total", (("outcome", "stored"), ("source", "main"))): 1,
        ("accel_event_store_duration_seconds_bucket", (("le", "0.005"),)): 1,
        ("accel_deliveries_total", (("outcome", "retried"),)): 1,
        ("accel_registry_requests_total", (("host", "r.example"), ("status", "2xx"))): 1,
        ("accel_registry_requests_total", (("host", "r.example"), ("status", "none"))): 1,
        ("accel_registry_request_duration_seconds_sum", (("host", "r.example"),)): 5.1,
    }
    found = samples(metrics)
    assert {key: found.get(key) for key in expected} == expected


def test_process_and_build_are_told() -> None:
    names = {name for name, _ in samples(Metrics(SETTINGS))}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "accel_build_info"} <= names


def test_nobody_outside_can_make_new_series() -> None:
    metrics = Metrics(SETTINGS)

    def strangers(n: int) -> None:
        metrics.event(f"source-{n}", "refused")
        metrics.request(f"host-{n}.example", 200 + n % 2, 0.1)
        metrics.conversion(f"mode-{n}", "failed")

    strangers(0)
    before = len(samples(metrics))
    for n in range(500):
        strangers(n)
    assert len(samples(metrics)) == before
    assert value(metrics, "accel_events_received_total", source="other", outcome="refused") == 501


def test_no_label_names_an_image(database: Database, events: Database) -> None:
    labels = {label for _, pairs in samples(Metrics(SETTINGS, StateMetrics(database, events))) for label, _ in pairs}
    assert labels <= {
        "mode", "outcome", "source", "host", "status", "state", "kind", "le", "version", "python", "generation"
    }  # fmt: skip


def test_a_failure_that_never_was_is_zero_and_not_missing() -> None:
    assert value(Metrics(SETTINGS), "accel_conversions_total", mode="full", outcome="failed") == 0


def test_two_of_them_do_not_share_anything() -> None:
    first, second = Metrics(SETTINGS), Metrics(SETTINGS)
    first.delivery("failed")
    assert value(second, "accel_deliveries_total", outcome="failed") == 0


def test_the_tables_are_told_as_gauges(database: Database, events: Database) -> None:
    now = time.time()
    add_jobs(database, "queued", created_at=now - 90)
    add_jobs(database, "queued", "running", "done", "done", created_at=now)
    with database.write() as connection:
        for name, beat in (("worker/a", now), ("worker/b", now), ("worker/dead", now - 3600), ("leader", now)):
            connection.execute(sa.insert(leases).values(name=name, holder="h", beat=beat))
        for n, state in enumerate(("pending", "delivered")):
            connection.execute(
                sa.insert(deliveries).values(
                    event_id=str(n), endpoint="e", type="done", job="j1", tag="v1", content_type="t", body="{}",
                    state=state, next_at=now, created_at=now - 60,
                )
            )  # fmt: skip
        connection.execute(
            sa.insert(dependencies).values(
                registry="r", repository="app", tag="v1_accelerated", digest="d", source_tag="v1", source_digest="d",
                job="j1", state="broken",
            )
        )  # fmt: skip
    with events.write() as connection:
        for n, handled in enumerate((None, now)):
            connection.execute(
                sa.insert(inbox).values(
                    source="main", event_id=str(n), received_at=now - 30, event={}, handled_at=handled
                )
            )
    metrics = Metrics(SETTINGS, StateMetrics(database, events))
    found = samples(metrics)
    assert {dict(pairs)["state"]: n for (name, pairs), n in found.items() if name == "accel_jobs"} == {
        "queued": 2, "running": 1, "paused": 0, "done": 2, "skipped": 0, "failed": 0, "cancelled": 0, "superseded": 0
    }  # fmt: skip
    assert {dict(pairs)["kind"]: n for (name, pairs), n in found.items() if name == "accel_leases_alive"} == {
        "worker": 2, "leader": 1, "other": 0
    }  # fmt: skip
    assert found["accel_dependencies", (("state", "broken"),)] == 1
    assert found["accel_deliveries_pending", ()] == 1
    assert found["accel_inbox_events", ()] == 1
    assert 90 <= found["accel_queue_age_seconds", ()] < 150
    assert 60 <= found["accel_deliveries_pending_age_seconds", ()] < 120
    assert 30 <= found["accel_inbox_age_seconds", ()] < 90


def test_the_database_is_asked_once_in_a_few_seconds(database: Database, events: Database) -> None:
    now = 100.0
    metrics = Metrics(SETTINGS, StateMetrics(database, events, keep_s=5, clock=lambda: now))
    assert value(metrics, "accel_jobs", state="queued") == 0
    add_jobs(database, "queued")
    now += 4
    assert value(metrics, "accel_jobs", state="queued") == 0
    now += 1
    assert value(metrics, "accel_jobs", state="queued") == 1


def test_a_database_that_is_gone_is_told_and_leaves_no_old_gauges(database: Database, events: Database) -> None:
    metrics = Metrics(SETTINGS, StateMetrics(database, events, keep_s=0))
    assert value(metrics, "accel_database_up") == 1
    with database.write() as connection:
        connection.execute(sa.text("DROP TABLE leases"))
    assert value(metrics, "accel_database_up") == 0
    assert value(metrics, "accel_jobs", state="queued") is None
    assert value(metrics, "accel_deliveries_total", outcome="failed") == 0
