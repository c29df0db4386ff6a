"""What senders say becomes events: their real bodies, hostile ones, and nothing about hosts that are not ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.errors import FormatError, LimitError
from accel.service.incoming import SENDERS, parse
from accel.service.model import Event
from accel.service.settings import SourceAuth, SourceKind, SourceSettings

DATA = Path(__file__).parents[1] / "data" / "service"
D1, D2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64
HOST = "r.example"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OURS = {
    HOST: HOST,
    "harbor.example": HOST,
    "docker.io": "docker.io",
    "ghcr.io": "ghcr.io",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com": "ecr",
}


def source(kind: SourceKind) -> SourceSettings:
    return SourceSettings(name="main", kind=kind, registry=HOST, auth=SourceAuth(none=True))


def parsed(kind: SourceKind, body: Any, headers: Mapping[str, str] = {}) -> list[Event]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(source(kind), headers, raw, OURS.get)


def facts(event: Event) -> tuple[str, str, str, str | None, str | None]:
    return event.action, event.registry, event.repository, event.tag, event.digest


# --- distribution, as it was heard ------------------------------------------------------------------------------------


def requests() -> list[dict[str, Any]]:
    lines = (DATA / "distribution-2.8.2.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_requests_of_a_real_registry_say_what_was_done_to_it() -> None:
    events: list[Event] = []
    for request in requests():
        headers = {name.lower(): value for name, value in request["headers"]}
        events += parsed("distribution", request["body"], headers)
    assert len(events) == 17
    told = [(event.action, event.tag, (event.digest or "")[7:14]) for event in events if event.action != "other"]
    assert told == [
        ("push", "v1", "b26f46b"),
        ("push", "docker", "8b93cf4"),
        ("push", None, "f384b4c"),
        ("push", "multi", "07ac3d4"),
        ("push", "v1", "b26f46b"),
        ("push", "v1_accelerated", "f384b4c"),
        ("push", "v1_accelerated", "f384b4c"),
        ("push", "v1", "b26f46b"),
        ("delete", None, "07ac3d4"),
        ("delete", "multi", ""),
        ("push", "retry", "b26f46b"),
    ]
    assert {event.repository for event in events} == {"team/app", "other/app"}
    assert {event.actor for event in events if event.action != "other"} == {"alice"}


def test_every_event_of_a_real_registry_keeps_its_id() -> None:
    for request in requests():
        (event,) = parsed("distribution", request["body"])
        assert event.event_id == request["body"]["events"][0]["id"]


def test_an_envelope_of_many_events_is_as_many_events() -> None:
    together = [event for request in requests() for event in request["body"]["events"]]
    assert len(parsed("distribution", {"events": together})) == 17


# --- the others: body, headers, what it says --------------------------------------------------------------------------

HARBOR_DATA = {
    "resources": [{"digest": D1, "tag": "v1", "resource_url": "harbor.example/library/app:v1"}],
    "repository": {
        "date_created": 1,
        "name": "app",
        "namespace": "library",
        "repo_full_name": "library/app",
        "repo_type": "public",
    },
}
HARBOR = {"type": "PUSH_ARTIFACT", "occur_at": 1_700_000_000, "operator": "robot$ci", "event_data": HARBOR_DATA}
HARBOR_CE = {
    "specversion": "1.0",
    "id": "3a4f1e2d",
    "requestid": "r1",
    "source": "/projects/1/webhook/policies/1",
    "type": "harbor.artifact.pushed",
    "datacontenttype": "application/json",
    "time": "2026-11-23T12:11:39Z",
    "operator": "admin",
    "data": HARBOR_DATA,
}
ACR = {
    "push_data": {"digest": D1, "pushed_at": "2016-11-29 12:25:46", "tag": "latest"},
    "repository": {
        "date_created": "2016-10-28 21:31:42",
        "name": "repo-test",
        "namespace": "namespace",
        "region": "cn-hangzhou",
        "repo_authentication_type": "NO_CERTIFIED",
        "repo_full_name": "namespace/repo-test",
        "repo_origin_type": "NO_CERTIFIED",
        "repo_type": "PUBLIC",
    },
}
ACR_BRIDGE = {
    "specversion": "1.0",
    "id": "45ef4dewdwe1",
    "source": "acs.cr",
    "type": "cr:Artifact:PushCompleted",
    "subject": "acs.cr:cn-hangzhou:123456789098:cri-1",
    "time": "2021-03-04T15:13:31Z",
    "aliyunaccountid": "123456789098",
    "data": {"InstanceName": "n", "RepoNamespaceName": "ns", "RepoName": "app", "RegionId": "cn-hangzhou", "Tag": "1"},
}
ECR = {
    "version": "0",
    "id": "13cde686-328b-6117-af20-0e5566167482",
    "detail-type": "ECR Image Action",
    "source": "aws.ecr",
    "account": "123456789012",
    "time": "2019-11-16T01:54:34Z",
    "region": "us-west-2",
    "resources": [],
    "detail": {
        "result": "SUCCESS",
        "repository-name": "my-repo",
        "image-digest": D1,
        "action-type": "PUSH",
        "image-tag": "latest",
        "manifest-media-type": MANIFEST,
    },
}
ZOT_DATA = {"name": "team/app", "reference": "v1", "digest": D1, "mediaType": MANIFEST, "manifest": "{}"}
ZOT = {
    "specversion": "1.0",
    "id": "z1",
    "source": "zotregistry.dev",
    "type": "zotregistry.image.updated",
    "data": ZOT_DATA,
}
ZOT_HEADERS = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "z1",
    "ce-source": "zotregistry.dev",
    "ce-type": "mine.image.deleted",
}
AZURE = {
    "id": "cb8c3971-9adc-488b-bdd8-43cbb4974ff5",
    "timestamp": "2017-11-17T16:52:01.343145347Z",
    "action": "push",
    "target": {
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "size": 524,
        "digest": D1,
        "length": 524,
        "repository": "hello-world",
        "tag": "v1",
    },
    "request": {"id": "3cbb6949", "host": "myregistry.azurecr.io", "method": "PUT", "useragent": "docker/17.09"},
}
AZURE_GRID = [
    {
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "topic": "/subscriptions/1/registries/2",
        "subject": "hello-world:v1",
        "eventType": "Microsoft.ContainerRegistry.ImagePushed",
        "data": AZURE,
        "dataVersion": "1.0",
    }
]
AZURE_CE = [{"specversion": "1.0", "id": "831e", "source": "/s", "type": "x.ImagePushed", "data": AZURE}]
QUAY = {
    "name": "app",
    "repository": "team/app",
    "namespace": "team",
    "docker_url": "quay.example/team/app",
    "homepage": "https://quay.example/repository/team/app",
    "updated_tags": ["latest", "v2"],
}
DOCKERHUB = {
    "callback_url": "https://registry.hub.docker.com/u/team/app/hook/1/",
    "push_data": {"pushed_at": 1417566161, "pusher": "trusted", "tag": "latest"},
    "repository": {"name": "app", "namespace": "team", "repo_name": "team/app", "status": "Active"},
}
GHCR = {
    "action": "published",
    "registry_package": {
        "name": "App",
        "namespace": "Octo",
        "package_type": "CONTAINER",
        "package_version": {
            "id": 5,
            "container_metadata": {"tag": {"name": "v1", "digest": D1}, "manifest": {}, "labels": {}},
        },
    },
    "sender": {"login": "octocat"},
}
GENERIC_DATA = {"repository": "team/app", "tag": "v1", "digest": D1, "registry": HOST, "actor": "ci"}
GENERIC = {"specversion": "1.0", "id": "g1", "source": "/ci", "type": "any", "data": GENERIC_DATA}
ECR_HOST = "ecr"

SAID: dict[str, tuple[SourceKind, Any, dict[str, str], list[tuple[Any, ...]]]] = {
    "harbor": ("harbor", HARBOR, {}, [("push", HOST, "library/app", "v1", D1)]),
    "harbor, CloudEvents": (
        "harbor",
        HARBOR_CE,
        {"content-type": "application/cloudevents+json"},
        [("push", HOST, "library/app", "v1", D1)],
    ),
    "harbor, delete": (
        "harbor",
        HARBOR | {"type": "DELETE_ARTIFACT"},
        {},
        [("delete", HOST, "library/app", "v1", D1)],
    ),
    "harbor, scan": (
        "harbor",
        HARBOR | {"type": "SCANNING_COMPLETED"},
        {},
        [("other", HOST, "library/app", None, None)],
    ),
    "harbor, no tag": (
        "harbor",
        HARBOR
        | {
            "event_data": HARBOR_DATA
            | {"resources": [{"digest": D1, "tag": D1, "resource_url": f"harbor.example/library/app@{D1}"}]}
        },
        {},
        [("push", HOST, "library/app", None, D1)],
    ),
    "harbor, test button": ("harbor", {"type": "TEST_ENDPOINT", "occur_at": 1}, {}, []),
    "acr": ("acr", ACR, {}, [("push", HOST, "namespace/repo-test", "latest", D1)]),
    "acr, EventBridge": ("acr", ACR_BRIDGE, {}, [("push", HOST, "ns/app", "1", None)]),
    "acr, a build": (
        "acr",
        ACR_BRIDGE | {"type": "cr:Artifact:BuildCompleted", "data": "of no interest"},
        {},
        [("other", HOST, "", None, None)],
    ),
    "ecr": ("ecr", ECR, {}, [("push", ECR_HOST, "my-repo", "latest", D1)]),
    "ecr, failed": (
        "ecr",
        ECR | {"detail": ECR["detail"] | {"result": "FAILURE"}},  # type: ignore[operator]
        {},
        [("other", ECR_HOST, "my-repo", None, None)],
    ),
    "zot, structured": (
        "zot",
        ZOT,
        {"content-type": "application/cloudevents+json"},
        [("push", HOST, "team/app", "v1", D1)],
    ),
    "zot, binary, own prefix": ("zot", ZOT_DATA, ZOT_HEADERS, [("delete", HOST, "team/app", "v1", D1)]),
    "zot, by digest": (
        "zot",
        ZOT | {"data": ZOT_DATA | {"reference": D1}},
        {},
        [("push", HOST, "team/app", None, D1)],
    ),
    "azure": ("azure", AZURE, {}, [("push", HOST, "hello-world", "v1", D1)]),
    "azure, Event Grid": ("azure", AZURE_GRID, {}, [("push", HOST, "hello-world", "v1", D1)]),
    "azure, CloudEvents": (
        "azure",
        AZURE_CE,
        {"content-type": "application/cloudevents-batch+json; charset=utf-8"},
        [("push", HOST, "hello-world", "v1", D1)],
    ),
    "quay": (
        "quay",
        QUAY,
        {},
        [("push", HOST, "team/app", "latest", None), ("push", HOST, "team/app", "v2", None)],
    ),
    "dockerhub": ("dockerhub", DOCKERHUB, {}, [("push", "docker.io", "team/app", "latest", None)]),
    "ghcr": ("ghcr", GHCR, {"x-github-delivery": "d1"}, [("push", "ghcr.io", "octo/app", "v1", D1)]),
    "cloudevents": ("cloudevents", GENERIC, {}, [("push", HOST, "team/app", "v1", D1)]),
    "cloudevents, delete": (
        "cloudevents",
        GENERIC | {"data": GENERIC_DATA | {"action": "delete"}},
        {},
        [("delete", HOST, "team/app", "v1", D1)],
    ),
    "cloudevents, batch": (
        "cloudevents",
        [GENERIC, GENERIC | {"id": "g2"}],
        {"content-type": "application/cloudevents-batch+json"},
        [("push", HOST, "team/app", "v1", D1)] * 2,
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_a_senders_body_becomes_the_events_it_means(name: str) -> None:
    kind, body, headers, wanted = SAID[name]
    assert [facts(event) for event in parsed(kind, body, headers)] == wanted


def test_every_kind_that_can_be_configured_has_a_parser_and_is_tried_here() -> None:
    assert set(SENDERS) == set(get_args(SourceKind))
    assert {kind for kind, *_ in SAID.values()} | {"distribution"} == set(SENDERS)


# --- one event, one id ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SAID if SAID[name][0] != "quay"])
def test_what_is_sent_again_has_the_same_ids(name: str) -> None:
    kind, body, headers, _ = SAID[name]
    again = {**body, "unknown": 1} if isinstance(body, dict) else body
    ids = [event.event_id for event in parsed(kind, body, headers)]
    assert ids == [event.event_id for event in parsed(kind, again, headers)]
    assert len(set(ids)) == len(ids)


def test_another_push_has_another_id() -> None:
    later = HARBOR | {"occur_at": 1_700_000_001}
    assert parsed("harbor", HARBOR)[0].event_id != parsed("harbor", later)[0].event_id


def test_two_pushes_that_look_the_same_are_two_events() -> None:
    """Quay says neither an id nor a time: a second push of a tag must not be taken for the first one."""
    ids = {event.event_id for _ in range(2) for event in parsed("quay", QUAY)}
    assert len(ids) == 4


def test_a_request_id_makes_a_repeated_request_known() -> None:
    headers = {"x-request-id": "7"}
    ids = {event.event_id for _ in range(2) for event in parsed("quay", QUAY, headers)}
    assert len(ids) == 2


@pytest.mark.parametrize("odd", ["a" * 501, "nul\0", "line\nbreak"])
def test_an_id_that_no_database_takes_is_hashed_and_still_its_own(odd: str) -> None:
    def id_of(text: str) -> str:
        body = {"events": [{**AZURE, "id": text}]}
        (event,) = parsed("distribution", body)
        return event.event_id

    assert id_of(odd) == id_of(odd) != id_of(odd + "x")
    assert len(id_of(odd)) < 100 and id_of(odd).isprintable()


# --- what is refused, what is dropped ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "repository",
    ["UPPER/case", "../../etc", "a//b", "/a", "a/", "a b", "", "a" * 256, "x@y", "https://evil.example/x", "é", "a\nb"],
)
def test_repositories_that_are_none_are_refused(repository: str) -> None:
    with pytest.raises(FormatError):
        parsed("distribution", {"events": [{**AZURE, "target": {**_target(), "repository": repository}}]})


@pytest.mark.parametrize("tag", ["a/b", "-a", "a" * 129, "a b", "é", "a\n", ".."])
def test_tags_that_are_none_are_refused(tag: str) -> None:
    with pytest.raises(FormatError):
        parsed("distribution", {"events": [{**AZURE, "target": {**_target(), "tag": tag}}]})


@pytest.mark.parametrize("digest", ["sha256:1", "md5:" + "0" * 32, "sha256:" + "G" * 64, D1 + "\n", "1" * 64])
def test_digests_that_are_none_are_refused(digest: str) -> None:
    with pytest.raises(FormatError):
        parsed("distribution", {"events": [{**AZURE, "target": {**_target(), "digest": digest}}]})


def _target() -> dict[str, Any]:
    target = AZURE["target"]
    assert isinstance(target, dict)
    return target


@pytest.mark.parametrize("host", ["evil.example", "169.254.169.254", "r.example:8080", "R.EXAMPLE", "localhost"])
def test_events_about_a_registry_that_is_not_configured_are_dropped(host: str) -> None:
    assert parsed("cloudevents", GENERIC | {"data": GENERIC_DATA | {"registry": host}}) == []
    resource = {"digest": D1, "tag": "v1", "resource_url": f"{host}/library/app:v1"}
    assert parsed("harbor", HARBOR | {"event_data": HARBOR_DATA | {"resources": [resource]}}) == []


def test_an_ecr_account_that_is_not_configured_is_dropped() -> None:
    assert parsed("ecr", ECR | {"account": "999999999999"}) == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a":1,"a":2}', b"[" * 100_000, b'{"events": 1}', b"{}", b"null"]
)
def test_what_is_no_event_is_a_format_error(raw: bytes) -> None:
    with pytest.raises(FormatError):
        parsed("distribution", raw)


def test_a_request_has_a_most_of_events() -> None:
    with pytest.raises(FormatError, match="more than"):
        parsed("distribution", {"events": [{"action": "pull"}] * 10_001})


# --- anything at all --------------------------------------------------------------------------------------------------

KEYS = (
    "events action target mediaType repository tag digest id actor name timestamp type event_data resources "
    "resource_url repo_full_name push_data pushed_at pusher specversion source data subject detail account region "
    "detail-type action-type result repository-name image-tag registry_package package_version container_metadata "
    "package_type namespace updated_tags repo_name reference registry occur_at operator sender login"
).split()
VALUES = st.sampled_from(
    ["push", "delete", "PUSH", "SUCCESS", "PUSH_ARTIFACT", "published", "CONTAINER", "team/app", "v1", D1, D2, HOST,
     MANIFEST, INDEX, "zotregistry.image.updated", "cr:Artifact:PushCompleted", "1.0", "harbor.example/a/b:c"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | VALUES,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=8),
    max_leaves=25,
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "ce-specversion", "ce-id", "ce-type", "ce-source", "x-request-id"]),
    st.sampled_from(["application/cloudevents+json", "application/cloudevents-batch+json", "1.0", "a.image.updated"]),
)


@given(kind=st.sampled_from(sorted(SENDERS)), headers=HEADERS, value=JSON)
def test_any_json_gives_events_or_an_error_of_ours(kind: SourceKind, headers: dict[str, str], value: Any) -> None:
    _events_or_error(kind, headers, value)


@given(data=st.data(), name=st.sampled_from(sorted(SAID)))
def test_a_real_body_with_anything_inside_gives_events_or_an_error_of_ours(data: st.DataObject, name: str) -> None:
    kind, body, headers, _ = SAID[name]
    _events_or_error(kind, headers, _changed(json.loads(json.dumps(body)), data))


def _changed(value: Any, data: st.DataObject) -> Any:
    """``value`` with one thing in it replaced by any other."""
    if isinstance(value, (dict, list)) and value and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        value[key] = _changed(value[key], data)
        return value
    return data.draw(JSON)


def _events_or_error(kind: SourceKind, headers: dict[str, str], value: Any) -> None:
    try:
        events = parsed(kind, value, headers)
    except (FormatError, LimitError):
        return
    for event in events:
        assert isinstance(event, Event)
        assert event.registry in OURS.values() and event.event_id
        if event.action != "other":
            assert event.event_id.isprintable() and len(event.event_id) <= 500
