"""Independent jobs on a few threads: the first failure stops the others, and nobody is left running."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from accel.errors import Cancelled
from accel.progress import CancelToken, Progress

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def run_all(
    jobs: Sequence[_Job], work: Callable[[_Job, Progress], _Result], progress: Progress, *, threads: int
) -> list[_Result]:
    """The result of ``work`` for each job, in their order; jobs start in that order, at most ``threads`` at a time.

    When one raises, or the caller is interrupted, the others stop at their next report of progress; the first error is
    raised once all have ended.
    """
    stop = CancelToken(progress)
    with ThreadPoolExecutor(max_workers=max(1, min(threads, len(jobs))), thread_name_prefix="accel") as pool:
        futures = [pool.submit(work, job, stop) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(_succeeded(future) for future in futures):
                stop.cancel()
                for future in futures:
                    future.cancel()
    errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    if errors:
        # those that were told to stop say Cancelled; the reason is the one that says something else
        raise next((error for error in errors if not isinstance(error, Cancelled)), errors[0])
    return [future.result() for future in futures]


def _succeeded(future: Future[_Result]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
