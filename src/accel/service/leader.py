"""Who may do what only one process may do."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from accel.errors import ConfigError
from accel.service.loops import Loop
from accel.service.settings import StoreSettings

LEADER_TTL_S = 5.0


class Leadership:
    """Whether this process holds the leader's lease, renewed by a thread of its own."""

    def __init__(self, hold: Callable[[], bool]) -> None:
        self._hold = hold
        self._until = 0.0
        self.loop = Loop("leader", self._renew, 1.0)

    def is_held(self) -> bool:
        """Whether it does, as far as is known; never later than the lease's end."""
        return time.monotonic() < self._until

    def _renew(self) -> None:
        asked = time.monotonic()
        self._until = asked + LEADER_TTL_S - 1.0 if self._hold() else 0.0


@contextmanager
def sole_owner(store: StoreSettings) -> Iterator[None]:
    """Sees that an embedded store has one process. Raises ConfigError if another one has it."""
    if store.url is not None:
        yield
        return
    folder = Path(store.path)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process has the store {store.path}") from None
        yield
