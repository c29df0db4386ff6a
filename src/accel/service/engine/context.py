"""What a workflow function is handed: durable steps, other workflows, and whether to go on."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dbos

from accel.service.engine.outage import UNREACHABLE
from accel.service.engine.values import ENDED, Outcome, WorkflowFailed, plain

if TYPE_CHECKING:
    from accel.service.engine.core import Engine

_LOOK_S = 0.5  # how often should_stop() asks the database


class Abandoned(BaseException):
    """Ends the thread of a workflow that this process is not to go on with; nothing is stored of it.

    No ``Exception``: what workflows and dbos catch would be stored as a result.
    """


class Context:
    """One run of a workflow in this process. For the thread that runs it, except ``should_stop``, which is for all."""

    def __init__(self, engine: "Engine", id: str) -> None:
        self.id = id
        self._engine = engine
        self._looked_at = 0.0
        self._stop = False

    def step(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """The JSON that ``fn(*args)`` gives; it runs again only where its result was not stored.

        Raises WorkflowFailed if it raised, now and on every later run.
        """
        try:
            return dbos.DBOS.run_step({"name": name}, self._ran, fn, args)
        except dbos.PortableWorkflowError as stored:
            raise WorkflowFailed(stored.data if isinstance(stored.data, dict) else {}) from None

    def spawn(self, workflow: str, id: str, args: dict[str, Any], *, queue: str, priority: int = 1) -> "Handle":
        """A handle of the workflow ``id``, which is started if there was none of that id, ever.

        Who waits keeps its place in its queue, so what it waits for needs another queue.
        """
        self._engine.submit(workflow, id, args, queue=queue, priority=priority)
        return Handle(self._engine, self, id)

    def should_stop(self) -> bool:
        """Whether going on is of no use: cancelled, taken over by another process, or this one closes."""
        now = time.monotonic()
        if not self._stop and now - self._looked_at > _LOOK_S:
            self._looked_at = now
            self._stop = not self._engine.owns(self.id)
        return self._stop or self._engine.closing.is_set()

    def check(self) -> None:
        """Leaves this run if the process closes or has lost the workflow: it goes on elsewhere, or not at all."""
        if self._engine.closing.is_set() or not self._engine.owns(self.id):
            raise Abandoned(self.id)

    def _ran(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self.check()
        try:
            return plain(fn(*args))
        except WorkflowFailed:
            raise
        except Exception as error:
            self.check()  # what fails because it was stopped has not failed
            raise WorkflowFailed(self._engine.record_of(error)) from error


class Handle:
    """A workflow that another one waits for."""

    def __init__(self, engine: "Engine", waiting: Context, id: str) -> None:
        self.id = id
        self._engine = engine
        self._waiting = waiting

    def result(self) -> Any:
        """What the workflow gave, once it ended; raises WorkflowFailed if it failed or was stopped.

        Not stored once more with the one that waits: how a workflow ended never changes.
        """
        with self._engine.awaiting(self.id) as bell:
            while True:
                outcome = self._seen()
                if outcome is not None and outcome.state in ENDED:
                    return outcome.value()
                if bell.wait(self._engine.poll_s) or self._waiting.should_stop():
                    raise Abandoned(self._waiting.id)

    def _seen(self) -> Outcome | None:
        """The state of the workflow; None also while the database is away: that it is has not failed who waits."""
        try:
            return self._engine.state(self.id)
        except UNREACHABLE:
            return None
