"""What the tables say at the moment, as gauges: read when Prometheus asks, at most once in a few seconds."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import get_args

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from accel.service.database import Database, deliveries, dependencies, inbox, jobs, leases
from accel.service.model import JobState

_LEASE_S = 10.0  # a lease not renewed for so long is a dead one


class StateMetrics(Collector):
    """Gauges about jobs, inbox, deliveries, dependencies and leases.

    While a database does not answer, ``accel_database_up`` is 0 and the other gauges are absent, not old.
    """

    def __init__(
        self, database: Database, events: Database, *, keep_s: float = 5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._events = events
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._metrics: list[Metric] = []

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> list[Metric]:
        with self._lock:
            if self._clock() - self._read_at >= self._keep_s:
                self._metrics = self._read()
                self._read_at = self._clock()
            return self._metrics

    def _read(self) -> list[Metric]:
        try:
            with self._database.read() as connection:
                now = connection.execute(sa.select(self._database.clock)).scalar_one()
                metrics = [*_jobs(connection, now), *_rest(connection, now)]
            with self._events.read() as connection:
                metrics += _inbox(connection, now)
        except sa.exc.SQLAlchemyError:
            return [_gauge("accel_database_up", "Whether the database answers.", 0)]
        return [_gauge("accel_database_up", "Whether the database answers.", 1), *metrics]


def _jobs(connection: sa.Connection, now: float) -> Iterator[Metric]:
    counts = dict.fromkeys(get_args(JobState), 0)
    for state, n in connection.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)):
        counts[state] = n
    yield _gauges("accel_jobs", "Jobs by state.", "state", counts)
    due = sa.func.coalesce(jobs.c.not_before, jobs.c.created_at)
    oldest = connection.execute(sa.select(sa.func.min(due)).where(jobs.c.state == "queued")).scalar()
    yield _gauge("accel_queue_age_seconds", "How long the job that waits longest could have run.", _age(now, oldest))


def _rest(connection: sa.Connection, now: float) -> Iterator[Metric]:
    waiting = sa.select(sa.func.count(), sa.func.min(deliveries.c.created_at)).where(deliveries.c.state == "pending")
    n, oldest = connection.execute(waiting).one()
    yield _gauge("accel_deliveries_pending", "Events of ours that a receiver does not have yet.", n)
    yield _gauge("accel_deliveries_pending_age_seconds", "Age of the oldest of them.", _age(now, oldest))
    counts = {"ok": 0, "broken": 0}
    for state, n in connection.execute(
        sa.select(dependencies.c.state, sa.func.count()).group_by(dependencies.c.state)
    ):
        counts[state] = n
    yield _gauges("accel_dependencies", "Accelerated tags that need their source, by its state.", "state", counts)
    kinds = {"worker": 0, "leader": 0, "other": 0}
    for (name,) in connection.execute(sa.select(leases.c.name).where(leases.c.beat > now - _LEASE_S)):
        kind = name.partition("/")[0]
        kinds[kind if kind in kinds else "other"] += 1
    yield _gauges("accel_leases_alive", "Leases renewed lately: processes that work, and the leader.", "kind", kinds)


def _inbox(connection: sa.Connection, now: float) -> Iterator[Metric]:
    waiting = sa.select(sa.func.count(), sa.func.min(inbox.c.received_at)).where(inbox.c.handled_at.is_(None))
    n, oldest = connection.execute(waiting).one()
    yield _gauge("accel_inbox_events", "Events that are stored and not yet looked at.", n)
    yield _gauge("accel_inbox_age_seconds", "Age of the oldest of them.", _age(now, oldest))


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _gauges(name: str, what: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _age(now: float, since: float | None) -> float:
    return max(0.0, now - since) if since is not None else 0.0
