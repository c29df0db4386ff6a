"""The repositories of the configured registries; no others can be reached, whatever an event or an image names."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from accel.errors import ConfigError
from accel.oci import Reference
from accel.registry.client import RegistryClient
from accel.registry.options import RegistryOptions
from accel.registry.store import RegistryStore
from accel.service.settings import ServiceSettings

_AT_ONCE = 8
_Thing = TypeVar("_Thing")
_Answer = TypeVar("_Answer")


def each(ask: Callable[[_Thing], _Answer], things: Iterable[_Thing]) -> Iterator[_Answer]:
    """What ``ask`` says to each of ``things``, in their order; a few are asked at once, by threads.

    The first error is raised, and nothing more is asked.
    """
    rest = iter(things)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="accel-ask") as pool:
        while some := list(islice(rest, 8 * _AT_ONCE)):
            yield from pool.map(ask, some)


class Stores:
    """Repositories that share one client a registry: its connections, tokens and limits. Safe for threads."""

    def __init__(self, settings: ServiceSettings, options: RegistryOptions) -> None:
        self._hosts = {registry.host for registry in settings.registries}
        self._options = options
        self._clients: dict[str, RegistryClient] = {}
        self._lock = threading.Lock()

    def client(self, registry: str) -> RegistryClient:
        """The client of a configured registry. Raises ConfigError for another one."""
        if registry not in self._hosts:
            raise ConfigError(f"registry {registry} is not configured")
        with self._lock:
            if registry not in self._clients:
                self._clients[registry] = RegistryClient(registry, self._options)
            return self._clients[registry]

    def __call__(self, registry: str, repository: str) -> RegistryStore:
        """The repository, to be closed after use."""
        reference = Reference.parse(f"docker://{registry}/{repository}")
        return RegistryStore(reference, client=self.client(registry))

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
