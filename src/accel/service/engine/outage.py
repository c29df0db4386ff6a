"""A database that is not there yet is no reason to end: a supervisor would only start us again."""

import logging
import threading

import sqlalchemy as sa

from accel.errors import Cancelled

log = logging.getLogger(__name__)

# What a database that is away makes SQLAlchemy raise.
UNREACHABLE = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)

_PAUSE_S = (0.5, 15.0)  # first and longest between two tries


def wait_for_database(url: str, give_up: threading.Event) -> None:
    """Returns when the database at ``url`` answers; raises Cancelled if ``give_up`` is set before that."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    pause = _PAUSE_S[0]
    while not _answers(engine):
        log.warning("the database does not answer, trying again in %.1f s", pause)
        if give_up.wait(pause):
            raise Cancelled("closed before the database answered")
        pause = min(pause * 2, _PAUSE_S[1])


def _answers(engine: sa.Engine) -> bool:
    try:
        with engine.connect() as connection:
            connection.execute(sa.select(1))
    except UNREACHABLE:
        return False
    return True
