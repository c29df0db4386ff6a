"""CloudEvents over HTTP (CloudEvents 1.0, HTTP protocol binding): structured, batched and binary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accel.errors import FormatError
from accel.oci.fields import get_text, json_object

_STRUCTURED, _BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """The attributes that we look at, and the data."""

    id: str
    type: str
    source: str
    data: Any
    subject: str = ""

    @property
    def key(self) -> str:
        """What is unique: source and id together (spec, «id»)."""
        return f"{self.source} {self.id}"


def cloud_events(headers: Mapping[str, str], value: Any) -> list[CloudEvent]:
    """The events of a request. Raises FormatError for what is no CloudEvent."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == _BATCH or isinstance(value, list):
        if not isinstance(value, list):
            raise FormatError("a batch of CloudEvents is a list")
        return [_structured(one) for one in value]
    if "ce-specversion" in headers:
        names = ("id", "type", "source", "subject")
        return [_checked(CloudEvent(data=value, **{name: headers.get(f"ce-{name}", "") for name in names}))]
    return [_structured(value)]


def is_cloud_event(headers: Mapping[str, str], value: Any) -> bool:
    """Whether a request says that it is one."""
    return (
        "ce-specversion" in headers
        or headers.get("content-type", "").lower().startswith("application/cloudevents")
        or (isinstance(value, dict) and "specversion" in value)
    )


def _structured(value: Any) -> CloudEvent:
    event = json_object(value, "CloudEvent")
    names = ("id", "type", "source", "subject")
    texts = {name: get_text(event, name, "CloudEvent") for name in names}
    return _checked(CloudEvent(data=event.get("data"), **texts))


def _checked(event: CloudEvent) -> CloudEvent:
    if not (event.id and event.type and event.source):
        raise FormatError("a CloudEvent has an id, a type and a source")
    return event
