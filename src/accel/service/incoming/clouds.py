"""Events of cloud registries and of zot: ACR, ECR by EventBridge, zot, and CloudEvents of no sender in particular."""

from collections.abc import Mapping
from typing import Any

from accel.errors import FormatError
from accel.oci.fields import get_object, get_text, json_object, need_text
from accel.service.incoming.build import Found
from accel.service.incoming.cloudevent import CloudEvent, cloud_events, is_cloud_event
from accel.service.model import Action


def acr_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of a repository's trigger, or of EventBridge. A trigger's time has no zone, and there is no id."""
    if is_cloud_event(headers, value):
        return [_acr_bridge(event) for event in cloud_events(headers, value)]
    body = json_object(value, "body")
    pushed, repository = get_object(body, "push_data", "body"), get_object(body, "repository", "body")
    if pushed is None or repository is None:
        raise FormatError("body has no push_data and repository")
    return [
        Found(
            "push",
            need_text(repository, "repo_full_name", "repository"),
            need_text(pushed, "tag", "push_data"),
            get_text(pushed, "digest", "push_data"),
            same=(get_text(pushed, "pushed_at", "push_data"),),
        )
    ]


def _acr_bridge(event: CloudEvent) -> Found:
    if event.type != "cr:Artifact:PushCompleted":
        return Found("other", "", id=event.key)
    data = json_object(event.data, "data")
    namespace, name = (get_text(data, key, "data") for key in ("RepoNamespaceName", "RepoName"))
    return Found("push", f"{namespace}/{name}", get_text(data, "Tag", "data"), id=event.key)


def ecr_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of EventBridge's «ECR Image Action» and «ECR Pull Through Cache Action»."""
    event = json_object(value, "body")
    detail = get_object(event, "detail", "body") or {}
    actions: dict[str, Action] = {"PUSH": "push", "DELETE": "delete"}
    action = actions.get(get_text(detail, "action-type", "detail"), "other")
    if get_text(detail, "result", "detail") not in ("SUCCESS", ""):
        action = "other"
    account, region = get_text(event, "account", "body"), get_text(event, "region", "body")
    host = f"{account}.dkr.ecr.{region}.amazonaws.com" if account and region else ""
    return [
        Found(
            action,
            get_text(detail, "repository-name", "detail"),
            get_text(detail, "image-tag", "detail"),
            get_text(detail, "image-digest", "detail"),
            id=get_text(event, "id", "body"),
            host=host,
            media_type=get_text(detail, "manifest-media-type", "detail"),
        )
    ]


def zot_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of zot's CloudEvents, whose types may have a prefix of the operator's."""
    found = []
    for event in cloud_events(headers, value):
        data = json_object(event.data, "data")
        action: Action = "other"
        if event.type.endswith(".image.updated"):
            action = "push"
        elif event.type.endswith(".image.deleted"):
            action = "delete"
        found.append(
            Found(
                action,
                get_text(data, "name", "data"),
                get_text(data, "reference", "data"),
                get_text(data, "digest", "data"),
                id=event.key,
                media_type=get_text(data, "mediaType", "data"),
            )
        )
    return found


def generic_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of anybody: ``data`` has repository, and tag, digest, registry, action ("push" unless it says "delete")."""
    found = []
    for event in cloud_events(headers, value):
        data = json_object(event.data, "data")
        said = get_text(data, "action", "data") or "push"
        action: Action = said if said in ("push", "delete") else "other"  # type: ignore[assignment]
        found.append(
            Found(
                action,
                need_text(data, "repository", "data"),
                get_text(data, "tag", "data"),
                get_text(data, "digest", "data"),
                id=event.key,
                host=get_text(data, "registry", "data"),
                actor=get_text(data, "actor", "data"),
            )
        )
    return found
