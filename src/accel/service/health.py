"""Whether this process lives, and whether it may be sent work: for probes of Kubernetes, systemd and load balancers.

``health()`` is about what only a restart repairs: a thread that ended. ``ready()`` asks what is outside as well.
Every check has a time to answer and is never asked twice at once, so probes do not pile up on a database that hangs.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from accel.service.database import Database, facts, inbox

_FACT = "health"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found. One that is not ``required`` is told, and leaves the process ready."""

    name: str
    ok: bool
    seconds: float
    detail: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """The checks together."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks if check.required)

    @property
    def status(self) -> int:
        """For HTTP: 200, or 503."""
        return 200 if self.ok else 503

    def as_dict(self) -> dict[str, Any]:
        degraded = not all(check.ok for check in self.checks)
        word = "failed" if not self.ok else "degraded" if degraded else "ok"
        return {"status": word, "checks": [asdict(check) for check in self.checks]}


class Health:
    """The checks of one process.

    ``threads``: name of each that must run as long as the process does, and whether it does. ``folders``: where the
    process writes. ``close`` waits (not for ever) for checks that are still being asked.
    """

    def __init__(
        self,
        database: Database,
        events: Database,
        *,
        threads: Callable[[], Mapping[str, bool]],
        engine_started: Callable[[], bool],
        folders: Iterable[str | Path] = (),
        min_free_bytes: int = 256 << 20,
        stuck_after_s: float = 300,
        timeout_s: float = 2,
    ) -> None:
        self._database = database
        self._events = events
        self._threads = threads
        self._engine_started = engine_started
        self._folders = tuple(Path(folder) for folder in folders)
        self._min_free_bytes = min_free_bytes
        self._stuck_after_s = stuck_after_s
        self._timeout_s = timeout_s
        self._asking: dict[str, _Question] = {}
        self._lock = threading.Lock()

    def health(self) -> Report:
        """Alive: every thread that must run does."""
        started = time.monotonic()
        ended = sorted(name for name, alive in self._threads().items() if not alive)
        detail = f"ended: {', '.join(ended)}" if ended else ""
        return Report((Check("threads", not ended, time.monotonic() - started, detail),))

    def ready(self) -> Report:
        """Ready: alive, database, engine and disk are there; a stuck inbox only degrades.

        A server that is not ready is sent no events, and registries keep those in memory alone: an inbox that stores
        and is not emptied is still the better place.
        """
        checks = (
            ("engine", self._engine, True),
            ("database", self._write, True),
            ("inbox", self._inbox, False),
            ("disk", self._disk, True),
        )
        with self._lock:
            questions = [(self._ask(name, check), required) for name, check, required in checks]
        deadline = time.monotonic() + self._timeout_s
        return Report((*self.health().checks, *(question.answer(deadline, need) for question, need in questions)))

    def close(self) -> None:
        for question in self._asking.values():
            question.thread.join(self._timeout_s)

    def _ask(self, name: str, check: Callable[[], str]) -> "_Question":
        """The question that is still open, or a new one."""
        question = self._asking.get(name)
        if question is None or not question.thread.is_alive():
            question = self._asking[name] = _Question(name, check)
        return question

    def _engine(self) -> str:
        return "" if self._engine_started() else "not started"

    def _write(self) -> str:
        kind = sqlite if self._database.is_sqlite else postgresql
        put = kind.insert(facts).values(name=_FACT, value=time.time())
        with self._database.write() as connection:
            connection.execute(put.on_conflict_do_update(index_elements=["name"], set_={"value": put.excluded.value}))
            connection.execute(sa.select(facts.c.value).where(facts.c.name == _FACT)).one()
        return ""

    def _inbox(self) -> str:
        oldest = sa.select(sa.func.min(inbox.c.received_at)).where(inbox.c.handled_at.is_(None))
        with self._events.read() as connection:
            since = connection.execute(oldest).scalar()
        waits_s = time.time() - since if since is not None else 0
        return f"an event waits for {waits_s:.0f} s" if waits_s > self._stuck_after_s else ""

    def _disk(self) -> str:
        short = [folder.name for folder in self._folders if shutil.disk_usage(folder).free < self._min_free_bytes]
        return f"less than {self._min_free_bytes >> 20} MiB free for {', '.join(short)}" if short else ""


class _Question:
    """One check, asked by a thread of its own. An answer that is not empty says what is wrong."""

    def __init__(self, name: str, check: Callable[[], str]) -> None:
        self._name = name
        self._check = check
        self._problem: str | None = None
        self._started = self._ended = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=f"health-{name}", daemon=True)
        self.thread.start()

    def answer(self, deadline: float, required: bool) -> Check:
        self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.thread.is_alive() or self._problem is None:
            seconds = time.monotonic() - self._started
            return Check(self._name, False, round(seconds, 4), f"no answer for {seconds:.1f} s", required)
        return Check(self._name, not self._problem, round(self._ended - self._started, 4), self._problem, required)

    def _run(self) -> None:
        try:
            self._problem = self._check()
        except Exception as error:  # its text may name hosts and users: probes are answered without a token
            self._problem = type(error).__name__
        self._ended = time.monotonic()
