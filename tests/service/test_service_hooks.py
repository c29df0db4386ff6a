"""The routes of incoming events: quick answers that senders understand, nothing lost, no secret told."""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Router

from accel.service.database import Database, inbox_tables
from accel.service.hooks import hook_routes
from accel.service.inbox import Inbox
from accel.service.settings import ServiceSettings

SECRET = "hook-secret-5d1f"
D1 = "sha256:" + "1" * 64
LIMIT = 4096
SETTINGS = ServiceSettings.model_validate(
    {
        "api": {"auth": "none", "max_body_bytes": LIMIT},
        "registries": [{"host": "r.example", "aliases": ["harbor.example"]}],
        "sources": [
            {"name": "dist", "kind": "distribution", "registry": "r.example", "auth": {"bearer": [SECRET]}},
            {"name": "hub", "kind": "acr", "registry": "r.example", "auth": {"url_secret": [SECRET]}},
            {"name": "events", "kind": "cloudevents", "registry": "r.example", "auth": {"bearer": [SECRET]}},
        ],
    }
)
BEARER = {"authorization": f"Bearer {SECRET}"}


def push(number: int = 1, **target: Any) -> dict[str, Any]:
    about = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": "team/app", "tag": "v1"}
    return {"id": f"id-{number}", "action": "push", "target": {**about, "digest": D1, **target}}


def envelope(*events: Any) -> bytes:
    return json.dumps({"events": events}).encode()


