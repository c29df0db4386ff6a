"""Repositories of a registry, as tests of the service push to them and look at them."""

from accel.registry import RegistryOptions, RegistryStore
from support.images import Built, put


class Repositories:
    """For classes that say in ``place`` which registry it is: its host, and options that reach it."""

    def place(self) -> tuple[str, RegistryOptions]:
        raise NotImplementedError

    def store(self, name: str) -> RegistryStore:
        """A repository, to be closed."""
        host, options = self.place()
        return RegistryStore(f"{host}/{name}:x", options)

    def push(self, name: str, built: Built, *tags: str) -> str:
        """The digest of an image that has those tags now."""
        store = self.store(name)
        for tag in tags:
            put(store, built, tag=tag)
        store.close()
        return built.descriptor.digest

    def digest(self, name: str, tag: str) -> str | None:
        """What a tag names."""
        store = self.store(name)
        try:
            return store.tag_digest(tag)
        finally:
            store.close()
