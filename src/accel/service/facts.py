"""Small facts that must survive: switches, and when something was done last."""

from typing import Any

import sqlalchemy as sa

from accel.service.database import Database, facts


def read_fact(database: Database, name: str) -> Any:
    """What was written under ``name``; None if nothing was."""
    with database.read() as connection:
        return connection.scalar(sa.select(facts.c.value).where(facts.c.name == name))


def write_fact(database: Database, name: str, value: Any) -> None:
    """Keep ``value``, plain JSON, in the place of what was there."""
    with database.write() as connection:
        connection.execute(facts.delete().where(facts.c.name == name))
        connection.execute(facts.insert().values(name=name, value=value))
