"""Independent jobs on a few threads: the first failure stops the others, and nobody is left running."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from accel.errors import Cancelled
from accel.progress import CancelToken, Progress

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

# After a Ctrl-C, how long to wait for threads that are inside one read of a slow connection. They can publish nothing:
# tags are set by the caller.
_INTERRUPT_WAIT_S = 3.0


def run_all(
    jobs: Sequence[_Job], work: Callable[[_Job, Progress], _Result], progress: Progress, *, threads: int
) -> list[_Result]:
    """The result of ``work`` for each job, in their order; jobs start in that order, at most ``threads`` at a time.

    When one raises, or the caller is interrupted, the others stop at their next report of progress; the first error is
    raised once all have ended.
    """
    return _Pool(jobs, work, CancelToken(progress)).run(min(threads, len(jobs)))


class _Pool(Generic[_Job, _Result]):
    def __init__(
        self, jobs: Sequence[_Job], work: Callable[[_Job, Progress], _Result], stop: CancelToken
    ) -> None:
        self._jobs = jobs
        self._work = work
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0
        self._stopped = False
        self._results: dict[int, _Result] = {}
        self._errors: list[BaseException] = []

    def run(self, n_threads: int) -> list[_Result]:
        # Daemons, so that one that hangs in a read cannot keep an interrupted process alive; else all are joined.
        workers = [
            threading.Thread(target=self._worker, name=f"accel-{number}", daemon=True)
            for number in range(n_threads)
        ]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        except BaseException:
            self._stopped = True
            self._stop.cancel()
            deadline = time.monotonic() + _INTERRUPT_WAIT_S
            for worker in workers:
                if worker.ident is not None:
                    worker.join(max(0.0, deadline - time.monotonic()))
            raise
        if self._errors:
            # those that were told to stop say Cancelled; the reason is the one that says something else
            raise next((error for error in self._errors if not isinstance(error, Cancelled)), self._errors[0])
        return [self._results[number] for number in range(len(self._jobs))]

    def _worker(self) -> None:
        while (number := self._take()) is not None:
            try:
                self._results[number] = self._work(self._jobs[number], self._stop)
            except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
                self._errors.append(error)
                self._stop.cancel()

    def _take(self) -> int | None:
        with self._lock:
            if self._errors or self._stopped or self._next == len(self._jobs):
                return None
            self._next += 1
            return self._next - 1
