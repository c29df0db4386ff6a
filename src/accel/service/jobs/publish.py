"""The last step of a job: manifests, and then the tags, but only those whose source still is this image."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from accel.convert.options import FULL, INDEX_ONLY, ConvertOptions
from accel.convert.parts import Assembled, LayerResult, MissingResult, assemble, plan_image
from accel.convert.targets import INDEXED
from accel.oci import Reference
from accel.registry.store import RegistryStore
from accel.service.database import jobs, targets
from accel.service.jobs.ids import recipe_from
from accel.service.jobs.layers import LayerStore
from accel.service.jobs.store import JobStore, Row
from accel.service.model import Recipe
from accel.service.stores import Stores

Json = dict[str, Any]
_log = logging.getLogger(__name__)


class Protector(Protocol):
    """The part of the protection of sources that is needed here."""

    def keep(self, *, registry: str, repository: str, source_digest: str) -> None: ...

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
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class JobPublisher:
    """Publishes jobs whose layers are all made."""

    store: JobStore
    layers: LayerStore
    stores: Stores
    protector: Protector
    options_of: Callable[[Recipe], ConvertOptions]
    result_tags: Callable[[Recipe, str], Iterable[str]]

    def publish(self, job: str, run: int) -> Json:
        """``{"done": tags set}``; ``{"skip": reason}`` if nothing came of it; ``{"stale": true}`` for an old run.

        Ends the job if it was done, in the transaction that sees that no tag is left.
        """
        row = self.store.get(job)
        if row is None or row["run"] != run or row["state"] != "running":
            return {"stale": True}
        recipe = recipe_from(row["recipe"])
        repository = self.stores(row["registry"], row["repository"])
        try:
            made = self._assemble(row, recipe, repository)
            results = {
                mode: one.descriptor.to_json() for mode, one in made.items() if one.descriptor is not None
            }
            report = {mode: one.report.to_json() for mode, one in made.items()}
            with self.store.database.write() as connection:
                self.store.update(connection, job, run, results=results, report=report)
            if not results:
                return {"skip": why_nothing(made)}
            if recipe.needs_source:
                self.protector.keep(
                    registry=row["registry"],
                    repository=row["repository"],
                    source_digest=row["source_digest"],
                )
            return self._set_tags(row, recipe, repository, made)
        finally:
            repository.close()

    def _assemble(self, row: Row, recipe: Recipe, repository: RegistryStore) -> Mapping[str, Assembled]:
        options = self.options_of(recipe)
        plan = plan_image(repository, row["source_digest"], options)
        keys = [key for layer in plan.layers for key in layer.keys.values()]
        stored = self.layers.results(keys)
        results = {key: LayerResult.from_json(result) for key, result in stored.items()}
        source = Reference.parse(f"docker://{row['registry']}/{row['repository']}@{row['source_digest']}")
        place = (row["registry"], row["repository"])
        lent: list[RegistryStore] = []

        def lend(key: str) -> Iterable[RegistryStore]:
            for registry, name in self.layers.places(key):
                if (registry, name) != place:
                    lent.append(self.stores(registry, name))
                    yield lent[-1]

        target = Reference.parse(f"docker://{row['registry']}/{row['repository']}:result")
        try:
            made = assemble(repository, repository, source, target, options, results, lend)
        except MissingResult as error:
            self.layers.lost(error.keys)
            raise
        finally:
            for store in lent:
                store.close()
        self.layers.add_place(keys, place)
        return made

    def _set_tags(
        self, row: Row, recipe: Recipe, repository: RegistryStore, made: Mapping[str, Assembled]
    ) -> Json:
        n_set = 0
        # One writer a repository: whoever looks at the source's tag under this lock and writes, writes the newest.
        with self.store.database.exclusive(f"tags {row['registry']}/{row['repository']}"):
            while True:
                with self.store.database.write() as connection:
                    pending = list(connection.execute(_pending(row["id"])).mappings())
                    if not pending:
                        self._end(connection, row)
                        return {"done": n_set}
                for target in pending:
                    n_set += self._set_tag(row, recipe, repository, made, target)

    def _set_tag(
        self,
        row: Row,
        recipe: Recipe,
        repository: RegistryStore,
        made: Mapping[str, Assembled],
        target: Row,
    ) -> bool:
        """Whether the target's tag is the result's now."""
        one = result_for(made, target["tag"])
        state, digest = "superseded", None
        if repository.tag_digest(target["source_tag"]) == row["source_digest"]:
            state = "left"
            if one is not None and one.raw is not None and one.descriptor is not None:
                state, digest = "set", one.descriptor.digest
                repository.put_manifest(one.raw, one.descriptor.media_type, tag=target["tag"])
        with self.store.database.write() as connection:
            mine = sa.and_(*(targets.c[name] == target[name] for name in ("job", "source_tag", "tag")))
            connection.execute(
                targets.update().where(mine).values(state=state, digest=digest, updated_at=self.store.now())
            )
            _log.info("tag %s: %s", target["tag"], state)
            if digest is not None and one is not None:
                self._told(connection, row, recipe, target, one, digest)
        return digest is not None

    def _told(
        self,
        connection: sa.Connection,
        row: Row,
        recipe: Recipe,
        target: Row,
        one: Assembled,
        digest: str,
    ) -> None:
        """What follows from a tag that is set, in the transaction that says so."""
        others = sa.select(jobs.c.id).where(
            jobs.c.registry == row["registry"], jobs.c.repository == row["repository"], jobs.c.id != row["id"]
        )
        connection.execute(
            targets.update()
            .where(targets.c.tag == target["tag"], targets.c.state == "set", targets.c.job.in_(others))
            .values(state="superseded", updated_at=self.store.now())
        )
        where = {"registry": row["registry"], "repository": row["repository"]}
        self.protector.record(
            connection,
            job=row["id"],
            **where,
            source_tag=target["source_tag"],
            source_digest=row["source_digest"],
            tag=target["tag"],
            digest=digest,
            needs_source=recipe.needs_source,
        )
        totals = one.report.totals
        self.store.emit(
            connection,
            row["id"],
            "done",
            source_tag=target["source_tag"],
            tag=target["tag"],
            digest=digest,
            data={"rule": row["rule"], "mode": recipe.mode, "origin": row["origin"], "totals": totals},
        )

    def _end(self, connection: sa.Connection, row: Row) -> None:
        states = set(connection.scalars(sa.select(targets.c.state).where(targets.c.job == row["id"])))
        if "set" in states:
            self.store.end(connection, row["id"], row["run"], "done")
        else:
            self.store.end(
                connection, row["id"], row["run"], "superseded", "no tag names this image any more"
            )


def why_nothing(made: Mapping[str, Assembled]) -> str:
    """Why nothing came of an image, from what is said of its layers."""
    rows = [row for one in made.values() for row in one.report.layers]
    for state in ("unsupported", "failed"):
        reasons = sorted({row.reason for row in rows if row.state == state})
        if reasons:
            return f"{state}: {'; '.join(reasons[:3])}"
    return "no layer to work on"


def result_for(made: Mapping[str, Assembled], tag: str) -> Assembled | None:
    """Which result gets ``tag``: an index made beside a full result has a name of its own."""
    if len(made) == 1:
        return next(iter(made.values()))
    return made.get(INDEX_ONLY if tag.endswith(INDEXED) else FULL)


def _pending(job: str) -> sa.Select[Any]:
    return sa.select(targets).where(targets.c.job == job, targets.c.state == "pending").order_by(targets.c.tag)
