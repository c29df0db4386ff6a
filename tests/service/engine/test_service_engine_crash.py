"""Workers that die, freeze and come back, as processes, on SQLite and PostgreSQL.

ACCEL_ENGINE_KILLS says how many random kills each store sees (8). Its judges are the log that the steps write to a
file, and the times at which the store says that it got their results.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from accel.service.database import Database
from accel.service.engine import Engine
from accel.service.leases import Leases
from support.engine_worker import Store, Worker, lines, states, until
from support.postgres import Postgres

KILLS = int(os.environ.get("ACCEL_ENGINE_KILLS", "8"))


def stored_steps(store: Store) -> dict[tuple[str, str], float]:
    """When the result of each step was stored, by (workflow, step); seconds since 1970."""
    reader = sa.create_engine(store.url)
    table = "operation_outputs" if store.url.startswith("sqlite") else "accel_engine.operation_outputs"
    with reader.connect() as connection:
        rows = connection.execute(
            sa.text(f"SELECT workflow_uuid, function_name, completed_at_epoch_ms FROM {table}")
        ).all()
    reader.dispose()
    return {(flow, step): ms / 1000 for flow, step, ms in rows if ms is not None}


def started_after_it_was_stored(store: Store) -> list[tuple[str, str]]:
    """Steps that ran although their result was there; 1 ms is what the store's time may be cut by."""
    stored = stored_steps(store)
    return [(w, s) for when, _, w, s in lines(store) if (w, s) in stored and when > stored[w, s] + 0.001]


def all_done(engine: Engine, ids: list[str]) -> bool:
    return set(states(engine, ids).values()) == {"done"} and len(states(engine, ids)) == len(ids)


def test_another_worker_takes_over_and_repeats_no_stored_step(submitter: Engine, engine_store: Store) -> None:
    with Worker(engine_store, ttl_s=3) as first:
        submitter.submit("image", "i", {"layers": ["a", "b"], "layer_s": 0, "publish_s": 30}, queue="images")
        until(lambda: lines(engine_store, step="publish"))
        with Worker(engine_store, ttl_s=3) as second:
            first.kill()
            killed = time.time()
            until(lambda: len(lines(engine_store, step="publish")) == 2, 15)
            taken, executor, _, _ = lines(engine_store, step="publish")[-1]
            assert executor == second.name and taken - killed < 15
            assert Counter((w, s) for _, _, w, s in lines(engine_store)) == {
                ("i", "plan"): 1, ("a", "convert"): 1, ("b", "convert"): 1, ("i", "publish"): 2,
            }  # fmt: skip
            assert submitter.state("i").executor == second.name


def test_the_same_machine_takes_up_its_work_under_a_new_id(submitter: Engine, engine_store: Store) -> None:
    with Worker(engine_store) as first:
        submitter.submit("layer", "a", {"seconds": 1.0}, queue="layers")
        until(lambda: lines(engine_store))
        first.kill()
    with Worker(engine_store):
        until(lambda: all_done(submitter, ["a"]))
    assert submitter.state("a").attempts == 2


def test_a_worker_that_closes_hands_on_its_work_at_once(submitter: Engine, engine_store: Store) -> None:
    with Worker(engine_store, ttl_s=60) as first:
        submitter.submit("image", "i", {"layers": ["a"], "layer_s": 1.0}, queue="images")
        until(lambda: lines(engine_store, step="convert"))
        assert first.stop() == 0, first.errors()
        assert states(submitter, ["i"]) == {"i": "running"}
        with Worker(engine_store, ttl_s=1.5):
            until(lambda: all_done(submitter, ["i", "a"]))
    assert started_after_it_was_stored(engine_store) == []


