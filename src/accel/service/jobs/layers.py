"""Results of layers, made once for all images: who makes which, where their blobs are."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from accel.service.database import Database, job_layers, layer_places, layer_results

Json = dict[str, Any]
Keys = Mapping[str, str]  # by output (soci, estargz, zstd-chunked): the key of its result
_PLACES = 8  # of a result, tried in turn


@dataclass(frozen=True, slots=True)
class Wish:
    """A layer that a job needs: its descriptor's facts, and the key of each output wanted of it."""

    digest: str
    comp_size: int
    keys: Keys
    descriptor: Json


class LayerStore:
    """The results in a database. ``reused`` is told the size of every layer that needs no work."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], float],
        reused: Callable[[int], None] = lambda saved: None,
    ) -> None:
        self.database = database
        self._reused = reused
        self._now = now

    def claim(
        self, job: str, wishes: Iterable[Wish], args: Json, is_dead: Callable[[str], bool]
    ) -> list[tuple[str, Json]]:
        """The workflows that the job has to wait for, with their arguments (``args`` and what is said here).

        What no living workflow makes gets a new one, which only this job knows of until its transaction ends; so no
        result is made twice. ``is_dead`` says whether a workflow ended; one that did and left no result is replaced.
        """
        waiting: dict[str, Json] = {}
        with self.database.write() as connection:
            connection.execute(job_layers.delete().where(job_layers.c.job == job))
            for position, wish in enumerate(wishes):
                rows = self._rows(connection, wish)
                others = {
                    row["workflow"] for row in rows.values() if row["result"] is None and row["workflow"]
                }
                living = {workflow for workflow in others if not is_dead(workflow)}
                missing = [
                    output
                    for output, row in rows.items()
                    if row["result"] is None and row["workflow"] not in living
                ]
                made_by = sorted(living)
                if missing:
                    made_by.append(self._new_workflow(connection, wish, missing, args))
                for workflow in made_by:
                    waiting[workflow] = self._args(connection, workflow)
                self._note(connection, job, position, wish, made_by, rows)
        return list(waiting.items())

    def _rows(self, connection: sa.Connection, wish: Wish) -> dict[str, sa.RowMapping]:
        found = {}
        for output, key in wish.keys.items():
            query = sa.select(layer_results).where(layer_results.c.key == key)
            if not self.database.is_sqlite:
                query = query.with_for_update()
            row = connection.execute(query).mappings().first()
            if row is None:
                connection.execute(
                    layer_results.insert().values(
                        key=key,
                        layer=wish.digest,
                        output=output,
                        comp_size=wish.comp_size,
                        updated_at=self._now(),
                    )
                )
                row = connection.execute(query).mappings().one()
            found[output] = row
        return found

    def _new_workflow(self, connection: sa.Connection, wish: Wish, outputs: list[str], args: Json) -> str:
        workflow = f"layer:{wish.digest.partition(':')[2][:12]}:{uuid.uuid4().hex[:12]}"
        own = {**args, "layer": wish.descriptor, "keys": {output: wish.keys[output] for output in outputs}}
        connection.execute(
            layer_results.update()
            .where(layer_results.c.key.in_([wish.keys[output] for output in outputs]))
            .values(workflow=workflow, args=own, updated_at=self._now())
        )
        return workflow

    def _args(self, connection: sa.Connection, workflow: str) -> Json:
        args: Json = connection.scalars(
            sa.select(layer_results.c.args).where(layer_results.c.workflow == workflow).limit(1)
        ).one()
        return args

    def _note(
        self,
        connection: sa.Connection,
        job: str,
        position: int,
        wish: Wish,
        made_by: list[str],
        rows: Mapping[str, sa.RowMapping],
    ) -> None:
        """The row of the job's page, and a use of what is there."""
        keys = list(wish.keys.values())
        if not made_by:
            self._reused(wish.comp_size)
            connection.execute(
                layer_results.update()
                .where(layer_results.c.key.in_(keys))
                .values(uses=layer_results.c.uses + 1)
            )
        report = next((row["result"].get("row") for row in rows.values() if row["result"]), None)
        connection.execute(
            job_layers.insert().values(
                job=job,
                layer=wish.digest,
                position=position,
                workflow=made_by[-1] if made_by else None,
                state="waiting" if made_by else (report or {}).get("state", "done"),
                reused=not made_by,
                comp_size=wish.comp_size,
                done_bytes=0 if made_by else wish.comp_size,
                reason="" if made_by else (report or {}).get("reason", ""),
                report=None if made_by else report,
            )
        )

    def missing(self, keys: Keys) -> list[str]:
        """The outputs among ``keys`` that have no result."""
        found = self.results(keys.values())
        return [output for output, key in keys.items() if key not in found]

    def results(self, keys: Iterable[str]) -> dict[str, Json]:
        """The results there are, by key."""
        query = sa.select(layer_results.c.key, layer_results.c.result).where(
            layer_results.c.key.in_(list(keys)), layer_results.c.result.is_not(None)
        )
        with self.database.read() as connection:
            return {key: result for key, result in connection.execute(query)}

    def store(
        self,
        results: Mapping[str, Json],
        place: tuple[str, str],
        workflow: str,
        *,
        seconds: float,
        row: Json | None,
        state: str,
    ) -> None:
        """Keep results, by key, whose blobs are in ``place`` (registry, repository) now."""
        with self.database.write() as connection:
            for key, result in results.items():
                connection.execute(
                    layer_results.update()
                    .where(layer_results.c.key == key)
                    .values(result=result, seconds=seconds, updated_at=self._now())
                )
                self._add_place(connection, key, place)
            connection.execute(
                job_layers.update()
                .where(job_layers.c.workflow == workflow)
                .values(
                    state=state,
                    report=row,
                    reason=(row or {}).get("reason", ""),
                    done_bytes=job_layers.c.comp_size,
                )
            )

    def add_place(self, keys: Iterable[str], place: tuple[str, str]) -> None:
        """The blobs of those results are in ``place`` too."""
        with self.database.write() as connection:
            for key in keys:
                self._add_place(connection, key, place)

    def _add_place(self, connection: sa.Connection, key: str, place: tuple[str, str]) -> None:
        values = {"key": key, "registry": place[0], "repository": place[1]}
        there = sa.and_(*(layer_places.c[name] == value for name, value in values.items()))
        if connection.execute(sa.select(layer_places.c.key).where(there)).first() is None:
            connection.execute(layer_places.insert().values(**values))

    def places(self, key: str) -> list[tuple[str, str]]:
        """Registry and repository of places that have the blobs of a result."""
        query = sa.select(layer_places.c.registry, layer_places.c.repository).where(layer_places.c.key == key)
        with self.database.read() as connection:
            return [(registry, repository) for registry, repository in connection.execute(query.limit(_PLACES))]

    def lost(self, keys: Iterable[str]) -> None:
        """Forget results whose blobs are nowhere any more: who needs them makes them again."""
        with self.database.write() as connection:
            gone = list(keys)
            connection.execute(layer_places.delete().where(layer_places.c.key.in_(gone)))
            connection.execute(
                layer_results.update().where(layer_results.c.key.in_(gone)).values(result=None, workflow=None)
            )
