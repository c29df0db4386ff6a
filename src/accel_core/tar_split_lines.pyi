from typing import final

from typing_extensions import Buffer

from accel_core.entries import EntryTable

@final
class TarSplitLines:
    @property
    def position(self) -> int: ...
    @property
    def header_times(self) -> dict[int, tuple[int, int]]: ...
    def feed(self, data: Buffer, entries: EntryTable, first: int, end: int) -> bytes: ...
    def finish(self) -> bytes: ...
