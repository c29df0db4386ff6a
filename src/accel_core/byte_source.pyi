from collections.abc import Callable

from typing_extensions import Buffer

class ByteSource:
    @property
    def size(self) -> int: ...
    def read_at(self, offset: int, n: int) -> bytes: ...

class FileSource(ByteSource):
    def __init__(self, descriptor: int) -> None: ...

class BufferSource(ByteSource):
    def __init__(self, data: Buffer) -> None: ...

class CallSource(ByteSource):
    def __init__(self, call: Callable[[int, int], Buffer], size: int) -> None: ...
