"""The log of each job, kept in the database: what ``accel jobs logs`` and the job's page show.

Lines are stored in batches by one thread, so a line costs its caller no more than an append. A line is a job's if it
was logged inside ``log_context(job=…)``.
"""

import logging
import threading
import time
from collections import Counter, deque

import sqlalchemy as sa

from accel.service.database import Database, job_log, jobs
from accel.service.logs import Redactor, context_of

_MESSAGE_CHARS = 4000
_WAITING_LINES = 10_000  # while the database does not answer; then the oldest go
_MORE = "the log is full: further lines of this job are not kept"


class JobLog(logging.Handler):
    """Stores lines of jobs in ``job_log``, at most ``max_lines`` a job; ``close`` stores what is left."""

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        *,
        level: int = logging.INFO,
        max_lines: int = 1000,
        batch_s: float = 0.5,
    ) -> None:
        super().__init__(level)
        self._database = database
        self._redactor = redactor
        self._max_lines = max_lines
        self._batch_s = batch_s
        self._waiting: deque[dict[str, object]] = deque(maxlen=_WAITING_LINES)
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="job-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        job = context_of(record).get("job")
        if job is None:
            return
        exception = self._redactor.exception(record)
        message = self._redactor.message(record) + (f"\n{exception}" if exception else "")
        message = message[:_MESSAGE_CHARS]
        line = {"job": job, "at": record.created, "level": record.levelname.lower(), "message": message}
        with self._changed:
            self._waiting.append(line)
            self._changed.notify()

    def flush(self) -> None:
        """Store what waits, now. Lines that could not be stored stay for the next time."""
        with self._changed:
            lines = list(self._waiting)
            self._waiting.clear()
        if not lines:
            return
        try:
            self._store(lines)
        except sa.exc.SQLAlchemyError:
            with self._changed:
                self._waiting = deque([*lines, *self._waiting], maxlen=_WAITING_LINES)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        super().close()

    def _run(self) -> None:
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                self._changed.wait_for(lambda: self._closing, self._batch_s)  # what comes meanwhile goes along
            self.flush()
        self.flush()

    def _store(self, lines: list[dict[str, object]]) -> None:
        with self._database.write() as connection:
            stored = self._counts(connection, {str(line["job"]) for line in lines})
            kept = []
            for line in lines:
                job = str(line["job"])
                if job not in stored or stored[job] > self._max_lines:
                    continue  # a job that is no more, or has its last line
                if stored[job] == self._max_lines:
                    line = {**line, "at": time.time(), "level": "warning", "message": _MORE}
                stored[job] += 1
                kept.append(line)
            if kept:
                connection.execute(sa.insert(job_log), kept)

    @staticmethod
    def _counts(connection: sa.Connection, names: set[str]) -> Counter[str]:
        counts = (
            sa.select(jobs.c.id, sa.func.count(job_log.c.id))
            .outerjoin(job_log, job_log.c.job == jobs.c.id)
            .where(jobs.c.id.in_(names))
            .group_by(jobs.c.id)
        )
        return Counter({job: n for job, n in connection.execute(counts)})
