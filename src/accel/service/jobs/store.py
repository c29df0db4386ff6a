"""Jobs as rows: what is wanted, what became of it.

::

    submit ──> queued ──> running ──> done, skipped, failed, superseded
                 ^  │        │
      retry, new │  └────────┴──> paused, cancelled
      tag, again └─────────────────────┘

Every run of a job has a number; what a run writes counts only while its number is the job's, so a run that was
cancelled, or taken for dead and replaced, changes nothing any more.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from accel.service.database import Database, job_layers, jobs, targets
from accel.service.facts import read_fact, write_fact
from accel.service.jobs.ids import job_id
from accel.service.model import ENDED, JobState, OutEvent, Wanted

Emit = Callable[[sa.Connection, OutEvent], None]
Row = sa.RowMapping
_PAUSED = "paused"
_AGAIN = ("done", "failed", "cancelled", "superseded")  # ended, but a new push or tag is a reason to run again


class JobStore:
    """The jobs of a database. ``emit`` writes an event to be sent, in the transaction that makes it true."""

    def __init__(self, database: Database, emit: Emit, now: Callable[[], float] = time.time) -> None:
        self.database = database
        self.now = now
        self._emit = emit

    def submit(self, wanted: Iterable[Wanted], result_tags: Callable[[Wanted], Iterable[str]]) -> list[str]:
        """The jobs that give ``wanted`` its results, made if they are not there, in one transaction.

        A job that ended runs again if there is a tag that has not its result, or it failed.
        """
        with self.database.write() as connection:
            return [self._submit(connection, one, tuple(result_tags(one))) for one in wanted]

    def _submit(self, connection: sa.Connection, wanted: Wanted, tags: tuple[str, ...]) -> str:
        job, now = job_id(wanted), self.now()
        row = row_of(connection, job)
        if row is None:
            self._insert(connection, job, wanted, now)
        if row is not None and row["state"] == "skipped":
            return job  # for a reason that is the image's own
        is_new = [self._add_target(connection, job, wanted, tag, now) for tag in tags]
        if row is None:
            self.emit(connection, job, "queued")
        elif (any(is_new) and row["state"] in _AGAIN) or row["state"] in ("failed", "cancelled"):
            self._queue_again(connection, row, wanted.origin)
        return job

    def _insert(self, connection: sa.Connection, job: str, wanted: Wanted, now: float) -> None:
        unfinished = sa.and_(
            jobs.c.registry == wanted.registry,
            jobs.c.repository == wanted.repository,
            jobs.c.state.in_(("queued", "running")),
        )
        # Repositories take turns: the more of one wait already, the later its next one.
        n_before = connection.scalar(sa.select(sa.func.count()).where(unfinished)) or 0
        last = connection.scalar(sa.select(sa.func.max(jobs.c.seq))) or 0
        connection.execute(
            jobs.insert().values(
                id=job,
                seq=last + 1,
                registry=wanted.registry,
                repository=wanted.repository,
                source_digest=wanted.digest,
                rule=wanted.rule,
                recipe=asdict(wanted.recipe),
                origin=wanted.origin,
                state="queued",
                priority=n_before + 1,
                created_at=now,
                updated_at=now,
            )
        )

    def _add_target(self, connection: sa.Connection, job: str, wanted: Wanted, tag: str, now: float) -> bool:
        """Whether the tag has to be set."""
        where = sa.and_(targets.c.job == job, targets.c.source_tag == wanted.tag, targets.c.tag == tag)
        state = connection.scalar(sa.select(targets.c.state).where(where))
        # A scan saw that the tag is not what it should be, whatever was done once.
        if state == "pending" or (state in ("set", "left") and wanted.origin == "event"):
            return False
        if state is None:
            key = {"job": job, "source_tag": wanted.tag, "tag": tag}
            connection.execute(targets.insert().values(**key, state="pending", updated_at=now))
        else:
            connection.execute(targets.update().where(where).values(state="pending", updated_at=now))
        return True

    def _queue_again(self, connection: sa.Connection, row: Row, origin: str) -> None:
        self.requeue(connection, row["id"], row["run"], attempt=1, origin=origin)
        self.emit(connection, row["id"], "queued")

    def requeue(
        self,
        connection: sa.Connection,
        job: str,
        run: int,
        *,
        attempt: int,
        not_before: float | None = None,
        reason: str = "",
        origin: str | None = None,
    ) -> None:
        """Have the job run again, as run ``run`` + 1."""
        values: dict[str, Any] = {"origin": origin} if origin else {}
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job, jobs.c.run == run)
            .values(
                state="queued",
                run=run + 1,
                attempt=attempt,
                not_before=not_before,
                reason=reason,
                finished_at=None,
                updated_at=self.now(),
                **values,
            )
        )

    def renew_targets(self, connection: sa.Connection, job: str) -> None:
        """Have all tags looked at again; those whose source moved on stay as they are then."""
        connection.execute(
            targets.update().where(targets.c.job == job).values(state="pending", updated_at=self.now())
        )

    def get(self, job: str) -> Row | None:
        """The job's row."""
        with self.database.read() as connection:
            return row_of(connection, job)

    def update(self, connection: sa.Connection, job: str, run: int, **values: Any) -> bool:
        """Whether ``run`` is still the job's run, in a state that may go on; then the row has ``values``."""
        done = connection.execute(
            jobs.update()
            .where(jobs.c.id == job, jobs.c.run == run, jobs.c.state.in_(("queued", "running")))
            .values(updated_at=self.now(), **values)
        )
        return done.rowcount == 1

    def end(self, connection: sa.Connection, job: str, run: int, state: JobState, reason: str = "") -> bool:
        """The same, for the end of the job; said to the world, except where the tags said it one by one."""
        if not self.update(connection, job, run, state=state, reason=reason, finished_at=self.now()):
            return False
        if state in ("skipped", "failed"):
            if state == "skipped":
                left = targets.update().where(targets.c.job == job, targets.c.state == "pending")
                connection.execute(left.values(state="left", updated_at=self.now()))
            self.emit(connection, job, state, reason=reason)
        return True

    def emit(self, connection: sa.Connection, job: str, type: Any, **more: Any) -> None:
        """An event about the job, for one of its tags where it concerns all."""
        row = row_of(connection, job)
        assert row is not None
        aim = connection.execute(
            sa.select(targets).where(targets.c.job == job).order_by(targets.c.updated_at.desc()).limit(1)
        ).mappings().first()
        about = {
            "source_tag": aim["source_tag"] if aim else "",
            "tag": aim["tag"] if aim else "",
            "data": {"rule": row["rule"], "mode": row["recipe"]["mode"], "origin": row["origin"]},
        }
        self._emit(
            connection,
            OutEvent(
                type,
                job,
                row["registry"],
                row["repository"],
                source_digest=row["source_digest"],
                **{**about, **more},
            ),
        )

    @property
    def is_paused(self) -> bool:
        """Whether no new run is to begin."""
        return bool(read_fact(self.database, _PAUSED))

    def pause_all(self, paused: bool) -> None:
        """Stop beginning runs, or go on. What is running ends as usual."""
        write_fact(self.database, _PAUSED, paused)

    def prune(self, before: float) -> int:
        """Forget jobs that ended before then, unless their result has a tag. How many."""
        held = sa.exists().where(targets.c.job == jobs.c.id, targets.c.state == "set")
        with self.database.write() as connection:
            old = sa.and_(jobs.c.state.in_(ENDED), jobs.c.finished_at < before, ~held)
            return connection.execute(jobs.delete().where(old)).rowcount

    def layers_of(self, job: str) -> list[Row]:
        """The job's layers in their order."""
        with self.database.read() as connection:
            found = connection.execute(
                sa.select(job_layers).where(job_layers.c.job == job).order_by(job_layers.c.position)
            )
            return list(found.mappings())


def row_of(connection: sa.Connection, job: str) -> Row | None:
    """The job's row, as a transaction sees it."""
    return connection.execute(sa.select(jobs).where(jobs.c.id == job)).mappings().first()
