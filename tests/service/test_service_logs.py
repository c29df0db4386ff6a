"""Log lines of the service: JSON with context, no secrets, and the log of each job in the database."""

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from accel.service.database import Database, job_log, jobs
from accel.service.job_log import JobLog
from accel.service.logs import FIELDS, JsonFormatter, Redactor, log_context, logging_to, secrets_of
from accel.service.settings import ServiceSettings

log = logging.getLogger("accel.test")

SECRET = "hunter2-but-longer/+="
BASIC = {"user": "u", "password": "pw-b"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/service.sqlite")
    yield made
    made.close()


def add_job(database: Database, name: str, seq: int) -> None:
    with database.write() as connection:
        connection.execute(
            sa.insert(jobs).values(
                id=name, seq=seq, registry="r", repository="app", source_digest="sha256:0", rule="all", recipe={},
                origin="event", state="running", created_at=0, updated_at=0,
            )
        )  # fmt: skip


def lines_of(database: Database, job: str) -> list[tuple[str, str]]:
    query = sa.select(job_log.c.level, job_log.c.message).where(job_log.c.job == job).order_by(job_log.c.id)
    with database.read() as connection:
        return [(level, message) for level, message in connection.execute(query)]


def written(*calls: object, stream: io.StringIO | None = None, secrets: tuple[str, ...] = ()) -> str:
    stream = stream or io.StringIO()
    with logging_to(stream, redactor=Redactor(secrets)):
        for call in calls:
            log.info(*call) if isinstance(call, tuple) else log.info(call)
    return stream.getvalue()


def test_a_line_is_one_json_object_with_its_context() -> None:
    stream = io.StringIO()
    with logging_to(stream, redactor=Redactor()):
        with log_context(job="j1", repository="team/app"), log_context(layer="sha256:1"):
            log.warning("two\nlines of %s", "text", extra={"worker": "w1"})
        log.info("after")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "warning", "logger": "accel.test", "message": "two lines of text",
        "job": "j1", "layer": "sha256:1", "repository": "team/app", "worker": "w1",
    }  # fmt: skip
    assert not set(second) & set(FIELDS)


def test_an_exception_is_a_field_and_keeps_its_lines() -> None:
    stream = io.StringIO()
    with logging_to(stream, redactor=Redactor([SECRET])):
        try:
            raise ValueError(f"refused {SECRET}")
        except ValueError:
            log.exception("no luck")
    [line] = stream.getvalue().splitlines()
    text = json.loads(line)["exception"]
    assert text.startswith("Traceback") and text.endswith("ValueError: refused …") and text.count("\n") >= 2


def test_a_terminal_gets_text_and_no_control_characters_of_strangers() -> None:
    text = written(("a tag \x1b[31mred\nforged line",), stream=Terminal())
    assert text.count("\n") == 1 and "\x1b" not in text and "INFO" in text


def test_a_wrong_call_does_not_lose_the_line() -> None:
    record = logging.LogRecord("accel.test", logging.INFO, __file__, 1, "three %s %s", (1,), None)
    assert "three %s %s" in json.loads(JsonFormatter(Redactor()).format(record))["message"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {secret}",
        "{{'Authorization': '{secret}'}}",
        "authorization=Basic {secret}",
        "POST /hooks/acr?secret={secret}&x=1",
        "GET https://s3.example/blob?X-Amz-Signature={secret}&X-Amz-Credential={secret}",
        "https://user:{secret}@registry.example/v2/",
        "postgresql://accel:{secret}@db.example/accel",
        "token={secret}",
        "Bearer {secret}",
        'body {{"access_token": "{secret}"}}',
    ],
)
def test_credentials_are_told_by_their_look(text: str) -> None:
    secret = "c2VjcmV0LXZhbHVl"
    line = written((text.format(secret=secret).replace("%", "%%"),))
    assert secret not in line and json.loads(line)["message"]


