"""Sources that accelerated images need: known, guarded, put back, checked.

An index-only image lists its source's layers and config, so a registry keeps those blobs as long as the accelerated tag
is there. What a deletion takes is the source's tag and manifests; they are kept here, small as they are, and put back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from accel.errors import AccelError, NotFoundError, Refused
from accel.images import load
from accel.registry.store import RegistryStore
from accel.service.database import Database, dependencies, kept_manifests
from accel.service.model import Event
from accel.service.protect.repair import Repair
from accel.service.protect.sweep import Problem, problem_of
from accel.service.settings import ProtectionSettings

__all__ = ["InUse", "Protector", "Verdict"]

Json = dict[str, Any]
StoreOf = Callable[[str, str], RegistryStore]
Alarm = Callable[[str, str], None]  # job, in words

KEEP_TAG = "accel-keep-{}"
_BATCH = 200


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


class Protector:
    """Watches over the sources of accelerated images. ``alarm`` is told what is broken, by the job that made it."""

    def __init__(
        self,
        database: Database,
        settings: ProtectionSettings,
        store_of: StoreOf,
        now: Callable[[], float],
        alarm: Alarm = lambda job, words: None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._store_of = store_of
        self._now = now
        self._alarm = alarm
        self._repair = Repair(database, store_of)

    def keep(self, *, registry: str, repository: str, source_digest: str) -> None:
        """Keep the source's manifests, and if so configured a tag on them, before the result gets its tag."""
        store = self._store_of(registry, repository)
        try:
            image = load(store, source_digest)
            for child in image.walk():
                made = child.manifest or child.index
                if made is None:
                    continue
                key = {"registry": registry, "repository": repository, "source_digest": source_digest}
                self._keep(key, child.descriptor.digest, child.descriptor.media_type, made.raw)
            if self._settings.keep_tags:
                top = image.top.manifest or image.top.index
                assert top is not None
                store.put_manifest(top.raw, image.top.descriptor.media_type, tag=keep_tag(source_digest))
        finally:
            store.close()

    def _keep(self, key: dict[str, str], digest: str, media_type: str, raw: bytes) -> None:
        where = sa.and_(*(kept_manifests.c[name] == value for name, value in key.items()))
        there = sa.select(kept_manifests.c.digest).where(where, kept_manifests.c.digest == digest)
        with self._database.write() as connection:
            if connection.execute(there).first() is None:
                connection.execute(
                    kept_manifests.insert().values(**key, digest=digest, media_type=media_type, raw=raw)
                )

    def record(
        self,
        connection: sa.Connection,
        *,
        job: str,
        registry: str,
        repository: str,
        source_tag: str,
        source_digest: str,
        tag: str,
        digest: str,
        needs_source: bool,
    ) -> None:
        """Note, in the caller's transaction, that ``tag`` is now an accelerated image and what it needs."""
        where = sa.and_(
            dependencies.c.registry == registry,
            dependencies.c.repository == repository,
            dependencies.c.tag == tag,
        )
        connection.execute(dependencies.delete().where(where))
        if needs_source:
            connection.execute(
                dependencies.insert().values(
                    registry=registry,
                    repository=repository,
                    tag=tag,
                    digest=digest,
                    source_tag=source_tag,
                    source_digest=source_digest,
                    keep_tag=keep_tag(source_digest) if self._settings.keep_tags else None,
                    job=job,
                )
            )

    def check(
        self, registry: str, repository: str, tag: str | None = None, digest: str | None = None
    ) -> Verdict:
        """Whether the source ``tag``, or whatever is at ``digest``, may be deleted.

        Asks the registry whether the accelerated tags are still there: one that is gone needs nothing.
        """
        rows = [
            row
            for row in self._rows(registry, repository)
            if (tag is not None and row["source_tag"] == tag)
            or (digest is not None and digest in self._digests(row))
        ]
        if not rows:
            return Verdict(True)
        store = self._store_of(registry, repository)
        try:
            used_by = [f"{repository}:{row['tag']}" for row in rows if store.tag_digest(row["tag"]) == row["digest"]]
        finally:
            store.close()
        return Verdict(not used_by, tuple(used_by))

    def delete_source(self, registry: str, repository: str, tag: str, *, force: bool = False) -> Json:
        """Delete the source behind ``tag``, by digest. Raises InUse if it is needed, or if other tags would go too.

        ``force`` allows the latter. What the registry cannot do raises RegistryError.
        """
        store = self._store_of(registry, repository)
        try:
            digest = store.tag_digest(tag)
            if digest is None:
                raise NotFoundError(f"{registry}/{repository}:{tag}: no such tag")
            for verdict in (self.check(registry, repository, tag), self.check(registry, repository, digest=digest)):
                if not verdict.allowed:
                    raise InUse(f"{repository}:{tag}", verdict.used_by)
            others = tuple(one for one in store.tags() if one != tag and store.tag_digest(one) == digest)
            if others and not force:
                raise InUse(f"the manifest of {repository}:{tag}", tuple(f"{repository}:{one}" for one in others))
            store.delete_manifest(digest)
        finally:
            store.close()
        return {"deleted": digest, "tags": [tag, *others]}

    def on_delete(self, event: Event) -> list[Json]:
        """What a deletion asks for, done: each action with what came of it. Doing it twice changes nothing."""
        actions = []
        for row in self._rows(event.registry, event.repository):
            if event.tag is not None and event.tag == row["tag"]:
                actions.append(self._look_at(row))
            elif event.tag == row["source_tag"] or (event.digest in self._digests(row)):
                actions.append(self._look_at(row))
        return actions

    def sweep(self, limit: int = _BATCH) -> int:
        """Check what was not checked for longest. How many dependencies that were."""
        before = self._now() - self._settings.check_every_s
        due = sa.or_(dependencies.c.checked_at.is_(None), dependencies.c.checked_at < before)
        query = sa.select(dependencies).where(due).order_by(dependencies.c.checked_at).limit(limit)
        with self._database.read() as connection:
            rows = list(connection.execute(query).mappings())
        for row in rows:
            self._look_at(row)
        return len(rows)

    def _look_at(self, row: sa.RowMapping) -> Json:
        """See that one accelerated tag has what it needs, and do about it what is configured."""
        about = {"tag": row["tag"], "source": row["source_tag"]}
        store = self._store_of(row["registry"], row["repository"])
        try:
            found = problem_of(store, row)
            if found is None:
                return self._settle(row, "ok", "") | about | {"action": "none"}
            if found.kind == "released":
                self._forget(row)
                return about | {"action": "released"}
            if found.kind == "source gone" and self._settings.on_delete == "repair":
                self._repair.put_back(store, row)
                self._settle(row, "ok", "")
                return about | {"action": "repaired"}
            return self._broken(row, found) | about
        except AccelError as error:
            return self._broken(row, Problem("unknown", str(error))) | about
        finally:
            store.close()

    def _broken(self, row: sa.RowMapping, found: Problem) -> Json:
        if found.kind == "source gone" and self._settings.on_delete == "ignore":
            return self._settle(row, "ok", found.words) | {"action": "ignored"}
        if row["state"] != "broken" or row["problem"] != found.words:
            self._alarm(row["job"], f"{row['repository']}:{row['tag']}: {found.words}")
        return self._settle(row, "broken", found.words) | {"action": "alarm", "problem": found.words}

    def _settle(self, row: sa.RowMapping, state: str, problem: str) -> Json:
        with self._database.write() as connection:
            connection.execute(
                dependencies.update()
                .where(_key(row), dependencies.c.digest == row["digest"])
                .values(state=state, problem=problem, checked_at=self._now())
            )
        return {}

    def _forget(self, row: sa.RowMapping) -> None:
        with self._database.write() as connection:
            connection.execute(dependencies.delete().where(_key(row), dependencies.c.digest == row["digest"]))

    def _rows(self, registry: str, repository: str) -> list[sa.RowMapping]:
        query = sa.select(dependencies).where(
            dependencies.c.registry == registry, dependencies.c.repository == repository
        )
        with self._database.read() as connection:
            return list(connection.execute(query).mappings())

    def _digests(self, row: sa.RowMapping) -> set[str]:
        """The source's digest, and those of the manifests below it."""
        query = sa.select(kept_manifests.c.digest).where(
            kept_manifests.c.registry == row["registry"],
            kept_manifests.c.repository == row["repository"],
            kept_manifests.c.source_digest == row["source_digest"],
        )
        with self._database.read() as connection:
            return {row["source_digest"], *connection.scalars(query)}


def keep_tag(digest: str) -> str:
    """The tag that holds a source in a registry that deletes what has none."""
    return KEEP_TAG.format(digest.partition(":")[2][:12])


def _key(row: sa.RowMapping) -> sa.ColumnElement[bool]:
    return sa.and_(*(dependencies.c[name] == row[name] for name in ("registry", "repository", "tag")))


