"""Harbor's webhooks, in its default format and as CloudEvents (goharbor/harbor src/pkg/notifier)."""

from collections.abc import Mapping
from typing import Any

from accel.oci.fields import get_list, get_object, get_text, json_object
from accel.service.incoming.build import Found
from accel.service.incoming.cloudevent import cloud_events, is_cloud_event
from accel.service.model import Action

_ACTIONS: dict[str, Action] = {
    "PUSH_ARTIFACT": "push",
    "DELETE_ARTIFACT": "delete",
    "harbor.artifact.pushed": "push",
    "harbor.artifact.deleted": "delete",
}


def events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """One for each resource. Without a tag Harbor writes the digest in its place."""
    if is_cloud_event(headers, value):
        found: list[Found] = []
        for event in cloud_events(headers, value):
            found += _resources(json_object(event.data, "data"), event.type, event.key, "", ())
        return found
    body = json_object(value, "body")
    data = get_object(body, "event_data", "body") or {}
    return _resources(
        data, get_text(body, "type", "body"), "", get_text(body, "operator", "body"), (body.get("occur_at"),)
    )


def _resources(data: dict[str, Any], kind: str, id: str, actor: str, same: tuple[object, ...]) -> list[Found]:
    repository = get_object(data, "repository", "event_data") or {}
    name = get_text(repository, "repo_full_name", "repository")
    found = []
    for i, one in enumerate(get_list(data, "resources", "event_data")):
        where = f"resources[{i}]"
        resource = json_object(one, where)
        tag, digest = get_text(resource, "tag", where), get_text(resource, "digest", where)
        found.append(
            Found(
                _ACTIONS.get(kind, "other"),
                name,
                tag,
                digest,
                id=f"{id} {i}" if id else "",
                host=get_text(resource, "resource_url", where).partition("/")[0],
                actor=actor or get_text(data, "operator", "event_data"),
                same=same,
            )
        )
    return found
