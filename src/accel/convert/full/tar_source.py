"""The tar of one layer, decoded from its blob and verified on the way, as often as it is needed."""

from collections.abc import Callable

from accel.blobs import Blob, in_background, verified
from accel.errors import FormatError, LimitError
from accel.images.compression import Compression, decompressed, peek, sniff
from accel.oci import Descriptor
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import DEFAULT_SPAN_BYTES, LayerScanner

READ_BYTES = 256 << 10  # small enough that a slow connection reports, and can be stopped, every few seconds
Push = Callable[[memoryview], object]


class TarSource:
    """Each ``read`` streams the whole blob. ``on_bytes`` hears of compressed bytes, the first time only, 0 later."""

    def __init__(
        self, blob: Blob, layer: Descriptor, on_bytes: Callable[[int], object], *, max_uncomp_bytes: int
    ) -> None:
        self._blob = blob
        self._layer = layer
        self._on_bytes = on_bytes
        self._max_uncomp = max_uncomp_bytes
        self._n_reads = 0
        head, self._first = peek(blob.stream(READ_BYTES))
        self.compression: Compression = sniff(head)

    def read(self, push: Push, *, index_span_bytes: int | None = None) -> LayerIndex | None:
        """Give ``push`` the tar, in pieces that are valid during the call; the index if its span size was given.

        What ``push`` raises stops the reading. Raises DigestMismatch for other bytes than the descriptor's, FormatError,
        LimitError, UnsupportedError for a compression that nobody can read.
        """
        stored = self._first if self._n_reads == 0 else self._blob.stream(READ_BYTES)
        self._n_reads += 1
        chunks = in_background(stored if self._blob.is_verified else verified(stored, self._layer))
        try:
            counted = map(self._count, chunks)
            if self.compression in ("gzip", "tar") and (index_span_bytes or self.compression == "gzip"):
                return self._scan(counted, push, index_span_bytes)
            for piece in decompressed(counted, self.compression, max_bytes=self._max_uncomp):
                push(memoryview(piece))
            for _ in counted:
                pass  # what follows the last frame belongs to the blob, and to its digest
            return None
        except (FormatError, LimitError) as error:
            error.blob = error.blob or self._layer.digest
            raise
        finally:
            chunks.close()

    def _scan(self, chunks: "map[bytes]", push: Push, span_bytes: int | None) -> LayerIndex | None:
        scanner = LayerScanner(
            compression="gzip" if self.compression == "gzip" else "tar",
            span_bytes=span_bytes or DEFAULT_SPAN_BYTES,
            span_digests=span_bytes is not None,
            digest=False,
            max_uncomp_bytes=self._max_uncomp,
            sink=push,
        )
        for chunk in chunks:
            scanner.feed(chunk)
        index = scanner.finish()
        return index if span_bytes else None

    def _count(self, chunk: bytes) -> bytes:
        self._on_bytes(len(chunk) if self._n_reads == 1 else 0)
        return chunk
