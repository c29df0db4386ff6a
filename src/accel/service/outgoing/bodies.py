"""What receivers get: CloudEvents 1.0 in structured JSON, or the body of ACR's own repository trigger."""

import json
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from accel.service.database import deliveries
from accel.service.model import OutEvent
from accel.service.settings import EndpointSettings

Json = dict[str, Any]
TYPE = "dev.accel.conversion.{}.v1"
CLOUDEVENTS, JSON = "application/cloudevents+json; charset=utf-8", "application/json"


def emit(
    connection: sa.Connection, endpoints: Iterable[EndpointSettings], event: OutEvent, now: float
) -> None:
    """Note a delivery for every endpoint that wants the event, in the caller's transaction.

    ACR's body can only say that a tag was pushed, so endpoints of that format are told of what is done.
    """
    event_id = str(uuid.uuid4())
    for endpoint in endpoints:
        if event.type not in endpoint.types or not re.search(endpoint.tag, event.tag):
            continue
        if endpoint.format == "acr" and event.type != "done":
            continue
        body = _acr(event, now) if endpoint.format == "acr" else _cloud_event(event, event_id, now)
        connection.execute(
            deliveries.insert().values(
                event_id=event_id,
                endpoint=endpoint.name,
                type=event.type,
                job=event.job,
                tag=event.tag,
                content_type=JSON if endpoint.format == "acr" else CLOUDEVENTS,
                body=json.dumps(body, separators=(",", ":"), ensure_ascii=False),
                state="pending",
                next_at=now,
                created_at=now,
            )
        )


def _cloud_event(event: OutEvent, event_id: str, now: float) -> Json:
    name = f"{event.registry}/{event.repository}"
    return {
        "specversion": "1.0",
        "id": event_id,
        "type": TYPE.format(event.type),
        "source": f"//{event.registry}/{event.repository}",
        "subject": f"{event.repository}:{event.tag or event.source_tag}",
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "job": event.job,
            "registry": event.registry,
            "repository": event.repository,
            "tag": event.tag,
            "digest": event.digest,
            "image": f"{name}:{event.tag}" if event.tag else None,
            "source": {
                "tag": event.source_tag,
                "digest": event.source_digest,
                "image": f"{name}:{event.source_tag}",
            },
            "reason": event.reason,
            **event.data,
        },
    }


def _acr(event: OutEvent, now: float) -> Json:
    """As a repository trigger of ACR posts it, for receivers that know it; times are in UTC."""
    namespace, _, name = event.repository.rpartition("/")
    pushed_at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {
        "push_data": {"digest": event.digest, "pushed_at": pushed_at, "tag": event.tag},
        "repository": {
            "date_created": pushed_at,
            "name": name,
            "namespace": namespace,
            "region": "",
            "repo_authentication_type": "NO_CERTIFIED",
            "repo_full_name": event.repository,
            "repo_origin_type": "NO_CERTIFIED",
            "repo_type": "PRIVATE",
        },
    }
