"""The durable engine: dbos (its MIT part, pinned) behind the few calls that the service needs.

- Workflows are functions under a name, ``fn(context, args) -> dict``, JSON in and out. After a crash they run again
  from their start, but steps whose result is stored give that; so the order of steps must not change from run to run.
- A step that was cut off between what it did and the storing of its result runs again: what it does must bear that.
- An id is taken for ever. Submitting it again gives what is there, failed or not; a new try needs a new id.
- dbos is a singleton: one engine runs in a process at a time. After ``close`` another may start.
"""

import logging
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar

import dbos
import sqlalchemy as sa

from accel.errors import ConfigError
from accel.service.database import POSTGRES_CONNECT
from accel.service.engine.bell import Bell
from accel.service.engine.context import Abandoned, Context
from accel.service.engine.outage import UNREACHABLE, wait_for_database
from accel.service.engine.queues import QueueThreads
from accel.service.engine.reaper import Reaper
from accel.service.engine.records import APPLICATION, SCHEMA, Records
from accel.service.engine.values import (
    ENDED,
    Describe,
    ErrorRecord,
    Outcome,
    Queue,
    WorkflowFailed,
    plain,
    storable,
)
from accel.service.engine.values import describe as describe_error
from accel.service.leases import Leases

log = logging.getLogger(__name__)

Workflow = Callable[[Context, dict[str, Any]], dict[str, Any]]

# Of the order of steps in our workflows: another order is another version, and a process takes up only its own.
VERSION = "1"
MAX_ATTEMPTS = 8  # processes that may die on a workflow before it is given up
_STORED_AFTER_S = (0.03, 0.3)  # how long it takes, about, until dbos has stored what a workflow gave, and at worst
_JOIN_S = 5.0


