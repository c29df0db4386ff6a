"""SHA-256 of spans, while the blob streams by once.

Where a span starts is known a little later than its bytes pass: the scanner says up to which offset everything is
decided, and the bytes after that are held.
"""

import hashlib
from collections.abc import Iterable

from accel_core.held_bytes import HeldBytes


class SpanHasher:
    """Digests of the compressed bytes of each span, taken from ``held``.

    A cut ``(comp_offset, bits)`` ends a span at ``comp_offset`` and starts the next one there, or one byte earlier if
    ``bits`` is not 0: that byte belongs to both. ``spans`` has those that have ended, as (start, end, ``sha256:…``).
    """

    def __init__(self, held: HeldBytes) -> None:
        self.spans: list[tuple[int, int, str]] = []
        self._held = held
        self._hash = hashlib.sha256()
        self._start = -1                # of the span being hashed; -1 before the first one
        self._next = -1                 # offset of the next byte to hash

    def update(self, cuts: Iterable[tuple[int, int]], decided: int) -> int:
        """Take the spans that start among the bytes seen, and how far that is final. Bytes before the result may go."""
        for comp_offset, bits in cuts:
            if self._start >= 0:
                self._end_span(comp_offset)
            self._start = self._next = comp_offset - (1 if bits else 0)
        if self._start < 0:
            return decided
        self._hash_to(decided)
        return self._next

    def finish(self) -> tuple[str, ...]:
        """All digests; the last span ends where the blob does."""
        if self._start >= 0:
            self._end_span(self._held.end)
        return tuple(digest for _, _, digest in self.spans)

    def _end_span(self, end: int) -> None:
        self._hash_to(end)
        self.spans.append((self._start, end, f"sha256:{self._hash.hexdigest()}"))
        self._hash = hashlib.sha256()

    def _hash_to(self, end: int) -> None:
        for view in self._held.views(self._next, end):
            self._hash.update(view)
        self._next = max(self._next, end)
