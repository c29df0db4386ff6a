"""Sources that accelerated images need: known, guarded, put back, checked.

An index-only image lists its source's layers and config, so a registry keeps those blobs as long as the accelerated tag
is there. What a deletion takes is the source's tag and manifests; they are kept here, small as they are, and put back.
Of an image whose layers were written anew (containerd-only) a clean-up takes the deleted source's blobs too: there only
a tag of ours on the source helps.
"""

from collections.abc import Callable
from contextlib import closing

import sqlalchemy as sa

from accel.images import load
from accel.service.database import Database, dependencies
from accel.service.model import Event
from accel.service.protect.guard import Guard, InUse, Json, StoreOf, Verdict
from accel.service.protect.kept import Kept, Source
from accel.service.protect.watch import Alarm, Watch
from accel.service.settings import ProtectionSettings

__all__ = ["InUse", "Protector", "Verdict"]


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
        self._kept = Kept(database, now)
        self._guard = Guard(database, self._kept, store_of)
        self._watch = Watch(database, settings, store_of, now, alarm, self._kept)

    def keep(self, *, registry: str, repository: str, source_digest: str) -> None:
        """Keep the source's manifests, and if so configured a tag on them, before the result gets its tag."""
        source = Source(registry, repository, source_digest)
        with self._kept.alone(source), closing(self._store_of(registry, repository)) as store:
            image = load(store, source_digest)
            self._kept.keep(source, image)
            top = image.top.manifest or image.top.index
            if self._settings.keep_tags and top is not None:
                store.put_manifest(top.raw, image.top.descriptor.media_type, tag=source.keep_tag)

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
        where = {"registry": registry, "repository": repository, "tag": tag}
        mine = sa.and_(*(dependencies.c[name] == value for name, value in where.items()))
        connection.execute(dependencies.delete().where(mine))
        if needs_source:
            held = Source(registry, repository, source_digest).keep_tag if self._settings.keep_tags else None
            connection.execute(
                dependencies.insert().values(
                    **where,
                    digest=digest,
                    source_tag=source_tag,
                    source_digest=source_digest,
                    keep_tag=held,
                    job=job,
                )
            )

    def check(
        self, registry: str, repository: str, tag: str | None = None, digest: str | None = None
    ) -> Verdict:
        """Whether ``tag``, or whatever is at ``digest``, may be deleted. See :meth:`Guard.check`."""
        return self._guard.check(registry, repository, tag, digest)

    def delete_source(self, registry: str, repository: str, tag: str, *, force: bool = False) -> Json:
        """Delete what ``tag`` names unless it is needed. See :meth:`Guard.delete_source`."""
        return self._guard.delete_source(registry, repository, tag, force=force)

    def on_delete(self, event: Event) -> list[Json]:
        """What a deletion asks for, done: each action with what came of it. Doing it twice changes nothing."""
        about = [dependencies.c.tag == event.tag, dependencies.c.source_tag == event.tag] if event.tag else []
        if event.digest:
            sources = self._kept.sources_with(event.registry, event.repository, event.digest)
            about += [dependencies.c.digest == event.digest, dependencies.c.source_digest.in_(sources)]
        query = sa.select(dependencies).where(
            dependencies.c.registry == event.registry,
            dependencies.c.repository == event.repository,
            sa.or_(sa.false(), *about),
        )
        with self._database.read() as connection:
            rows = list(connection.execute(query.order_by(dependencies.c.tag)).mappings())
        return self._watch.look_at(event.registry, event.repository, rows) if rows else []

    def sweep(self) -> int:
        """Check what was not checked for longest. How many dependencies that were."""
        return self._watch.sweep()
