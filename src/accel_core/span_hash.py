"""SHA-256 of spans, while the blob streams by once.

Where a span starts is known a little later than its bytes pass: the scanner says up to which offset everything is
decided, and the bytes after that are held back.
"""

import hashlib
from collections.abc import Iterable

from typing_extensions import Buffer


class SpanHasher:
    """Digests of the compressed bytes of each span.

    A cut ``(comp_offset, bits)`` ends a span at ``comp_offset`` and starts the next one there, or one byte earlier if
    ``bits`` is not 0: that byte belongs to both.
    """

    def __init__(self) -> None:
        self._held = bytearray()        # bytes from _held_start on that are not decided yet
        self._held_start = 0
        self._hash = hashlib.sha256()
        self._next = -1                 # offset of the next byte to hash; -1 before the first span
        self._digests: list[str] = []

    def update(self, chunk: Buffer, cuts: Iterable[tuple[int, int]], decided: int) -> None:
        """Take the next bytes of the blob, the spans that start among those seen, and how far that is final."""
        view = memoryview(chunk)
        for comp_offset, bits in cuts:
            if self._next >= 0:
                self._hash_to(comp_offset, view)
                self._digests.append(self._hash.hexdigest())
                self._hash = hashlib.sha256()
            self._next = comp_offset - (1 if bits else 0)
        if self._next >= 0:
            self._hash_to(decided, view)
        self._hold_from(self._next if self._next >= 0 else decided, view)

    def finish(self) -> tuple[str, ...]:
        """All digests, as ``sha256:…``; the last span ends where the blob does."""
        if self._next >= 0:
            self._hash.update(self._held)
            self._digests.append(self._hash.hexdigest())
        return tuple(f"sha256:{digest}" for digest in self._digests)

    def _hash_to(self, end: int, view: memoryview) -> None:
        """Hash ``[_next, end)``, which lies in the held bytes and the new ones behind them."""
        seam = self._held_start + len(self._held)
        if self._next < seam:
            with memoryview(self._held) as held:
                self._hash.update(held[self._next - self._held_start : end - self._held_start])
        if end > seam:
            self._hash.update(view[max(self._next - seam, 0) : end - seam])
        self._next = max(self._next, end)

    def _hold_from(self, start: int, view: memoryview) -> None:
        seam = self._held_start + len(self._held)
        del self._held[: start - self._held_start]     # moves no bytes: a bytearray keeps its start
        self._held += view[max(start - seam, 0) :]
        self._held_start = start
