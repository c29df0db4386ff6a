from typing import final

from typing_extensions import Buffer

from accel_core.layer_index import LayerIndex

def decode(data: Buffer) -> tuple[LayerIndex, str, str]: ...

@final
class _Decoder: ...
