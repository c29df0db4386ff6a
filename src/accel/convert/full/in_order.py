"""Work that several threads do, and whose results are taken in order."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class InOrder(Generic[_Result]):
    """Runs work on ``pool`` and gives the results to ``consume``, one at a time and in the order of ``submit``.

    ``slots`` bounds, over all that share it, how much is waiting, being worked on or waiting to be consumed; ``submit``
    blocks until there is one. Whoever finishes the work that is next consumes it, and what waits behind: there is no
    thread that only waits. The first error is raised by the next ``submit`` or by ``finish``; nothing is consumed after
    it. Use as a context manager: left by an error it waits for what is running, and forgets the rest.
    """

    def __init__(
        self, pool: Executor, slots: threading.BoundedSemaphore, consume: Callable[[_Result], object]
    ) -> None:
        self._pool = pool
        self._slots = slots
        self._consume = consume
        self._lock = threading.Lock()
        self._ready: dict[int, _Result] = {}
        self._n_submitted = 0
        self._next = 0
        self._consuming = False
        self._error: BaseException | None = None
        self._running: set[Future[None]] = set()
        self._held: set[int] = set()  # numbers with a slot

    def submit(self, work: Callable[[], _Result]) -> None:
        """Have ``work`` done. Raises the first error of work before it."""
        self._slots.acquire()
        try:
            self._check()
        except BaseException:
            self._slots.release()
            raise
        number = self._n_submitted
        self._n_submitted += 1
        with self._lock:
            self._held.add(number)
        future = self._pool.submit(self._run, number, work)
        self._running = {other for other in self._running if not other.done()} | {future}

    def finish(self) -> None:
        """Wait until everything is consumed. Raises the first error."""
        wait(self._running)
        self._check()
        assert self._next == self._n_submitted

    def __enter__(self) -> "InOrder[_Result]":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._fail(error)
        wait(self._running)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, number: int, work: Callable[[], _Result]) -> None:
        try:
            if self._error is None:
                result = work()
                with self._lock:
                    self._ready[number] = result
                del result
                self._consume_ready()
        except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
            self._fail(error)
        if self._error is not None:
            self._let_go(number)

    def _consume_ready(self) -> None:
        with self._lock:
            if self._consuming:
                return  # whoever consumes looks again before it stops
            self._consuming = True
        while True:
            with self._lock:
                if self._error is not None or self._next not in self._ready:
                    self._consuming = False
                    return
                result = self._ready.pop(self._next)
            self._consume(result)
            del result
            self._let_go(self._next)
            self._next += 1

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            forgotten = list(self._ready)
            self._ready.clear()
        for number in forgotten:
            self._let_go(number)
        if self._next not in forgotten:
            self._let_go(self._next)

    def _let_go(self, number: int) -> None:
        """Give the slot back, unless that was done."""
        with self._lock:
            held = number in self._held
            self._held.discard(number)
        if held:
            self._slots.release()
