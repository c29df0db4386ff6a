from collections.abc import Iterable, Iterator
from typing import final

from accel_core.entry import Entry as Entry

FLAG_GNU_SPARSE: int
FLAG_PAX_SPARSE: int
FLAG_GLOBAL: int
FLAG_SIZE_ON_NON_FILE: int
FLAG_UNKNOWN_TYPE: int

@final
class EntryTable:
    @property
    def all_flags(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: int, /) -> Entry: ...
    def __iter__(self) -> Iterator[Entry]: ...
    def append(
        self,
        *,
        name: bytes,
        typeflag: str = "0",
        header_offset: int = 0,
        data_offset: int = 0,
        size: int = 0,
        stored_size: int | None = None,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime_s: int = 0,
        mtime_ns: int = 0,
        has_mtime: bool = True,
        devmajor: int = 0,
        devminor: int = 0,
        linkname: bytes = b"",
        uname: bytes = b"",
        gname: bytes = b"",
        flags: int = 0,
        pax: Iterable[tuple[bytes, bytes]] = (),
    ) -> None: ...
