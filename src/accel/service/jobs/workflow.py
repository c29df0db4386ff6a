"""The workflows: an image, one layer of it, and what an event asks of a registry.

::

    convert   plan ──> layer, layer, … (each a workflow of its own, shared with other images) ──> publish ──> end
"""

import logging
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from accel.service.engine import Context, Engine, WorkflowFailed
from accel.service.jobs.layer import LayerMaker
from accel.service.jobs.plan import Planner
from accel.service.jobs.publish import JobPublisher
from accel.service.jobs.store import JobStore
from accel.service.logs import log_context
from accel.service.model import Event, Wanted

Json = dict[str, Any]
_log = logging.getLogger(__name__)
_MAX_BACKOFF_S = 3600.0


@dataclass(frozen=True, slots=True)
class Workflows:
    """What workflows do in this process, whose name is ``worker``."""

    store: JobStore
    planner: Planner
    maker: LayerMaker
    publisher: JobPublisher
    resolve: Callable[[Event], list[Wanted]]
    deleted: Callable[[Event], list[Json]]
    attempts: int
    backoff_s: float
    worker: str

    def register(self, engine: Engine) -> None:
        """Make them known to the engine, before it starts."""
        engine.workflow("convert")(self.convert)
        engine.workflow("layer")(self.layer)
        engine.workflow("resolve")(self.look_up)
        engine.workflow("deleted")(self.look_after)

    def convert(self, context: Context, args: Json) -> Json:
        """One run of a job."""
        with log_context(job=args["job"], worker=self.worker):
            return self._convert(context, args["job"], args["run"])

    def _convert(self, context: Context, job: str, run: int) -> Json:
        try:
            outcome = context.step("plan", self.planner.plan, job, run, self.worker)
            if "wait" in outcome:
                waiting = [
                    context.spawn("layer", workflow, own, queue="layers", priority=own["priority"])
                    for workflow, own in outcome["wait"]
                ]
                for layer in waiting:
                    layer.result()
                outcome = context.step("publish", self.publisher.publish, job, run)
        except WorkflowFailed as error:
            outcome = {"error": error.data}
        ended: Json = context.step("end", self.end, job, run, outcome)
        return ended

    def layer(self, context: Context, args: Json) -> Json:
        """What is missing of one layer."""
        made: Json = context.step("layer", self.maker.make, context.id, args, context.should_stop)
        return made

    def look_up(self, context: Context, args: Json) -> Json:
        """Jobs for an event that did not say the digest."""
        found: Json = context.step("resolve", self._look_up, args["event"])
        return found

    def look_after(self, context: Context, args: Json) -> Json:
        """What a deletion makes necessary."""
        done: Json = context.step("deleted", lambda: {"actions": self.deleted(Event(**args["event"]))})
        return done

    def _look_up(self, event: Json) -> Json:
        wanted = self.resolve(Event(**event))
        return {"jobs": self.store.submit(wanted, self._tags), "wanted": [asdict(one) for one in wanted]}

    def _tags(self, wanted: Wanted) -> list[str]:
        return list(self.publisher.result_tags(wanted.recipe, wanted.tag))

    def end(self, job: str, run: int, outcome: Json) -> Json:
        """Write down how a run ended; a failure that may pass is tried again later."""
        with self.store.database.write() as connection:
            if "skip" in outcome:
                self.store.end(connection, job, run, "skipped", outcome["skip"])
            elif "error" in outcome:
                self._failed(connection, job, run, outcome["error"])
        return outcome

    def _failed(self, connection: Any, job: str, run: int, error: Json) -> None:
        row = self.store.get(job)
        if row is None or row["run"] != run or row["state"] not in ("queued", "running"):
            return
        reason = f"{error['type']}: {error['message']}"
        # A layer that was cancelled with another job is wanted by this one still.
        may_pass = error["retriable"] or error["type"] == "Cancelled"
        _log.warning("run %d: %s", run, reason)
        if not may_pass or row["attempt"] >= self.attempts:
            self.store.end(connection, job, run, "failed", reason)
            return
        pause = min(self.backoff_s * 2 ** (row["attempt"] - 1), _MAX_BACKOFF_S) * random.uniform(0.5, 1.0)
        self.store.requeue(
            connection,
            job,
            run,
            attempt=row["attempt"] + 1,
            not_before=self.store.now() + pause,
            reason=reason,
        )
