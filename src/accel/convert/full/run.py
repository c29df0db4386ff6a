"""One full conversion from beginning to end."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from accel.convert.earlier import tagged_index
from accel.convert.full.earlier import Found, find_converted
from accel.convert.full.image import Layers, NewImage, new_image, new_index
from accel.convert.full.job import Converted, IndexRow, LayerConverter, Outcome, with_outputs
from accel.convert.full.layer import MAX_WORKERS, Workers
from accel.convert.full.names import fingerprint
from accel.convert.full.publish import FullPublisher, Result
from accel.convert.options import SOCI, ConvertOptions
from accel.convert.plan import FOREIGN, LayerJob, Plan, make_plan
from accel.convert.pool import run_all
from accel.convert.publish import Copier
from accel.convert.report import ConvertReport, LayerReport
from accel.convert.result import flat_index
from accel.convert.targets import ACCELERATED, CONTAINERD_ACCELERATED
from accel.formats.stargz import Annotation
from accel.images import Child, Image, config_of, load
from accel.oci import Descriptor, Reference, is_layer
from accel.progress import Progress
from accel.stores import ImageStore

_Converted = dict[str, Converted]  # by digest of the source's layer


class FullConversion:
    """Converts ``source`` in ``source_store`` to ``target`` in ``dest_store`` (which may be the same store)."""

    def __init__(
        self,
        source_store: ImageStore,
        dest_store: ImageStore,
        source: Reference,
        target: Reference,
        options: ConvertOptions,
        progress: Progress,
        known: Mapping[str, Converted] | None = None,
        *,
        tagged: bool = True,
    ) -> None:
        """``known`` is what came of layers before, by digest: those are not converted.

        Not ``tagged``: everything is written but the tag, and nothing is looked for under it; see :attr:`index`.
        """
        self._source_store = source_store
        self._dest = dest_store
        self._source = source
        self._target = target
        self._options = options
        self._progress = progress
        self._formats = tuple(name for name in options.formats if name != SOCI)
        self._known = dict(known or {})
        self._tagged = tagged
        self.index: bytes | None = None  # of the result, once it has run
        self._made: list[Converted] = []  # everything that must be let go in the end, however it ends

    def run(self, started: float) -> tuple[ConvertReport, dict[str, IndexRow]]:
        """The report, and what an index-only conversion would have to find out about the layers read.

        ``started`` is when the clock of the report began (:func:`time.monotonic`). The caller closes the zTOCs.
        """
        image = load(self._source_store, self._source.selector)
        alternates = alternates_of(image)
        plan = full_plan(image, self._options)
        try:
            converted = self._convert_layers(plan)
            result = self._result(plan, converted, alternates)
            changed = result is not None and self._publish(plan, result, converted)
            self.index = result.index if result is not None else None
            indexes = {digest: one.index for digest, one in converted.items() if one.index is not None}
            for one in converted.values():
                one.index = None  # the caller's now
        finally:
            for made in self._made:
                made.discard()
        rows = {row.digest: with_outputs(row, self._formats) for row in plan.decided}
        rows |= {digest: one.row for digest, one in converted.items()}
        layers = tuple(rows[digest] for digest in plan.order)
        report = ConvertReport(
            source=str(self._source),
            source_digest=image.top.descriptor.digest,
            reference=str(self._target),
            digest=result.descriptor().digest if result is not None else None,
            changed=changed,
            layers=layers,
            messages=tuple(plan.messages + [text for row in layers for text in _warnings(row)]),
            seconds=time.monotonic() - started,
        )
        return report, indexes

    def _convert_layers(self, plan: Plan) -> _Converted:
        found = self._find_earlier(plan) if self._tagged and not self._options.force else {}
        converted: _Converted = {}
        jobs: list[LayerJob] = []
        for job in plan.jobs:
            digest = job.descriptor.digest
            if digest in self._known:
                converted[digest] = self._known[digest]
            elif all((digest, format) in found for format in self._formats):
                converted[digest] = _already(job, self._formats, found)
            else:
                jobs.append(job)
        n_workers = min(self._options.threads, MAX_WORKERS)
        with ThreadPoolExecutor(n_workers, "accel-encode") as pool:
            workers = Workers(pool, n_workers)
            converter = LayerConverter(
                self._source_store, self._options, workers, self._dest.stage_blob
            )

            def convert(job: LayerJob, progress: Progress) -> Converted:
                missing = tuple(f for f in self._formats if (job.descriptor.digest, f) not in found)
                one = converter.convert(job, missing, progress)
                self._made.append(one)
                return _with_found(one, job, self._formats, found)

            for job, one in zip(
                jobs, run_all(jobs, convert, self._progress, threads=self._options.threads), strict=True
            ):
                converted[job.descriptor.digest] = one
        return converted

    def _find_earlier(self, plan: Plan) -> Found:
        """Where an earlier run may have left the same layers: under the target's tag, and beside the source."""
        places = [(self._dest, self._target.tag), (self._source_store, self._source.selector)]
        if self._source.tag:
            suffix = CONTAINERD_ACCELERATED if self._options.containerd_only else ACCELERATED
            places.append((self._source_store, self._source.tag + suffix))
        wanted = {format: fingerprint(format, self._options) for format in self._formats}
        layers = frozenset(job.descriptor.digest for job in plan.jobs)
        return find_converted(dict.fromkeys(places), wanted, layers)

    def _result(self, plan: Plan, converted: _Converted, alternates: frozenset[str]) -> Result | None:
        layers: Layers = {
            (digest, format): outcome.layer
            for digest, one in converted.items()
            for format, outcome in one.by_format.items()
        }
        images: list[NewImage] = []
        for child in plan.targets:
            assert child.manifest is not None
            config = config_of(plan.image.store, child.manifest)
            for format in self._formats:
                image = new_image(child, config, layers, format, plan.messages)
                if image is not None:
                    images.append(image)
        if not images:
            return None
        replaced = {image.source.descriptor.digest for image in images}
        top = plan.image.top
        source = top.manifest or flat_index(plan.image)
        index = new_index(source, images, top.platform, alternates)
        kept = [
            child
            for child in plan.image.walk()
            if child.manifest is not None and child.descriptor.digest not in replaced | alternates
        ]
        return Result(index, images, kept)

    def _publish(self, plan: Plan, result: Result, converted: _Converted) -> bool:
        """Whether anything had to be written."""
        outcomes: dict[str, Outcome] = {
            outcome.layer.descriptor.digest: outcome
            for one in converted.values()
            for outcome in one.by_format.values()
        }
        copier = Copier(self._source_store, self._dest, self._progress, self._options.threads)
        publisher = FullPublisher(plan.image, copier, outcomes)
        if not self._tagged:
            publisher.publish(result, None)
            return True
        if publisher.is_complete(result, tagged_index(self._dest, self._target.tag)):
            return False
        publisher.publish(result, self._target.tag)
        return True


