"""Looking after dependencies: what is missing is put back or told, and what nobody needs is let go."""

import logging
from collections.abc import Callable
from contextlib import closing

import sqlalchemy as sa

from accel.errors import AccelError, ConfigError, RegistryError
from accel.service.database import Database, dependencies
from accel.service.protect.guard import Json, StoreOf
from accel.service.protect.inventory import Inventory
from accel.service.protect.kept import Kept, Source
from accel.service.protect.problems import Problem, problem_of
from accel.service.protect.repair import put_back
from accel.service.settings import ProtectionSettings

Alarm = Callable[[str, str], None]  # job, in words

_log = logging.getLogger(__name__)
_BATCH = 200
# So long a source is kept that nobody needs: a result may be about to need it, or its tag come back.
_GRACE_S = 86400.0
_PUT_OFF = "put off"


class Watch:
    """Sees that accelerated tags have what they need, and does about it what is configured."""

    def __init__(
        self,
        database: Database,
        settings: ProtectionSettings,
        store_of: StoreOf,
        now: Callable[[], float],
        alarm: Alarm,
        kept: Kept,
    ) -> None:
        self._database = database
        self._settings = settings
        self._store_of = store_of
        self._now = now
        self._alarm = alarm
        self._kept = kept

    def sweep(self, limit: int = _BATCH) -> int:
        """Check what was not checked for longest, ``limit`` of each registry. How many dependencies that were."""
        due = sa.or_(dependencies.c.checked_at.is_(None), dependencies.c.checked_at <= self._due_at())
        with self._database.read() as connection:
            registries = list(connection.scalars(sa.select(dependencies.c.registry).where(due).distinct()))
        n_checked = sum(self._sweep(registry, due, limit) for registry in registries)
        for source in self._kept.loose(self._now() - _GRACE_S, limit):
            self._let_go(source)
        return n_checked

    def _sweep(self, registry: str, due: sa.ColumnElement[bool], limit: int) -> int:
        """The same for one registry, until it does not answer."""
        first = dependencies.c.checked_at.asc().nulls_first()
        query = sa.select(dependencies).where(dependencies.c.registry == registry, due).order_by(first)
        by_repository: dict[str, list[sa.RowMapping]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query.limit(limit)).mappings():
                by_repository.setdefault(row["repository"], []).append(row)
        n_checked = 0
        for repository, rows in by_repository.items():
            actions = [one["action"] for one in self.look_at(registry, repository, rows)]
            n_checked += len(actions) - actions.count(_PUT_OFF)
            if _PUT_OFF in actions:
                break
        return n_checked

    def look_at(self, registry: str, repository: str, rows: list[sa.RowMapping]) -> list[Json]:
        """What was done about dependencies in one repository.

        Those that the registry gave no answer about are as they were, and due at the next sweep, behind all others.
        """
        actions: list[Json] = []
        try:
            with closing(self._store_of(registry, repository)) as store:
                have = Inventory(store)
                for row in rows:
                    actions.append(_about(row) | self._look_at(row, have))
        except (RegistryError, ConfigError) as error:
            _log.warning("%s/%s could not be checked: %s", registry, repository, error)
            left = rows[len(actions) :]
            self._put_off(left)
            actions += [_about(row) | {"action": _PUT_OFF, "problem": str(error)} for row in left]
        return actions

    def _look_at(self, row: sa.RowMapping, have: Inventory) -> Json:
        """Raises RegistryError if the registry does not say how things are."""
        kept = self._kept.manifests(Source.of(row))
        try:
            found = problem_of(have, row, kept)
            if found is None:
                return self._settle(row, "ok", "", "none")
            if found.kind == "released":
                return self._release(row)
            if found.kind != "source gone" or self._settings.on_delete == "alarm":
                return self._broken(row, found.words)
            if self._settings.on_delete == "ignore":
                return self._settle(row, "ok", found.words, "ignored")
        except RegistryError:
            raise
        except AccelError as error:  # what is there cannot be read
            return self._broken(row, str(error))
        return self._repair(row, have, found)

    def _repair(self, row: sa.RowMapping, have: Inventory, found: Problem) -> Json:
        try:
            put_back(have.store, row, self._kept.manifests(Source.of(row)))
        except AccelError as error:
            if isinstance(error, RegistryError) and error.temporary:
                raise
            return self._broken(row, f"{found.words} and cannot be put back: {error}")
        return self._settle(row, "ok", "", "repaired")

    def _broken(self, row: sa.RowMapping, words: str) -> Json:
        """Told once, until it is another problem."""
        if row["state"] != "broken" or row["problem"] != words:
            self._alarm(row["job"], f"{row['repository']}:{row['tag']}: {words}")
        return self._settle(row, "broken", words, "alarm") | {"problem": words}

    def _settle(self, row: sa.RowMapping, state: str, problem: str, action: str) -> Json:
        with self._database.write() as connection:
            connection.execute(
                dependencies.update()
                .where(_same(row))
                .values(state=state, problem=problem, checked_at=self._now())
            )
        return {"action": action}

    def _release(self, row: sa.RowMapping) -> Json:
        with self._database.write() as connection:
            connection.execute(dependencies.delete().where(_same(row)))
            self._kept.wanted(connection, Source.of(row))
        return {"action": "released"}

    def _put_off(self, rows: list[sa.RowMapping]) -> None:
        with self._database.write() as connection:
            for row in rows:
                again = dependencies.update().where(_same(row)).values(checked_at=self._due_at())
                connection.execute(again)

    def _due_at(self) -> float:
        """What was last checked then or before is to be checked now."""
        return self._now() - self._settings.check_every_s

    def _let_go(self, source: Source) -> None:
        """Drop what was kept of a source that nobody needs, and our tag on it."""
        with self._kept.alone(source):
            if not self._kept.is_loose(source, self._now() - _GRACE_S):
                return
            try:
                with closing(self._store_of(source.registry, source.repository)) as store:
                    if store.tag_digest(source.keep_tag) == source.source_digest:
                        store.delete_tag(source.keep_tag)
            except AccelError as error:
                _log.warning("%s:%s could not be removed: %s", source.repository, source.keep_tag, error)
                if isinstance(error, RegistryError) and error.temporary:
                    return  # the next sweep tries again
            self._kept.drop(source)


def _about(row: sa.RowMapping) -> Json:
    return {"tag": row["tag"], "source": row["source_tag"]}


def _same(row: sa.RowMapping) -> sa.ColumnElement[bool]:
    """The dependency as it was read: one that was recorded anew meanwhile is another."""
    same = ("registry", "repository", "tag", "digest", "source_digest")
    return sa.and_(*(dependencies.c[name] == row[name] for name in same))
