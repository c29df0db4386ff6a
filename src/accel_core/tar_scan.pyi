from typing import final

from typing_extensions import Buffer

from accel_core.entries import EntryTable

MAX_ENTRIES: int
MAX_STRING_BYTES: int

@final
class TarScanner:
    def __new__(cls, *, max_entries: int = ..., max_string_bytes: int = ...) -> TarScanner: ...
    @property
    def n_entries(self) -> int: ...
    @property
    def archive_size(self) -> int: ...
    @property
    def position(self) -> int: ...
    def feed(self, data: Buffer) -> bool: ...
    def close(self) -> EntryTable: ...
