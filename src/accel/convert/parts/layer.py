"""One layer: what formats make of it, its blobs put where they belong."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from accel.blobs import verified
from accel.convert.full.job import Converted, LayerConverter
from accel.convert.full.layer import MAX_WORKERS, Workers
from accel.convert.options import DEFAULT_MIN_CHUNK_BYTES, ESTARGZ, FULL, SOCI, ConvertOptions
from accel.convert.parts.plan import mode_of
from accel.convert.parts.values import LayerResult
from accel.convert.plan import LayerJob
from accel.convert.publish import Copier
from accel.convert.report import LayerReport
from accel.convert.scan import Ztoc, scan_layer
from accel.oci import Descriptor
from accel.progress import Progress
from accel.stores import ImageStore

MIB = 1 << 20


class LayerWorkers:
    """Threads that all layers of a process share, to be closed."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.scan = ThreadPoolExecutor(threads, "accel-scan")
        n_encoders = min(threads, MAX_WORKERS)
        self._encode = ThreadPoolExecutor(n_encoders, "accel-encode")
        self.encode = Workers(self._encode, n_encoders)

    def close(self) -> None:
        """Wait for what is being done, and end the threads."""
        self.scan.shutdown()
        self._encode.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def convert_layer(
    source: ImageStore,
    dest: ImageStore,
    layer: Descriptor,
    outputs: Sequence[str],
    options: ConvertOptions,
    progress: Progress,
    workers: LayerWorkers,
) -> dict[str, LayerResult]:
    """The ``outputs`` of a layer, made in one reading; their blobs are in ``dest`` then.

    What is wrong with the layer itself is a result like others, without a blob. What is wrong around it (network,
    disk, cancelled) is raised, and so is DigestMismatch: a layer that does not read is not called bad before its bytes
    are known to be those that its digest names, and a second reading ended as the first.
    """
    made = _convert_layer(source, dest, layer, outputs, options, progress, workers)
    if any(result.row.state == "failed" for result in made.values()):
        for _ in verified(source.blob(layer).stream(), layer):
            pass
        made = _convert_layer(source, dest, layer, outputs, options, progress, workers)
    return made


def _convert_layer(
    source: ImageStore,
    dest: ImageStore,
    layer: Descriptor,
    outputs: Sequence[str],
    options: ConvertOptions,
    progress: Progress,
    workers: LayerWorkers,
) -> dict[str, LayerResult]:
    options = only(outputs, replace(options, threads=workers.threads))
    job = LayerJob(layer, ())
    if FULL not in options.modes:
        row, ztoc = scan_layer(source, job, options, progress, workers.scan)
        return {SOCI: _soci_result(row, ztoc, dest, progress)}
    formats = tuple(output for output in options.formats if output != SOCI)
    converter = LayerConverter(source, options, workers.encode, dest.stage_blob)
    made = converter.convert(job, formats, progress)
    try:
        results = {format: _full_result(made, format, dest, progress) for format in formats}
        if made.index is not None:
            results[SOCI] = _soci_result(*made.index, dest, progress)
            made.index = None
        return results
    finally:
        made.discard()


def estimate(layer: Descriptor, outputs: Iterable[str], options: ConvertOptions) -> tuple[int, int]:
    """Bytes of memory and of disk that :func:`convert_layer` may take for a layer, from above.

    Memory grows with a layer's entries, which only reading it tells: from its size, as layers of many small files have
    them (59,124 in 497 MB). On disk wait the blobs until they are uploaded: an index takes about 3 % of its layer; a
    layer written anew is about as large as it was, or three times that where it was compressed harder (xz).
    """
    wanted = set(outputs)
    memory, disk = 64 * MIB + layer.size // 10, 0
    if SOCI in wanted:
        disk += layer.size // 10 + MIB
    formats = wanted - {SOCI}
    if formats:
        memory += 192 * MIB + layer.size // 20
        hard = not any(name in layer.media_type for name in ("gzip", "zstd"))
        disk += len(formats) * ((3 if hard else 1) * layer.size + layer.size // 4 + MIB)
    return memory, disk


def only(outputs: Sequence[str], options: ConvertOptions) -> ConvertOptions:
    """``options`` for some of their outputs."""
    modes = dict.fromkeys(mode_of(output) for output in outputs)
    changed: dict[str, Any] = {"mode": ",".join(modes), "format": ",".join(outputs)}
    if ESTARGZ not in outputs:
        changed |= {"prefetch": (), "min_chunk_bytes": DEFAULT_MIN_CHUNK_BYTES}
    if FULL in modes:
        changed["referrers"] = False
    else:
        changed |= {"level": "default", "containerd_only": False}
    return replace(options, **changed)


def _soci_result(row: LayerReport, ztoc: Ztoc | None, dest: ImageStore, progress: Progress) -> LayerResult:
    if ztoc is None:
        return LayerResult(row)
    try:
        Copier(dest, dest, progress, 1).transfer(ztoc.descriptor, ztoc, progress)
    finally:
        ztoc.close()
    return LayerResult(row, ztoc.descriptor)


def _full_result(made: Converted, format: str, dest: ImageStore, progress: Progress) -> LayerResult:
    outcome = made.by_format.get(format)
    if outcome is None:
        return LayerResult(made.row)
    if outcome.staged is not None and not dest.has_blob(outcome.layer.descriptor):
        outcome.staged.publish(outcome.layer.descriptor)
    return LayerResult(made.row, outcome.layer.descriptor, outcome.layer.diff_id, outcome.report)
