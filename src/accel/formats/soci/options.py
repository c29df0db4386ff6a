"""What changes the bytes of an index."""

import hashlib
from dataclasses import dataclass

from accel.formats.soci.names import DEFAULT_MIN_LAYER_BYTES, DEFAULT_SPAN_BYTES, SOCI_TOOL

# Raise it when the same layer and options would give other (better) bytes than before.
LAYOUT_VERSION = 2


@dataclass(frozen=True, slots=True)
class SociOptions:
    """How to index: ``identical`` as SOCI's own tools do, byte for byte, else *compatible* (see the package).

    ``span_bytes`` holds for layers up to 160 MiB, see ``gzip_span_bytes``. ``min_layer_bytes`` is the compressed size
    below which layers are left out.
    """

    identical: bool = False
    span_bytes: int = DEFAULT_SPAN_BYTES
    min_layer_bytes: int = DEFAULT_MIN_LAYER_BYTES
    tool: str = SOCI_TOOL

    @property
    def fingerprint(self) -> str:
        """16 hex digits that are equal for options which give a layer the same zTOC."""
        text = f"{LAYOUT_VERSION} {self.identical} {self.span_bytes} {self.tool}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]
