"""Events from registries and their like, made one kind of value.

Each kind of sender is a function from a request's headers and JSON to events; the table of them is ``SENDERS``.
"""

import logging
from collections.abc import Callable, Mapping

from accel.errors import FormatError
from accel.oci.strict_json import parse_json
from accel.service.incoming import clouds, distribution, harbor, hubs
from accel.service.incoming.auth import authorised
from accel.service.incoming.build import Sender
from accel.service.model import Event
from accel.service.settings import SourceKind, SourceSettings

_log = logging.getLogger(__name__)

__all__ = ["SENDERS", "authorised", "parse"]

_MAX_EVENTS = 10_000  # in one request

SENDERS: Mapping[SourceKind, Sender] = {
    "distribution": distribution.events,
    "azure": distribution.azure_events,
    "harbor": harbor.events,
    "acr": clouds.acr_events,
    "ecr": clouds.ecr_events,
    "zot": clouds.zot_events,
    "quay": hubs.quay_events,
    "dockerhub": hubs.dockerhub_events,
    "ghcr": hubs.ghcr_events,
    "cloudevents": clouds.generic_events,
}


def parse(
    source: SourceSettings, headers: Mapping[str, str], body: bytes, host_of: Callable[[str], str | None]
) -> list[Event]:
    """The events of a request; ``headers`` have lower-case names. Raises FormatError, LimitError.

    A sender that names no registry means the source's. One that names a registry that is not configured
    (``host_of`` gives None) has its events dropped: nobody makes us talk to a host of theirs. One event that names no
    image does not cost those beside it.
    """
    value = parse_json(body, f"event for {source.name}")
    try:
        found = SENDERS[source.kind](headers, value)
        if len(found) > _MAX_EVENTS:
            raise FormatError(f"more than {_MAX_EVENTS} events in one request")
    except RecursionError:
        raise FormatError("nested too deeply") from None
    events: list[Event] = []
    wrong: list[FormatError] = []
    for one in found:
        try:
            event = one.event(source, host_of)
        except FormatError as error:
            wrong.append(error)
            continue
        if event is not None:
            events.append(event)
    if wrong and not events:
        raise wrong[0]
    for problem in wrong[:3]:
        _log.warning("source %s: %s", source.name, problem)
    return events


