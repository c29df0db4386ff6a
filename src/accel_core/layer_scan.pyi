from collections.abc import Callable
from typing import Literal

from typing_extensions import Buffer

from accel_core.gzip_stream import GzipStream
from accel_core.layer_index import LayerIndex

DEFAULT_SPAN_BYTES: int

class _Inflated(GzipStream): ...

class LayerScanner:
    def __init__(
        self,
        *,
        compression: Literal["auto", "gzip", "tar"] = "auto",
        span_bytes: int = ...,
        placement: Literal["adaptive", "soci"] = "adaptive",
        digest: bool = True,
        span_digests: bool = True,
        sparse_windows: bool = False,
        diff_id: bool = False,
        max_uncomp_bytes: int | None = None,
        sink: Callable[..., object] | None = None,
        matches: bool = False,
    ) -> None: ...
    def feed(self, data: Buffer) -> None: ...
    def finish(self) -> LayerIndex: ...

def inflate_all(data: Buffer, piece_bytes: int = 0) -> tuple[bytes, int]: ...
