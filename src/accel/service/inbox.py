"""Events that were said yes to: on disk before the answer, in the order they came, each once.

One thread writes, many events in a transaction; callers wait for the transaction their events are in. So a disk that
takes 4 ms for a commit takes thousands of events a second, and nobody waits for anybody's lock.
"""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from accel.errors import AccelError
from accel.service.database import Database, inbox
from accel.service.model import Event

_BATCH = 500  # events in one transaction, about
_GATHER_S = 0.005  # for more to come: a transaction costs more than all that is done for an event


class InboxFull(AccelError):
    """More events wait to be stored than there is room for; the sender should try again."""


@dataclass(slots=True)
class _Delivery:
    """Events, and who waits: a thread, or a task of ``loop``."""

    events: Sequence[Event]
    stored: "Future[int] | asyncio.Future[int]"
    loop: asyncio.AbstractEventLoop | None = None


class Inbox:
    """The inbox of a database. Safe for threads; ``close`` stores what is waiting.

    ``arrived`` is called in its thread when events were stored here.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_waiting: int = 10_000,
        now: Callable[[], float] = time.time,
        arrived: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._now = now
        self._max_waiting = max_waiting
        insert = sqlite.insert if database.is_sqlite else postgresql.insert
        # Made once, as that takes longer than to run it. What it returns tells new from known on every database.
        self._insert = insert(inbox).on_conflict_do_nothing().returning(inbox.c.id)
        self._waiting: deque[_Delivery] = deque()
        self._changed = threading.Condition()
        self._arrived = arrived
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="accel-inbox", daemon=True)
        self._thread.start()

    def store(self, events: Sequence[Event]) -> int:
        """How many of ``events`` were not known yet; all of them are on disk when it returns.

        Raises InboxFull, and what the database raises.
        """
        stored: Future[int] = Future()
        self._put(_Delivery(events, stored))
        return stored.result()

    async def store_async(self, events: Sequence[Event]) -> int:
        """The same, for an event loop."""
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[int] = loop.create_future()
        self._put(_Delivery(events, stored, loop))
        return await stored

    def open(self, limit: int) -> list[tuple[int, Event]]:
        """Events that were not handled yet, with their numbers, oldest first."""
        query = sa.select(inbox.c.id, inbox.c.event).where(inbox.c.handled_at.is_(None))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(inbox.c.id).limit(limit)).all()
        return [(number, Event(**event)) for number, event in rows]

    def handled(self, ids: Iterable[int], outcome: str) -> None:
        """Note what became of events."""
        with self._database.write() as connection:
            connection.execute(
                inbox.update()
                .where(inbox.c.id.in_(list(ids)))
                .values(handled_at=self._now(), outcome=outcome[:200])
            )

    def counts(self) -> dict[str, int]:
        """``open`` and ``handled`` events."""
        is_open = inbox.c.handled_at.is_(None)
        with self._database.read() as connection:
            n_open = connection.scalar(sa.select(sa.func.count()).where(is_open)) or 0
            n_all = connection.scalar(sa.select(sa.func.count()).select_from(inbox)) or 0
        return {"open": n_open, "handled": n_all - n_open}

    def prune(self, before: float) -> int:
        """Forget events that were handled before then; one that is sent again so late counts as new."""
        with self._database.write() as connection:
            return connection.execute(inbox.delete().where(inbox.c.handled_at < before)).rowcount

    def close(self) -> None:
        """Store what waits, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _put(self, delivery: _Delivery) -> None:
        with self._changed:
            if self._closing or len(self._waiting) >= self._max_waiting:
                raise InboxFull("events cannot be stored at the moment")
            self._waiting.append(delivery)
            self._changed.notify_all()

    def _is_more(self) -> bool:
        """Waits for events; at the end there are none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return bool(self._waiting)

    def _take(self) -> list[_Delivery]:
        """What waits, as far as a transaction goes."""
        with self._changed:
            taken, n_events = [], 0
            while self._waiting and n_events < _BATCH:
                taken.append(self._waiting.popleft())
                n_events += len(taken[-1].events)
            return taken

    def _write(self) -> None:
        try:
            self._write_all()
        finally:  # whatever ended it: nobody waits for ever
            with self._changed:
                self._closing = True
                left, self._waiting = list(self._waiting), type(self._waiting)()
            _tell(left, [InboxFull("the inbox has ended")] * len(left))

    def _write_all(self) -> None:
        while self._is_more():
            time.sleep(_GATHER_S)
            taken = self._take()
            try:
                results: Sequence[int | Exception] = self._store(taken)
            except Exception as error:  # noqa: BLE001  it is raised where the answer is given
                results = [error] * len(taken)
            else:
                self._arrived()
            _tell(taken, results)

    def _store(self, taken: Iterable[_Delivery]) -> list[int]:
        now = self._now()
        counts = []
        with self._database.write() as connection:
            for delivery in taken:
                n_new = 0
                for event in delivery.events:
                    row = {**_row(event), "received_at": now}
                    n_new += connection.execute(self._insert, row).first() is not None
                counts.append(n_new)
        return counts


def _row(event: Event) -> dict[str, Any]:
    return {"source": event.source, "event_id": event.event_id, "event": asdict(event)}


def _tell(taken: Sequence[_Delivery], results: Sequence[int | Exception]) -> None:
    """Those who wait what became of theirs; a loop is woken once for all."""
    by_loop: defaultdict[asyncio.AbstractEventLoop | None, list[tuple[Any, int | Exception]]] = defaultdict(list)
    for delivery, result in zip(taken, results, strict=True):
        by_loop[delivery.loop].append((delivery.stored, result))
    for loop, settled in by_loop.items():
        if loop is None:
            _settle(settled)
        else:
            with suppress(RuntimeError):  # it ended, and nobody waits any more
                loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: Iterable[tuple[Any, int | Exception]]) -> None:
    for future, result in settled:
        if future.done():  # its task was cancelled
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