def test_secrets_of_the_settings_are_never_written_in_any_form() -> None:
    settings = ServiceSettings.model_validate(
        {
            "store": {"url": "postgresql://accel:db%2Fpassword@db.example/accel"},
            "api": {"tokens": [{"name": "ops", "token": "api-token-of-sixteen"}]},
            "registries": [{"host": "r.example"}],
            "sources": [
                {"name": "a", "kind": "acr", "registry": "r.example", "auth": {"url_secret": [SECRET]}},
                {"name": "b", "kind": "quay", "registry": "r.example", "auth": {"basic": BASIC}},
                {"name": "c", "kind": "ghcr", "registry": "r.example", "auth": {"hmac": {"secrets": ["hmac-of-c"]}}},
            ],
            "endpoints": [{"name": "e", "url": "https://e.example", "secrets": ["whsec_of_e"]}],
        }
    )  # fmt: skip
    secrets = secrets_of(settings)
    assert {"db/password", "api-token-of-sixteen", SECRET, "pw-b", "hmac-of-c", "whsec_of_e"} <= secrets
    line = written(
        *(f"plainly {secret} said" for secret in secrets), "hunter2-but-longer%2F%2B%3D", secrets=tuple(secrets)
    )
    assert not [secret for secret in secrets if secret in line] and "hunter2" not in line


def test_an_unknown_field_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="no log field 'tag'"), log_context(tag="v1"):
        pass


def test_handlers_and_level_are_put_back() -> None:
    before = (logging.getLogger().level, list(logging.getLogger().handlers))
    written("x")
    assert (logging.getLogger().level, logging.getLogger().handlers) == before


def test_lines_of_a_job_are_stored_with_it_and_no_others(database: Database) -> None:
    add_job(database, "j1", 1)
    redactor = Redactor([SECRET])
    with logging_to(io.StringIO(), redactor=redactor, extra=[JobLog(database, redactor)]):
        log.info("of nobody")
        with log_context(job="j1"):
            log.info("started with %s", SECRET)
            log.debug("too fine")
            log.error("failed")
        with log_context(job="gone"):
            log.info("of a job that is no more")
    assert lines_of(database, "j1") == [("info", "started with …"), ("error", "failed")]
    assert lines_of(database, "gone") == []


def test_a_job_that_talks_without_end_fills_its_own_log_only(database: Database) -> None:
    add_job(database, "loud", 1)
    add_job(database, "quiet", 2)
    redactor = Redactor()
    for _ in range(2):  # a restart does not count anew
        with logging_to(io.StringIO(), redactor=redactor, extra=[JobLog(database, redactor, max_lines=10)]):
            with log_context(job="loud"):
                for n in range(40):
                    log.info("line %d", n)
            with log_context(job="quiet"):
                log.info("heard")
    loud = lines_of(database, "loud")
    assert [message for _, message in loud[:10]] == [f"line {n}" for n in range(10)]
    assert len(loud) == 11 and loud[10][0] == "warning" and "full" in loud[10][1]
    assert len(lines_of(database, "quiet")) == 2


def test_lines_are_stored_while_the_job_runs(database: Database) -> None:
    add_job(database, "j1", 1)
    redactor = Redactor()
    with logging_to(io.StringIO(), redactor=redactor, extra=[JobLog(database, redactor, batch_s=0.01)]):
        with log_context(job="j1"):
            log.info("on my way")
        deadline = time.monotonic() + 10
        while not lines_of(database, "j1") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lines_of(database, "j1") == [("info", "on my way")]


def test_a_database_that_fails_for_a_while_loses_no_line(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_job(database, "j1", 1)
    store, failures = JobLog._store, 3

    def failing(self: JobLog, lines: list[dict[str, object]]) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise sa.exc.OperationalError("insert", {}, Exception("disk"))
        store(self, lines)

    monkeypatch.setattr(JobLog, "_store", failing)
    handler = JobLog(database, Redactor(), batch_s=0.01)
    with logging_to(io.StringIO(), redactor=Redactor(), extra=[handler]), log_context(job="j1"):
        log.info("kept")
        deadline = time.monotonic() + 10
        while failures >= 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert lines_of(database, "j1") == [("info", "kept")]


def test_the_thread_ends_with_the_handler(database: Database) -> None:
    handler = JobLog(database, Redactor())
    handler.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "job-log"]
