"""Whether a source may be deleted, and its deletion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from accel.errors import NotFoundError, Refused
from accel.registry.store import RegistryStore
from accel.service.database import Database, dependencies
from accel.service.protect.kept import Kept
from accel.service.stores import each

Json = dict[str, Any]
StoreOf = Callable[[str, str], RegistryStore]


class InUse(Refused):
    """A source that may not be deleted. ``used_by`` are the accelerated tags that need it."""

    def __init__(self, image: str, used_by: tuple[str, ...]) -> None:
        super().__init__(f"{image} is needed by {', '.join(used_by)}")
        self.used_by = used_by


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a deletion is fine, and if not the accelerated images that need the source (``repository:tag``)."""

    allowed: bool
    used_by: tuple[str, ...] = ()


class Guard:
    """Asks the registry whether the accelerated tags are still there: one that is gone needs nothing."""

    def __init__(self, database: Database, kept: Kept, store_of: StoreOf) -> None:
        self._database = database
        self._kept = kept
        self._store_of = store_of

    def check(self, registry: str, repository: str, tag: str | None, digest: str | None) -> Verdict:
        """Whether ``tag``, or whatever is at ``digest``, may be deleted.

        A tag that names another image by now than the one that is needed may go: its results will follow it.
        """
        store = self._store_of(registry, repository)
        try:
            rows = self._of_digest(registry, repository, digest) if digest is not None else []
            if tag is not None:
                rows += self._of_tag(registry, repository, tag, store)
            return self._verdict(rows, store)
        finally:
            store.close()

    def delete_source(self, registry: str, repository: str, tag: str, *, force: bool) -> Json:
        """Delete what ``tag`` names, by digest. Raises InUse if it is needed, or if other tags would go too.

        ``force`` allows the latter. What the registry cannot do raises RegistryError.
        """
        store = self._store_of(registry, repository)
        try:
            digest = store.tag_digest(tag)
            if digest is None:
                raise NotFoundError(f"{registry}/{repository}:{tag}: no such tag")
            verdict = self._verdict(self._of_digest(registry, repository, digest), store)
            if not verdict.allowed:
                raise InUse(f"{repository}:{tag}", verdict.used_by)
            tags = store.tags()
            named = zip(tags, each(store.tag_digest, tags), strict=True)
            others = [one for one, names in named if names == digest and one != tag]
            if others and not force:
                raise InUse(f"the manifest of {repository}:{tag}", tuple(f"{repository}:{one}" for one in others))
            store.delete_manifest(digest)
            return {"deleted": digest, "tags": [tag, *others]}
        finally:
            store.close()

    def _of_digest(self, registry: str, repository: str, digest: str) -> list[sa.RowMapping]:
        sources = self._kept.sources_with(registry, repository, digest)
        return self._rows(registry, repository, dependencies.c.source_digest.in_(sources))

    def _of_tag(self, registry: str, repository: str, tag: str, store: RegistryStore) -> list[sa.RowMapping]:
        rows = self._rows(registry, repository, dependencies.c.source_tag == tag)
        names = store.tag_digest(tag) if rows else None
        return [row for row in rows if row["source_digest"] == names]

    def _rows(self, registry: str, repository: str, which: sa.ColumnElement[bool]) -> list[sa.RowMapping]:
        query = sa.select(dependencies).where(
            dependencies.c.registry == registry, dependencies.c.repository == repository, which
        )
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(dependencies.c.tag)).mappings())

    def _verdict(self, rows: list[sa.RowMapping], store: RegistryStore) -> Verdict:
        by_tag = {row["tag"]: row["digest"] for row in rows}
        now = zip(by_tag.items(), each(store.tag_digest, by_tag), strict=True)
        used_by = tuple(f"{store.repository.name}:{tag}" for (tag, made), names in now if names == made)
        return Verdict(not used_by, used_by)
