"""Fixtures of the engine's tests: a store on either database, and an engine in this process."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accel.service.database import Database, database_url
from accel.service.engine import Engine
from accel.service.leases import Leases
from accel.service.settings import StoreSettings
from support.engine_worker import Flows, Start, Store
from support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def engine_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    settings = {"path": str(tmp_path / "data")}
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        settings["url"] = server.database(f"t{uuid.uuid4().hex}")
    chosen = StoreSettings.model_validate(settings)
    return Store(database_url(chosen, "engine"), database_url(chosen, "service"), tmp_path / "steps.log")


@pytest.fixture
def engine_database(engine_store: Store) -> Iterator[Database]:
    opened = Database(engine_store.service_url)
    yield opened
    opened.close()


@pytest.fixture
def engine_of(engine_store: Store, engine_database: Database) -> Iterator[Start]:
    """Makes an engine of this process, with the test workflows; closes it in the end."""
    made: list[Engine] = []

    def make(**options: Any) -> Engine:
        engine = Engine(engine_store.url, f"here-{len(made)}", Leases(engine_database), **{"poll_s": 0.05, **options})
        Flows(engine, engine_store.log)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close(drain_s=5)


@pytest.fixture
def submitter(engine_of: Start) -> Engine:
    """An engine that works on nothing."""
    engine = engine_of()
    engine.start()
    return engine
