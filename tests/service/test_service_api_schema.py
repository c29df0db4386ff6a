"""What the API answers about things that are there is what its description says: fuzzed with known names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accel.service.database import deliveries, dependencies
from accel.service.model import Recipe, Wanted
from accel.service.settings import RuleSettings
from support.service_state import FilledService

# Not negative_data_rejection: it wants parameters of the query that nobody knows to be refused, which HTTP leaves be.
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance,
]  # fmt: skip
# A stream does not end, so there is no answer to compare; tests of reads have them.
STREAMS = ("/api/v1/watch", "/api/v1/jobs/{job}/watch")
IMAGE = "r.example/team/app:v1"
DIGEST = "sha256:" + "1" * 64


def nothing_to_delete(registry: str, repository: str, tag: str, *, force: bool = False) -> dict[str, Any]:
    """Says that it deleted."""
    return {"deleted": DIGEST, "tags": [tag]}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FilledService]:
    with FilledService(tmp_path) as running:
        running.protector.delete_source = nothing_to_delete  # type: ignore[method-assign]
        running.found = [Wanted("r.example", "team/app", "v1", DIGEST, "all", Recipe(), "api")]
        with running.database.write() as connection:
            event = {"event_id": "e", "endpoint": "x", "type": "done", "job": "j", "tag": "t", "state": "failed"}
            more = {"content_type": "a/b", "body": "{}", "next_at": 1.0, "created_at": 1.0}
            connection.execute(deliveries.insert().values(**event, **more))
            where = {"registry": "r.example", "repository": "a", "tag": "v_accelerated", "source_tag": "v"}
            aim = {"digest": "sha256:2", "source_digest": "sha256:1", "job": "j"}
            connection.execute(dependencies.insert().values(**where, **aim))
        yield running


STATES = {"pause": "running", "cancel": "queued", "resume": "paused"}  # in which a job can be told so


class Known:
    """Puts names of what is there into cases, and the job into a state in which it can do what it is told."""

    def __init__(self, service: FilledService) -> None:
        self._service = service
        job = service.job(results={"index-only": {"digest": DIGEST}}, report={"layers": []})
        self._names = {"job": job, "delivery": 1, "name": "mine", "image": IMAGE}

    def __call__(self, case: Any) -> None:
        self._service.change(self._names["job"], state=STATES.get(case.path.rpartition("/")[2], "failed"))
        if "mine" not in [stored.rule.name for stored in self._service.rulebook.rules()]:
            self._service.rulebook.add(RuleSettings(name="mine"))
        for name in case.path_parameters or {}:
            case.path_parameters[name] = self._names[name]
        for part in (case.query, case.body):
            if isinstance(part, dict):
                known = ("image", "name") if case.method == "PUT" else ("image",)
                part |= {name: self._names[name] for name in known if name in part}


def operations(service: FilledService) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    return [found.ok() for found in schema.get_all_operations() if found.ok().path not in STREAMS]


def fuzz(test: Any, n_examples: int) -> None:
    bounds = settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(20)(bounds(test))()


def test_answers_about_what_is_there_are_as_described(service: FilledService) -> None:
    with_known_names = Known(service)
    seen: dict[str, set[int]] = {}
    for operation in operations(service):

        @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        def keeps_to_it(case: Any) -> None:
            with_known_names(case)
            answer = case.call(base_url=service.url, headers=service.headers)
            case.validate_response(answer, checks=CHECKS)
            seen.setdefault(case.operation.label, set()).add(answer.status_code)

        fuzz(keeps_to_it, 15)
    assert {label: statuses for label, statuses in seen.items() if min(statuses) >= 300} == {}


def test_wrong_data_is_refused_and_described(service: FilledService) -> None:
    n_refused = 0
    for operation in operations(service):

        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def keeps_to_it(case: Any) -> None:
            nonlocal n_refused
            answer = case.call(base_url=service.url, headers=service.headers)
            case.validate_response(answer, checks=CHECKS)
            n_refused += answer.status_code == 422

        fuzz(keeps_to_it, 12)
    assert n_refused > 50


def test_no_described_operation_forgets_to_ask_for_a_token(service: FilledService) -> None:
    for operation in operations(service):

        @given(case=operation.as_strategy())
        def keeps_to_it(case: Any) -> None:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic d3Jvbmc="}):
                assert case.call(base_url=service.url, headers=headers).status_code == 401

        fuzz(keeps_to_it, 3)


def test_the_description_names_every_operation_its_errors_and_its_token(service: FilledService) -> None:
    paths = schemathesis.openapi.from_url(f"{service.url}/openapi.json").raw_schema["paths"]
    assert set(STREAMS) < set(paths)
    ids = []
    for path, methods in paths.items():
        for method, told in methods.items():
            ids.append(told["operationId"])
            assert told["security"] == [{"HTTPBearer": []}], (method, path)
            assert told.get("summary") and told.get("description"), (method, path)
            for status in ("400", "401", "403", "422"):
                shape = told["responses"][status]["content"]["application/json"]["schema"]["$ref"]
                assert shape == "#/components/schemas/ErrorAnswer"
    assert len(set(ids)) == len(ids) > 20
