"""Values that the parts of the service hand to each other."""

from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["push", "delete", "other"]
JobState = Literal["queued", "running", "paused", "done", "skipped", "failed", "cancelled", "superseded"]
Origin = Literal["event", "scan", "backfill", "api"]
OutType = Literal["queued", "started", "done", "skipped", "failed"]

ENDED: frozenset[JobState] = frozenset({"done", "skipped", "failed", "cancelled", "superseded"})


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an image, whoever said so.

    ``source`` is the name of the configured source, ``event_id`` the sender's id for it (the same on every
    redelivery), or a hash of what makes it one event where the sender gives none. ``registry`` is a configured host.
    ``tag`` and ``digest``: None where the sender does not say.
    """

    source: str
    event_id: str
    action: Action
    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None
    media_type: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a rule wants made of an image; its JSON is stored with the job, so the fields are plain.

    The first group is that of :class:`accel.convert.ConvertOptions`. ``tag`` is the template of the result's tag
    (``{tag}`` is the source's); sizes are bytes, of compressed layers, None for no limit.
    """

    mode: str = "index-only"
    format: str = ""
    platforms: tuple[str, ...] = ()
    referrers: bool = False
    containerd_only: bool = False
    level: str = "default"
    prefetch: tuple[str, ...] = ()
    min_chunk_bytes: int = 16 << 10
    min_layer_bytes: int = 10 << 20
    max_layer_bytes: int | None = None
    min_image_bytes: int = 0
    max_image_bytes: int | None = None
    tag: str = "{tag}_accelerated"

    @property
    def needs_source(self) -> bool:
        """Whether the result is of no use, or not complete, without its source: all but plain full mode."""
        return "index-only" in self.mode or self.containerd_only


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that a rule wants converted: what dispatching an event, a scan and a backfill come to.

    ``digest`` is what ``tag`` pointed to when it was looked at.
    """

    registry: str
    repository: str
    tag: str
    digest: str
    rule: str
    recipe: Recipe
    origin: Origin = "event"
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class OutEvent:
    """Something to tell the world. ``tag`` is the result's tag where there is one, else the source's."""

    type: OutType
    job: str
    registry: str
    repository: str
    source_tag: str
    source_digest: str
    tag: str
    digest: str | None = None
    reason: str = ""
    data: dict[str, Any] = field(default_factory=dict)
