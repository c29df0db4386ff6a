"""From what a sender says to an event: names checked, ids made up where there are none."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from accel.errors import FormatError, ReferenceSyntaxError, UnsupportedError
from accel.oci import Reference, canonical_json, check_digest, check_tag
from accel.service.model import Action, Event
from accel.service.settings import SourceSettings

Json = dict[str, Any]
HostOf = Callable[[str], str | None]
_MAX_ID, _MAX_TEXT = 500, 200


@dataclass(frozen=True, slots=True)
class Found:
    """What one event of a sender says. ``id`` "": the sender gives none, and ``same`` is what makes it one event."""

    action: Action
    repository: str
    tag: str = ""
    digest: str = ""
    id: str = ""
    host: str = ""
    media_type: str = ""
    actor: str = ""
    same: tuple[object, ...] = ()

    def event(self, source: SourceSettings, host_of: HostOf) -> Event | None:
        """The event; None for a registry that is not configured. Raises FormatError for names that are none."""
        registry = host_of(self.host) if self.host else source.registry
        if registry is None:
            return None
        if self.action == "other":
            return Event(source.name, self.id or "-", "other", registry, self.repository[:255])
        tag, digest = self.tag, self.digest
        if ":" in tag:  # some senders put the digest there if there is no tag
            tag, digest = "", digest or tag
        try:
            Reference.parse(f"docker://{registry}/{self.repository}")
            if tag:
                check_tag(tag)
            if digest:
                check_digest(digest)
        except (FormatError, ReferenceSyntaxError, UnsupportedError) as error:
            raise FormatError(f"event: {error}") from None
        return Event(
            source.name,
            self.id if 0 < len(self.id) <= _MAX_ID and self.id.isprintable() else self._made_id(),
            self.action,
            registry,
            self.repository,
            tag or None,
            digest or None,
            _printable(self.media_type) or None,
            _printable(self.actor) or None,
        )

    def _made_id(self) -> str:
        """The same for the same event; where nothing tells two pushes of a tag apart, each request is an event."""
        same = [self.id, *map(str, filter(None, self.same))]
        if not any(same):
            return f"made-{uuid.uuid4()}"
        facts = [self.action, self.host, self.repository, self.tag, self.digest, *same]
        return "made-" + hashlib.sha256(canonical_json({"event": facts})).hexdigest()


Sender = Callable[[Mapping[str, str], Any], list[Found]]


def _printable(text: str) -> str:
    return "".join(one for one in text[:_MAX_TEXT] if one.isprintable())
