from typing import final

from typing_extensions import Buffer

from accel_core.entries import EntryTable
from accel_core.toc_split import COLUMNS as COLUMNS

ROW_BYTES: int
RECORD_BYTES: int

def join(
    columns: list[Buffer],
    *,
    entries: int,
    kinds: int,
    times: int,
    records: int,
    string_bytes: int,
    archive_size: int,
) -> EntryTable: ...

@final
class _Joiner: ...
