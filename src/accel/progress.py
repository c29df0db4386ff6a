"""The progress protocol: loops report, callers show. Nothing below the CLI prints."""

from typing import Protocol

from accel.errors import Cancelled


class Progress(Protocol):
    """What long work calls. Stages may run at the same time, told apart by ``stage``; calls come from any thread.

    To cancel, let ``advance`` raise :class:`accel.errors.Cancelled` (see :class:`CancelToken`).
    """

    def begin(self, stage: str, total_bytes: int | None) -> None:
        """A stage (for example one layer, named by its digest) starts."""

    def advance(self, stage: str, n_bytes: int) -> None:
        """``n_bytes`` more of the stage are done."""

    def end(self, stage: str, outcome: str) -> None:
        """The stage is over: ``outcome`` in a few words ("indexed", "already indexed", "failed: …")."""


class NoProgress:
    """Says nothing."""

    def begin(self, stage: str, total_bytes: int | None) -> None: ...

    def advance(self, stage: str, n_bytes: int) -> None: ...

    def end(self, stage: str, outcome: str) -> None: ...


class CancelToken(NoProgress):
    """A progress that stops the work: after :meth:`cancel`, the next report raises ``Cancelled`` in the working thread.

    Wraps another progress to show it too.
    """

    def __init__(self, inner: Progress | None = None) -> None:
        self._inner: Progress = inner or NoProgress()
        self._cancelled = False

    def cancel(self) -> None:
        """Ask the work to stop at its next report."""
        self._cancelled = True

    def _check(self) -> None:
        if self._cancelled:
            raise Cancelled("cancelled by the caller")

    def begin(self, stage: str, total_bytes: int | None) -> None:
        self._check()
        self._inner.begin(stage, total_bytes)

    def advance(self, stage: str, n_bytes: int) -> None:
        self._check()
        self._inner.advance(stage, n_bytes)

    def end(self, stage: str, outcome: str) -> None:
        self._inner.end(stage, outcome)
