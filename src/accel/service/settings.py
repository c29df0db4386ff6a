"""What an operator chose: the configuration file as values, checked strictly. ``accel.config`` reads the file.

Unknown keys are errors. Sizes may be written ``512MiB``, times ``90s``, ``15m``, ``1h`` or ``2d``.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from accel.units import size_of

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_TIME_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def _size(value: Any) -> Any:
    n_bytes = size_of(value) if isinstance(value, str) else None
    return value if n_bytes is None else n_bytes


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and (match := _TIME.fullmatch(value.strip())):
        return float(match[1]) * _TIME_UNITS[match[2]]
    return value


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=_NAME)]
Secret = Annotated[SecretStr, Field(min_length=1)]  # an empty one would let everybody in


class Model(BaseModel):
    """A part of the configuration: read once, never changed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Model):
    """Where the service keeps what it must not lose: SQLite files in ``path``, or a PostgreSQL ``url``."""

    path: str = "accel-data"
    url: SecretStr | None = None

    @model_validator(mode="after")
    def _known_url(self) -> Self:
        if self.url is not None and not self.url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("store.url must be a postgresql:// URL")
        return self


class TokenSettings(Model):
    """Who may use the HTTP API. ``read`` may look, ``admin`` may change."""

    name: Name
    token: SecretStr = Field(min_length=16)
    scope: Literal["read", "admin"] = "read"


class ApiSettings(Model):
    """``auth: none`` is for a machine that nobody else reaches."""

    listen: str = "127.0.0.1:8086"
    worker_listen: str | None = None  # where each worker answers /healthz, /readyz and /metrics
    auth: Literal["token", "none"] = "token"
    tokens: tuple[TokenSettings, ...] = ()
    max_body_bytes: Size = 1 << 20

    @model_validator(mode="after")
    def _someone_may(self) -> Self:
        if self.auth == "token" and not self.tokens:
            raise ValueError("api.tokens is empty: nobody could use the API (or say auth: none)")
        return self


class ScanSettings(Model):
    """Catching up on what no event told: ``repositories`` are globs (matched against the catalog where they have *)."""

    every_s: Seconds = Field(3600, alias="every")
    repositories: tuple[str, ...] = ()


class RegistrySettings(Model):
    """A registry that is served. ``aliases`` are other names that its events use for it."""

    host: str = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    plain_http: bool = False
    insecure_tls: bool = False
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    authfile: str | None = None
    max_requests: int = Field(32, ge=1)  # at a time, by each process
    requests_per_s: float | None = Field(None, gt=0)  # by each process
    scan: ScanSettings | None = None


class BasicAuth(Model):
    user: str = Field(min_length=1)
    password: SecretStr = Field(min_length=1)


class HmacAuth(Model):
    """``standard``: Standard Webhooks headers, not older than 5 min. ``body``: hex HMAC-SHA256 of it in ``header``."""

    secrets: tuple[Secret, ...] = Field(min_length=1)
    style: Literal["standard", "body"] = "standard"
    header: str = "X-Hub-Signature-256"


class SourceAuth(Model):
    """How a sender proves itself: exactly one of these. Several ``bearer`` or ``url_secret`` allow rotation."""

    bearer: tuple[Secret, ...] = ()
    basic: BasicAuth | None = None
    hmac: HmacAuth | None = None
    url_secret: tuple[Secret, ...] = ()  # ?secret=…
    none: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = (self.bearer, self.basic, self.hmac, self.url_secret, self.none)
        if sum(bool(way) for way in ways) != 1:
            raise ValueError("name exactly one of bearer, basic, hmac, url_secret, or none: true")
        return self


SourceKind = Literal[
    "distribution", "harbor", "acr", "ecr", "zot", "azure", "quay", "dockerhub", "ghcr", "cloudevents"
]


class SourceSettings(Model):
    """A sender of events; it posts to ``/hooks/NAME``. ``registry`` is one of the configured hosts."""

    name: Name
    kind: SourceKind
    registry: str
    auth: SourceAuth


