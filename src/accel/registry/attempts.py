"""When to try again: exponential backoff with jitter, ``Retry-After``, and an end to both."""

import logging

from accel.errors import RegistryError
from accel.registry.options import RegistryOptions

_LOG = logging.getLogger(__name__)


class Attempts:
    """The attempts of one step. Call :meth:`failed` with each error: it waits, or raises it again for good."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self.progress()

    def progress(self) -> None:
        """The step got further: count from the beginning again."""
        self._failures = 0
        self._deadline = self._options.clock() + self._options.retry_budget_s

    def failed(self, error: RegistryError) -> None:
        """Wait before the next attempt. Raises ``error`` if it is not temporary or there is no attempt left."""
        self._failures += 1
        options = self._options
        if not error.temporary or self._failures >= options.max_attempts:
            raise error
        backoff = min(options.backoff_max_s, options.backoff_s * 2.0 ** (self._failures - 1))
        wait_s = backoff * (0.5 + options.jitter() / 2)
        asked_s: float | None = getattr(error, "retry_after_s", None)
        if asked_s:  # a registry that asks for 0 s is not hammered, either
            wait_s = asked_s + options.backoff_s * options.jitter()
        if options.clock() + wait_s > self._deadline:
            raise error
        _LOG.info("trying again in %.1f s: %s", wait_s, error)
        options.sleep(wait_s)
