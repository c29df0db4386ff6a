"""From stored events to jobs, and from jobs to the engine. One process at a time does this: the leader."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Protocol

import sqlalchemy as sa

from accel.errors import AccelError
from accel.service.database import jobs, targets
from accel.service.engine import ENDED, Outcome
from accel.service.jobs.ids import run_id
from accel.service.jobs.store import JobStore
from accel.service.model import Event, Origin, Wanted

_log = logging.getLogger(__name__)
_BATCH = 50  # small, so that answers to senders find a gap soon
_OWN_RESULT = (
    sa.select(targets.c.job)
    .join(jobs, jobs.c.id == targets.c.job)
    .where(
        targets.c.digest == sa.bindparam("digest"),
        jobs.c.registry == sa.bindparam("registry"),
        jobs.c.repository == sa.bindparam("repository"),
    )
    .limit(1)
)
_STALE_S = 60.0  # a submitted job that says nothing for so long is asked after


class Inbox(Protocol):
    """The part of the inbox that is needed here."""

    def open(self, limit: int) -> list[tuple[int, Event]]: ...

    def handled(self, ids: Iterable[int], outcome: str) -> None: ...


class Engine(Protocol):
    """The part of the engine that is needed here."""

    def submit(
        self, workflow: str, id: str, args: dict[str, Any], *, queue: str, priority: int = 1, delay_s: float = 0
    ) -> None: ...

    def state(self, id: str) -> Outcome | None: ...


class Rules(Protocol):
    """The part of the rules that is needed here."""

    def decide(
        self, registry: str, repository: str, tag: str, digest: str, pusher: str | None, origin: Origin
    ) -> list[Wanted]: ...

    def is_own_tag(self, tag: str) -> bool: ...

    def held(self) -> AbstractContextManager[None]: ...


class Dispatcher:
    """Turns events into jobs. What needs a registry's answer becomes a workflow: no event waits for another's host."""

    def __init__(
        self,
        inbox: Inbox,
        store: JobStore,
        rules: Rules,
        engine: Engine,
        result_tags: Callable[[Wanted], Iterable[str]],
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._rules = rules
        self._engine = engine
        self._result_tags = result_tags

    def run_once(self) -> int:
        """Handle what is open, oldest first, as far as a batch goes. How many events that were."""
        events = self._inbox.open(_BATCH)
        by_outcome: defaultdict[str, list[int]] = defaultdict(list)
        wanted: list[Wanted] = []
        with self._rules.held(), self._store.database.read() as connection:
            for number, event in events:
                outcome, found = self._decide(connection, event)
                by_outcome[outcome].append(number)
                wanted += found
        if wanted:
            self._store.submit(wanted, self._result_tags)
        for outcome, ids in by_outcome.items():
            self._inbox.handled(ids, outcome)
        return len(events)

    def _decide(self, connection: sa.Connection, event: Event) -> tuple[str, list[Wanted]]:
        """What becomes of an event, in a word or two, and what is wanted because of it."""
        if event.action == "delete":
            self._ask("deleted", event)
            return "looked into", []
        if event.action != "push":
            return "no push", []
        if event.tag is None:
            return "no tag", []
        if self._rules.is_own_tag(event.tag):
            return "own tag", []
        if event.digest is None:
            self._ask("resolve", event)
            return "looked into", []
        if _is_own_result(connection, event):
            return "own result", []
        try:
            wanted = self._rules.decide(
                event.registry, event.repository, event.tag, event.digest, event.actor, "event"
            )
        except AccelError as error:  # for example a tag that its suffix makes too long
            _log.warning("event %s of %s: %s", event.event_id, event.source, error)
            return f"refused: {error}"[:200], []
        return ("converted" if wanted else "no rule"), wanted

    def _ask(self, workflow: str, event: Event) -> None:
        name = f"{workflow}:{event.source}:{event.event_id}"
        self._engine.submit(workflow, name, {"event": asdict(event)}, queue="small")


def _is_own_result(connection: sa.Connection, event: Event) -> bool:
    where = {"digest": event.digest, "registry": event.registry, "repository": event.repository}
    return connection.execute(_OWN_RESULT, where).first() is not None


class Submitter:
    """Hands queued jobs to the engine, those of the least busy repositories first, never more than ``window``."""

    def __init__(self, store: JobStore, engine: Engine, window: int) -> None:
        self._store = store
        self._engine = engine
        self._window = window

    def run_once(self) -> int:
        """Submit what is due. How many jobs that were."""
        if self._store.is_paused:
            return 0
        now = self._store.now()
        with self._store.database.read() as connection:
            active = sa.select(sa.func.count()).where(
                jobs.c.state.in_(("queued", "running")), jobs.c.submitted == jobs.c.run
            )
            room = self._window - (connection.scalar(active) or 0)
            due = (
                sa.select(jobs.c.id, jobs.c.run, jobs.c.priority)
                .where(
                    jobs.c.state == "queued",
                    jobs.c.submitted < jobs.c.run,
                    sa.or_(jobs.c.not_before.is_(None), jobs.c.not_before <= now),
                )
                .order_by(jobs.c.priority, jobs.c.seq)
                .limit(max(room, 0))
            )
            rows = connection.execute(due).all()
        for job, run, priority in rows:
            self._engine.submit(
                "convert", run_id(job, run), {"job": job, "run": run}, queue="images", priority=priority
            )
        with self._store.database.write() as connection:
            for job, run, _ in rows:  # if this is lost they are submitted once more, which changes nothing
                connection.execute(jobs.update().where(jobs.c.id == job).values(submitted=run))
        return len(rows)

    def reconcile(self) -> int:
        """Run again what the engine has lost, give up what it gave up. How many jobs that concerned."""
        old = self._store.now() - _STALE_S
        with self._store.database.read() as connection:
            silent = sa.select(jobs.c.id, jobs.c.run, jobs.c.attempt).where(
                jobs.c.state.in_(("queued", "running")), jobs.c.submitted == jobs.c.run, jobs.c.updated_at < old
            )
            rows = connection.execute(silent).all()
        n_changed = 0
        for job, run, attempt in rows:
            outcome = self._engine.state(run_id(job, run))
            if outcome is not None and outcome.state not in ENDED:
                continue
            n_changed += 1
            with self._store.database.write() as connection:
                if outcome is None:
                    self._store.requeue(connection, job, run, attempt=attempt)
                else:
                    reason = "given up: it ended without a result, most likely because its workers crashed"
                    self._store.end(connection, job, run, "failed", reason)
        return n_changed
