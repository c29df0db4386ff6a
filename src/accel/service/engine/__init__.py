"""Durable workflows behind a small interface; see :mod:`accel.service.engine.core`."""

from accel.service.engine.context import Context, Handle
from accel.service.engine.core import MAX_ATTEMPTS, VERSION, Engine, Workflow
from accel.service.engine.outage import wait_for_database
from accel.service.engine.values import ENDED, ErrorRecord, Outcome, Queue, State, WorkflowFailed, describe

__all__ = [
    "ENDED",
    "MAX_ATTEMPTS",
    "VERSION",
    "Context",
    "Engine",
    "ErrorRecord",
    "Handle",
    "Outcome",
    "Queue",
    "State",
    "Workflow",
    "WorkflowFailed",
    "describe",
    "wait_for_database",
]
