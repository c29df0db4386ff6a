"""Events out."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import SecretStr

from accel.service.database import deliveries, open_database
from accel.service.outgoing import Sender
from accel.service.settings import EndpointSettings, StoreSettings
from support.postgres import Postgres
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
