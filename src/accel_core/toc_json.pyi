from collections.abc import Iterable, Mapping

from typing_extensions import Buffer

from accel_core.entries import EntryTable

NO_PREFETCH: int
PREFETCH: int

def write(
    entries: EntryTable,
    rows: Buffer,
    *,
    chunk_entry: Buffer,
    chunk_offset: Buffer,
    chunk_size: Buffer,
    blob_offset: Buffer,
    end_offset: Buffer,
    inner_offset: Buffer,
    digests: Buffer,
    file_digests: Mapping[int, bytes],
    zstd: bool = False,
    header_times: Iterable[tuple[int, int, int]] = (),
    tar_split_digest: str = "",
) -> bytes: ...
