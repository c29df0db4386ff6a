"""What goes into the engine and comes out of it: plain JSON, and errors as records."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from accel.errors import AccelError

State = Literal["waiting", "running", "done", "failed", "cancelled", "poisoned"]
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled", "poisoned"})

# An error as it is stored: "type", "message" and "retriable", and whatever else its describer adds. JSON.
ErrorRecord = dict[str, Any]
Describe = Callable[[Exception], ErrorRecord]


class WorkflowFailed(AccelError):
    """A step or a workflow failed; the same error when it happens and when it is read back from the store.

    ``type`` is the name of the exception's class, or "Cancelled" or "Poisoned" of a workflow that was stopped or that
    took its process down too often. ``data`` is the whole record.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.data: ErrorRecord = {"type": "Error", "message": "", "retriable": False, **record}
        self.type = str(self.data["type"])
        self.message = str(self.data["message"])
        self.retriable = bool(self.data["retriable"])
        super().__init__(f"{self.type}: {self.message}")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and its limits, for all processes together and for each. The last process that starts with it sets them.

    ``per_process`` must not be above ``at_once``. None: no limit.
    """

    name: str
    at_once: int | None = None
    per_process: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a workflow is. ``result`` is its JSON if it is done, ``error`` its record if it failed or was stopped.

    ``attempts`` counts how often a process took it up.
    """

    state: State
    result: Any = None
    error: ErrorRecord | None = None
    attempts: int = 0
    executor: str | None = None

    def value(self) -> Any:
        """The result of a workflow that is done; of any other that ended, WorkflowFailed."""
        if self.state == "done":
            return self.result
        raise WorkflowFailed(self.error or {"type": self.state, "message": "not ended"})


def plain(value: Any) -> Any:
    """A value as it will be read back from the store: what is not JSON is a TypeError or ValueError, now."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()  # a lone surrogate can be written into no database
    return json.loads(text)


def describe(error: Exception) -> ErrorRecord:
    """The record of an error; what says of itself that it is temporary is retriable."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "retriable": bool(getattr(error, "temporary", False)),
    }


def storable(record: ErrorRecord) -> ErrorRecord:
    """The record with a message that any database takes."""
    message = str(record.get("message", "")).encode("utf-8", "backslashreplace").decode()
    return {**record, "message": message}
