"""The durable engine in one process: queues, ids, steps, errors, on SQLite and PostgreSQL."""

import logging
import sqlite3
import threading
import time
from typing import Any

import dbos
import pytest
import sqlalchemy as sa

from accel.errors import Cancelled, ConfigError
from accel.service.database import Database
from accel.service.engine import Context, Engine, Queue, WorkflowFailed
from accel.service.engine.values import plain
from accel.service.leases import Leases
from support.engine_worker import Flows, Start, Store, lines, states, until
from support.postgres import Postgres

SQLITE = pytest.mark.parametrize("engine_store", ["sqlite"], indirect=True)  # where the database makes no difference
KINDS = (("start", 1), ("end", -1))
ALL = (Queue("images"), Queue("layers"))


def ended(engine: Engine, id: str, state: str = "done") -> Any:
    """The outcome of a workflow, once it ended."""
    outcome = until(lambda: (o := engine.state(id)) and o.state not in ("waiting", "running") and o)
    assert outcome.state == state, outcome
    return outcome


def test_an_image_runs_its_steps_in_order_and_gives_json(engine_of: Start, engine_store: Store) -> None:
    engine = engine_of()
    engine.start(ALL)
    engine.submit("image", "i", {"layers": ["a", "b"]}, queue="images")
    assert ended(engine, "i").result == {"plan": ["made"], "layers": ["a", "b"]}  # a tuple is a list at once
    order = [(flow, step) for _, _, flow, step in lines(engine_store)]
    assert order[0] == ("i", "plan") and order[-1] == ("i", "publish")
    assert sorted(order[1:-1]) == [("a", "convert"), ("b", "convert")]


def test_nothing_is_submitted_or_spawned_twice(engine_of: Start, engine_store: Store) -> None:
    engine = engine_of()
    engine.start(ALL)
    for _ in range(3):
        engine.submit("image", "i", {"layers": ["a", "b"]}, queue="images")
        engine.submit("image", "j", {"layers": ["b", "c"]}, queue="images")
    ended(engine, "i")
    ended(engine, "j")
    engine.submit("image", "i", {"layers": ["other"]}, queue="images")
    assert sorted(flow for _, _, flow, _ in lines(engine_store, step="convert")) == ["a", "b", "c"]
    assert engine.state("other") is None


