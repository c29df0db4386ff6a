"""Leases: the database's clock says who is alive, and one at a time leads."""

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from accel.service.database import Database, leases
from accel.service.leases import Leases
from support.engine_worker import Store


def age(database: Database, name: str, seconds: float) -> None:
    """Makes a lease look older."""
    with database.write() as connection:
        connection.execute(sa.update(leases).where(leases.c.name == name).values(beat=leases.c.beat - seconds))


def test_who_beats_is_alive_until_its_time_is_over(engine_database: Database) -> None:
    held = Leases(engine_database)
    for name in ("a", "b"):
        held.beat(f"worker/{name}", name)
    held.beat("leader", "a")
    age(engine_database, "worker/b", 10)
    alive = held.alive("worker/", 5)
    assert set(alive) == {"a"} and 0 <= alive["a"] < 5
    held.beat("worker/b", "b")
    assert set(held.alive("worker/", 5)) == {"a", "b"}


def test_a_prefix_is_no_pattern(engine_database: Database) -> None:
    held = Leases(engine_database)
    held.beat("worker/a", "a")
    assert set(held.alive("w%", 5)) == set(held.alive("_orker/", 5)) == set()


def test_one_leads_until_it_gives_up_or_goes_silent(engine_database: Database) -> None:
    held = Leases(engine_database)
    assert held.hold("leader", "a", 5) and held.hold("leader", "a", 5)
    assert not held.hold("leader", "b", 5)
    held.release("leader", "b")
    assert not held.hold("leader", "b", 5)
    age(engine_database, "leader", 6)
    assert held.hold("leader", "b", 5)
    assert not held.hold("leader", "a", 5)
    held.release("leader", "b")
    assert held.hold("leader", "a", 5)


@pytest.mark.parametrize("before", ["nobody", "somebody silent"])
def test_there_are_never_two_leaders(engine_store: Store, engine_database: Database, before: str) -> None:
    databases = [Database(engine_store.service_url) for _ in range(4)]
    leaders: list[int] = []
    for number in range(8):
        name = f"leader{number}"
        if before != "nobody":
            Leases(engine_database).hold(name, "old", 60)
            age(engine_database, name, 100)
        ready = threading.Barrier(8)

        def race(holder: str, database: Database, number: int = number, ready: Any = ready) -> None:
            ready.wait()
            if Leases(database).hold(f"leader{number}", holder, 60):
                leaders.append(number)

        racers = [threading.Thread(target=race, args=(f"h{i}", databases[i % 4])) for i in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
    for database in databases:
        database.close()
    assert leaders == list(range(8))


def test_old_leases_are_forgotten(engine_database: Database) -> None:
    held = Leases(engine_database)
    held.beat("worker/a", "a")
    held.beat("worker/b", "b")
    held.beat("leader", "b")
    age(engine_database, "worker/b", 100)
    age(engine_database, "leader", 100)
    assert held.prune("worker/", 50) == 1
    assert set(held.alive("", 1000)) == {"a", "b"}
