"""Images that no event told of: registries lose events, and some images were there before the service.

Every tag of the repositories that are configured is looked at: is it an image that the rules cover, and is its result
what it should be?
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from accel.errors import AccelError, ConfigError, LimitError, RegistryError
from accel.registry.catalog import catalog
from accel.registry.client import RegistryClient
from accel.registry.store import RegistryStore
from accel.service.model import Origin, Wanted
from accel.service.rules.match import covers, is_glob
from accel.service.settings import ServiceSettings
from accel.service.stores import each

_log = logging.getLogger(__name__)
_TOO_MANY = 5


class Rules(Protocol):
    """The part of the rules that is needed here."""

    def decide(
        self, registry: str, repository: str, tag: str, digest: str, pusher: str | None, origin: Origin
    ) -> list[Wanted]: ...

    def is_own_tag(self, tag: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Looks through registries. ``is_done`` says whether the result of a wanted image is there, or will be."""

    settings: ServiceSettings
    store_of: Callable[[str, str], RegistryStore]
    client_of: Callable[[str], RegistryClient]
    rules: Rules
    is_done: Callable[[Wanted, RegistryStore], bool]

    def scan(self, registry: str) -> Iterator[Wanted]:
        """What is missing in the repositories that are configured to be scanned.

        Where the catalog is refused these are the ones named in full. Raises RegistryError if it may come later.
        """
        settings = next(one for one in self.settings.registries if one.host == registry)
        try:
            yield from self.look(registry, settings.scan.repositories if settings.scan else (), "scan")
        except (RegistryError, LimitError) as error:
            if isinstance(error, RegistryError) and error.temporary:
                raise
            _log.warning("%s: no catalog, or not all of it, so not everything was scanned: %s", registry, error)

    def look(self, registry: str, patterns: Iterable[str], origin: Origin) -> Iterator[Wanted]:
        """What is missing in repositories that match one of ``patterns``; one that cannot be read is passed over.

        The catalog is asked for only if a pattern has wildcards. Raises ConfigError for an unknown registry, and
        RegistryError if there is no catalog.
        """
        if self.settings.host_of(registry) is None:
            raise ConfigError(f"registry {registry} is not configured")
        for repository in self.repositories(registry, tuple(patterns)):
            try:
                with closing(self.store_of(registry, repository)) as store:
                    yield from self._of_repository(store, registry, repository, origin)
            except AccelError as error:
                _log.warning("repository %s/%s could not be scanned: %s", registry, repository, error)

    def repositories(self, registry: str, patterns: tuple[str, ...]) -> Iterator[str]:
        """Names that match, each once."""
        seen: set[str] = set()
        named = [pattern for pattern in patterns if not is_glob(pattern)]
        globs = [pattern for pattern in patterns if is_glob(pattern)]
        found: Iterable[str] = named
        if globs:
            listed = catalog(self.client_of(registry))
            matching = (name for name in listed if any(covers(glob, name) for glob in globs))
            found = (name for names in (named, matching) for name in names)
        for name in found:
            if name not in seen:
                seen.add(name)
                yield name

    def _of_repository(
        self, store: RegistryStore, registry: str, repository: str, origin: Origin
    ) -> Iterator[Wanted]:
        """Several tags are looked at at once. A few in a row that the registry does not answer for are too many."""

        def ask(tag: str) -> list[Wanted] | AccelError:
            try:
                return self._of_tag(store, registry, repository, tag, origin)
            except AccelError as error:
                _log.warning("%s/%s:%s: %s", registry, repository, tag, error)
                return error

        n_refused = 0
        for found in each(ask, [tag for tag in store.tags() if not self.rules.is_own_tag(tag)]):
            if not isinstance(found, AccelError):
                n_refused = 0
                yield from found
            elif isinstance(found, RegistryError):
                n_refused += 1
                if n_refused == _TOO_MANY:
                    raise found

    def _of_tag(
        self, store: RegistryStore, registry: str, repository: str, tag: str, origin: Origin
    ) -> list[Wanted]:
        digest = store.tag_digest(tag)
        if digest is None:
            return []
        wanted = self.rules.decide(registry, repository, tag, digest, None, origin)
        return [one for one in wanted if not self.is_done(one, store)]