def test_racing_submits_of_one_id_run_once(engine_of: Start, engine_store: Store) -> None:
    engine = engine_of()
    engine.start(ALL)
    threads = [
        threading.Thread(target=lambda: engine.submit("layer", "a", {"seconds": 0}, queue="layers")) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended(engine, "a")
    assert len(lines(engine_store)) == 1


def test_limits_hold_and_priorities_go_first(engine_of: Start, engine_store: Store) -> None:
    submitter = engine_of()
    submitter.start()
    for i in range(6):
        submitter.submit("layer", f"late{i}", {"seconds": 0.05}, queue="layers", priority=5)
    for i in range(3):
        submitter.submit("layer", f"soon{i}", {"seconds": 0.05}, queue="layers", priority=1)
    submitter.close()
    engine = engine_of()
    engine.start([Queue("layers", at_once=2, per_process=2)])
    for i in range(6):
        ended(engine, f"late{i}")
    first = [flow[:4] for _, _, flow, _ in lines(engine_store)][:4]
    assert first[:2] == ["soon", "soon"] and first.count("soon") == 3  # two are taken up together, in any order
    running = peak = 0
    starts, ends = ([(when, change) for when, *_ in lines(engine_store, what)] for what, change in KINDS)
    for _, change in sorted(starts + ends):
        running += change
        peak = max(peak, running)
    assert peak == 2


@SQLITE
def test_a_priority_is_one_or_more(submitter: Engine) -> None:
    with pytest.raises(ConfigError, match="must be 1 or more"):
        submitter.submit("layer", "a", {"seconds": 0}, queue="layers", priority=0)


@SQLITE
def test_a_process_without_queues_takes_nothing_up(submitter: Engine, engine_of: Start, engine_store: Store) -> None:
    submitter.submit("layer", "a", {"seconds": 0}, queue="layers")
    threading.Event().wait(1.0)
    assert states(submitter, ["a"]) == {"a": "waiting"}
    submitter.close()
    engine = engine_of()
    engine.start([Queue("images")])
    threading.Event().wait(1.0)
    assert states(engine, ["a"]) == {"a": "waiting"} and lines(engine_store) == []


@SQLITE
def test_a_delayed_workflow_starts_later(engine_of: Start, engine_store: Store) -> None:
    engine = engine_of()
    engine.start(ALL)
    begin = time.time()
    engine.submit("layer", "a", {"seconds": 0}, queue="layers", delay_s=1.0)
    ended(engine, "a")
    assert lines(engine_store)[0][0] - begin >= 1.0


def test_an_error_is_a_record_for_who_waits_and_who_asks(engine_of: Start) -> None:
    engine = engine_of()
    caught = []

    @engine.workflow("asks")
    def asks(context: Context, args: dict[str, Any]) -> dict[str, Any]:
        try:
            odd = {"temporary": True, "characters": [0x6F, 0xD800, 0]}
            context.spawn("fails", "child", odd, queue="layers").result()
        except WorkflowFailed as error:
            caught.append(error)
            raise
        return {}

    engine.start(ALL)
    engine.submit("asks", "a", {}, queue="images")
    record = {"type": "RegistryError", "message": "o\\ud800\0", "retriable": True}
    assert ended(engine, "a", "failed").error == record
    assert ended(engine, "child", "failed").error == record
    assert [(e.type, e.retriable, e.message) for e in caught] == [("RegistryError", True, "o\\ud800\0")]


@SQLITE
def test_the_caller_says_what_is_kept_of_an_error(engine_of: Start) -> None:
    engine = engine_of(describe=lambda error: {"type": "X", "message": "y", "retriable": True, "status": 503})
    engine.start(ALL)
    engine.submit("fails", "f", {}, queue="layers")
    assert ended(engine, "f", "failed").error == {"type": "X", "message": "y", "retriable": True, "status": 503}
    with pytest.raises(WorkflowFailed, match="X: y"):
        engine.state("f").value()


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), "\ud800", b"x", object()], ids=repr)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        plain({"x": value})


@SQLITE
def test_a_step_that_gives_no_json_fails_the_workflow(engine_of: Start) -> None:
    engine = engine_of()

    @engine.workflow("odd")
    def odd(context: Context, args: dict[str, Any]) -> dict[str, Any]:
        return {"x": context.step("odd", lambda: {1, 2})}

    engine.start(ALL)
    engine.submit("odd", "o", {}, queue="layers")
    assert ended(engine, "o", "failed").error["type"] == "TypeError"


def test_cancel_stops_children_but_not_those_that_another_image_waits_for(
    engine_of: Start, engine_store: Store
) -> None:
    engine = engine_of()
    engine.start([Queue("images"), Queue("layers", at_once=1, per_process=1)])
    engine.submit("image", "i", {"layers": ["first", "own", "shared"], "layer_s": 5.0}, queue="images")
    until(lambda: lines(engine_store, step="convert"))  # of the first: j might have its layer made before
    engine.submit("image", "j", {"layers": ["shared"]}, queue="images")
    until(lambda: len(states(engine, ["first", "own", "shared"])) == 3 and engine.state("j").state == "running")
    until(lambda: len([1 for line in lines(engine_store, "end") if line[3] == "plan"]) == 2)
    threading.Event().wait(0.5)
    engine.cancel("i")
    ended(engine, "j")
    assert states(engine, ["i", "own", "shared"]) == {"i": "cancelled", "own": "cancelled", "shared": "done"}
    assert [flow for _, _, flow, _ in lines(engine_store, step="publish")] == ["j"]
    assert engine.state("own").error["type"] == "Cancelled"


