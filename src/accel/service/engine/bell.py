"""Waits that end as soon as there may be something to do, and not only when it is time to look again."""

import math
import threading
import time

_LEAST_S = 0.05  # between two looks: each costs some milliseconds, however often the bell rings


class Bell:
    """What one thread waits on between two looks. Others ring it; ``stop`` ends this wait and all later ones.

    It stands in for the ``threading.Event`` by which dbos stops the thread of a queue. No wait is longer than
    ``longest_s``: dbos doubles its own with every conflict of transactions, which many rings make many.
    """

    def __init__(self, longest_s: float = math.inf) -> None:
        self._longest_s = longest_s
        self._changed = threading.Condition()
        self._due: set[float] = set()
        self._looked_at = 0.0
        self._stopped = False

    def ring(self, after_s: float = 0.0) -> None:
        """End the wait, in ``after_s`` seconds."""
        with self._changed:
            self._due.add(time.monotonic() + after_s)
            self._changed.notify()

    def stop(self) -> None:
        """End the waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def is_set(self) -> bool:
        """Whether it was stopped."""
        return self._stopped

    def wait(self, timeout: float) -> bool:
        """Wait for a ring or ``timeout`` seconds. Whether it was stopped."""
        end = time.monotonic() + min(timeout, self._longest_s)
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                due = max(min({end, *self._due}), self._looked_at + _LEAST_S)
                if due <= now:
                    self._looked_at = now
                    self._due = {one for one in self._due if one > now}
                    break
                self._changed.wait(due - now)
            return self._stopped
