"""Memory and disk that layers on their way may take together."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from accel.errors import LimitError


class Budget:
    """Room for ``memory`` and ``disk`` bytes. Who comes first is served first: large layers are not starved."""

    def __init__(self, memory: int, disk: int) -> None:
        self._limit = (memory, disk)
        self._free = [memory, disk]
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, memory: int, disk: int) -> Iterator[None]:
        """Hold that much, waiting for it if need be. LimitError for more than there is in all."""
        wanted = (memory, disk)
        for name, need, limit in zip(("memory", "disk"), wanted, self._limit, strict=True):
            if need > limit:
                raise LimitError(
                    f"a layer needs up to {need} bytes of {name}, and limits.{name} is {limit}", limit=limit
                )
        self._take(wanted)
        try:
            yield
        finally:
            with self._changed:
                self._free = [free + got for free, got in zip(self._free, wanted, strict=True)]
                self._changed.notify_all()

    def _take(self, wanted: tuple[int, int]) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(wanted))
                self._free = [free - need for free, need in zip(self._free, wanted, strict=True)]
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _fits(self, wanted: tuple[int, int]) -> bool:
        return all(need <= free for need, free in zip(wanted, self._free, strict=True))
