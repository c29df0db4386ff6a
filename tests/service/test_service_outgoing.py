"""Events out."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from accel.errors import NotFoundError
from accel.service.database import Database, deliveries, delivery_attempts, open_database
from accel.service.model import OutEvent
from accel.service.outgoing import Deliveries, Sender, emit
from accel.service.settings import EndpointSettings, StoreSettings
from support.postgres import Postgres
from support.running_service import free_port
from support.webhook_receiver import WebhookReceiver


def test_two_senders_do_not_send_the_same_delivery(tmp_path: Path) -> None:
    _sent_once(StoreSettings(path=str(tmp_path)))


def test_two_senders_on_postgres_do_not_send_the_same_delivery(tmp_path: Path) -> None:
    with Postgres(tmp_path) as server:
        _sent_once(StoreSettings(url=SecretStr(server.url)))


def _sent_once(store: StoreSettings) -> None:
    database = open_database(store)
    with WebhookReceiver() as receiver:
        endpoint = EndpointSettings(name="ci", url=receiver.url)
        with database.write() as connection:
            for n in range(20):
                row = {"event_id": f"e{n}", "endpoint": "ci", "type": "done", "job": "j", "tag": "t"}
                row |= {"content_type": "application/json", "body": "{}", "state": "pending"}
                connection.execute(deliveries.insert().values(**row, next_at=0.1 * n, created_at=0.0))
        senders = [Sender(database, [endpoint]) for _ in range(2)]
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(Sender.run_due, senders))
        for sender in senders:
            sender.close()
        assert sorted(got.headers["webhook-id"] for got in receiver.received) == sorted(f"e{n}" for n in range(20))
    database.close()


# --- what is sent ---------------------------------------------------------------------------------------------------

DONE = OutEvent(
    "done",
    "829ebcc29fb2e090c974",
    "registry.example.com",
    "team/app",
    source_tag="1.0",
    source_digest="sha256:" + "1" * 64,
    tag="1.0_accelerated",
    digest="sha256:" + "2" * 64,
    data={"rule": "releases", "mode": "index-only", "origin": "event"},
)
AT = 1_767_323_045.678  # 2026-01-02T03:04:05.678Z


def endpoint(url: str, **more: Any) -> EndpointSettings:
    return EndpointSettings.model_validate({"name": "it", "url": url, **more})


def emitted(database: Database, endpoints: list[EndpointSettings], event: OutEvent) -> list[Any]:
    with database.write() as connection:
        emit(connection, endpoints, event, AT)
    with database.read() as connection:
        return list(connection.execute(sa.select(deliveries).order_by(deliveries.c.id)).mappings())


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Database]:
    database = open_database(StoreSettings(path=str(tmp_path)))
    yield database
    database.close()


def documented(name: str) -> Any:
    text = (Path(__file__).parents[2] / "docs/events.md").read_text()
    return json.loads(text.partition(f"<!-- example: {name} -->\n```json\n")[2].partition("```")[0])


def test_the_documented_bodies_are_those_that_are_sent(rows: Database) -> None:
    cloud, acr = emitted(
        rows, [endpoint("http://a"), endpoint("http://b", name="acr", format="acr")], DONE
    )
    body = json.loads(cloud["body"])
    assert body | {"id": "x"} == documented("done") | {"id": "x"}
    assert json.loads(acr["body"]) == documented("acr")
    assert cloud["content_type"].startswith("application/cloudevents+json")


@pytest.mark.parametrize(
    ("settings", "change", "wanted"),
    [
        ({"tag": "_accelerated$"}, {}, 1),
        ({"tag": "_accelerated$"}, {"tag": "1.0_accelerated_indexed"}, 0),
        ({"tag": "^2"}, {}, 0),
        ({"types": ["failed"]}, {}, 0),
        ({"types": ["failed"]}, {"type": "failed"}, 1),
        ({"format": "acr"}, {"type": "failed"}, 0),
        ({}, {"type": "queued"}, 0),
    ],
)
def test_an_endpoint_hears_what_it_asked_for(
    rows: Database, settings: dict[str, Any], change: dict[str, Any], wanted: int
) -> None:
    assert len(emitted(rows, [endpoint("http://a", **settings)], replace(DONE, **change))) == wanted


def test_what_is_undone_is_not_told(rows: Database) -> None:
    with pytest.raises(RuntimeError), rows.write() as connection:
        emit(connection, [endpoint("http://a")], DONE, AT)
        raise RuntimeError
    with rows.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(deliveries)) == 0


# --- how it is sent -------------------------------------------------------------------------------------------------


class Sent:
    """A sender with a clock that tests set, and one receiver."""

    def __init__(self, database: Database, receiver: WebhookReceiver, **settings: Any) -> None:
        self.time = AT
        self.database = database
        self.receiver = receiver
        self.settings = endpoint(receiver.url + "/secret-path", **settings)
        self.sender = Sender(database, [self.settings], now=lambda: self.time)
        emitted(database, [self.settings], DONE)

    def row(self) -> Any:
        with self.database.read() as connection:
            return connection.execute(sa.select(deliveries)).mappings().one()

    def attempts(self) -> list[tuple[int | None, str]]:
        with self.database.read() as connection:
            found = connection.execute(sa.select(delivery_attempts).order_by(delivery_attempts.c.id)).mappings()
            return [(one["status"], one["error"]) for one in found]

    def until(self, state: str) -> None:
        for _ in range(30):
            self.sender.run_due()
            if self.row()["state"] == state:
                return
            self.time = self.row()["next_at"]
        raise AssertionError(self.row())


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


def test_a_refusal_is_tried_again_after_growing_pauses_with_the_same_id(
    rows: Database, receiver: WebhookReceiver
) -> None:
    receiver.answers += [500, 503, 302, 200]
    sent = Sent(rows, receiver)
    times = []
    while sent.row()["state"] == "pending":
        sent.sender.run_due()
        times.append(sent.time)
        sent.time = max(sent.time, sent.row()["next_at"])
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert pauses == sorted(pauses) and pauses[0] > 1
    assert [status for status, _ in sent.attempts()] == [500, 503, 302, 200]
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    sent.sender.close()


def test_retry_after_is_kept_to_and_gone_ends_it(rows: Database, receiver: WebhookReceiver) -> None:
    receiver.answers += [(429, {"Retry-After": "1000"}), 410]
    sent = Sent(rows, receiver)
    sent.sender.run_due()
    assert sent.row()["next_at"] - sent.time >= 1000
    sent.until("failed")
    assert [status for status, _ in sent.attempts()] == [429, 410]
    sent.sender.close()


def test_it_is_given_up_after_so_many_attempts_and_can_be_sent_again(
    rows: Database, receiver: WebhookReceiver
) -> None:
    receiver.answers += [500, 500]
    sent = Sent(rows, receiver, attempts=2)
    sent.until("failed")
    Deliveries(rows, now=lambda: sent.time).redeliver(sent.row()["id"])
    sent.until("delivered")
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    with pytest.raises(NotFoundError):
        Deliveries(rows).redeliver(12345)
    sent.sender.close()


def test_who_is_not_there_is_noted_without_its_address(rows: Database, receiver: WebhookReceiver) -> None:
    sent = Sent(rows, receiver)
    sent.sender.close()
    gone = endpoint(f"http://127.0.0.1:{free_port()}/secret-path")
    sender = Sender(rows, [gone], now=lambda: sent.time)
    sender.run_due()
    sender.close()
    ((status, error),) = sent.attempts()
    assert status is None and error and "secret-path" not in error


def test_signatures_are_those_of_the_scheme_for_each_secret(rows: Database, receiver: WebhookReceiver) -> None:
    keys = [b"0123456789abcdef" * 2, b"fedcba9876543210" * 2]
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    sent = Sent(rows, receiver, secrets=secrets)
    sent.until("delivered")
    (one,) = receiver.received
    signed = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    assert one.headers["webhook-signature"].split(" ") == [f"v1,{text}" for text in expected]
    sent.sender.close()


def test_an_endpoint_that_is_dead_does_not_hold_up_another(rows: Database, receiver: WebhookReceiver) -> None:
    dead = endpoint(f"http://127.0.0.1:{free_port()}", name="dead")
    alive = endpoint(receiver.url, name="alive")
    emitted(rows, [dead, alive], DONE)
    sender = Sender(rows, [dead, alive], now=lambda: AT + 1)
    sender.run_due()
    assert len(receiver.received) == 1
    sender.close()


def test_old_deliveries_are_forgotten_unless_they_wait(rows: Database, receiver: WebhookReceiver) -> None:
    sent = Sent(rows, receiver)
    assert Deliveries(rows).prune(AT + 10) == 0
    sent.until("delivered")
    assert Deliveries(rows).prune(AT + 10) == 1
    sent.sender.close()
