"""One layer in, one zTOC out: a single pass over the stored bytes as they come from the store."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from typing import IO, Literal

from accel.blobs import Blob, FileBlob, in_background, verified
from accel.convert.options import ConvertOptions
from accel.convert.plan import LayerJob
from accel.convert.report import LayerReport
from accel.errors import DigestMismatch, FormatError, LimitError, UnsupportedError
from accel.formats.soci import (
    SociOptions,
    build_ztoc,
    choose_layer,
    gzip_span_bytes,
    tar_span_bytes,
    ztoc_descriptor,
)
from accel.images.compression import peek, sniff
from accel.oci import Descriptor
from accel.progress import Progress
from accel.stores import ImageStore
from accel_core.indexing import index_parallel
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import LayerScanner
from accel_core.ztoc import CHECKPOINT_BYTES

Layer = Literal["gzip", "tar"]
CHUNK_BYTES = 256 << 10  # small enough that a slow connection reports, and can be stopped, every few seconds
_SPOOL_BYTES = 32 << 20  # larger zTOCs wait for their upload in an unnamed file: it goes when the process goes
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
    store: ImageStore, job: LayerJob, options: ConvertOptions, progress: Progress, pool: Executor
) -> tuple[LayerReport, Ztoc | None]:
    """The report row of a layer, and its zTOC if it could be indexed. ``pool`` lends threads to large local layers.

    What is wrong with the layer itself ends in the row, unless ``options.digest_identical`` (then it is raised, naming
    the layer). What is wrong around it (network, disk, cancelled) is always raised.
    """
    layer = job.descriptor
    progress.begin(layer.digest, layer.size)
    started = time.monotonic()
    outcome = "stopped"
    try:
        scan = _LayerScan(store.blob(layer), layer, options, progress, pool)
        choice = choose_layer(layer, options.soci, sniffed=scan.sniffed)
        if choice.compression is None:
            outcome = "unsupported"
            return job.report("unsupported", choice.reason), None
        span_bytes = span_bytes_of(choice.compression, layer.size, options.soci)
        index = scan.run(choice.compression, span_bytes)
        row, ztoc = encode_index(job, index, options, span_bytes, started)
        outcome = "indexed"
        return row, ztoc
    except BAD_LAYER as error:
        outcome = "unsupported" if isinstance(error, UnsupportedError) else "failed"
        if isinstance(error, FormatError):
            error = cause(store, layer, error)
        if options.digest_identical:
            raise error from None
        return job.report(outcome, str(error)), None
    finally:
        progress.end(layer.digest, outcome)


class _LayerScan:
    """One layer, from the bytes of its blob, verified, to its index."""

    def __init__(
        self, blob: Blob, layer: Descriptor, options: ConvertOptions, progress: Progress, pool: Executor
    ) -> None:
        self._blob = blob
        self._layer = layer
        self._options = options
        self._pool = pool
        self._on_bytes = partial(progress.advance, layer.digest)
        head, self._chunks = peek(blob.stream(CHUNK_BYTES))
        self.sniffed = sniff(head)

    def run(self, compression: Layer, span_bytes: int) -> LayerIndex:
        """The index. Raises DigestMismatch for other bytes than the descriptor's."""
        try:
            if isinstance(self._blob, FileBlob) and _is_sha256(self._layer):
                if compression == "gzip" and not self._options.digest_identical:
                    return self._scan_file(self._blob, span_bytes)
            return self._scan_stream(compression, span_bytes)
        except (FormatError, LimitError) as error:
            error.blob = error.blob or self._layer.digest
            raise

    def _scan_file(self, blob: FileBlob, span_bytes: int) -> LayerIndex:
        """By all threads of the pool that are free: on a disk it costs nothing to read in many places."""
        with blob.opened() as read_at:
            index = index_parallel(
                read_at,
                self._layer.size,
                threads=self._options.threads,
                pool=self._pool,
                span_bytes=span_bytes,
                max_uncomp_bytes=self._options.max_layer_bytes,
                on_bytes=self._on_bytes,
            )
        if index.digest != self._layer.digest:
            raise DigestMismatch(
                self._layer.digest, str(index.digest), n_bytes=index.comp_size, blob=self._layer.digest
            )
        return index

    def _scan_stream(self, compression: Layer, span_bytes: int) -> LayerIndex:
        """In this thread, while another one downloads and verifies."""
        scanner = LayerScanner(
            compression=compression,
            span_bytes=span_bytes,
            placement="soci" if self._options.digest_identical else "adaptive",
            max_uncomp_bytes=self._options.max_layer_bytes,
            digest=False,
        )
        stored = self._chunks if self._blob.is_verified else verified(self._chunks, self._layer)
        chunks = in_background(stored)
        try:
            for chunk in chunks:
                scanner.feed(chunk)
                self._on_bytes(len(chunk))
        finally:
            chunks.close()
        return scanner.finish()


def cause(store: ImageStore, layer: Descriptor, error: FormatError) -> FormatError | DigestMismatch:
    """Why a layer does not read: its own ``error``, or bytes that are not those the digest names."""
    try:
        for _ in verified(store.blob(layer).stream(CHUNK_BYTES), layer):
            pass
    except DigestMismatch as mismatch:
        return mismatch
    return error


def encode_index(
    job: LayerJob, index: LayerIndex, options: ConvertOptions, span_bytes: int, started: float
) -> tuple[LayerReport, Ztoc]:
    """The row and the zTOC of a layer whose scan began at ``started``. Raises UnsupportedError."""
    encoded, _ = build_ztoc(index, options.soci)
    ztoc = keep(encoded, ztoc_descriptor(encoded, job.descriptor, options.soci, span_bytes=span_bytes))
    return _row(job, index, ztoc.descriptor.size, time.monotonic() - started), ztoc


def span_bytes_of(compression: Layer, comp_size: int, soci: SociOptions) -> int:
    """The span size for the index of a layer of ``comp_size`` bytes."""
    return gzip_span_bytes(comp_size, soci) if compression == "gzip" else tar_span_bytes(comp_size, soci)


def _is_sha256(layer: Descriptor) -> bool:
    return layer.digest.startswith("sha256:")


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
