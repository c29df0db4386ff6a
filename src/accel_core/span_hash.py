"""SHA-256 of spans, while the blob streams by once.

Where a span starts is known a little later than its bytes pass: the scanner says up to which offset everything is
decided, and the bytes after that are held.
"""

from collections.abc import Iterable

from accel_core.held_bytes import HeldBytes
from accel_core.sha256 import Sha256, sha256


class SpanHasher:
    """Digests of the compressed bytes of each span, taken from ``held``.

    A cut ``(comp_offset, bits)`` ends a span at ``comp_offset`` and starts the next one there, or one byte earlier if
    ``bits`` is not 0: that byte belongs to both.
    """

    def __init__(self, held: HeldBytes) -> None:
        self._held = held
        self._hashes: list[Sha256] = []   # of all spans begun
        self._next = -1                 # offset of the next byte to hash; -1 before the first span

    def update(self, cuts: Iterable[tuple[int, int]], decided: int) -> tuple[list[tuple[Sha256, memoryview]], int]:
        """Take the spans that start among the bytes seen, and how far that is final.

        What is to be hashed now (see ``update_all``), and the offset before which bytes may go when that is done.
        """
        todo: list[tuple[Sha256, memoryview]] = []
        for comp_offset, bits in cuts:
            self._hash_to(comp_offset, todo)
            self._hashes.append(sha256())
            self._next = comp_offset - (1 if bits else 0)
        self._hash_to(decided, todo)
        return todo, decided if self._next < 0 else self._next

    def finish(self) -> tuple[str, ...]:
        """All digests, when the last span has been hashed to the end of the blob."""
        return tuple(f"sha256:{one.hexdigest()}" for one in self._hashes)

    def _hash_to(self, end: int, todo: list[tuple[Sha256, memoryview]]) -> None:
        if self._hashes:
            todo += [(self._hashes[-1], view) for view in self._held.views(self._next, end)]
            self._next = max(self._next, end)
