from typing import final

from accel_core.entries import EntryTable

COLUMNS: tuple[str, ...]

def split(entries: EntryTable, archive_size: int) -> tuple[tuple[int, int, int, int], list[bytes]]: ...

@final
class _Splitter: ...
