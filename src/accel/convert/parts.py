"""A conversion in parts, for those who keep what is done: a plan, each layer by itself, and the image put together.

::

    plan_image ──> layers, each with a key for every output ──> convert_layer, once for a key ──┐
                                                                                                v
                                        assemble: manifests of the very image that accel.convert makes, without a tag

An output is what one format makes of a layer: "soci", "estargz" or "zstd-chunked". The same key means the same bytes,
whatever image the layer is in. Results are plain values; their blobs are in a store when they are given out.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from accel.blobs import verified
from accel.convert.full.image import NewLayer
from accel.convert.full.job import Converted, LayerConverter, Outcome, with_outputs
from accel.convert.full.layer import MAX_WORKERS, Workers
from accel.convert.full.names import SOURCE_DIGEST, TOC_ANNOTATIONS, fingerprint
from accel.convert.full.run import FullConversion, full_plan
from accel.convert.options import FORMATS, FULL, INDEX_ONLY, SOCI, ConvertOptions
from accel.convert.plan import LayerJob, Plan, make_plan
from accel.convert.publish import Copier
from accel.convert.report import ConvertReport, LayerReport, OutputReport
from accel.convert.run import Conversion
from accel.convert.scan import Ztoc, scan_layer
from accel.convert.targets import INDEXED
from accel.errors import NotFoundError
from accel.images import Image, load
from accel.oci import Descriptor, MediaType, Reference, canonical_json
from accel.progress import NoProgress, Progress
from accel.stores import ImageStore

Json = dict[str, Any]
Lend = Callable[[str], Iterable[ImageStore]]  # stores that may have the blobs of a key

MIB = 1 << 20
_MANY_DIGITS = 16


class MissingResult(NotFoundError):
    """Results whose blobs are in no store any more: ``keys`` must be made again."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"{len(keys)} results of layers are lost, the first is {keys[0]}")
        self.keys = tuple(keys)


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A distinct layer, and the key of each output that is wanted of it."""

    descriptor: Descriptor
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What there is to do for an image. ``reason``: why there is nothing; ``comp_size`` sums its distinct layers."""

    source_digest: str
    comp_size: int
    layers: tuple[PlannedLayer, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One output of a layer; without one ``blob`` is None, and ``row`` says why. ``diff_id`` is as in NewLayer."""

    row: LayerReport
    blob: Descriptor | None = None
    diff_id: str | None = None
    report: OutputReport | None = None

    def to_json(self) -> Json:
        """Plain values for :meth:`from_json`."""
        return {
            "row": self.row.to_json(),
            "blob": self.blob.to_json() if self.blob else None,
            "diff_id": self.diff_id,
            "report": asdict(self.report) if self.report else None,
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        return cls(
            LayerReport.from_json(data["row"]),
            Descriptor.from_json(data["blob"]) if data["blob"] else None,
            data["diff_id"],
            OutputReport.from_json(data["report"]) if data["report"] else None,
        )


@dataclass(frozen=True, slots=True)
class Assembled:
    """The image of one mode: its index, which is there by digest and waits for a tag. None: nothing came of it."""

    raw: bytes | None = field(repr=False)
    report: ConvertReport

    @property
    def descriptor(self) -> Descriptor | None:
        return Descriptor.of(self.raw, MediaType.OCI_INDEX) if self.raw is not None else None


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


# --- plan -----------------------------------------------------------------------------------------------------------


def plan_image(store: ImageStore, selector: str, options: ConvertOptions) -> ImagePlan:
    """The plan for the image that ``selector`` names in ``store``. Raises as :func:`accel.images.load`."""
    image = load(store, selector)
    digest = image.top.descriptor.digest
    sizes = {layer.digest: layer.size for child in image.images() for layer in _layers(child.manifest)}
    comp_size = sum(sizes.values())
    if image.top.index is not None and SOURCE_DIGEST in image.top.index.annotations:
        return ImagePlan(digest, comp_size, (), "it is the result of a conversion")
    if not image.images(options.platforms):
        return ImagePlan(digest, comp_size, (), f"no image for {', '.join(map(str, options.platforms))}")
    plans = _plans(image, options)
    layers: dict[str, PlannedLayer] = {}
    for output in options.formats:
        for job in plans[output].jobs:
            known = layers.get(job.descriptor.digest)
            keys = dict(known.keys) if known else {}
            keys[output] = layer_key(job.descriptor, output, options)
            layers[job.descriptor.digest] = PlannedLayer(job.descriptor, keys)
    ordered = sorted(layers.values(), key=lambda layer: -layer.descriptor.size)
    return ImagePlan(digest, comp_size, tuple(ordered), "" if layers else _why_nothing(plans.values()))


def layer_key(layer: Descriptor, output: str, options: ConvertOptions) -> str:
    """The name of what ``output`` is for ``layer``: the same name, the same bytes."""
    made_with = options.soci.fingerprint if output == SOCI else fingerprint(output, options)
    claims = {key: value for key, value in layer.annotations.items() if key in TOC_ANNOTATIONS}
    if output != SOCI and claims:  # it may be taken over as it is, with what it says about itself
        made_with += "-" + hashlib.sha256(canonical_json(claims)).hexdigest()[:_MANY_DIGITS]
    # With its size: an image that lies about that spoils no result for those that do not.
    return f"{layer.digest}/{layer.size}/{output}/{made_with}"


def _plans(image: Image, options: ConvertOptions) -> dict[str, Plan]:
    """For each output, what its mode wants to do."""
    made = {
        mode: make_plan(image, options) if mode == INDEX_ONLY else full_plan(image, options)
        for mode in options.modes
    }
    return {output: made[_mode_of(output)] for output in options.formats}


def _mode_of(output: str) -> str:
    return next(mode for mode, outputs in FORMATS.items() if output in outputs)


def _layers(manifest: Any) -> Sequence[Descriptor]:
    return manifest.layers if manifest is not None else ()


def _why_nothing(plans: Iterable[Plan]) -> str:
    rows = [row for plan in plans for row in plan.decided]
    if any(row.state == "unsupported" for row in rows):
        reasons = sorted({row.reason for row in rows if row.state == "unsupported"})
        return "unsupported: " + "; ".join(reasons)
    reasons = sorted({row.reason for row in rows})
    return "no layer to work on" + (f": {'; '.join(reasons[:3])}" if reasons else "")


# --- one layer ------------------------------------------------------------------------------------------------------


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
    options = _only(outputs, replace(options, threads=workers.threads))
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


def _only(outputs: Sequence[str], options: ConvertOptions) -> ConvertOptions:
    """``options`` for some of their outputs."""
    modes = dict.fromkeys(_mode_of(output) for output in outputs)
    changed = {"mode": ",".join(modes), "format": ",".join(outputs)}
    if FULL not in modes:
        return replace(options, **changed, prefetch=(), level="default", containerd_only=False)  # type: ignore[arg-type]
    prefetch = options.prefetch if "estargz" in outputs else ()
    return replace(options, **changed, prefetch=prefetch, referrers=False)  # type: ignore[arg-type]


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


# --- the image ------------------------------------------------------------------------------------------------------


def assemble(
    source: ImageStore,
    dest: ImageStore,
    reference: Reference,
    target: Reference,
    options: ConvertOptions,
    results: Mapping[str, LayerResult],
    lend: Lend = lambda key: (),
    progress: Progress | None = None,
) -> dict[str, Assembled]:
    """The image of each mode, in ``dest`` but for its tag. ``results`` are those of the plan's keys.

    ``reference`` names the image in ``source``; ``target`` is said in reports. A result's blob that is not in ``dest``
    is mounted or copied from the first store of ``lend`` that has it. Raises ``MissingResult``, and as
    :func:`accel.convert`.
    """
    image = load(source, reference.selector)
    plans = _plans(image, options)
    blobs = _Blobs(dest, options, results, lend, progress or NoProgress())
    blobs.collect(plans)
    return {
        mode: _Assembly(source, dest, reference, target, options, plans, blobs).run(mode) for mode in options.modes
    }


class _Blobs:
    """Brings what results say is there to where it is needed."""

    def __init__(
        self,
        dest: ImageStore,
        options: ConvertOptions,
        results: Mapping[str, LayerResult],
        lend: Lend,
        progress: Progress,
    ) -> None:
        self.results = results
        self._dest = dest
        self._options = options
        self._lend = lend
        self.progress = progress

    def collect(self, plans: Mapping[str, Plan]) -> None:
        """Have all blobs in the destination. Raises MissingResult."""
        lost = []
        for output, plan in plans.items():
            for job in plan.jobs:
                key = layer_key(job.descriptor, output, self._options)
                result = self.results.get(key)
                if result is None or not self._bring(key, result):
                    lost.append(key)
        if lost:
            raise MissingResult(lost)

    def result(self, layer: Descriptor, output: str) -> LayerResult:
        return self.results[layer_key(layer, output, self._options)]

    def _bring(self, key: str, result: LayerResult) -> bool:
        blob = result.blob
        if blob is None or self._dest.has_blob(blob):
            return True
        for store in self._lend(key):
            if self._dest.mount_blob(blob, store):
                return True
            if store.has_blob(blob):
                Copier(store, self._dest, self.progress, 1).copy_from(store, blob, self.progress)
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Assembly:
    source: ImageStore
    dest: ImageStore
    reference: Reference
    target: Reference
    options: ConvertOptions
    plans: Mapping[str, Plan]
    blobs: _Blobs

    def run(self, mode: str) -> Assembled:
        started = time.monotonic()
        outputs = [output for output in self.options.formats if output in FORMATS[mode]]
        options = replace(
            _only(outputs, self.options), referrers=self.options.referrers and mode == INDEX_ONLY
        )
        target = self.target
        if mode == INDEX_ONLY and FULL in self.options.modes:
            target = target.with_suffix(INDEXED)
        about = (self.source, self.dest, self.reference, target, options, self.blobs.progress)
        if mode == FULL:
            full = FullConversion(*about, self._converted(outputs), tagged=False)
            report, _ = full.run(started)
            return Assembled(full.index, report)
        conversion = Conversion(*about, self._indexed(), tagged=False)
        report = conversion.run(started)
        return Assembled(conversion.index, report)

    def _indexed(self) -> dict[str, tuple[LayerReport, Ztoc | None]]:
        known = {}
        for job in self.plans[SOCI].jobs:
            result = self.blobs.result(job.descriptor, SOCI)
            known[job.descriptor.digest] = (_of_job(result.row, job), Ztoc(result.blob) if result.blob else None)
        return known

    def _converted(self, outputs: Sequence[str]) -> dict[str, Converted]:
        return {job.descriptor.digest: self._one(job, outputs) for job in self.plans[outputs[0]].jobs}

    def _one(self, job: LayerJob, outputs: Sequence[str]) -> Converted:
        by_format: dict[str, Outcome] = {}
        row = None
        for output in outputs:
            result = self.blobs.result(job.descriptor, output)
            row = row or _of_job(result.row, job)
            if result.blob is not None and result.report is not None:
                new = NewLayer(result.blob, result.diff_id)
                by_format[output] = Outcome(new, result.report, self.dest)
        assert row is not None
        if not by_format:
            return Converted(with_outputs(row, tuple(outputs)))
        reports = tuple(outcome.report for outcome in by_format.values())
        return Converted(replace(row, outputs=reports), by_format)


def _of_job(row: LayerReport, job: LayerJob) -> LayerReport:
    """A row of the report, as this image has the layer."""
    return replace(row, media_type=job.descriptor.media_type, platforms=job.platforms)
