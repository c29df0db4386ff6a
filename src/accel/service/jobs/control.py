"""What people may do to a job."""

import logging
from collections.abc import Callable, Iterable

import sqlalchemy as sa

from accel.errors import ConfigError, NotFoundError
from accel.service.database import jobs
from accel.service.jobs.ids import run_id
from accel.service.jobs.store import JobStore, Row, row_of
from accel.service.logs import log_context
from accel.service.model import ENDED, JobState, Wanted

_log = logging.getLogger(__name__)


class Jobs:
    """The jobs, for the API.

    ``cancel_workflow`` stops one in the engine, and what only that one waits for; ``wake`` has queued jobs looked at.
    """

    def __init__(
        self,
        store: JobStore,
        result_tags: Callable[[Wanted], Iterable[str]],
        cancel_workflow: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._result_tags = result_tags
        self._cancel_workflow = cancel_workflow
        self._wake = wake

    def submit(self, wanted: Wanted) -> str:
        """The id of the job that makes it."""
        (job,) = self._store.submit([wanted], self._result_tags)
        self._wake()
        return job

    def cancel(self, job: str) -> None:
        """Stop it for good; layers that other jobs want too are still made. ConfigError if it has ended."""
        self._stop(job, "cancelled")

    def pause(self, job: str) -> None:
        """Stop it until :meth:`resume`; finished layers are kept. ConfigError if it has ended."""
        self._stop(job, "paused")

    def resume(self, job: str) -> None:
        """Let a paused job go on. ConfigError if it is not paused."""
        self._again(job, ("paused",))

    def retry(self, job: str) -> None:
        """Run an ended job again, whatever became of it; finished layers are not made again. ConfigError else."""
        self._again(job, tuple(ENDED))

    def pause_all(self, paused: bool) -> None:
        """Begin no more runs, or go on."""
        self._store.pause_all(paused)
        self._wake()

    def _stop(self, job: str, state: JobState) -> None:
        with self._store.database.write() as connection:
            row = self._must(connection, job)
            allowed = ("queued", "running", "paused") if state == "cancelled" else ("queued", "running")
            if row["state"] not in allowed:
                raise ConfigError(f"job {job} is {row['state']}")
            now = self._store.now()
            ended = {"finished_at": now} if state == "cancelled" else {}
            connection.execute(
                jobs.update().where(jobs.c.id == job).values(state=state, reason="", updated_at=now, **ended)
            )
        self._cancel_workflow(run_id(job, row["run"]))
        with log_context(job=job):
            _log.info("%s", state)

    def _again(self, job: str, states: tuple[str, ...]) -> None:
        with self._store.database.write() as connection:
            row = self._must(connection, job)
            if row["state"] not in states:
                raise ConfigError(f"job {job} is {row['state']}")
            self._store.requeue(connection, job, row["run"], attempt=1)
            self._store.renew_targets(connection, job)
            self._store.emit(connection, job, "queued")
        self._wake()

    def _must(self, connection: sa.Connection, job: str) -> Row:
        row = row_of(connection, job)
        if row is None:
            raise NotFoundError(f"no job {job}")
        return row
