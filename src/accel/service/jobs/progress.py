"""How far a layer is, written where people look, and the way to stop it."""

import threading
import time

import sqlalchemy as sa

from accel.errors import Cancelled
from accel.service.database import Database, job_layers, jobs

_EVERY_S = 1.0


class LayerProgress:
    """Progress of the one layer that ``workflow`` makes, seen in all jobs that wait for it.

    Raises ``Cancelled`` in the working thread when no such job is left.
    """

    def __init__(self, database: Database, workflow: str) -> None:
        self._database = database
        self._mine = job_layers.c.workflow == workflow
        self._lock = threading.Lock()
        self._done = 0
        self._next = time.monotonic() + _EVERY_S
        self._stopped = False

    def begin(self, stage: str, total_bytes: int | None) -> None: ...

    def advance(self, stage: str, n_bytes: int) -> None:
        if self._stopped:
            raise Cancelled("no job wants this layer any more")
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
                alive = waiting.where(jobs.c.state.in_(("queued", "running"))).limit(1)
                touched = jobs.update().where(jobs.c.id.in_(waiting), jobs.c.state == "running")
                connection.execute(touched.values(updated_at=time.time()))
                self._stopped = connection.execute(alive).first() is None
        finally:
            self._lock.release()