def full_plan(image: Image, options: ConvertOptions) -> Plan:
    """Which layers of ``image`` are to be written anew."""
    return make_plan(image, options, reason_to_skip=_reason_to_keep, leave_out=alternates_of(image))


def _reason_to_keep(layer: Descriptor, options: ConvertOptions) -> str:
    """Why a layer stays as it is whatever its bytes are."""
    if layer.is_foreign:
        return FOREIGN
    if not is_layer(layer.media_type):
        return f"not a file system layer ({layer.media_type})"
    return "encrypted" if "+encrypted" in layer.media_type else ""


def alternates_of(image: Image) -> frozenset[str]:
    """Images that stand beside another one of their platform, for those who prefer zstd: it is made anew."""
    others = [child.platform for child in image.images() if not _prefers_zstd(child)]
    return frozenset(
        child.descriptor.digest
        for child in image.images()
        if _prefers_zstd(child) and child.platform in others
    )


def _prefers_zstd(child: Child) -> bool:
    return child.descriptor.annotations.get(Annotation.PREFER_ZSTD) == "true"


def _already(job: LayerJob, formats: tuple[str, ...], found: Mapping[tuple[str, str], Outcome]) -> Converted:
    by_format = {format: found[job.descriptor.digest, format] for format in formats}
    outputs = tuple(outcome.report for outcome in by_format.values())
    return Converted(job.report("already converted", outputs=outputs), by_format)


def _with_found(
    one: Converted, job: LayerJob, formats: tuple[str, ...], found: Mapping[tuple[str, str], Outcome]
) -> Converted:
    """``one`` with the formats that were there already, if the layer could be read."""
    if one.row.state not in ("converted", "already converted"):
        return one
    earlier = {f: found[job.descriptor.digest, f] for f in formats if (job.descriptor.digest, f) in found}
    if not earlier:
        return one
    by_format = {format: (one.by_format | earlier)[format] for format in formats}
    outputs = tuple(outcome.report for outcome in by_format.values())
    return Converted(replace(one.row, outputs=outputs), by_format, one.index)


def _warnings(row: LayerReport) -> list[str]:
    if row.state in ("failed", "unsupported"):
        return [f"layer {row.digest} kept as it is: {row.reason}"]
    return [
        f"layer {row.digest} as {output.format}: no reader loads it lazily: {output.reason}"
        for output in row.outputs
        if output.reason
    ]
