"""Notifications of distribution (registry 2.x and 3.x; GitLab sends the same), and Azure's, which are alike.

docs: distribution «Notifications»; Azure «Container Registry webhook schema reference», «Event Grid event schema».
"""

from collections.abc import Mapping
from typing import Any

from accel.errors import FormatError
from accel.oci import INDEX_TYPES, MANIFEST_TYPES
from accel.oci.fields import get_list, get_object, get_text, json_object
from accel.service.incoming.build import Found
from accel.service.incoming.cloudevent import cloud_events, is_cloud_event


def events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of an envelope of events."""
    envelope = json_object(value, "body")
    if "events" not in envelope:
        raise FormatError("body.events is missing")
    return [_found(one, f"events[{i}]") for i, one in enumerate(get_list(envelope, "events", "body"))]


def azure_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of a webhook, which sends one bare event, or of Event Grid, in CloudEvents or its own schema."""
    if is_cloud_event(headers, value):
        return [_found(one.data, "data") for one in cloud_events(headers, value)]
    if isinstance(value, list):
        return [_found(json_object(one, "event").get("data"), "data") for one in value]
    return [_found(value, "body")]


def _found(value: Any, where: str) -> Found:
    event = json_object(value, where)
    target = get_object(event, "target", where) or {}
    action, media_type = get_text(event, "action", where), get_text(target, "mediaType", where)
    repository = get_text(target, "repository", where)
    # A blob's events say application/octet-stream; a deleted manifest's say no type at all.
    is_manifest = media_type in MANIFEST_TYPES | INDEX_TYPES
    if action == "push" and is_manifest:
        kind = "push"
    elif action == "delete" and (is_manifest or not media_type):
        kind = "delete"
    else:
        kind = "other"
    actor = get_object(event, "actor", where) or {}
    return Found(
        kind,  # type: ignore[arg-type]
        repository,
        get_text(target, "tag", where),
        get_text(target, "digest", where),
        id=get_text(event, "id", where),
        media_type=media_type,
        actor=get_text(actor, "name", where),
        same=(get_text(event, "timestamp", where),),
    )