@SQLITE
def test_a_running_step_sees_that_it_is_cancelled(engine_of: Start) -> None:
    engine = engine_of()
    begun, seen = threading.Event(), threading.Event()

    @engine.workflow("long")
    def long(context: Context, args: dict[str, Any]) -> dict[str, Any]:
        def work() -> None:
            begun.set()
            until(context.should_stop)
            seen.set()
            raise Cancelled("asked to stop")

        context.step("work", work)
        return {}

    engine.start(ALL)
    engine.submit("long", "l", {}, queue="layers")
    assert begun.wait(30)
    engine.cancel("l")
    assert seen.wait(30)
    assert engine.state("l").state == "cancelled"


def test_closing_stops_steps_and_leaves_the_rest_to_the_next_process(engine_of: Start, engine_store: Store) -> None:
    def long_of(engine: Engine, begun: threading.Event, stops: bool) -> None:
        def long(context: Context, args: dict[str, Any]) -> dict[str, Any]:
            def work() -> str:
                begun.set()
                if stops:
                    until(context.should_stop)
                    raise Cancelled("asked to stop")
                return "made"

            return {"work": context.step("work", work)}

        engine.workflow("long")(long)

    first, begun = engine_of(), threading.Event()
    long_of(first, begun, stops=True)
    first.start(ALL)
    first.submit("long", "l", {}, queue="layers")
    assert begun.wait(30)
    first.close()
    second = engine_of(ttl_s=1.5)
    long_of(second, threading.Event(), stops=False)
    second.start(ALL)
    assert ended(second, "l").result == {"work": "made"}


def test_the_store_holds_no_pickle(engine_of: Start, engine_store: Store) -> None:
    engine = engine_of()
    engine.start(ALL)
    engine.submit("image", "i", {"layers": ["a"]}, queue="images")
    engine.submit("fails", "f", {}, queue="layers")
    ended(engine, "i")
    ended(engine, "f", "failed")
    engine.close()
    reader = sa.create_engine(engine_store.url)
    schema = None if engine_store.url.startswith("sqlite") else "accel_engine"
    tables = sa.MetaData()
    tables.reflect(reader, schema=schema)
    seen = 0
    with reader.connect() as connection:
        for table in tables.sorted_tables:
            for row in connection.execute(sa.select(table)).mappings():
                assert row.get("serialization") in (None, "portable_json")
                for value in row.values():
                    seen += isinstance(value, str)
                    assert not (isinstance(value, str) and value.startswith("gA"))  # base64 of pickle's first byte
    assert seen > 20
    reader.dispose()


@SQLITE
def test_an_sqlite_store_is_in_wal_mode(engine_of: Start, engine_store: Store) -> None:
    engine_of().start()
    connection = sqlite3.connect(str(sa.make_url(engine_store.url).database))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@SQLITE
def test_one_engine_runs_in_a_process_and_another_after_it(submitter: Engine, engine_of: Start) -> None:
    second = engine_of()
    with pytest.raises(ConfigError, match="runs in this process"):
        second.start()
    submitter.close()
    second.start()
    second.submit("layer", "a", {"seconds": 0}, queue="layers")
    assert second.state("a") is not None


@SQLITE
def test_two_workflows_have_two_names(engine_of: Start) -> None:
    with pytest.raises(ConfigError, match="two workflows"):
        engine_of().workflow("layer")(lambda context, args: {})


def test_what_ended_long_ago_is_forgotten(engine_of: Start, engine_store: Store) -> None:
    engine = engine_of()
    engine.start(ALL)
    for id in ("a", "b"):
        engine.submit("layer", id, {"seconds": 0}, queue="layers")
        ended(engine, id)
    engine.submit("layer", "later", {"seconds": 0}, queue="layers", delay_s=60)
    assert engine.prune(3600) == 0
    assert [engine.prune(-1, limit=1) for _ in range(3)] == [1, 1, 0]
    assert states(engine, ["a", "b", "later"]) == {"later": "waiting"}
    engine.submit("layer", "a", {"seconds": 0}, queue="layers")
    ended(engine, "a")
    assert [flow for _, _, flow, _ in lines(engine_store)] == ["a", "b", "a"]


