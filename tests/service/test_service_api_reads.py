"""Reads of the API over many rows and on both databases: pages, indexes, streams, and the shape of every refusal."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import urllib3

from accel.service.api import queries, watch
from accel.service.database import (
    Database,
    deliveries,
    delivery_attempts,
    dependencies,
    jobs,
    layer_results,
    targets,
)
from support.running_service import wait_for
from support.service_state import READ_TOKEN, FilledService

N_JOBS = 10_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FilledService]:
    with FilledService(tmp_path) as running:
        yield running


def get(service: FilledService, path: str) -> Any:
    answer = urllib3.request("GET", f"{service.url}/api/v1{path}", headers=service.headers)
    assert answer.status == 200, answer.data
    return answer.json()


def delivery(i: int, state: str = "delivered") -> dict[str, Any]:
    times = {"next_at": 1.0, "created_at": float(i)}
    about = {"event_id": f"e{i}", "endpoint": "x", "type": "done", "job": f"j{i % 7}", "tag": "t"}
    return {**about, **times, "content_type": "a/b", "body": "{}", "state": state}


def fill(service: FilledService) -> str:
    """Ten thousand queued jobs, each with a tag, and one that ran. The id of the latter."""
    ran = service.job(state="done", results={"index-only": {"digest": "sha256:2"}}, report={"layers": []})
    with service.database.write() as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one()) | {"state": "queued", "created_at": 5.0}
        many = [{**row, "id": f"j{i}", "seq": i + 10, "repository": f"team/a{i % 99}"} for i in range(N_JOBS)]
        connection.execute(jobs.insert(), many)
        about = {"source_tag": "v", "state": "pending", "updated_at": 1.0}
        connection.execute(targets.insert(), [{**about, "job": one["id"], "tag": "t"} for one in many])
        connection.execute(deliveries.insert(), [delivery(i) for i in range(300)])
        where = {"registry": "r.example", "repository": "a", "source_tag": "v", "job": ran}
        aim = {**where, "tag": "v_accelerated", "digest": "sha256:2", "source_digest": "sha256:1"}
        connection.execute(dependencies.insert().values(**aim, state="broken", problem="gone"))
        made = {"key": "k", "layer": "l", "output": "soci", "result": {"blob": 1}, "comp_size": 5 << 40}
        connection.execute(layer_results.insert().values(**made, uses=3, updated_at=1.0))
        connection.execute(delivery_attempts.insert().values(delivery=300, at=1.0, status=500, seconds=0.1))
        connection.execute(delivery_attempts.insert().values(delivery=300, at=2.0, status=204, seconds=0.1))
    return ran


# --- both databases -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def on_both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilledService]:
    store = {"path": str(tmp_path / "store")}
    if request.param == "postgres":
        store["url"] = request.getfixturevalue("postgres").database(f"reads_{request.function.__name__[5:20]}")
    with FilledService(tmp_path, store=store) as running:
        yield running


def test_both_databases_answer_every_read_alike(on_both: FilledService) -> None:
    ran = fill(on_both)
    first = get(on_both, "/jobs?state=queued&limit=500")
    assert [len(first["jobs"]), first["jobs"][0]["id"], first["next"]] == [500, f"j{N_JOBS - 1}", 9510]
    assert first["jobs"][0]["tags"] == ["t"]
    assert [one["seq"] for one in get(on_both, "/jobs?state=done&state=queued&before=11")["jobs"]] == [10, 1]
    named = get(on_both, "/jobs?repository=team/a7&limit=2")
    assert [one["repository"] for one in named["jobs"]] == ["team/a7"] * 2 and named["next"]
    assert [one["id"] for one in get(on_both, "/jobs?q=J9999")["jobs"]] == ["j9999"]
    detail = get(on_both, f"/jobs/{ran}")
    assert detail["results"]["index-only"]["digest"] == "sha256:2" and detail["job"]["comp_size"] == 1000
    assert get(on_both, f"/jobs/{ran}/log")[0]["level"] == "info"
    last = get(on_both, "/deliveries?state=delivered&limit=1")
    assert (last["deliveries"][0]["last_status"], last["next"]) == (204, 300)
    assert len(get(on_both, "/deliveries?job=j3&limit=500")["deliveries"]) == 43
    assert get(on_both, "/protection/dependencies")[0]["problem"] == "gone"
    stats = get(on_both, "/stats")
    assert stats["jobs"] == {"queued": N_JOBS, "done": 1} and stats["oldest_queued_at"] == 5.0
    assert stats["layers"] == {"results": 1, "made_bytes": 5 << 40, "uses": 3, "saved_bytes": 15 << 40}
    assert stats["dependencies"] == {"broken": 1} and stats["deliveries"] == {"delivered": 300}


REFUSED = [
    "/jobs?q=%00", "/jobs?repository=%00", "/jobs/%00", "/jobs/%00/log", "/jobs/%ED%A0%80", "/jobs?before=-1",
    "/jobs?before=4611686018427387905", "/jobs?limit=0", "/jobs?limit=501", "/jobs?limit=1e9", "/jobs?q=" + "x" * 501,
    "/jobs?state=" + "&state=".join(["done"] * 11), "/deliveries?state=%00", "/deliveries?state=nonsense",
    "/deliveries?job=%00", "/deliveries?before=99999999999999999999", "/protection?image=%00", "/protection",
    "/protection?image=r.example/a@sha256:1", "/protection?image=oci:/etc", "/protection/dependencies?limit=10001",
    "/jobs/none/watch", "/jobs/%00/watch",
]  # fmt: skip


def test_what_a_database_would_refuse_is_refused_before_it(on_both: FilledService) -> None:
    for path in REFUSED:
        answer = urllib3.request("GET", f"{on_both.url}/api/v1{path}", headers=on_both.headers)
        assert answer.status in (400, 404, 422), path
        assert set(answer.json()["error"]) == {"code", "message"}
    for number in ("0", "-1", "2147483648", "9223372036854775808", "1" * 40):
        url = f"{on_both.url}/api/v1/deliveries/{number}/redeliver"
        answer = urllib3.request("POST", url, headers=on_both.headers)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")


# --- pages and indexes ----------------------------------------------------------------------------------------------


def test_deliveries_come_page_by_page_while_more_are_made(service: FilledService) -> None:
    def add(*numbers: int) -> None:
        with service.database.write() as connection:
            connection.execute(deliveries.insert(), [delivery(i) for i in numbers])

    add(*range(10))
    seen: list[str] = []
    page = get(service, "/deliveries?limit=3")
    while True:
        seen += [one["event_id"] for one in page["deliveries"]]
        if page["next"] is None:
            break
        add(100 + len(seen))
        page = get(service, f"/deliveries?limit=3&before={page['next']}")
    assert seen == [f"e{i}" for i in reversed(range(10))]


def test_a_page_that_is_just_full_has_no_next(service: FilledService) -> None:
    for i in range(3):
        service.job(f"team/a{i}", seed=i)
    assert get(service, "/jobs?limit=3")["next"] is None
    assert get(service, "/jobs?limit=2")["next"] == 2


def plans(database: Database, ask: Any) -> list[str]:
    """The steps that SQLite takes for what ``ask`` reads."""
    steps: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            steps.extend(str(row[3]) for row in cursor.fetchall())

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    return steps


def test_filters_are_found_by_indexes_among_ten_thousand_jobs(service: FilledService) -> None:
    ran, database = fill(service), service.database
    usual: dict[str, Any] = {"states": [], "repository": "", "text": "", "limit": 50, "before": None}
    for change in ({"states": ["queued"]}, {"repository": "team/a7"}, {"repository": "team/none"}, {"before": 9000}):
        steps = plans(database, lambda change=change: queries.job_page(database, **(usual | change)))
        assert any(step.startswith("SEARCH jobs USING INDEX") for step in steps), (change, steps)
        assert "USE TEMP B-TREE FOR ORDER BY" not in steps[0:2], (change, steps)
    # all of them: by the order's index, which ends at the limit
    assert plans(database, lambda: queries.job_page(database, **usual))[0].startswith("SCAN jobs USING INDEX")
    for read in (
        lambda: queries.job_detail(database, ran),
        lambda: queries.log_lines(database, ran),
        lambda: queries.jobs_changed_since(database, 1e12, 10),
        lambda: queries.delivery_page(database, state="failed", job="", limit=50, before=None),
        lambda: queries.delivery_page(database, state="", job="j1", limit=50, before=None),
    ):
        assert [step for step in plans(database, read) if step.startswith(("SCAN jobs", "SCAN del", "SCAN tar"))] == []


def test_sums_of_jobs_read_no_job(service: FilledService) -> None:
    fill(service)
    steps = plans(service.database, lambda: queries.stats(service.database, paused=False, now=1.0))
    scans = [step for step in steps if step.startswith("SCAN")]
    assert [step for step in scans if "COVERING INDEX" not in step] == ["SCAN layer_results", "SCAN leases"]


# --- streams --------------------------------------------------------------------------------------------------------


def stream(service: FilledService, path: str) -> urllib3.BaseHTTPResponse:
    url = f"{service.url}/api/v1{path}"
    return urllib3.request("GET", url, headers=service.headers, preload_content=False, timeout=30, retries=False)


def events(answer: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    text = ""
    for chunk in answer.stream(4096):
        *whole, text = (text + chunk.decode()).split("\n\n")
        for event in whole:
            if event.startswith("event: job\n"):
                yield json.loads(event.partition("\ndata: ")[2])


def test_a_watcher_of_all_sees_each_change_once(service: FilledService) -> None:
    old = service.job("team/old", seed=1)
    service.change(old, state="done")
    with service.database.write() as connection:
        connection.execute(jobs.update().values(updated_at=1.0))
    answer = stream(service, "/watch")
    try:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        seen = events(answer)
        job = service.job("team/new", seed=2)
        assert next(seen)["id"] == job
        service.change(job, state="running")
        service.change(old, state="queued")
        assert {(one["id"], one["state"]) for one in (next(seen), next(seen))} == {(job, "running"), (old, "queued")}
    finally:
        answer.close()


def test_a_job_that_is_forgotten_ends_its_stream(service: FilledService) -> None:
    job = service.job(state="running")
    answer = stream(service, f"/jobs/{job}/watch")
    seen = events(answer)
    assert next(seen)["state"] == "running"
    with service.database.write() as connection:
        connection.execute(jobs.delete())
    assert list(seen) == []
    answer.close()


def test_only_so_many_watch_and_those_who_leave_make_room(
    service: FilledService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_MAX_WATCHERS", 2)
    job = service.job(state="running")
    watching = [stream(service, "/watch"), stream(service, f"/jobs/{job}/watch")]
    for answer in watching:
        assert answer.status == 200
    for path in ("/watch", f"/jobs/{job}/watch"):
        refused = stream(service, path)
        assert (refused.status, refused.json()["error"]["message"]) == (503, "too many are watching")
    for answer in watching:
        answer.close()

    def is_let_in() -> bool:
        again = stream(service, f"/jobs/{job}/watch")
        again.close()
        return again.status == 200

    wait_for(is_let_in, "it is noticed that they left")


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", "/api/v1/jobs", "", 401),
        ("GET", "/api/v1/watch", "", 401),
        ("GET", "/api/v1/protection/auth", "", 401),
        ("POST", "/api/v1/pause", READ_TOKEN, 403),
        ("GET", "/api/v1/nothing", READ_TOKEN, 404),
        ("GET", "/nothing", "", 404),
        ("GET", "/../../settings.py", "", 404),
        ("GET", "/%2e%2e/settings.py", "", 404),
        ("DELETE", "/api/v1/jobs", READ_TOKEN, 405),
        ("POST", "/healthz", "", 405),
        ("GET", "/hooks/any", "", 405),
        ("DELETE", "/hooks/any", "", 405),
        ("GET", "/hooks/any/more", "", 404),
        ("POST", "/hooks/any", "", 404),
    ],
)
def test_every_refusal_has_the_same_shape_and_headers(
    service: FilledService, method: str, path: str, token: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = urllib3.request(method, service.url + path, headers=headers)
    assert answer.status == status
    error = answer.json()["error"]
    assert error["code"] and error["message"]
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"):
        assert name in answer.headers


@pytest.mark.parametrize("length", ["1048577", "9" * 18, "9" * 5000, "-1", "abc", "1, 1"])
def test_a_length_that_is_none_or_too_large_costs_nothing(service: FilledService, length: str) -> None:
    head = f"POST /api/v1/rules/explain HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).split()[1] in (b"400", b"413")
