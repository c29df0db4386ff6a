"""Leases: who is alive, and who alone may do something. Only the database's clock judges them.

A lease says what was true when it was looked at. Who held the leader's lease and then froze goes on for a moment
when it thaws, so what a leader does must bear being done twice.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from accel.service.database import Database, leases


class Leases:
    """The table ``leases``; safe for threads and, on PostgreSQL, for any number of processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert

    def beat(self, name: str, holder: str) -> None:
        """``holder`` has ``name`` from now on, whoever had it before."""
        now = self._database.clock
        mine = self._insert(leases).values(name=name, holder=holder, beat=now)
        mine = mine.on_conflict_do_update(index_elements=[leases.c.name], set_={"holder": holder, "beat": now})
        with self._database.write() as connection:
            connection.execute(mine)

    def hold(self, name: str, holder: str, ttl_s: float) -> bool:
        """Whether ``holder`` has ``name`` now: it had it, nobody did, or who did has not beaten for ``ttl_s``."""
        now = self._database.clock
        renew = (
            sa.update(leases)
            .where(leases.c.name == name, sa.or_(leases.c.holder == holder, leases.c.beat < now - ttl_s))
            .values(holder=holder, beat=now)
        )
        take = self._insert(leases).values(name=name, holder=holder, beat=now).on_conflict_do_nothing()
        with self._database.write() as connection:
            return any(connection.scalar(way.returning(leases.c.name)) is not None for way in (renew, take))

    def release(self, name: str, holder: str) -> None:
        """``holder`` gives ``name`` up, if it has it."""
        with self._database.write() as connection:
            connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def alive(self, prefix: str, ttl_s: float) -> Mapping[str, float]:
        """Holders of the names that start with ``prefix``, with the seconds since their last beat, under ``ttl_s``."""
        age = self._database.clock - leases.c.beat
        found = sa.select(leases.c.holder, age).where(leases.c.name.startswith(prefix, autoescape=True), age < ttl_s)
        with self._database.read() as connection:
            return {holder: seconds for holder, seconds in connection.execute(found)}

    def prune(self, prefix: str, age_s: float) -> int:
        """Forgets the names that start with ``prefix`` and were not beaten for ``age_s``; says how many."""
        old = leases.c.beat < self._database.clock - age_s
        with self._database.write() as connection:
            gone = sa.delete(leases).where(leases.c.name.startswith(prefix, autoescape=True), old)
            return connection.execute(gone).rowcount