def test_closing_ends_all_threads(engine_of: Start) -> None:
    before = set(threading.enumerate())
    engine = engine_of()
    engine.start(ALL)
    engine.submit("layer", "a", {"seconds": 0}, queue="layers")
    ended(engine, "a")
    engine.close()
    until(lambda: not [thread for thread in set(threading.enumerate()) - before if thread.is_alive()])


@SQLITE
def test_dbos_logs_through_us_and_advertises_nothing(engine_of: Start, caplog: Any, capfd: Any) -> None:
    with caplog.at_level(logging.DEBUG, "accel"):
        engine = engine_of()
        engine.start(ALL)
        engine.submit("fails", "f", {}, queue="layers")
        ended(engine, "f", "failed")
        engine.close()
    assert [record.getMessage() for record in caplog.records if record.name == "dbos"] == []
    assert "dbos" not in capfd.readouterr().err.lower()
    assert logging.getLogger("dbos").propagate


def test_the_private_function_of_dbos_hands_on_only_what_the_named_process_has(
    engine_of: Start, engine_store: Store
) -> None:
    """dbos is pinned for this: another version is taken only if this still holds."""
    engine = engine_of()
    engine.start(ALL)
    engine.submit("layer", "a", {"seconds": 1.0}, queue="layers")
    until(lambda: lines(engine_store))
    assert dbos.DBOS._recover_pending_workflows(["nobody"]) == []
    assert engine.state("a").attempts == 1
    assert len(dbos.DBOS._recover_pending_workflows([engine.executor_id])) == 1
    outcome = ended(engine, "a")
    assert outcome.attempts == 2  # it ran again, in the same queue: the first run lost it
    assert len(lines(engine_store)) == 2


def test_what_this_process_does_itself_it_need_not_look_for(engine_of: Start, engine_store: Store) -> None:
    """With places for one, six layers one after the other would wait 5 s each for the next look.

    It also pins the private function of dbos that works on a queue.
    """
    engine = engine_of(poll_s=5.0)
    engine.start([Queue("images", per_process=1), Queue("layers", per_process=1)])
    began = time.monotonic()
    for image in ("i", "j"):
        engine.submit("image", image, {"layers": [f"{image}{n}" for n in range(3)]}, queue="images")
    for image in ("i", "j"):
        ended(engine, image)
    assert len(lines(engine_store, step="convert")) == 6
    assert time.monotonic() - began < 20.0  # a busy machine may miss a ring or two


def test_an_engine_that_works_on_a_queue_no_more_does_not_run(engine_of: Start) -> None:
    engine = engine_of()
    engine.start(ALL)
    assert engine.is_running
    dbos.DBOS.delete_queue("layers")
    until(lambda: not engine.is_running)


def test_an_engine_waits_for_its_database(tmp_path: Any, caplog: Any) -> None:
    with Postgres(tmp_path) as server:
        url = server.url.replace("postgresql", "postgresql+psycopg", 1)
        database = Database(url)
        server.stop()
        engine = Engine(url, "w", Leases(database), poll_s=0.05)
        Flows(engine, tmp_path / "log")
        starting = threading.Thread(target=lambda: engine.start(ALL))
        starting.start()
        until(lambda: "does not answer" in caplog.text)
        server.start()
        starting.join()
        engine.submit("layer", "a", {"seconds": 0}, queue="layers")
        ended(engine, "a")
        engine.close()
        database.close()


@SQLITE
def test_closing_ends_the_wait_for_a_database(tmp_path: Any, engine_database: Database) -> None:
    engine = Engine("postgresql+psycopg://nobody@127.0.0.1:1/none", "w", Leases(engine_database))
    raised: list[BaseException] = []

    def start() -> None:
        try:
            engine.start()
        except Cancelled as error:
            raised.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    until(lambda: starting.is_alive())
    engine.close()
    starting.join()
    assert len(raised) == 1
