"""Beats for this process, and hands on the work of those that beat no more.

dbos keeps a taken-over workflow from being finished twice (its ownership token), but does not see that a process
died. Its function that hands work on is private and is pinned by a test. It logs and swallows its errors; so each
round starts from what the tables say, and what failed is tried again with the next beat.
"""

import logging
import math
import threading
import time
from collections.abc import Callable

import dbos

from accel.service.engine.outage import UNREACHABLE
from accel.service.engine.records import Records
from accel.service.leases import Leases

log = logging.getLogger(__name__)

PREFIX = "worker/"
_FORGET_S = 3600.0
_PRUNE_EVERY_S = 600.0
_JOIN_S = 5.0


class Reaper:
    """Two threads, from ``start`` to ``stop``: handing on may take long, and must not hold up the beat."""

    def __init__(
        self, leases: Leases, records: Records, *, executor_id: str, version: str, ttl_s: float, beat_s: float
    ) -> None:
        self._leases = leases
        self._records = records
        self._executor_id = executor_id
        self._version = version
        self._ttl_s = ttl_s
        self._beat_s = beat_s
        self._leaving = threading.Event()  # no more reaping
        self._stopping = threading.Event()  # no more beats
        self._beating = threading.Thread(
            target=self._repeat, args=(self._stopping, self.beat), name="engine-beat", daemon=True
        )
        self._reaping = threading.Thread(
            target=self._repeat, args=(self._leaving, self.reap, self._prune), name="engine-reaper", daemon=True
        )
        self._beaten_at = -math.inf
        self._judge_from = math.inf
        self._prune_at = 0.0

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
        self._beating.start()
        self._reaping.start()

    def leave(self) -> None:
        """Beats, but hands nothing on any more."""
        self._leaving.set()

    def stop(self) -> None:
        """Ends the threads and gives the lease up, so that the others need not wait for what is left here."""
        self._leaving.set()
        self._stopping.set()
        self._beating.join(_JOIN_S)  # dbos waits for a database that is away, and cannot be told to stop
        self._reaping.join(_JOIN_S)
        self._quietly(lambda: self._leases.release(PREFIX + self._executor_id, self._executor_id))

    def _prune(self) -> None:
        if time.monotonic() > self._prune_at:
            self._prune_at = time.monotonic() + _PRUNE_EVERY_S
            self._leases.prune(PREFIX, _FORGET_S)

    def _repeat(self, end: threading.Event, *acts: Callable[[], object]) -> None:
        while not end.wait(self._beat_s):
            for act in acts:
                self._quietly(act)

    def _quietly(self, act: Callable[[], object]) -> None:
        """Whatever fails is tried again with the next beat: a thread that ended would leave this process for dead."""
        try:
            act()
        except UNREACHABLE as error:
            log.warning("the database does not answer: %s", type(error).__name__)
        except Exception:
            log.exception("looking after workers failed, trying again")
