"""The inbox: what it said to have stored is there, once, whatever else happens."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from accel.service.database import Database, inbox_tables
from accel.service.inbox import Inbox, InboxFull
from accel.service.model import Event
from support.postgres import Postgres

WAIT_S = 30.0
Urls = Callable[[str], str]


def event(number: int, source: str = "main", **more: str) -> Event:
    return Event(source, f"id-{number}", "push", "r.example", "team/app", **{"tag": f"v{number}", **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/inbox.sqlite"
    server: Postgres = request.getfixturevalue("server")
    made = server.database("".join(one for one in request.node.name if one.isalnum()).lower()[:60])
    return made.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url, inbox_tables)
    yield made
    made.close()


@pytest.fixture
def inbox(database: Database) -> Iterator[Inbox]:
    with Inbox(database, now=lambda: 100.0) as made:
        yield made


def test_events_come_out_as_they_went_in_and_in_order(inbox: Inbox) -> None:
    events = [event(i) for i in range(5)] + [Event("s", "é\n", "delete", "h", "a/b", None, "sha256:1", "m/t", "who")]
    assert inbox.store(events) == 6
    assert [one for _, one in inbox.open(10)] == events
    assert [one for _, one in inbox.open(2)] == events[:2]
    assert inbox.counts() == {"open": 6, "handled": 0}


def test_what_is_stored_outlives_its_process(url: str) -> None:
    """Stored, and read by another connection before anything is closed."""
    with closing(Database(url, inbox_tables)) as one, Inbox(one) as first:
        first.store([event(1)])
        with closing(Database(url, inbox_tables)) as other, Inbox(other) as second:
            assert [found for _, found in second.open(10)] == [event(1)]
            assert second.store([event(1)]) == 0


def test_an_id_counts_once_for_each_source(inbox: Inbox) -> None:
    assert inbox.store([event(1), event(1), event(2)]) == 2
    assert inbox.store([event(1, tag="another")]) == 0
    assert inbox.store([event(1, source="other")]) == 1
    assert [(one.source, one.tag) for _, one in inbox.open(10)] == [("main", "v1"), ("main", "v2"), ("other", "v1")]


def test_what_was_handled_is_not_open_and_still_known(inbox: Inbox) -> None:
    inbox.store([event(1), event(2)])
    (first, _), _ = inbox.open(10)
    inbox.handled([first], "converted" * 100)
    assert [one for _, one in inbox.open(10)] == [event(2)]
    assert inbox.counts() == {"open": 1, "handled": 1}
    assert inbox.store([event(1)]) == 0


def test_only_what_was_handled_long_ago_is_forgotten(inbox: Inbox) -> None:
    inbox.store([event(1), event(2)])
    inbox.handled([inbox.open(1)[0][0]], "no rule")
    assert inbox.prune(before=100.0) == 0
    assert inbox.prune(before=100.1) == 1
    assert inbox.counts() == {"open": 1, "handled": 0}
    assert inbox.store([event(1), event(2)]) == 1


def test_nothing_to_store_is_stored(inbox: Inbox) -> None:
    assert inbox.store([]) == 0
    inbox.handled([], "nothing")


def test_many_threads_store_the_same_and_other_events_each_once(inbox: Inbox) -> None:
    n_threads, n_each = 32, 10
    together = threading.Barrier(n_threads)

    def store(thread: int) -> int:
        together.wait(WAIT_S)
        own = [inbox.store([event(1000 * (thread + 1) + i)]) for i in range(n_each)]
        return sum(own) + 1_000_000 * inbox.store([event(i) for i in range(n_each)])

    with ThreadPoolExecutor(n_threads) as pool:
        counts = list(pool.map(store, range(n_threads)))
    assert sum(counts) == n_threads * n_each + 1_000_000 * n_each
    assert len(inbox.open(1000)) == n_threads * n_each + n_each


def test_an_event_loop_stores_many_at_a_time(inbox: Inbox) -> None:
    async def store() -> list[int]:
        return await asyncio.gather(*(inbox.store_async([event(i), event(i + 1)]) for i in range(50)))

    assert sum(asyncio.run(store())) == 51


def test_who_stops_waiting_harms_nobody(inbox: Inbox) -> None:
    async def give_up() -> int:
        waiting = [asyncio.ensure_future(inbox.store_async([event(i)])) for i in range(20)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return await inbox.store_async([event(100)])

    assert asyncio.run(give_up()) == 1
    assert inbox.is_alive
    assert inbox.store([event(101)]) == 1


def test_a_loop_that_ended_meanwhile_harms_nobody(inbox: Inbox, database: Database) -> None:
    async def leave() -> None:
        asyncio.ensure_future(inbox.store_async([event(1)]))
        await asyncio.sleep(0)

    with database.write():
        asyncio.run(leave())
    assert inbox.store([event(2)]) == 1


def test_who_handles_events_is_told_of_those_that_came(database: Database) -> None:
    told: list[int] = []
    with Inbox(database, arrived=lambda: told.append(len(inbox.open(10)))) as inbox:
        assert told == []
        inbox.store([event(1)])
        assert told == [1]  # it is on disk by then


def test_closing_stores_what_waits_and_takes_no_more(database: Database) -> None:
    inbox = Inbox(database)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(inbox.store, [event(i)]) for i in range(8)]
        stored = sum(result.result(WAIT_S) for result in results)
    inbox.close()
    assert stored == 8 == inbox.counts()["open"]
    assert not inbox.is_alive
    with pytest.raises(InboxFull):
        inbox.store([event(9)])


# --- what the database does -------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alone.sqlite"


def test_an_error_of_the_database_reaches_who_waits_and_the_next_one_is_stored(database: Database) -> None:
    inbox_tables.drop_all(database.engine)
    with Inbox(database) as inbox:
        for _ in range(2):
            with pytest.raises(sa.exc.SQLAlchemyError):
                inbox.store([event(1)])
        inbox_tables.create_all(database.engine)
        assert inbox.store([event(1)]) == 1


def test_an_error_of_the_database_reaches_all_who_wait_on_a_loop(database: Database) -> None:
    inbox_tables.drop_all(database.engine)

    async def store(inbox: Inbox) -> list[object]:
        waiting = [inbox.store_async([event(i)]) for i in range(10)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    with Inbox(database) as inbox:
        found = asyncio.run(store(inbox))
        assert all(isinstance(one, sa.exc.SQLAlchemyError) for one in found)


def test_nothing_of_a_failed_transaction_stays(database: Database) -> None:
    """An event that no database takes is with others in a transaction: they are told that nothing is stored."""
    with Inbox(database) as inbox:
        with pytest.raises((sa.exc.StatementError, TypeError)):
            inbox.store([event(1), event(2, tag=object())])  # type: ignore[arg-type]
        assert inbox.counts() == {"open": 0, "handled": 0}
        assert inbox.store([event(1)]) == 1


def test_more_than_there_is_room_for_is_refused_and_the_rest_stored(path: Path) -> None:
    async def store(inbox: Inbox) -> list[object]:
        with database.write():  # keeps the inbox's writer waiting
            waiting = [asyncio.ensure_future(inbox.store_async([event(i)])) for i in range(20)]
            await asyncio.sleep(0)
        return await asyncio.gather(*waiting, return_exceptions=True)

    with closing(Database(f"sqlite:///{path}", inbox_tables)) as database, Inbox(database, max_waiting=5) as inbox:
        found = asyncio.run(store(inbox))
        n_full = sum(isinstance(one, InboxFull) for one in found)
        n_stored = sum(one == 1 for one in found)
        assert n_stored + n_full == 20 and 5 <= n_stored < 20
        assert inbox.counts()["open"] == n_stored


def test_an_answer_means_that_the_event_is_on_disk(path: Path) -> None:
    """Each commit is synchronised: a crash of the machine loses nothing that was answered."""
    with closing(Database(f"sqlite:///{path}", inbox_tables)) as database, Inbox(database) as inbox:
        inbox.store([event(1)])
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
            assert other.execute("SELECT event_id FROM inbox").fetchall() == [("id-1",)]


def test_a_server_that_went_away_is_said_and_its_return_is_enough(server: Postgres) -> None:
    url = server.database("went_away").replace("postgresql://", "postgresql+psycopg://")
    with closing(Database(url, inbox_tables)) as database, Inbox(database) as inbox:
        assert inbox.store([event(1)]) == 1
        server.stop()
        with pytest.raises(sa.exc.SQLAlchemyError):
            inbox.store([event(2)])
        server.start()
        assert inbox.store([event(2)]) == 1
        assert inbox.store([event(1)]) == 0
