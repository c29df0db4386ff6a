"""The image put together from the results of its layers."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from accel.convert.full.image import NewLayer
from accel.convert.full.job import Converted, Outcome, with_outputs
from accel.convert.full.run import FullConversion
from accel.convert.options import FORMATS, FULL, INDEX_ONLY, SOCI, ConvertOptions
from accel.convert.parts.layer import only
from accel.convert.parts.plan import layer_key, plans_of
from accel.convert.parts.values import Assembled, LayerResult, MissingResult
from accel.convert.plan import LayerJob, Plan
from accel.convert.publish import Copier
from accel.convert.report import LayerReport
from accel.convert.run import Conversion
from accel.convert.scan import Ztoc
from accel.convert.targets import INDEXED
from accel.images import load
from accel.oci import Descriptor, Reference
from accel.progress import NoProgress, Progress
from accel.stores import ImageStore

Lend = Callable[[str], Iterable[ImageStore]]  # stores that may have the blobs of a key


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
    plans = plans_of(image, options)
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
            only(outputs, self.options), referrers=self.options.referrers and mode == INDEX_ONLY
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
