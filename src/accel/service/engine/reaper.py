"""Beats for this process, and hands on the work of those that beat no more.

dbos keeps a taken-over workflow from being finished twice (its ownership token), but does not see that a process
died. Its function that hands work on is private and is pinned by a test. It logs and swallows its errors; so each
round starts from what the tables say, and what failed is tried again with the next beat.
"""

import logging
import threading
import time
from collections.abc import Callable

import dbos
import sqlalchemy as sa

from accel.service.engine.records import Records
from accel.service.leases import Leases

log = logging.getLogger(__name__)

PREFIX = "worker/"
_FORGET_S = 3600.0
_PRUNE_EVERY_S = 600.0


class Reaper:
    """The thread that does it, from ``start`` to ``stop``."""

    def __init__(
        self, leases: Leases, records: Records, *, executor_id: str, version: str, ttl_s: float, beat_s: float
    ) -> None:
        self._leases = leases
        self._records = records
        self._executor_id = executor_id
        self._version = version
        self._ttl_s = ttl_s
        self._beat_s = beat_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine-reaper", daemon=True)
        self._beaten_at = 0.0
        self._judge_from = 0.0
        self._prune_at = 0.0
        self.recovers = True  # False: only beat

    def beat(self) -> None:
        """Says that this process is alive. After a gap, others may have missed beats for the same reason
        (the database was away): they get the time to beat again before this process judges them."""
        self._leases.beat(PREFIX + self._executor_id, self._executor_id)
        now = time.monotonic()
        if now - self._beaten_at > self._ttl_s:
            self._judge_from = now + self._ttl_s
        self._beaten_at = now

    def reap(self) -> None:
        """Puts running workflows of dead processes back into their queues."""
        if time.monotonic() < self._judge_from:
            return
        owners = self._records.owners(self._version)
        if not owners - {self._executor_id}:
            return
        alive = self._leases.alive(PREFIX, self._ttl_s)
        if self._executor_id in alive and (dead := owners - alive.keys()):
            log.warning("no sign of life of %s: others take over", ", ".join(sorted(dead)))
            dbos.DBOS._recover_pending_workflows(sorted(dead))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and gives the lease up, so that the others need not wait for what is left here."""
        self._stopping.set()
        self._thread.join()
        self._quietly(lambda: self._leases.release(PREFIX + self._executor_id, self._executor_id))

    def _run(self) -> None:
        while not self._stopping.wait(self._beat_s):
            self._quietly(self.beat)
            if self.recovers:
                self._quietly(self.reap)
            if time.monotonic() > self._prune_at:
                self._prune_at = time.monotonic() + _PRUNE_EVERY_S
                self._quietly(lambda: self._leases.prune(PREFIX, _FORGET_S))

    def _quietly(self, act: Callable[[], object]) -> None:
        """An unreachable database is no reason to end: the next beat tries again."""
        try:
            act()
        except sa.exc.SQLAlchemyError as error:
            log.warning("the database did not take it, trying again: %s", type(error).__name__)