def test_a_frozen_worker_that_thaws_publishes_nothing(submitter: Engine, engine_store: Store) -> None:
    with Worker(engine_store) as first:
        submitter.submit("image", "i", {"layers": ["a"], "layer_s": 1.0}, queue="images")
        until(lambda: lines(engine_store, step="convert"))
        first.signal(signal.SIGSTOP)
        with Worker(engine_store) as second:
            until(lambda: all_done(submitter, ["i", "a"]))
            first.signal(signal.SIGCONT)
            until(lambda: (first.name, "convert") in {(e, s) for _, e, _, s in lines(engine_store, "end")})
            submitter.submit("layer", "b", {"seconds": 0}, queue="layers")
            until(lambda: all_done(submitter, ["b"]))
            time.sleep(1.0)
            assert [e for _, e, _, _ in lines(engine_store, step="publish")] == [second.name]
            assert first.is_alive()
            assert first.stop() == 0, first.errors()  # nothing of what it lost holds it back


def test_a_workflow_that_kills_its_process_is_given_up(submitter: Engine, engine_store: Store) -> None:
    submitter.submit("deadly", "d", {}, queue="layers")
    workers: list[Worker] = []
    try:
        while (outcome := submitter.state("d")) and outcome.state != "poisoned":
            if not workers or not workers[-1].is_alive():
                workers.append(Worker(engine_store, ttl_s=1.0, max_attempts=1))
                assert len(workers) < 8
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
    assert len(lines(engine_store)) == 2  # once, and max_attempts more
    assert submitter.state("d").error["type"] == "Poisoned"


def test_limits_hold_over_processes(submitter: Engine, engine_store: Store) -> None:
    ids = [f"l{i}" for i in range(12)]
    for id in ids:
        submitter.submit("layer", id, {"seconds": 0.3}, queue="layers")
    # A file is one process's: dbos counts what runs there outside the transaction that takes up more.
    workers = 1 if engine_store.url.startswith("sqlite") else 2
    with contextlib.ExitStack() as together:
        for _ in range(workers):
            together.enter_context(Worker(engine_store, ttl_s=10, at_once=3, per_process=2))
        until(lambda: all_done(submitter, ids))
    begun = [(when, 1, executor) for when, executor, *_ in lines(engine_store)]
    events = sorted(begun + [(when, -1, executor) for when, executor, *_ in lines(engine_store, "end")])
    running: Counter[str] = Counter()
    for _, change, executor in events:
        running[executor] += change
        assert running.total() <= 3 and running[executor] <= 2
    assert len(begun) == 12


def test_workers_outlive_their_database_and_start_without_it(tmp_path: Path) -> None:
    with Postgres(tmp_path) as server:
        url = server.url.replace("postgresql", "postgresql+psycopg", 1)
        store = Store(url, url, tmp_path / "steps.log")
        database = Database(url)
        engine = Engine(url, "here", Leases(database))
        engine.start()
        with Worker(store) as early:
            engine.submit("image", "i", {"layers": ["a", "b"], "layer_s": 2.0}, queue="images")
            until(lambda: lines(store, step="convert"))
            server.stop(signal.SIGQUIT)
            late = Worker(store)
            until(lambda: "does not answer" in late.errors())
            server.start()
            with late:
                until(lambda: all_done(engine, ["i", "a", "b"]))
                assert early.is_alive() and late.is_alive()
        assert started_after_it_was_stored(store) == []
        engine.close()
        database.close()


def test_random_kills_lose_nothing_and_repeat_no_stored_step(submitter: Engine, engine_store: Store) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    images = [f"image{i}" for i in range(3 * KILLS)]
    args = {"plan_s": 0.05, "layer_s": 0.3, "publish_s": 0.1}
    for i, id in enumerate(images):
        layers = [f"layer{i}", f"layer{i + 1}", f"base{i // 4}"]
        submitter.submit("image", id, {**args, "layers": layers}, queue="images", priority=1 + i % 3)
    workers = [Worker(engine_store, ttl_s=1.5, at_once=6, per_process=3) for _ in range(3)]
    try:
        for worker in workers:
            worker.ready()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 1.0))
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim] = Worker(engine_store, ttl_s=1.5, at_once=6, per_process=3)
        until(lambda: all_done(submitter, images), 120 + 10 * KILLS)
    finally:
        for worker in workers:
            worker.kill()
    assert any(submitter.state(id).attempts > 1 for id in images), seed  # some kills did hit work
    assert started_after_it_was_stored(engine_store) == [], seed
    stored = stored_steps(engine_store)
    assert {id for id, step in stored if step == "publish"} == set(images), seed
