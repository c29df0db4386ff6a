"""One layer in, one zTOC out: a single pass over the stored bytes as they come from the store."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from accel.blobs import CHUNK_BYTES, verified
from accel.compression import peek, sniff
from accel.convert.options import ConvertOptions
from accel.convert.plan import LayerJob
from accel.convert.report import LayerReport
from accel.errors import AccelError, DigestMismatch, FormatError, LimitError, UnsupportedError
from accel.formats import soci
from accel.oci import Descriptor
from accel.progress import Progress
from accel.stores import ImageStore
from accel_core.layer_index import LayerIndex
from accel_core.layer_scan import LayerScanner

_SPOOL_BYTES = 1 << 20  # larger zTOCs wait for their upload in an unnamed file: it goes when the process goes
BAD_LAYER = (FormatError, DigestMismatch, LimitError, UnsupportedError)  # the layer's fault, not the network's or ours


@dataclass(slots=True)
class Ztoc:
    """A finished index of one layer: its descriptor, and where its bytes are (None: in the destination already)."""

    descriptor: Descriptor
    content: IO[bytes] | None

    def chunks(self) -> Iterator[bytes]:
        """The bytes, from the start, once at a time."""
        assert self.content is not None
        self.content.seek(0)
        while chunk := self.content.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
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
    try:
        index = _scan(store, layer, options, progress)
        encoded = soci.encode_ztoc(index, identical=options.digest_identical)
    except BAD_LAYER as error:
        state = "unsupported" if isinstance(error, UnsupportedError) else "failed"
        progress.end(layer.digest, f"{state}: {error}")
        if options.digest_identical and state == "failed":
            raise
        return job.report(state, str(error)), None
    except BaseException as error:
        progress.end(layer.digest, "cancelled" if not isinstance(error, AccelError) else f"failed: {error}")
        raise
    ztoc = _keep(encoded, soci.ztoc_descriptor(encoded, layer, options.span_bytes))
    progress.end(layer.digest, "indexed")
    return _row(job, index, ztoc.descriptor.size, time.monotonic() - started), ztoc


def _scan(store: ImageStore, layer: Descriptor, options: ConvertOptions, progress: Progress) -> LayerIndex:
    chunks = store.blob(layer).stream(CHUNK_BYTES)
    own_digest = layer.digest.startswith("sha256:")  # the pass itself computes this one
    head, chunks = peek(_counted(chunks if own_digest else verified(chunks, layer), layer, progress))
    compression = sniff(head)
    if compression not in ("gzip", "tar"):
        raise UnsupportedError(_why_not(compression, head))
    scanner = LayerScanner(
        compression=compression,
        span_bytes=options.span_bytes,
        placement="soci" if options.digest_identical else "adaptive",
        digest=own_digest,
        max_uncomp_bytes=options.max_layer_bytes,
    )
    try:
        for chunk in chunks:
            scanner.feed(chunk)
        index = scanner.finish()
    except FormatError as error:
        error.blob = error.blob or layer.digest
        raise
    if own_digest and (index.digest != layer.digest or index.comp_size != layer.size):
        raise DigestMismatch(layer.digest, str(index.digest), n_bytes=index.comp_size, blob=layer.digest)
    return index


def _counted(chunks: Iterable[bytes], layer: Descriptor, progress: Progress) -> Iterator[bytes]:
    n_bytes = 0
    for chunk in chunks:
        n_bytes += len(chunk)
        if n_bytes > layer.size:
            raise DigestMismatch(f"{layer.size} bytes", "more", n_bytes=n_bytes, blob=layer.digest)
        progress.advance(layer.digest, len(chunk))
        yield chunk


def _why_not(compression: str, head: bytes) -> str:
    match compression:
        case "empty":
            return "the blob is empty"
        case "unknown":
            return f"neither gzip nor tar (it begins with {head[:8].hex() or 'nothing'})"
    return f"compressed with {compression}: an index needs gzip or plain tar"


def _keep(encoded: bytes, descriptor: Descriptor) -> Ztoc:
    content = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)
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
        checkpoint_bytes=len(index.checkpoints) * soci.CHECKPOINT_BYTES,
        checkpoints=len(index.checkpoints),
        seconds=seconds,
    )