class Pattern(Model):
    """Names: globs, or regular expressions that must match the whole (``/…/``). Nothing included: all are."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def _pattern(value: Any) -> Any:
    if isinstance(value, str):
        return {"include": (value,)}
    return {"include": tuple(value)} if isinstance(value, (list, tuple)) else value


Patterns = Annotated[Pattern, BeforeValidator(_pattern)]


class RuleSettings(Model):
    """Which images are converted, and how. Rules are tried in order; the first that matches counts.

    With ``more: true`` those behind it are tried as well. ``namespace`` is the repository's name up to its last slash.
    """

    name: Name
    enabled: bool = True
    more: bool = False
    registry: Patterns = Pattern()
    namespace: Patterns = Pattern()
    repository: Patterns = Pattern()
    tag: Patterns = Pattern()
    pusher: Patterns = Pattern()
    mode: str = "index-only"
    format: str = ""
    containerd_only: bool = False
    referrers: bool = False
    level: str = "default"
    platforms: tuple[str, ...] = ()
    prefetch: tuple[str, ...] = ()  # absolute paths in the image
    min_chunk: Size = 16 << 10
    min_layer: Size = 10 << 20
    max_layer: Size | None = None
    min_image: Size = 0
    max_image: Size | None = None
    tag_template: str | None = None  # default: {tag}_accelerated or {tag}_containerd_accelerated


class LimitSettings(Model):
    """What the service may use. ``jobs`` counts images on their way in all processes; the others are for each process.

    ``memory`` and ``disk`` bound what layers being converted take together; ``threads`` work on them. A server with
    ``layers: 0`` leaves all work to workers.
    """

    jobs: int = Field(16, ge=1)
    layers: int = Field(2, ge=0)
    threads: int | None = Field(None, ge=1)  # default: the number of CPUs
    memory: Size = 2 << 30
    disk: Size = 20 << 30
    poll_s: Seconds = Field(0.5, alias="poll", ge=0.05)
    attempts: int = Field(6, ge=1)
    backoff_s: Seconds = Field(10, alias="backoff")
    keep_history_s: Seconds = Field(30 * 86400, alias="keep_history")


class EndpointSettings(Model):
    """A receiver of our events. ``tag`` is a regular expression searched for in the result's tag."""

    name: Name
    url: str = Field(pattern=r"^https?://")
    format: Literal["cloudevents", "acr"] = "cloudevents"
    secrets: tuple[Secret, ...] = ()  # the first signs for sure, all of them do while they are rotated
    types: tuple[Literal["queued", "started", "done", "skipped", "failed"], ...] = ("done", "skipped", "failed")
    tag: str = ""
    attempts: int = Field(12, ge=1)
    timeout_s: Seconds = Field(10, alias="timeout", gt=0)

    @model_validator(mode="after")
    def _is_an_expression(self) -> Self:
        try:
            re.compile(self.tag)
        except re.error as error:
            raise ValueError(f"tag {self.tag!r} is no regular expression: {error}") from None
        return self


class ProtectionSettings(Model):
    """What happens when a source that is needed is deleted, and how often it is checked that all is there."""

    on_delete: Literal["repair", "alarm", "ignore"] = "repair"
    keep_tags: bool = False  # besides, hold every needed source by a tag of ours
    check_every_s: Seconds = Field(6 * 3600, alias="check_every")


class ServiceSettings(Model):
    """The whole file."""

    store: StoreSettings = StoreSettings()
    api: ApiSettings
    registries: tuple[RegistrySettings, ...] = Field(min_length=1)
    sources: tuple[SourceSettings, ...] = ()
    rules: tuple[RuleSettings, ...] = ()
    limits: LimitSettings = LimitSettings()  # type: ignore[call-arg]
    endpoints: tuple[EndpointSettings, ...] = ()
    protection: ProtectionSettings = ProtectionSettings()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for kind, names in (
            ("registry", [r.host for r in self.registries] + [a for r in self.registries for a in r.aliases]),
            ("source", [s.name for s in self.sources]),
            ("rule", [r.name for r in self.rules]),
            ("endpoint", [e.name for e in self.endpoints]),
            ("token", [t.name for t in self.api.tokens]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{kind} {sorted(twice)[0]!r} is there twice")
        if self.limits.layers == 0 and self.store.url is None:
            raise ValueError("limits.layers is 0: nobody would work on an embedded store")
        hosts = {registry.host for registry in self.registries}
        for source in self.sources:
            if source.registry not in hosts:
                raise ValueError(f"source {source.name!r}: registry {source.registry!r} is not configured")
        return self

    def host_of(self, name: str) -> str | None:
        """The configured host that ``name`` (itself or an alias) stands for."""
        return next((r.host for r in self.registries if name == r.host or name in r.aliases), None)
