"""One conversion from beginning to end."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from accel.convert.earlier import find_earlier, linked_index, tagged_index
from accel.convert.options import ConvertOptions
from accel.convert.plan import LayerJob, Plan, make_plan
from accel.convert.pool import run_all
from accel.convert.publish import Publisher
from accel.convert.report import ConvertReport, LayerReport
from accel.convert.result import Result, build_result
from accel.convert.scan import Ztoc, scan_layer
from accel.images import load
from accel.oci import Reference
from accel.progress import Progress
from accel.stores import ImageStore


class Conversion:
    """Converts ``source`` in ``source_store`` to ``target`` in ``dest_store`` (which may be the same store)."""

    def __init__(
        self,
        source_store: ImageStore,
        dest_store: ImageStore,
        source: Reference,
        target: Reference,
        options: ConvertOptions,
        progress: Progress,
        known: Mapping[str, tuple[LayerReport, Ztoc | None]] | None = None,
        *,
        tagged: bool = True,
    ) -> None:
        """``known`` is what was found out before about layers, by digest; its zTOCs are closed here.

        Not ``tagged``: everything is written but the tag, and nothing is looked for under it; see :attr:`index`.
        """
        self._source_store = source_store
        self._dest = dest_store
        self._source = source
        self._target = target
        self._options = options
        self._progress = progress
        self._known = dict(known or {})
        self._tagged = tagged
        self.index: bytes | None = None  # of the result, once it has run
        # everything that must be let go in the end, however it ends
        self._kept = [ztoc for _, ztoc in self._known.values() if ztoc is not None]

    def run(self, started: float) -> ConvertReport:
        """Do it; ``started`` is when the clock of the report began (:func:`time.monotonic`)."""
        earlier: dict[str, Ztoc] = {}
        try:
            image = load(self._source_store, self._source.selector)
            plan = make_plan(image, self._options)
            if self._tagged and not self._options.force:
                earlier = find_earlier(plan, self._dest, self._target.tag, self._options)
            ztocs = dict(earlier)
            rows = {row.digest: row for row in plan.decided}
            for row, ztoc in self._index_layers(plan, earlier):
                rows[row.digest] = row
                if ztoc is not None:
                    ztocs[row.digest] = ztoc
            result = build_result(
                plan, {layer: ztoc.descriptor for layer, ztoc in ztocs.items()}, self._options
            )
            changed = result is not None and self._publish(plan, result, ztocs)
            self.index = result.image.raw if result is not None else None
        finally:
            for ztoc in (*earlier.values(), *self._kept):
                ztoc.close()
        layers = tuple(rows[digest] for digest in plan.order)
        return ConvertReport(
            source=str(self._source),
            source_digest=image.top.descriptor.digest,
            reference=str(self._target),
            digest=result.image.descriptor().digest if result is not None else None,
            changed=changed,
            layers=layers,
            referrers=tuple(soci.digest for _, soci in result.referrers) if result is not None else (),
            messages=tuple(
                plan.messages + [_warning(row) for row in layers if row.state in ("failed", "unsupported")]
            ),
            seconds=time.monotonic() - started,
        )

    def _index_layers(self, plan: Plan, earlier: Mapping[str, Ztoc]) -> list[tuple[LayerReport, Ztoc | None]]:
        known: list[tuple[LayerReport, Ztoc | None]] = []
        jobs: list[LayerJob] = []
        for job in plan.jobs:
            if job.descriptor.digest in earlier:
                index_size = earlier[job.descriptor.digest].descriptor.size
                known.append((job.report("already indexed", index_size=index_size), None))
            elif job.descriptor.digest in self._known:
                known.append(self._known[job.descriptor.digest])
            else:
                jobs.append(job)

        def scan(job: LayerJob, progress: Progress) -> tuple[LayerReport, Ztoc | None]:
            row, ztoc = scan_layer(self._source_store, job, self._options, progress, pool)
            if ztoc is not None:
                self._kept.append(ztoc)
            return row, ztoc

        with ThreadPoolExecutor(self._options.threads, "accel-scan") as pool:
            return known + run_all(jobs, scan, self._progress, threads=self._options.threads)

    def _publish(self, plan: Plan, result: Result, ztocs: Mapping[str, Ztoc]) -> bool:
        """Whether anything had to be written."""
        publisher = Publisher(plan, self._dest, self._progress, self._options.threads)
        if not self._tagged:
            publisher.publish(result, list(ztocs.values()), None)
            return True
        tagged = tagged_index(self._dest, self._target.tag)
        if tagged is not None and publisher.is_complete(result, tagged.descriptor()):
            missing = [
                link for link in result.referrers if not linked_index(self._dest, link[0].digest, link[1])
            ]
            if missing:
                publisher.link(Result(result.image, tuple(missing)))
            return bool(missing)
        publisher.publish(result, list(ztocs.values()), self._target.tag)
        return True


def _warning(row: LayerReport) -> str:
    return f"layer {row.digest} left out: {row.reason}"
