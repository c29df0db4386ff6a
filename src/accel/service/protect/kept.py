"""Manifests of needed sources, kept in the database so that they can be put back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa

from accel.images import Image
from accel.service.database import Database, dependencies, kept_manifests

_SOURCE = ("registry", "repository", "source_digest")


@dataclass(frozen=True, slots=True)
class Source:
    """An image, by digest, that results were made of."""

    registry: str
    repository: str
    source_digest: str

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Self:
        """The source of a dependency."""
        return cls(row["registry"], row["repository"], row["source_digest"])

    @property
    def keep_tag(self) -> str:
        """The tag that holds it in a registry that deletes what has none."""
        return f"accel-keep-{self.source_digest.partition(':')[2][:12]}"


@dataclass(frozen=True, slots=True)
class KeptManifest:
    """A manifest or index, byte for byte."""

    media_type: str
    raw: bytes


class Kept:
    """The sources whose manifests are kept."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    @contextmanager
    def alone(self, source: Source) -> Iterator[None]:
        """Nobody else keeps the source, or lets it go, meanwhile."""
        name = f"kept {source.registry}/{source.repository}@{source.source_digest}"
        with self._database.exclusive(name):
            yield

    def keep(self, source: Source, image: Image) -> None:
        """Keep all manifests of ``image``, or note that they are wanted again."""
        wanted = {
            child.descriptor.digest: (child.descriptor.media_type, made.raw)
            for child in image.walk()
            if (made := child.manifest or child.index) is not None
        }
        with self._database.write() as connection:
            self.wanted(connection, source)
            there = set(connection.scalars(sa.select(kept_manifests.c.digest).where(_of(source))))
            rows = [
                {
                    "registry": source.registry,
                    "repository": source.repository,
                    "source_digest": source.source_digest,
                    "digest": digest,
                    "media_type": media_type,
                    "raw": raw,
                    "kept_at": self._now(),
                }
                for digest, (media_type, raw) in wanted.items()
                if digest not in there
            ]
            if rows:
                connection.execute(kept_manifests.insert(), rows)

    def wanted(self, connection: sa.Connection, source: Source) -> None:
        """Note that a source was needed until now."""
        connection.execute(kept_manifests.update().where(_of(source)).values(kept_at=self._now()))

    def manifests(self, source: Source) -> dict[str, KeptManifest]:
        """What is kept of a source, by digest."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(kept_manifests).where(_of(source))).mappings()
            return {row["digest"]: KeptManifest(row["media_type"], bytes(row["raw"])) for row in rows}

    def sources_with(self, registry: str, repository: str, digest: str) -> set[str]:
        """Digests of the sources that are, or have in them, the manifest ``digest``."""
        query = sa.select(kept_manifests.c.source_digest).where(
            kept_manifests.c.registry == registry,
            kept_manifests.c.repository == repository,
            kept_manifests.c.digest == digest,
        )
        with self._database.read() as connection:
            return {digest, *connection.scalars(query)}

    def loose(self, before: float, limit: int) -> list[Source]:
        """Sources that no result needs, nor did or was about to since ``before``."""
        query = sa.select(*(kept_manifests.c[name] for name in _SOURCE)).where(_is_loose(before)).distinct()
        with self._database.read() as connection:
            return [Source(*row) for row in connection.execute(query.limit(limit))]

    def is_loose(self, source: Source, before: float) -> bool:
        """Whether it still is one of :meth:`loose`."""
        query = sa.select(kept_manifests.c.digest).where(_of(source), _is_loose(before)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def drop(self, source: Source) -> None:
        """Keep it no longer."""
        with self._database.write() as connection:
            connection.execute(kept_manifests.delete().where(_of(source)))


def _of(source: Source) -> sa.ColumnElement[bool]:
    return sa.and_(*(kept_manifests.c[name] == getattr(source, name) for name in _SOURCE))


def _is_loose(before: float) -> sa.ColumnElement[bool]:
    same = sa.and_(*(dependencies.c[name] == kept_manifests.c[name] for name in _SOURCE))
    return sa.and_(kept_manifests.c.kept_at < before, ~sa.exists().where(same))
