"""How much is asked of one host: so many requests at a time, so many a second.

A request holds its place from its start until the headers of its answer are there. The body of an answer is read
without: whoever holds one answer may ask for another, so nobody waits for a place that only he could give back. For
the same reason a request whose body is read from elsewhere while it is sent (a copied blob, read from the same host
perhaps) waits for a place but does not hold it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class HostLimit:
    """The limit of one host. None: there is none. Safe for threads."""

    def __init__(
        self,
        max_requests: int | None = None,
        requests_per_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._places = None if max_requests is None else threading.Semaphore(max_requests)
        self._every_s = 0.0 if requests_per_s is None else 1.0 / requests_per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_at = 0.0

    @contextmanager
    def place(self, *, hold: bool = True) -> Iterator[None]:
        """Entered when it is this request's turn. Without ``hold`` others may go meanwhile."""
        if self._places is None:
            self._await_turn()
            yield
            return
        with self._places:
            self._await_turn()
            if hold:
                yield
                return
        yield

    def _await_turn(self) -> None:
        """Requests start evenly spread: none is saved up for later."""
        if not self._every_s:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._next_at)
            self._next_at = start + self._every_s
        if start > now:
            self._sleep(start - now)


UNLIMITED = HostLimit()


class HostLimits:
    """The limits of all hosts; shared by all clients that are made with the same options."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[tuple[str, int | None, float | None], HostLimit] = {}

    def of(
        self,
        host: str,
        max_requests: int | None,
        requests_per_s: float | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> HostLimit:
        """The limit of ``host``, the same one for each caller."""
        key = (host, max_requests, requests_per_s)
        with self._lock:
            if key not in self._limits:
                self._limits[key] = HostLimit(max_requests, requests_per_s, clock, sleep)
            return self._limits[key]
