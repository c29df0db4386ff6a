"""The HTTP API: who may, what comes back, what is refused, and that its description is true."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import sqlalchemy as sa
import urllib3
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accel.service.api import queries
from accel.service.database import deliveries, dependencies, jobs
from support.service_state import READ_TOKEN, FilledService

NEEDED = {"registry": "r.example", "repository": "team/app", "tag": "v1_accelerated", "source_tag": "v1"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FilledService]:
    with FilledService(tmp_path) as running:
        yield running


class Answers:
    """Asks the API and keeps what it says."""

    def __init__(self, service: FilledService) -> None:
        self._url = service.url
        self._headers = service.headers
        self._http = urllib3.PoolManager(retries=False)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        answer = self._http.request(method, self._url + path, body=data, headers=sent)
        return answer.status, json.loads(answer.data) if answer.data else None


@pytest.fixture
def ask(service: FilledService) -> Answers:
    return Answers(service)


READS = ["/jobs", "/rules", "/deliveries", "/stats", "/protection/dependencies", "/protection?image=r.example/a:v1"]
WRITES = [
    ("POST", "/jobs/x/cancel", None),
    ("POST", "/jobs", {"image": "r.example/team/app:v1"}),
    ("POST", "/rules", {"rule": {"name": "new"}}),
    ("PUT", "/rules/off", {"name": "off"}),
    ("DELETE", "/rules/off", None),
    ("POST", "/backfill", {"registry": "r.example", "repositories": ["**"]}),
    ("DELETE", "/protection/source?image=r.example/a:v1", None),
    ("POST", "/deliveries/1/redeliver", None),
    ("POST", "/pause", None),
    ("POST", "/resume", None),
]


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic abc", "Bearer " + "x" * 5000])
def test_nobody_reads_or_writes_without_a_valid_token(ask: Answers, token: str) -> None:
    for method, path, body in [*(("GET", path, None) for path in READS), *WRITES]:
        status, said = ask(method, "/api/v1" + path, body, Authorization=token)
        assert (status, said["error"]["code"]) == (401, "unauthorized")


def test_a_token_that_may_read_changes_nothing(ask: Answers) -> None:
    for path in READS:
        assert ask("GET", "/api/v1" + path, Authorization=f"Bearer {READ_TOKEN}")[0] == 200
    for method, path, body in WRITES:
        status, said = ask(method, "/api/v1" + path, body, Authorization=f"Bearer {READ_TOKEN}")
        assert (status, said["error"]["code"]) == (403, "forbidden")


def test_without_auth_everybody_may(tmp_path: Path) -> None:
    with FilledService(tmp_path, api={"auth": "none"}) as service:
        url = service.url.replace(str(service.port), str(service.port))
        assert urllib3.request("POST", f"{url}/api/v1/pause").status == 204


def test_probes_and_the_page_need_no_token_and_carry_a_policy(service: FilledService) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/", "/docs", "/openapi.json"):
        answer = urllib3.request("GET", service.url + path)
        assert answer.status == 200, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_jobs_come_page_by_page_while_more_are_made(service: FilledService, ask: Answers) -> None:
    made = [service.job(f"team/a{i}", seed=i) for i in range(7)]
    seen, before = [], ""
    while True:
        _, page = ask("GET", f"/api/v1/jobs?limit=3{before}")
        seen += [job["id"] for job in page["jobs"]]
        service.job(f"team/later{len(seen)}", seed=100 + len(seen))
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == made[::-1]


def test_jobs_are_found_by_state_repository_and_text(service: FilledService, ask: Answers) -> None:
    failed = service.job("team/a", seed=1, state="failed")
    other = service.job("team/b_c", seed=2)
    assert [job["id"] for job in ask("GET", "/api/v1/jobs?state=failed&state=done")[1]["jobs"]] == [failed]
    assert [job["id"] for job in ask("GET", "/api/v1/jobs?repository=team/a")[1]["jobs"]] == [failed]
    assert [job["id"] for job in ask("GET", "/api/v1/jobs?q=b_c")[1]["jobs"]] == [other]
    assert ask("GET", "/api/v1/jobs?q=b%25c")[1]["jobs"] == []
    assert ask("GET", "/api/v1/jobs?state=nonsense")[0] == 422


def test_a_job_is_shown_and_steered(service: FilledService, ask: Answers) -> None:
    job = service.job(state="running")
    _, detail = ask("GET", f"/api/v1/jobs/{job}")
    assert detail["job"]["done_bytes"] == 400 and detail["layers"][0]["comp_size"] == 1000
    assert ask("GET", f"/api/v1/jobs/{job}/log")[1][0]["message"] == "making soci of a layer"
    assert ask("POST", f"/api/v1/jobs/{job}/pause")[1]["job"]["state"] == "paused"
    assert ask("POST", f"/api/v1/jobs/{job}/resume")[1]["job"]["state"] == "queued"
    assert ask("POST", f"/api/v1/jobs/{job}/cancel")[1]["job"]["state"] == "cancelled"
    status, said = ask("POST", f"/api/v1/jobs/{job}/cancel")
    assert (status, said["error"]["code"]) == (409, "not_possible")
    assert ask("POST", f"/api/v1/jobs/{job}/retry")[1]["job"]["run"] == 3
    for path in ("", "/log"):
        assert ask("GET", f"/api/v1/jobs/nobody{path}")[0] == 404


def test_rules_are_added_changed_and_removed(ask: Answers) -> None:
    status, made = ask("POST", "/api/v1/rules", {"rule": {"name": "new", "repository": "x/*"}, "position": 0})
    assert (status, made["origin"]) == (201, "api")
    assert [one["rule"]["name"] for one in ask("GET", "/api/v1/rules")[1]] == ["new", "all", "off"]
    assert ask("PUT", "/api/v1/rules/new", {"name": "new", "mode": "full"})[1]["rule"]["mode"] == "full"
    assert ask("POST", "/api/v1/rules", {"rule": {"name": "new"}})[0] == 409
    assert ask("POST", "/api/v1/rules", {"rule": {"name": "wrong", "mode": "magic"}})[0] == 409
    assert ask("POST", "/api/v1/rules", {"rule": {"name": "wrong", "unknown": 1}})[0] == 422
    assert ask("PUT", "/api/v1/rules/all", {"name": "all", "mode": "full"})[0] == 409
    assert ask("DELETE", "/api/v1/rules/new")[0] == 204
    assert ask("DELETE", "/api/v1/rules/new")[0] == 404
    assert ask("DELETE", "/api/v1/rules/all")[0] == 409


def test_a_needed_source_is_refused_to_people_and_to_proxies(service: FilledService, ask: Answers) -> None:
    service.protector.needed = {"team/app:v1": ("team/app:v1_accelerated",)}
    with service.database.write() as connection:
        row = {**NEEDED, "digest": "sha256:2", "source_digest": "sha256:1", "job": "j"}
        connection.execute(dependencies.insert().values(**row))
    assert ask("GET", "/api/v1/protection?image=r.example/team/app:v1")[1]["allowed"] is False
    assert ask("GET", "/api/v1/protection/dependencies")[1][0]["tag"] == "v1_accelerated"
    for method, uri, status in (
        ("DELETE", "/v2/team/app/manifests/v1", 403),
        ("DELETE", "/v2/team/app/manifests/v2", 204),
        ("GET", "/v2/team/app/manifests/v1", 204),
        ("DELETE", "/v2/team/app/blobs/sha256:1", 204),
        ("DELETE", "/v2/team/app/manifests/not a tag", 400),
    ):
        headers = {"X_Original_Method": method, "X_Original_URI": uri}
        got, said = ask("GET", "/api/v1/protection/auth", **headers)
        assert got == status, (method, uri, said)
    assert ask("GET", "/api/v1/protection?image=elsewhere.example/a:v1")[0] == 400


def test_deliveries_are_listed_and_sent_again(service: FilledService, ask: Answers) -> None:
    with service.database.write() as connection:
        row = {"event_id": "e", "endpoint": "x", "type": "done", "job": "j", "tag": "t", "content_type": "a/b"}
        more = {"body": "{}", "state": "failed", "next_at": 1.0, "created_at": 1.0}
        connection.execute(deliveries.insert().values(**row, **more))
    (one,) = ask("GET", "/api/v1/deliveries?state=failed")[1]["deliveries"]
    assert ask("POST", f"/api/v1/deliveries/{one['id']}/redeliver")[0] == 204
    assert ask("GET", "/api/v1/deliveries")[1]["deliveries"][0]["state"] == "pending"
    assert ask("POST", "/api/v1/deliveries/99/redeliver")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {"image": "a\x00b"},
        {"image": "x" * 501},
        {"image": 5},
        {"image": "oci:somewhere"},
        {},
        [],
        "text",
        {"image": "r.example/a:v1", "more": 1},
    ],
)
def test_what_is_no_image_is_refused(ask: Answers, body: Any) -> None:
    status, said = ask("POST", "/api/v1/jobs", body)
    assert status in (400, 404, 422) and said["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/rules", {"rule": {"name": "x", "repository": "\ud800"}}),
        ("POST", "/rules", {"rule": {"name": "x", "tag": "/\ud800/"}}),
        ("POST", "/rules", {"rule": {"name": "x", "prefetch": ["/\ud800"], "mode": "full"}}),
        ("POST", "/rules", {"rule": {"name": "x", "tag_template": "\ud800{tag}"}}),
        ("POST", "/rules", {"rule": {"name": "x", "min_image": 10**30}}),
        ("POST", "/rules", {"rule": {"name": "x", "containerd_only": True}}),
        ("POST", "/rules/explain", {"image": "r.example/a:v1", "pusher": "\ud800"}),
        ("POST", "/rules/explain", {"image": "\ud800"}),
        ("POST", "/jobs", {"image": "r.example/\ud800:v1"}),
        ("POST", "/backfill", {"registry": "\ud800", "repositories": ["\ud800"]}),
        ("PUT", "/rules/%ED%A0%80", {"name": "x"}),
        ("GET", "/jobs?q=%ED%A0%80%00", None),
        ("GET", "/jobs/%ED%A0%80", None),
        ("GET", "/jobs?before=99999999999999999999999", None),
    ],
)
def test_what_is_no_text_and_what_fits_nowhere_is_no_failure_of_ours(
    ask: Answers, method: str, path: str, body: Any
) -> None:
    assert ask(method, "/api/v1" + path, body)[0] < 500


def test_bodies_that_are_too_large_or_of_no_known_length_are_refused(service: FilledService) -> None:
    url = f"{service.url}/api/v1/rules/explain"
    large = urllib3.request("POST", url, body=b"x" * (2 << 20), headers=service.headers, retries=False)
    chunked = urllib3.request("POST", url, body=iter([b"{}"]), headers=service.headers, retries=False)
    assert (large.status, chunked.status) == (413, 413)


def test_a_watcher_sees_changes_and_the_end_of_a_job(service: FilledService) -> None:
    job = service.job(state="running")
    url = f"{service.url}/api/v1/jobs/{job}/watch"
    answer = urllib3.request("GET", url, headers=service.headers, preload_content=False, timeout=30)
    lines = (line for chunk in answer.stream(64) for line in [chunk])
    assert b"event: job" in next(lines)
    service.change(job, state="done")
    rest = b"".join(lines)
    assert b'"state":"done"' in rest
    assert urllib3.request("GET", f"{service.url}/api/v1/jobs/x/watch", headers=service.headers).status == 404


def test_ten_thousand_queued_jobs_are_listed_by_an_index(service: FilledService, ask: Answers) -> None:
    service.job()
    with service.database.write() as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        many = [{**row, "id": f"j{i}", "seq": i + 10, "repository": f"team/a{i % 99}"} for i in range(10_000)]
        connection.execute(jobs.insert(), many)
    for path in ("/jobs", "/jobs?state=queued&limit=500", "/jobs?repository=team/a7", "/stats"):
        assert ask("GET", "/api/v1" + path)[0] == 200
    seen: list[str] = []

    @sa.event.listens_for(service.database.engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            seen.extend(str(step[3]) for step in cursor.fetchall())

    for states, repository in (([], ""), (["queued"], ""), ([], "team/a7")):
        queries.job_page(service.database, states=states, repository=repository, text="", limit=50, before=9000)
    queries.jobs_changed_since(service.database, 0.0, 10)
    assert [step for step in seen if step.startswith("SCAN jobs") and "USING INDEX" not in step] == []


# --- the description ------------------------------------------------------------------------------------------------


def test_the_api_keeps_to_its_description(service: FilledService) -> None:
    service.job(state="running")
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    checks = [
        not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    ]  # fmt: skip
    n_operations = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/watch"):
            continue  # a stream does not end, so there is no answer to compare with its description
        n_operations += 1

        @settings(
            max_examples=40,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def keeps_to_it(case: Any) -> None:
            answer = case.call(base_url=service.url, headers=service.headers)
            case.validate_response(answer, checks=checks)

        keeps_to_it()
    assert n_operations > 20
