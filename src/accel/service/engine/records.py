"""What the engine's tables say, read directly: dbos gives it only with a row of history for each look.

The few columns used here are those of dbos 3.4; the engine's tests fail if another version has others.
"""

import json
from typing import Any

import sqlalchemy as sa

from accel.service.database import POSTGRES_CONNECT
from accel.service.engine.values import ErrorRecord, Outcome, State

SCHEMA = "accel_engine"  # on PostgreSQL; an SQLite file has only the engine's tables
APPLICATION = "accel"

_STATES: dict[str, State] = {
    "DELAYED": "waiting",
    "ENQUEUED": "waiting",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "poisoned",
}
_LIVE = ("DELAYED", "ENQUEUED", "PENDING")
_STOPPED: dict[State, ErrorRecord] = {
    "cancelled": {"type": "Cancelled", "message": "it was cancelled", "retriable": False},
    "poisoned": {"type": "Poisoned", "message": "its process died too often while it ran", "retriable": False},
}


class Records:
    """Reads of the engine's database at ``url``; safe for threads."""

    def __init__(self, url: str) -> None:
        schema = None if url.startswith("sqlite") else SCHEMA
        more: dict[str, Any] = {"pool_pre_ping": True, "connect_args": POSTGRES_CONNECT} if schema else {}
        self._engine = sa.create_engine(url, pool_size=5, max_overflow=20, **more)
        self._flows = sa.table("workflow_status", *map(sa.column, _FLOW_COLUMNS), schema=schema)
        self._outputs = sa.table("workflow_output", *map(sa.column, _OUTPUT_COLUMNS), schema=schema)
        self._steps = sa.table("operation_outputs", *map(sa.column, _STEP_COLUMNS), schema=schema)

    def outcome(self, id: str) -> Outcome | None:
        """How far a workflow is; None: there is none of that id."""
        flows, outputs = self._flows.c, self._outputs.c
        query = (
            sa.select(
                flows.status,
                sa.func.coalesce(outputs.output, flows.output),
                sa.func.coalesce(outputs.error, flows.error),
                flows.recovery_attempts,
                flows.executor_id,
            )
            .select_from(self._flows.outerjoin(self._outputs, outputs.workflow_uuid == flows.workflow_uuid))
            .where(flows.workflow_uuid == id)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        status, output, error, attempts, executor = row
        state = _STATES[status]
        return Outcome(
            state=state,
            result=json.loads(output) if state == "done" and output is not None else None,
            error=_error_of(error) if state == "failed" else _STOPPED.get(state),
            attempts=attempts or 0,
            executor=executor,
        )

    def is_running_in(self, id: str, executor_id: str) -> bool:
        """Whether a workflow runs and belongs to that process: not cancelled, not taken over."""
        flows = self._flows.c
        query = sa.select(flows.executor_id).where(flows.workflow_uuid == id, flows.status == "PENDING")
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() == executor_id

    def owners(self, version: str) -> set[str]:
        """Processes that have running workflows."""
        flows = self._flows.c
        query = (
            sa.select(flows.executor_id)
            .distinct()
            .where(flows.status == "PENDING", flows.application_version == version)
        )
        with self._engine.connect() as connection:
            return {owner for (owner,) in connection.execute(query) if owner is not None}

    def lonely_children(self, id: str) -> list[str]:
        """Live workflows that this one started, or would have, and that no other live workflow waits for."""
        mine, others, flows = self._steps.alias(), self._steps.alias(), self._flows
        parent, child = flows.alias(), flows.alias()
        shared = (
            sa.select(others.c.workflow_uuid)
            .join(parent, parent.c.workflow_uuid == others.c.workflow_uuid)
            .where(
                others.c.child_workflow_id == mine.c.child_workflow_id,
                others.c.workflow_uuid != id,
                parent.c.status.in_(_LIVE),
            )
        )
        query = (
            sa.select(mine.c.child_workflow_id)
            .join(child, child.c.workflow_uuid == mine.c.child_workflow_id)
            .where(mine.c.workflow_uuid == id, child.c.status.in_(_LIVE), ~shared.exists())
            .distinct()
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def ended_before(self, when: float, limit: int) -> list[str]:
        """Workflows that ended before ``when`` (seconds since 1970), the oldest first."""
        flows = self._flows.c
        query = sa.select(flows.workflow_uuid).where(flows.completed_at < int(when * 1000), ~flows.status.in_(_LIVE))
        with self._engine.connect() as connection:
            return list(connection.execute(query.order_by(flows.completed_at).limit(limit)).scalars())

    def close(self) -> None:
        self._engine.dispose()


_FLOW_COLUMNS = (
    "workflow_uuid", "status", "output", "error", "executor_id", "application_version", "recovery_attempts",
    "completed_at",
)  # fmt: skip
_OUTPUT_COLUMNS = ("workflow_uuid", "output", "error")
_STEP_COLUMNS = ("workflow_uuid", "child_workflow_id")


def _error_of(stored: str | None) -> ErrorRecord:
    """The record in a stored error: ours under "data", or made of what dbos wrote of an error of its own."""
    error: dict[str, Any] = json.loads(stored or "{}")
    if isinstance(data := error.get("data"), dict):
        return data
    return {"type": error.get("name", "Error"), "message": error.get("message", ""), "retriable": False}
