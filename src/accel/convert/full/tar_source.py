"""The tar of one layer, decoded from its blob and verified on the way, as often as it is needed."""

from collections.abc import Callable, Iterable
from typing import Protocol

from typing_extensions import Buffer

from accel.blobs import Blob, in_background, verified
from accel.convert.scan import CHUNK_BYTES
from accel.errors import FormatError, LimitError
from accel.images.compression import Compression, decompressed, peek, sniff
from accel.oci import Descriptor
from accel_core.gzip_tokens import TokenStream
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import LayerScanner


class Push(Protocol):
    """Takes the next bytes of a tar, and the matches that begin in them if it was made by inflating.

    Matches are records of ``accel_core.gzip_tokens``; they count from the start of the stream that ``data`` is part of,
    where it begins at ``origin``.
    """

    def __call__(self, data: memoryview, matches: memoryview | None = None, origin: int = 0, /) -> object: ...


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
        head, self._first = peek(blob.stream(CHUNK_BYTES))
        self.compression: Compression = sniff(head)

    def read(self, push: Push, *, index_span_bytes: int | None = None) -> LayerIndex | None:
        """Give ``push`` the tar, in pieces that are valid during the call; the index if its span size was given.

        What ``push`` raises stops the reading. Raises DigestMismatch for other bytes than the descriptor's,
        FormatError, LimitError, UnsupportedError for a compression that nobody can read.
        """
        stored = self._first if self._n_reads == 0 else self._blob.stream(CHUNK_BYTES)
        self._n_reads += 1
        chunks = in_background(stored if self._blob.is_verified else verified(stored, self._layer))
        try:
            counted = map(self._count, chunks)
            if index_span_bytes and self.compression in ("gzip", "tar"):
                return self._scan(counted, push, index_span_bytes)
            if self.compression == "gzip":
                self._inflate(counted, push)
            else:
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

    def _inflate(self, chunks: Iterable[bytes], push: Push) -> None:
        stream = TokenStream(self._positioned(push))
        for chunk in chunks:
            stream.feed(chunk)
        stream.finish()

    def _scan(self, chunks: Iterable[bytes], push: Push, span_bytes: int) -> LayerIndex:
        """As ``read``, and the index is made on the way."""
        is_gzip = self.compression == "gzip"
        scanner = LayerScanner(
            compression="gzip" if is_gzip else "tar",
            span_bytes=span_bytes,
            digest=False,
            sink=self._positioned(push),
            matches=is_gzip,
        )
        for chunk in chunks:
            scanner.feed(chunk)
        return scanner.finish()

    def _positioned(self, push: Push) -> Callable[..., None]:
        """``push`` for who does not say where a piece begins."""
        position = 0

        def on_piece(data: Buffer, matches: memoryview | None = None) -> None:
            nonlocal position
            piece = memoryview(data)
            if position + len(piece) > self._max_uncomp:
                raise LimitError("layer inflates to more than allowed", limit=self._max_uncomp)
            push(piece, matches, position)
            position += len(piece)

        return on_piece

    def _count(self, chunk: bytes) -> bytes:
        self._on_bytes(len(chunk) if self._n_reads == 1 else 0)
        return chunk
