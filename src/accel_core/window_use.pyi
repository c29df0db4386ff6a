from typing_extensions import Buffer

WINDOW_USE_BYTES: int

class WindowUse:
    def sparsify(self, comp: Buffer, bits: int, window: Buffer) -> bool: ...
