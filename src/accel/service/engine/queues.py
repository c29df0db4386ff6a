"""The threads that take up what waits in queues.

dbos has such a thread for each queue, which looks whether there is work every now and then. Its function is private
and is pinned by a test; here it runs with a bell in the place of the event that stops it, so that it can be told.
"""

import threading
import time
from collections.abc import Iterable

import dbos
from dbos._queue import queue_worker_thread

from accel.service.engine.bell import Bell


class QueueThreads:
    """One thread for each queue, from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self._bells: dict[str, Bell] = {}
        self._threads: list[threading.Thread] = []

    def start(self, instance: dbos.DBOS, queues: Iterable[dbos.Queue], poll_s: float) -> None:
        """Work on registered queues, and look into each every ``poll_s`` seconds, twice that where others do too."""
        for queue in queues:
            bell = self._bells[queue.name] = Bell(2 * poll_s)
            arguments = (bell, instance, queue)
            name = f"engine-queue-{queue.name}"
            self._threads.append(threading.Thread(target=queue_worker_thread, args=arguments, name=name, daemon=True))
            self._threads[-1].start()

    def look(self, queue: str) -> None:
        """There is work in ``queue``; nothing happens if it is not one of these."""
        if queue in self._bells:
            self._bells[queue].ring()

    def look_all(self, after_s: float) -> None:
        """There may be work or room in any of them, in ``after_s`` seconds."""
        for bell in self._bells.values():
            bell.ring(after_s)

    @property
    def are_alive(self) -> bool:
        """Whether all of them still work."""
        return all(thread.is_alive() for thread in self._threads)

    def leave(self) -> None:
        """Take up nothing more."""
        for bell in self._bells.values():
            bell.stop()

    def join(self, seconds: float) -> None:
        """Wait for the threads, for so long in all: dbos hangs in a database that is away, and cannot be told."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
