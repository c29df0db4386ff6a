from array import array

from typing_extensions import Buffer

from accel_core.entries import EntryTable

def read(
    data: Buffer, *, data_end: int, max_rows: int
) -> tuple[EntryTable, tuple[array[int], ...], bytes, list[tuple[int, bytes]], bytes]: ...
