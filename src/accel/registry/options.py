"""Every choice of the registry client as values; nothing here reads files or the environment (``accel.config`` does).

Plain HTTP is spoken only to a host named with ``plain_http`` (or reached by ``http://``): an unnamed
``localhost:5000`` is asked over TLS, and the error then says what to name. crane and docker try HTTPS and fall back
by themselves; skopeo does not, and neither do we, because whoever can break one handshake could then read and
change everything.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from accel.errors import ConfigError
from accel.registry.credentials import Anonymous, CredentialSource
from accel.registry.limits import UNLIMITED, HostLimit, HostLimits

HUB_API = "registry-1.docker.io"  # what answers for docker.io


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How to reach one host. PEM files are given by path; ``ca_bundle`` is trusted beside the system's roots.

    Naming a host also marks it as wanted by the user: links to it are followed although it has a private address.
    ``max_requests`` at a time and ``requests_per_s`` are for all clients with these options together (None: no limit);
    see :mod:`accel.registry.limits` for what counts.
    """

    plain_http: bool = False
    insecure: bool = False
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    max_requests: int | None = None
    requests_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_requests is not None and self.max_requests < 1:
            raise ConfigError("max_requests must be 1 or more")
        if self.requests_per_s is not None and not 0 < self.requests_per_s < math.inf:
            raise ConfigError("requests_per_s must be more than 0")
        if self.client_key and not self.client_cert:
            raise ConfigError("a client key without its certificate")
        if self.plain_http and (self.insecure or self.ca_bundle or self.client_cert):
            raise ConfigError("a host is reached by plain HTTP or with TLS options, not both")


_NO_HOSTS: Mapping[str, HostOptions] = MappingProxyType({})
_NO_PROXIES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """All options of the registry client.

    ``hosts`` is keyed by host as the reference or URL names it, with the port if there is one ("localhost:5000").
    ``proxies`` maps "http" and "https" to proxy URLs; ``no_proxy`` lists hosts and domains reached without them.
    """

    hosts: Mapping[str, HostOptions] = field(default_factory=lambda: _NO_HOSTS)
    credentials: CredentialSource = field(default_factory=Anonymous)
    proxies: Mapping[str, str] = field(default_factory=lambda: _NO_PROXIES, repr=False)
    no_proxy: tuple[str, ...] = ()
    user_agent: str = "accel"
    observe: Callable[[str, int | None, float], None] | None = None  # host, status (None: no answer), seconds to it

    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0  # silence longer than this is a broken connection
    min_bytes_per_s: int = 128  # a peer slower than this for read_timeout_s of waiting counts as broken, too

    max_attempts: int = 6  # requests sent for one step, or in a row without progress when streaming
    backoff_s: float = 0.5  # before the second attempt; doubles from there
    backoff_max_s: float = 30.0
    retry_budget_s: float = (
        180.0  # all waiting of one step together; a longer Retry-After is an error at once
    )

    chunk_bytes: int = 16 << 20  # upload chunk and the most an upload holds in memory
    max_document_bytes: int = (
        8 << 20
    )  # manifests and other JSON; registries take up to 4 MiB (distribution-spec)
    max_redirects: int = 5
    max_pages: int = 64  # followed Link headers of one listing
    spool_bytes: int = (
        8 << 20
    )  # a blob of a host without Range is kept in memory up to here, then in a temporary file

    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    jitter: Callable[[], float] = field(default=random.random, repr=False)  # in [0, 1)
    limits: HostLimits = field(default_factory=HostLimits, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in (
            "connect_timeout_s",
            "read_timeout_s",
            "max_attempts",
            "chunk_bytes",
            "max_document_bytes",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive")

    def host(self, name: str) -> HostOptions | None:
        """The options named for ``name`` ("host" or "host:port"), None if it was not named."""
        return self.hosts.get("docker.io" if name == HUB_API and name not in self.hosts else name)

    def limit(self, name: str) -> HostLimit:
        """The limit on requests to a host, the same one for all who ask."""
        named = self.host(name)
        if named is None:
            return UNLIMITED
        return self.limits.of(name, named.max_requests, named.requests_per_s, self.clock, self.sleep)


def environment_proxies(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """``proxies`` and ``no_proxy`` as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say; lower case goes first."""

    def get(name: str) -> str:
        # HTTP_PROXY in capitals could be a client's header in CGI, but nothing here runs there
        return environment.get(name) or environment.get(name.upper()) or ""

    proxies = {scheme: get(f"{scheme}_proxy") or get("all_proxy") for scheme in ("http", "https")}
    no_proxy = tuple(entry.strip() for entry in get("no_proxy").split(",") if entry.strip())
    return {scheme: url for scheme, url in proxies.items() if url}, no_proxy
