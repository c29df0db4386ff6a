"""Sending what is due: again and again with growing pauses, until it arrived or is given up.

A crash between sending and writing that down sends once more, with the same ``webhook-id``; receivers tell by that.
Deliveries to one endpoint may overtake each other.
"""

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import urllib3

from accel.errors import NotFoundError
from accel.service.database import Database, deliveries, delivery_attempts
from accel.service.outgoing.signing import sign
from accel.service.settings import EndpointSettings

_log = logging.getLogger(__name__)
_BATCH = 100  # of one endpoint in a round
_MAX_PAUSE_S = 6 * 3600.0
_FIRST_PAUSE_S = 5.0
_CLAIM_SLACK_S = 30.0  # a crash while sending delays the next attempt by this and two timeouts
_GONE = 410  # CloudEvents «HTTP 1.1 Web Hooks»: the receiver wants no more
_MAX_ANSWER_BYTES = 64 << 10

Count = Callable[[str], None]  # delivered, retried, failed


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int | None
    error: str = ""
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Sends deliveries of a database to their endpoints; one process at a time should."""

    def __init__(
        self,
        database: Database,
        endpoints: Sequence[EndpointSettings],
        *,
        now: Callable[[], float] = time.time,
        count: Count = lambda outcome: None,
    ) -> None:
        self._database = database
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._now = now
        self._count = count
        self._http = urllib3.PoolManager(num_pools=max(8, len(endpoints)), maxsize=4, retries=False)
        self._pool = ThreadPoolExecutor(max(1, min(16, 2 * len(endpoints))), "accel-send")

    def run_due(self) -> int:
        """Send what is due, endpoints side by side. How many that were, delivered or not."""
        by_endpoint = self._due()
        sent = self._pool.map(self._send_all, by_endpoint.items())
        return sum(sent)

    def close(self) -> None:
        """Wait for what is being sent."""
        self._pool.shutdown()
        self._http.clear()

    def _due(self) -> dict[str, list[sa.RowMapping]]:
        found: dict[str, list[sa.RowMapping]] = defaultdict(list)
        with self._database.read() as connection:
            for name in self._waiting_endpoints(connection):
                query = sa.select(deliveries).where(
                    deliveries.c.state == "pending",
                    deliveries.c.next_at <= self._now(),
                    deliveries.c.endpoint == name,
                )
                rows = connection.execute(query.order_by(deliveries.c.next_at).limit(_BATCH)).mappings()
                found[name] += rows
        return found

    def _waiting_endpoints(self, connection: sa.Connection) -> list[str]:
        query = sa.select(deliveries.c.endpoint).where(
            deliveries.c.state == "pending", deliveries.c.next_at <= self._now()
        )
        return list(connection.scalars(query.distinct()))

    def _send_all(self, item: tuple[str, list[sa.RowMapping]]) -> int:
        name, rows = item
        endpoint = self._endpoints.get(name)
        for n_done, row in enumerate(rows, 1):
            if endpoint is None:
                self._record(row, None, _Answer(None, "the endpoint is not configured any more"), 0.0)
                continue
            if not self._claim(row, endpoint):
                continue
            started = time.monotonic()
            answer = self._post(endpoint, row)
            self._record(row, endpoint, answer, time.monotonic() - started)
            if answer.status is None:  # nobody there: the others would wait for the same silence
                return n_done
        return len(rows)

    def _claim(self, row: sa.RowMapping, endpoint: EndpointSettings) -> bool:
        """Whether the row is ours to send: another process may have read it too while leadership changes hands."""
        same = (deliveries.c.id == row["id"], deliveries.c.state == "pending", deliveries.c.next_at == row["next_at"])
        until = self._now() + 2 * endpoint.timeout_s + _CLAIM_SLACK_S
        with self._database.write() as connection:
            return connection.execute(deliveries.update().where(*same).values(next_at=until)).rowcount == 1

    def _post(self, endpoint: EndpointSettings, row: sa.RowMapping) -> _Answer:
        body = row["body"].encode()
        headers = {"Content-Type": row["content_type"], "User-Agent": "accel"}
        headers |= sign(endpoint.secrets, row["event_id"], int(self._now()), body)
        try:
            answer = self._http.request(
                "POST",
                endpoint.url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=endpoint.timeout_s),
                redirect=False,
                preload_content=False,
            )
            try:
                answer.read(_MAX_ANSWER_BYTES)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return _Answer(None, type(error).__name__)  # more would name the URL, which may hold a secret
        return _Answer(answer.status, "", _retry_after(answer.headers.get("Retry-After", "")))

    def _record(
        self, row: sa.RowMapping, endpoint: EndpointSettings | None, answer: _Answer, seconds: float
    ) -> None:
        now = self._now()
        attempts = row["attempts"] + 1
        values: dict[str, Any] = {"attempts": attempts}
        last = endpoint is None or attempts >= endpoint.attempts or answer.status == _GONE
        if answer.ok:
            outcome = "delivered"
            values |= {"state": "delivered", "delivered_at": now}
        elif last:
            outcome = "failed"
            values |= {"state": "failed"}
            _log.warning("event %s to %s is given up: %s", row["event_id"], row["endpoint"], _said(answer))
        else:
            outcome = "retried"
            pause = min(_FIRST_PAUSE_S * 3 ** (attempts - 1), _MAX_PAUSE_S) * random.uniform(0.7, 1.0)
            values |= {"next_at": now + max(pause, min(answer.retry_after_s or 0.0, _MAX_PAUSE_S))}
        with self._database.write() as connection:
            connection.execute(deliveries.update().where(deliveries.c.id == row["id"]).values(**values))
            connection.execute(
                delivery_attempts.insert().values(
                    delivery=row["id"], at=now, status=answer.status, error=answer.error, seconds=seconds
                )
            )
        self._count(outcome)


class Deliveries:
    """The delivery log, for people."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def redeliver(self, delivery: int) -> None:
        """Send it again, from the first attempt on, with the same id. Raises NotFoundError."""
        with self._database.write() as connection:
            done = connection.execute(
                deliveries.update()
                .where(deliveries.c.id == delivery)
                .values(state="pending", attempts=0, next_at=self._now(), delivered_at=None)
            )
        if not done.rowcount:
            raise NotFoundError(f"no delivery {delivery}")

    def prune(self, before: float) -> int:
        """Forget deliveries from before then that are not pending. How many."""
        old = sa.and_(deliveries.c.created_at < before, deliveries.c.state != "pending")
        with self._database.write() as connection:
            return connection.execute(deliveries.delete().where(old)).rowcount


def _retry_after(text: str) -> float | None:
    return float(text) if text.isdecimal() and len(text) < 9 else None


def _said(answer: _Answer) -> str:
    return f"status {answer.status}" if answer.status is not None else answer.error
