"""One layer in, one zTOC out: a single pass over the stored bytes as they come from the store."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import IO, Literal

from accel.blobs import verified
from accel.convert.options import ConvertOptions
from accel.convert.plan import LayerJob
from accel.convert.report import LayerReport
from accel.errors import DigestMismatch, FormatError, LimitError, UnsupportedError
from accel.formats.soci import SociOptions, build_ztoc, choose_layer, tar_span_bytes, ztoc_descriptor
from accel.images.compression import peek, sniff
from accel.oci import Descriptor
from accel.progress import Progress
from accel.stores import ImageStore
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import LayerScanner
from accel_core.ztoc import CHECKPOINT_BYTES

Layer = Literal["gzip", "tar"]
CHUNK_BYTES = 256 << 10  # small enough that a slow connection reports, and can be stopped, every few seconds
_SPOOL_BYTES = 1 << 20  # larger zTOCs wait for their upload in an unnamed file: it goes when the process goes
BAD_LAYER = (
    FormatError,
    DigestMismatch,
    LimitError,
    UnsupportedError,
)  # the layer's fault, not the network's or ours


class Ztoc:
    """A finished index of one layer: its descriptor, and its bytes unless the destination has them already.

    Iterating gives the bytes from the start, as often as wanted.
    """

    def __init__(self, descriptor: Descriptor, content: IO[bytes] | None = None) -> None:
        self.descriptor = descriptor
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        assert self.content is not None
        self.content.seek(0)
        while chunk := self.content.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Drop the bytes."""
        if self.content is not None:
            self.content.close()


def scan_layer(
    store: ImageStore, job: LayerJob, options: ConvertOptions, progress: Progress
) -> tuple[LayerReport, Ztoc | None]:
    """The report row of a layer, and its zTOC if it could be indexed.

    What is wrong with the layer itself ends in the row, unless ``options.digest_identical`` (then it is raised, naming
    the layer). What is wrong around it (network, disk, cancelled) is always raised.
    """
    layer = job.descriptor
    progress.begin(layer.digest, layer.size)
    started = time.monotonic()
    outcome = "stopped"
    try:
        chunks = store.blob(layer).stream(CHUNK_BYTES)
        # the pass itself computes SHA-256; anything else is hashed on the way
        chunks = _bounded(chunks, layer) if _is_sha256(layer) else verified(chunks, layer)
        head, chunks = peek(_reported(chunks, layer.digest, progress))
        choice = choose_layer(layer, options.soci, sniffed=sniff(head))
        if choice.compression is None:
            outcome = "unsupported"
            return job.report("unsupported", choice.reason), None
        span_bytes = _span_bytes(choice.compression, layer.size, options.soci)
        index = _scan(
            chunks, choice.compression, layer.digest, span_bytes, options.soci, options.max_layer_bytes
        )
        if _is_sha256(layer) and index.digest != layer.digest:
            raise DigestMismatch(layer.digest, str(index.digest), n_bytes=index.comp_size, blob=layer.digest)
        encoded, _ = build_ztoc(index, options.soci)
        ztoc = keep(encoded, ztoc_descriptor(encoded, layer, options.soci, span_bytes=span_bytes))
        outcome = "indexed"
        return _row(job, index, ztoc.descriptor.size, time.monotonic() - started), ztoc
    except BAD_LAYER as error:
        outcome = "unsupported" if isinstance(error, UnsupportedError) else "failed"
        if isinstance(error, FormatError):
            error = _cause(store, layer, error)
        if options.digest_identical:
            raise error from None
        return job.report(outcome, str(error)), None
    finally:
        progress.end(layer.digest, outcome)


def _cause(store: ImageStore, layer: Descriptor, error: FormatError) -> FormatError | DigestMismatch:
    """Why a layer does not read: its own ``error``, or bytes that are not those the digest names."""
    try:
        for _ in verified(store.blob(layer).stream(CHUNK_BYTES), layer):
            pass
    except DigestMismatch as mismatch:
        return mismatch
    return error


def _scan(
    chunks: Iterable[bytes], compression: Layer, name: str, span_bytes: int, soci: SociOptions, max_bytes: int
) -> LayerIndex:
    scanner = LayerScanner(
        compression=compression,
        span_bytes=span_bytes,
        placement="soci" if soci.identical else "adaptive",
        max_uncomp_bytes=max_bytes,
    )
    try:
        for chunk in chunks:
            scanner.feed(chunk)
        return scanner.finish()
    except (FormatError, LimitError) as error:
        error.blob = error.blob or name
        raise


def _span_bytes(compression: Layer, comp_size: int, soci: SociOptions) -> int:
    return soci.span_bytes if compression == "gzip" else tar_span_bytes(comp_size, soci)


def _is_sha256(layer: Descriptor) -> bool:
    return layer.digest.startswith("sha256:")


def _bounded(chunks: Iterable[bytes], layer: Descriptor) -> Iterator[bytes]:
    n_bytes = 0
    for chunk in chunks:
        n_bytes += len(chunk)
        if n_bytes > layer.size:
            raise DigestMismatch(f"{layer.size} bytes", "more", n_bytes=n_bytes, blob=layer.digest)
        yield chunk
    if n_bytes < layer.size:
        raise DigestMismatch(f"{layer.size} bytes", "fewer", n_bytes=n_bytes, blob=layer.digest)


def _reported(chunks: Iterable[bytes], stage: str, progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        progress.advance(stage, len(chunk))
        yield chunk


def keep(encoded: bytes, descriptor: Descriptor) -> Ztoc:
    """``encoded`` put aside until it can be published."""
    content = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115  the Ztoc closes it
    try:
        content.write(encoded)
    except BaseException:
        content.close()
        raise
    return Ztoc(descriptor, content)


def _row(job: LayerJob, index: LayerIndex, index_size: int, seconds: float) -> LayerReport:
    return job.report(
        "indexed",
        entries=len(index.entries),
        uncomp_size=index.uncomp_size,
        index_size=index_size,
        checkpoint_bytes=len(index.checkpoints) * CHECKPOINT_BYTES,
        checkpoints=len(index.checkpoints),
        seconds=seconds,
    )
