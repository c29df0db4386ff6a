"""How far a layer is, written where people look, and the way to stop it."""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from accel.errors import Cancelled
from accel.service.database import Database, job_layers, jobs

_EVERY_S = 1.0


class LayerProgress:
    """Progress of the one layer that ``workflow`` makes, seen in all jobs that wait for it.

    Raises ``Cancelled`` in the working thread when ``should_stop`` says so.
    """

    def __init__(self, database: Database, workflow: str, should_stop: Callable[[], bool]) -> None:
        self._database = database
        self._should_stop = should_stop
        self._mine = job_layers.c.workflow == workflow
        self._lock = threading.Lock()
        self._done = 0
        self._next = time.monotonic() + _EVERY_S

    def begin(self, stage: str, total_bytes: int | None) -> None: ...

    def advance(self, stage: str, n_bytes: int) -> None:
        if self._should_stop():
            raise Cancelled("nobody waits for this layer any more")
        if not stage.startswith("push "):  # what is written is no part of the layer's size
            self._done += n_bytes
        if time.monotonic() >= self._next:
            self._store()

    def end(self, stage: str, outcome: str) -> None: ...

    def _store(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._next = time.monotonic() + _EVERY_S
            with self._database.write() as connection:
                connection.execute(
                    job_layers.update().where(self._mine).values(state="running", done_bytes=self._done)
                )
                waiting = sa.select(jobs.c.id).join(job_layers, job_layers.c.job == jobs.c.id).where(self._mine)
                touched = jobs.update().where(jobs.c.id.in_(waiting), jobs.c.state == "running")
                connection.execute(touched.values(updated_at=time.time()))
        finally:
            self._lock.release()
