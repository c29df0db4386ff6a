"""Threads that do something again and again, and end when they are told to."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Loop:
    """Calls ``work`` every ``every_s`` seconds, or when woken, as long as ``may`` says so.

    ``work`` gives how much it found to do: anything, and it is called again at once. An error is logged and does not
    end the loop: the next round starts from what is stored.
    """

    def __init__(
        self, name: str, work: Callable[[], object], every_s: float, may: Callable[[], bool] = lambda: True
    ) -> None:
        self.name = name
        self._work = work
        self._every_s = every_s
        self._may = may
        self._wanted = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"accel-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have it look now."""
        self._wanted.set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End after the round it is in; returns when it has ended."""
        self._stopped = True
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._wanted.clear()
            if not self._round():
                self._wanted.wait(self._every_s)

    def _round(self) -> object:
        try:
            return self._may() and self._work()
        except Exception:
            _log.exception("%s: a round failed", self.name)
            return None
