"""What the API says and takes, for its description."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from accel.service.model import JobState, Origin, OutType
from accel.service.settings import RuleSettings

Json = dict[str, Any]
# No control characters: PostgreSQL stores no NUL, and no name of an image has any.
Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f]*$")]


class Answer(BaseModel):
    """An answer, made from a row."""

    model_config = ConfigDict(from_attributes=True)


class Job(Answer):
    """A job; times in seconds since 1970. ``done_bytes`` of ``comp_size`` of its layers are read."""

    id: str
    seq: int
    registry: str
    repository: str
    source_digest: str
    rule: str
    recipe: Json
    origin: Origin
    state: JobState
    reason: str
    run: int
    attempt: int
    priority: int
    worker: str | None
    created_at: float
    not_before: float | None
    started_at: float | None
    finished_at: float | None
    updated_at: float
    tags: list[str] = []
    comp_size: int = 0
    done_bytes: int = 0


class Target(Answer):
    source_tag: str
    tag: str
    state: str
    digest: str | None
    updated_at: float


class JobLayer(Answer):
    layer: str
    position: int
    state: str
    reused: bool
    comp_size: int
    done_bytes: int
    reason: str
    report: Json | None


class JobPage(Answer):
    """Jobs, newest first; ``next`` is the ``before`` of the next page."""

    jobs: list[Job]
    next: int | None


class JobDetail(Answer):
    job: Job
    targets: list[Target]
    layers: list[JobLayer]
    results: Json | None
    report: Json | None


class LogLine(Answer):
    at: float
    level: str
    message: str


class Submit(BaseModel):
    """An image to convert by the rules."""

    model_config = ConfigDict(extra="forbid")
    image: Text = Field(examples=["registry.example.com/team/app:1.0"])


class Submitted(BaseModel):
    jobs: list[str]


class Rule(BaseModel):
    rule: RuleSettings
    origin: Literal["file", "api"]
    position: int


class NewRule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rule: RuleSettings
    position: int | None = Field(None, ge=0, le=100_000)


class Explain(BaseModel):
    model_config = ConfigDict(extra="forbid")
    image: Text
    pusher: Text | None = None


class Backfill(BaseModel):
    """Repositories by name or pattern (``**`` is all of them)."""

    model_config = ConfigDict(extra="forbid")
    registry: Text
    repositories: list[Text] = Field(min_length=1, max_length=1000)
    dry_run: bool = False


class Missing(BaseModel):
    repository: str
    tag: str
    digest: str
    rule: str


class BackfillAnswer(BaseModel):
    images: list[Missing]
    dry_run: bool


class VerdictAnswer(BaseModel):
    allowed: bool
    used_by: list[str]


class Dependency(Answer):
    registry: str
    repository: str
    tag: str
    digest: str
    source_tag: str
    source_digest: str
    keep_tag: str | None
    job: str
    state: str
    problem: str
    checked_at: float | None


class Deleted(BaseModel):
    deleted: str
    tags: list[str]


class Delivery(Answer):
    id: int
    event_id: str
    endpoint: str
    type: OutType
    job: str
    tag: str
    state: str
    attempts: int
    next_at: float
    created_at: float
    delivered_at: float | None
    last_status: int | None = None
    last_error: str = ""


class DeliveryPage(BaseModel):
    deliveries: list[Delivery]
    next: int | None


class LayerSavings(BaseModel):
    """Results of layers that were made, and how often one was used again; bytes of compressed layers."""

    results: int
    made_bytes: int
    uses: int
    saved_bytes: int


class Stats(BaseModel):
    jobs: dict[str, int]
    oldest_queued_at: float | None
    layers: LayerSavings
    deliveries: dict[str, int]
    dependencies: dict[str, int]
    workers: list[str]
    paused: bool
    now: float