ACR = json.dumps(
    {"push_data": {"digest": D1, "pushed_at": "2026-11-29 12:25:46", "tag": "v1"},
     "repository": {"repo_full_name": "ns/app"}}
).encode()  # fmt: skip


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Hooks:
    """The routes, asked as a server asks them."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.counted: list[tuple[str, str]] = []
        self._app = Router(hook_routes(SETTINGS, inbox, self._count))

    def _count(self, source: str, outcome: str, seconds: float | None) -> None:
        assert (seconds is not None) == (outcome in ("stored", "repeated"))
        self.counted.append((source, outcome))

    def ask(
        self,
        path: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] = BEARER,
        method: str = "POST",
        query: str = "",
    ) -> Answer:
        """The answer. ``body`` in several parts is one of no known length."""
        return asyncio.run(self._ask(path, body, headers, method, query))

    async def _ask(
        self, path: str, body: bytes | Sequence[bytes], headers: Mapping[str, str], method: str, query: str
    ) -> Answer:
        parts = [body] if isinstance(body, bytes) else list(body)
        length = {"content-length": str(len(body))} if isinstance(body, bytes) else {}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in {**length, **headers}.items()],
        }  # fmt: skip
        self.n_read = 0
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not parts:
                return {"type": "http.disconnect"}
            self.n_read += len(parts[0])
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: Any) -> None:
            said.append(message)

        await self._app(scope, receive, send)
        told = {key.decode(): value.decode() for key, value in said[0]["headers"]}
        return Answer(said[0]["status"], told, b"".join(one.get("body", b"") for one in said[1:]))

    def stored(self) -> list[tuple[str, str, str | None]]:
        return [(event.source, event.repository, event.tag) for _, event in self.inbox.open(1000)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{tmp_path}/inbox.sqlite", inbox_tables)) as made:
        yield made


@pytest.fixture
def hooks(database: Database) -> Iterator[Hooks]:
    with Inbox(database) as inbox:
        yield Hooks(inbox)


def test_an_event_is_stored_before_it_is_answered(hooks: Hooks) -> None:
    answer = hooks.ask("/hooks/dist", envelope(push()))
    assert (answer.status, answer.json) == (202, {"accepted": 1, "duplicates": 0})
    assert hooks.stored() == [("dist", "team/app", "v1")]
    assert hooks.counted == [("dist", "stored")]


def test_a_body_may_come_in_pieces_of_no_known_length(hooks: Hooks) -> None:
    body = envelope(push())
    assert hooks.ask("/hooks/dist", [body[:10], b"", body[10:]]).status == 202
    assert len(hooks.stored()) == 1


def test_an_event_sent_again_is_a_duplicate_and_stored_once(hooks: Hooks) -> None:
    hooks.ask("/hooks/dist", envelope(push(1)))
    again = hooks.ask("/hooks/dist", envelope(push(1)))
    assert (again.status, again.json) == (202, {"accepted": 0, "duplicates": 1})
    some = hooks.ask("/hooks/dist", envelope(push(1), push(2), push(2)))
    assert some.json == {"accepted": 1, "duplicates": 2}
    assert len(hooks.stored()) == 2
    assert hooks.counted == [("dist", "stored"), ("dist", "repeated"), ("dist", "stored")]


def test_a_source_that_nobody_configured_is_not_found(hooks: Hooks) -> None:
    assert hooks.ask("/hooks/nobody", envelope(push())).status == 404
    assert hooks.ask("/hooks/", envelope(push())).status == 404
    assert hooks.ask("/hooks/dist/more", envelope(push())).status == 404
    assert hooks.stored() == []


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": ""}])
def test_without_the_right_secret_nothing_is_stored(hooks: Hooks, headers: dict[str, str]) -> None:
    answer = hooks.ask("/hooks/dist", envelope(push()), headers)
    assert answer.status == 401
    assert answer.json["error"]["code"] == "unauthorized"
    assert hooks.stored() == [] and hooks.counted == [("dist", "refused")]


def test_a_body_is_not_looked_at_before_its_sender_is_known(hooks: Hooks) -> None:
    assert hooks.ask("/hooks/events", b"{", {}).status == 401


def test_a_secret_of_the_url_lets_in(hooks: Hooks) -> None:
    assert hooks.ask("/hooks/hub", ACR, {}, query=f"a=b&secret={SECRET}").status == 202
    assert hooks.ask("/hooks/hub", ACR, {}, query="secret=wrong").status == 401
    assert hooks.ask("/hooks/hub", ACR, {}, query="").status == 401
    assert hooks.stored() == [("hub", "ns/app", "v1")]


def test_a_body_that_says_it_is_too_large_is_not_read(hooks: Hooks) -> None:
    answer = hooks.ask("/hooks/hub", b"x" * (LIMIT + 1), {}, query=f"secret={SECRET}")
    assert (answer.status, hooks.n_read) == (413, 0)


def test_a_registry_that_would_repeat_it_for_ever_hears_2xx_for_what_is_too_large(hooks: Hooks) -> None:
    answer = hooks.ask("/hooks/dist", b"x" * (LIMIT + 1))
    assert (answer.status, answer.json["accepted"], hooks.n_read) == (202, 0, 0)
    assert "refused" in answer.json and hooks.stored() == []
    assert hooks.ask("/hooks/dist", b"x" * (LIMIT + 1), {}).status == 401


def test_an_event_that_names_no_image_does_not_cost_those_beside_it(hooks: Hooks) -> None:
    body = json.loads(envelope(push()))
    wrong = json.loads(json.dumps(body["events"][0]))
    wrong["id"], wrong["target"]["repository"] = "other", "No Name!"
    body["events"].insert(0, wrong)
    assert hooks.ask("/hooks/dist", json.dumps(body).encode()).json["accepted"] == 1


def test_a_body_without_length_is_read_to_the_limit_and_no_further(hooks: Hooks) -> None:
    answer = hooks.ask("/hooks/hub", [b"x" * 1000] * 1000, {}, query=f"secret={SECRET}")
    assert (answer.status, hooks.n_read) == (413, 5000)


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "abc", "1e3", "\u00b2", ""])
def test_a_length_that_is_none_does_not_let_more_in(hooks: Hooks, length: str) -> None:
    headers = {"content-length": length}
    answer = hooks.ask("/hooks/hub", [b"x" * 1000] * 10, headers, query=f"secret={SECRET}")
    assert answer.status == 413


def test_a_sender_that_hangs_up_is_no_error_and_stores_nothing(hooks: Hooks) -> None:
    answer = hooks.ask("/hooks/dist", [])
    assert answer.status == 400
    assert hooks.stored() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"events": 5}', b"\xff", envelope(push(tag="a/b")), b"[" * 4000])
def test_what_distribution_sends_is_answered_well_as_it_would_repeat_it_for_ever(hooks: Hooks, body: bytes) -> None:
    answer = hooks.ask("/hooks/dist", body)
    assert answer.status == 202 and answer.json["accepted"] == 0 and answer.json["refused"]
    assert hooks.stored() == [] and hooks.counted == [("dist", "malformed")]


@pytest.mark.parametrize("body", [b"", b"{", b'{"specversion": "1.0"}', b"\xff", b"[" * 4000])
def test_others_are_told_what_is_wrong(hooks: Hooks, body: bytes) -> None:
    answer = hooks.ask("/hooks/events", body)
    assert answer.status == 400 and answer.json["error"]["code"] == "malformed"


def test_what_is_nothing_to_us_is_taken_and_not_kept(hooks: Hooks) -> None:
    blob = push(mediaType="application/octet-stream")
    assert hooks.ask("/hooks/dist", envelope(blob)).json == {"accepted": 0, "duplicates": 0}
    assert hooks.stored() == [] and hooks.counted == [("dist", "ignored")]


def test_what_cannot_be_stored_is_to_be_sent_again(hooks: Hooks, database: Database) -> None:
    inbox_tables.drop_all(database.engine)
    answer = hooks.ask("/hooks/dist", envelope(push()))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    inbox_tables.create_all(database.engine)
    assert hooks.ask("/hooks/dist", envelope(push())).json == {"accepted": 1, "duplicates": 0}
    assert hooks.counted == [("dist", "failed"), ("dist", "stored")]


def test_a_full_inbox_is_to_be_asked_again(database: Database) -> None:
    with Inbox(database, max_waiting=0) as inbox:
        answer = Hooks(inbox).ask("/hooks/dist", envelope(push()))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_a_closed_inbox_is_to_be_asked_again(database: Database) -> None:
    inbox = Inbox(database)
    inbox.close()
    assert Hooks(inbox).ask("/hooks/dist", envelope(push())).status == 503


def test_who_asks_whether_it_may_send_may(hooks: Hooks) -> None:
    """CloudEvents «HTTP 1.1 Web Hooks», 4.1."""
    answer = hooks.ask("/hooks/events", headers={"webhook-request-origin": "eventgrid.example"}, method="OPTIONS")
    assert answer.status == 200
    assert answer.headers["webhook-allowed-origin"] == "eventgrid.example"
    assert answer.headers["webhook-allowed-rate"] == "*"
    assert answer.headers["allow"] == "POST"


def test_a_source_that_is_none_gives_no_leave_to_send(hooks: Hooks) -> None:
    assert hooks.ask("/hooks/nobody", method="OPTIONS").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_not_allowed(hooks: Hooks, method: str) -> None:
    assert hooks.ask("/hooks/dist", method=method).status == 405


def test_no_secret_is_told_in_logs_or_answers(
    hooks: Hooks, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    given_away = "sent-by-a-stranger-77"
    with caplog.at_level(logging.DEBUG):
        answers = [
            hooks.ask("/hooks/dist", envelope(push())),
            hooks.ask("/hooks/dist", b"{"),
            hooks.ask("/hooks/dist", envelope(push()), {"authorization": f"Bearer {given_away}"}),
            hooks.ask("/hooks/hub", b"{", {}, query=f"secret={SECRET}"),
            hooks.ask("/hooks/hub", ACR, {}, query=f"secret={given_away}"),
        ]
        inbox_tables.drop_all(database.engine)
        answers.append(hooks.ask("/hooks/dist", envelope(push())))
    told = caplog.text + "".join(f"{answer.headers}{answer.body!r}" for answer in answers)
    assert SECRET not in told and given_away not in told
    assert {answer.status for answer in answers} == {202, 401, 400, 503}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/hooks/dist", "/hooks/hub", "/hooks/events", "/hooks/x"]),
    parts=st.lists(st.binary(max_size=2000), max_size=4),
    authorization=st.sampled_from([f"Bearer {SECRET}", "", "Bearer x"]) | st.text(st.characters(max_codepoint=255)),
    query=st.sampled_from([f"secret={SECRET}", "", "secret", "secret=%ff", "&&=", "secret=1&secret=2"]),
    content_type=st.sampled_from(["", "application/json", "application/cloudevents-batch+json", ";;", "\u00e9"]),
)
def test_any_bytes_get_an_answer_with_a_meaning(
    hooks: Hooks, path: str, parts: list[bytes], authorization: str, query: str, content_type: str
) -> None:
    headers = {"authorization": authorization, "content-type": content_type}
    assert hooks.ask(path, parts, headers, query=query).status in (202, 400, 401, 404, 413)
