from collections.abc import Callable

from typing_extensions import Buffer

from accel_core.byte_source import ByteSource
from accel_core.checkpoints import Checkpoints

class IndexedReader:
    def __init__(
        self,
        source: ByteSource,
        checkpoints: Checkpoints,
        uncomp_size: int,
        *,
        cache_bytes: int = ...,
        before_span: Callable[[int], object] | None = None,
        blob: str | None = None,
    ) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def blob(self) -> str | None: ...
    @property
    def n_spans(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def spans(self, start: int, end: int) -> list[tuple[int, int]]: ...
    def read_at(self, offset: int, n: int) -> bytes: ...
    def readinto_at(self, offset: int, into: Buffer) -> int: ...