class Engine:
    """The engine of this process. ``executor_id`` must be another for every process, and for every start.

    ``poll_s`` is how often a queue is looked at, and a workflow that another one waits for; what this process does
    itself it sees at once. ``ttl_s``: a process that has not beaten for so long is dead.
    """

    _running: ClassVar["Engine | None"] = None
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        url: str,
        executor_id: str,
        leases: Leases,
        *,
        describe: Describe = describe_error,
        poll_s: float = 0.2,
        ttl_s: float = 5.0,
        beat_s: float = 1.0,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self.executor_id = executor_id
        self.poll_s = poll_s
        self.closing = threading.Event()
        self._url = url
        self._describe = describe
        self._max_attempts = max_attempts
        self._workflows: dict[str, Workflow] = {}
        self._records = Records(url)
        self._reaper = Reaper(
            leases, self._records, executor_id=executor_id, version=VERSION, ttl_s=ttl_s, beat_s=min(beat_s, ttl_s / 3)
        )
        self._works = False
        self._queues = QueueThreads()
        self._waiting: defaultdict[str, set[Bell]] = defaultdict(set)  # who waits for a workflow, by its id
        self._dbos: dbos.DBOS | None = None
        self._active = 0
        self._idle = threading.Condition()

    def workflow(self, name: str) -> Callable[[Workflow], Workflow]:
        """Registers a workflow function; before ``start``."""

        def register(fn: Workflow) -> Workflow:
            if name in self._workflows:
                raise ConfigError(f"two workflows are named {name}")
            self._workflows[name] = fn
            return fn

        return register

    def start(self, queues: Iterable[Queue] = ()) -> None:
        """Works on ``queues`` from now on; with none, this process only submits.

        Waits for a database that does not answer, as long as it takes; ``close`` ends that by ``Cancelled``.
        """
        queues = tuple(queues)
        with Engine._guard:
            if Engine._running is not None:
                raise ConfigError("an engine runs in this process already")
            Engine._running = self
        wait_for_database(self._url, self.closing)
        while not self._started(queues):
            wait_for_database(self._url, self.closing)
        if self.closing.is_set():  # by another thread, which found nothing to close yet
            self.close()

    @property
    def is_running(self) -> bool:
        """Whether it was started, works on its queues, and was not closed."""
        return self._dbos is not None and self._queues.are_alive and not self.closing.is_set()

    def submit(
        self, workflow: str, id: str, args: dict[str, Any], *, queue: str, priority: int = 1, delay_s: float = 0.0
    ) -> None:
        """Puts a workflow into a queue, not to start before ``delay_s``; nothing if the id is taken.

        Lower priorities go first, from 1. Durable when it returns.
        """
        if priority < 1:
            raise ConfigError(f"priority {priority} of {id}: must be 1 or more")  # none at all would go first
        options: dbos.EnqueueOptions = {
            "workflow_name": workflow,
            "workflow_id": id,
            "queue_name": queue,
            "priority": priority,
            "app_version": VERSION,
        }
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        dbos.DBOS.enqueue_workflow_with_options(options, args)
        self._queues.look(queue)

    def cancel(self, id: str) -> None:
        """Stops a workflow and those it started, but not those that another one also waits for.

        A running step goes on to its end, or until it asks ``context.should_stop()``. What ended stays as it is.
        """
        todo = [id]
        while todo:
            one = todo.pop()
            if (seen := self.state(one)) is not None and seen.state not in ENDED:
                dbos.DBOS.cancel_workflow(one)
            todo += self._records.lonely_children(one)

    def state(self, id: str) -> Outcome | None:
        """How far a workflow is; None: there is none of that id."""
        return self._records.outcome(id)

    @contextmanager
    def awaiting(self, id: str) -> Iterator[Bell]:
        """What rings when the workflow ``id`` has ended in this process, and stops when this closes."""
        bell = Bell()
        with self._idle:
            self._waiting[id].add(bell)
        if self.closing.is_set():
            bell.stop()
        try:
            yield bell
        finally:
            with self._idle:
                self._waiting[id].discard(bell)
                if not self._waiting[id]:
                    del self._waiting[id]

    def prune(self, age_s: float, limit: int = 1000) -> int:
        """Forgets up to ``limit`` workflows that ended longer ago, and says how many; their ids are free again."""
        old = self._records.ended_before(time.time() - age_s, limit)
        if old:
            dbos.DBOS.delete_workflows(old)
        return len(old)

    def owns(self, id: str) -> bool:
        """Whether this process is still the one that runs a workflow; yes as long as the database does not answer."""
        try:
            return self._records.is_running_in(id, self.executor_id)
        except UNREACHABLE:
            return True

    def record_of(self, error: Exception) -> ErrorRecord:
        """What is stored of an error."""
        return storable(error.data if isinstance(error, WorkflowFailed) else self._describe(error))

    def close(self, drain_s: float = 10.0) -> None:
        """Takes up nothing more, tells steps to stop, waits for them up to ``drain_s``, and hands on what is left."""
        self.closing.set()
        if self._dbos is not None:
            for event in self._dbos.background_thread_stop_events:
                event.set()
            self._queues.leave()
            self._reaper.leave()
            with self._idle:
                for bell in chain(*self._waiting.values()):
                    bell.stop()
                self._idle.wait_for(lambda: self._active == 0, timeout=drain_s)
            self._queues.join(_JOIN_S)
            dbos.DBOS.destroy(destroy_registry=True)
            self._dbos = None
        if self._works:
            self._works = False
            self._reaper.stop()
        self._records.close()
        with Engine._guard:
            if Engine._running is self:
                Engine._running = None

    def _started(self, queues: tuple[Queue, ...]) -> bool:
        """Whether the engine runs now; False: the database did not answer."""
        try:
            if self._url.startswith("sqlite"):
                _use_wal(self._url)
            if queues:
                self._reaper.beat()  # before anything is taken up: who has work and no lease is dead
            self._launch(queues)
        except UNREACHABLE as error:
            log.warning("the engine did not start: %s", type(error).__name__)
            dbos.DBOS.destroy(destroy_registry=True)
            self._dbos = None
            return False
        if queues:
            self._works = True
            self._reaper.start()
        return True

    def _launch(self, queues: tuple[Queue, ...]) -> None:
        _quieten()
        config: dbos.DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._url,
            "dbos_system_schema": SCHEMA,
            "executor_id": self.executor_id,
            "application_version": VERSION,
            "serializer": dbos.DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
        if not self._url.startswith("sqlite"):
            config["db_engine_kwargs"] = {"connect_args": POSTGRES_CONNECT}
        self._dbos = dbos.DBOS(config=config)
        for name, fn in self._workflows.items():
            dbos.DBOS.workflow(name=name, max_recovery_attempts=self._max_attempts)(self._entry(fn))
        dbos.DBOS.listen_queues([])  # to those of its own; ours have threads of ours
        dbos.DBOS.launch()
        registered = [
            dbos.DBOS.register_queue(
                queue.name,
                global_concurrency=queue.at_once,
                worker_concurrency=queue.per_process,
                polling_interval_sec=self.poll_s,
                on_conflict="always_update",
            )
            for queue in queues
        ]
        self._queues.start(self._dbos, registered, self.poll_s)

    def _entry(self, fn: Workflow) -> Callable[[dict[str, Any]], Any]:
        """``fn`` as dbos calls it."""

        def run(args: dict[str, Any]) -> Any:
            id = dbos.DBOS.workflow_id
            assert id is not None
            if self.closing.is_set():
                raise Abandoned(id)
            self._count(1)
            try:
                return plain(fn(Context(self, id), args))
            except Exception as error:
                if self.closing.is_set():
                    raise Abandoned(id) from error
                raise WorkflowFailed(self.record_of(error)) from error
            except BaseException as gone:  # taken over or cancelled, says dbos; it would wait here for the outcome
                raise Abandoned(id) from gone
            finally:
                self._count(-1)
                self._ended(id)

        return run

    def _ended(self, id: str) -> None:
        """Tell who waits for a workflow, or for its place in a queue."""
        self._queues.look_all(_STORED_AFTER_S[0])
        with self._idle:
            for bell in self._waiting.get(id, ()):
                for after_s in _STORED_AFTER_S:
                    bell.ring(after_s)

    def _count(self, change: int) -> None:
        with self._idle:
            self._active += change
            self._idle.notify_all()


def _use_wal(url: str) -> None:
    """Readers and the writer of a file in WAL mode do not wait for each other: 5 times the submits a second."""
    connection = sqlite3.connect(str(sa.make_url(url).database), timeout=60)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _quieten() -> None:
    """dbos's warnings go the way of ours; what it says at INFO, and of errors that we store, is dropped."""
    logger = logging.getLogger("dbos")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())  # with none, dbos adds one that writes to stderr
        logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], WorkflowFailed))
