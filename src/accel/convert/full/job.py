"""One layer of the image: converted, with the row of the report that says what became of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from accel.convert.full.image import NewLayer
from accel.convert.full.layer import Made, Recipe, Workers, make_layer
from accel.convert.full.names import OPTIONS, PLAIN, SOURCE_DIGEST, fingerprint
from accel.convert.full.recognise import recognise
from accel.convert.full.tar_source import TarSource
from accel.convert.full.writers import Written
from accel.convert.options import ESTARGZ, INDEX_ONLY, ConvertOptions
from accel.convert.plan import LayerJob, reason_for_no_index
from accel.convert.report import LayerReport, OutputReport
from accel.convert.scan import BAD_LAYER, Ztoc, cause, encode_index, span_bytes_of
from accel.errors import FormatError, UnsupportedError
from accel.formats.soci import choose_layer
from accel.formats.stargz import ESTARGZ_LAYER, ZSTD_LAYER, lazy_readers
from accel.oci import Descriptor
from accel.progress import Progress
from accel.stores import ImageStore, StagedBlob

IndexRow = tuple[LayerReport, Ztoc | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A layer in one format, and where its bytes are: in a staged blob, or else in a store."""

    layer: NewLayer
    report: OutputReport
    store: ImageStore
    staged: StagedBlob | None = None


@dataclass(slots=True)
class Converted:
    """What came of a layer. ``by_format`` lacks the formats in which it stays as it is."""

    row: LayerReport
    by_format: dict[str, Outcome] = field(default_factory=dict)
    index: IndexRow | None = None

    def discard(self) -> None:
        """Forget what was written and not published."""
        for outcome in self.by_format.values():
            if outcome.staged is not None:
                outcome.staged.discard()
        if self.index is not None and self.index[1] is not None:
            self.index[1].close()


@dataclass(frozen=True, slots=True)
class LayerConverter:
    """Converts layers of ``store``, several at a time if several threads call it."""

    store: ImageStore
    options: ConvertOptions
    workers: Workers
    stage: Callable[[], StagedBlob]

    def convert(self, job: LayerJob, formats: tuple[str, ...], progress: Progress) -> Converted:
        """The layer in ``formats``.

        What is wrong with it ends in the report, and the layer stays as it is. What is wrong around it (network, disk,
        cancelled) is raised.
        """
        layer = job.descriptor
        progress.begin(layer.digest, layer.size)
        started = time.monotonic()
        state = "stopped"
        try:
            taken = self._taken_over(layer, formats)
            formats_left = tuple(format for format in formats if format not in taken)
            if not formats_left:
                state = "already converted"
                outputs = tuple(outcome.report for outcome in taken.values())
                return Converted(job.report(state, outputs=outputs), taken)
            source = TarSource(
                self.store.blob(layer),
                layer,
                partial(progress.advance, layer.digest),
                max_uncomp_bytes=self.options.max_layer_bytes,
            )
            span_bytes, index = self._index_wanted(job, source)
            made = make_layer(source, self._recipe(formats_left, span_bytes), self.workers, self.stage)
            state = "converted"
            written = {format: self._outcome(layer, format, made) for format in formats_left}
            by_format = {format: (taken | written)[format] for format in formats}
            return self._converted(job, by_format, made, started, span_bytes, index)
        except BAD_LAYER as error:
            state = "unsupported" if isinstance(error, UnsupportedError) else "failed"
            if isinstance(error, FormatError):
                error = cause(self.store, layer, error)
            return kept(job, formats, state, str(error), with_index=INDEX_ONLY in self.options.modes)
        finally:
            progress.end(layer.digest, state)

    def _taken_over(self, layer: Descriptor, formats: tuple[str, ...]) -> dict[str, Outcome]:
        """The formats that the source is in already."""
        taken = {}
        for format in formats:
            known = recognise(self.store, layer, format, self.options)
            if known is not None:
                taken[format] = Outcome(*known, self.store)
        return taken

    def _recipe(self, formats: tuple[str, ...], span_bytes: int | None) -> Recipe:
        return Recipe(
            formats,
            self.options.gzip_level,
            self.options.zstd_level,
            self.options.prefetch,
            self.options.containerd_only,
            span_bytes,
            self.options.min_chunk_bytes,
        )

    def _index_wanted(self, job: LayerJob, source: TarSource) -> tuple[int | None, IndexRow | None]:
        """The span size for an index of the source, or else the row that says why there is none."""
        if INDEX_ONLY not in self.options.modes:
            return None, None
        layer, soci = job.descriptor, self.options.soci
        reason = reason_for_no_index(layer, self.options)
        if reason:
            return None, (job.report("skipped", reason), None)
        choice = choose_layer(layer, soci, sniffed=source.compression)
        if choice.compression is None:
            return None, (job.report("unsupported", choice.reason), None)
        return span_bytes_of(choice.compression, layer.size, soci), None

    def _converted(
        self,
        job: LayerJob,
        by_format: dict[str, Outcome],
        made: Made,
        started: float,
        span_bytes: int | None,
        index: IndexRow | None,
    ) -> Converted:
        row = job.report(
            "converted",
            entries=made.n_entries,
            uncomp_size=made.uncomp_size,
            seconds=time.monotonic() - started,
            outputs=tuple(outcome.report for outcome in by_format.values()),
        )
        if span_bytes is not None and made.index is not None:
            try:
                index = encode_index(job, made.index, self.options, span_bytes, started)
            except UnsupportedError as error:
                index = (job.report("unsupported", str(error)), None)
        return Converted(row, by_format, index)

    def _outcome(self, source: Descriptor, format: str, made: Made) -> Outcome:
        ours = {SOURCE_DIGEST: source.digest, OPTIONS: fingerprint(format, self.options)}
        if format in made.refused:
            media_type = ESTARGZ_LAYER if format == ESTARGZ else ZSTD_LAYER
            plain = Descriptor(media_type, source.digest, source.size)
            written, staged = Written(plain, "", made.refused[format]), None
        else:
            written, staged = made.written[format], made.staged[format]
        if written.reason:
            ours[PLAIN] = written.reason
        layer = replace(written.descriptor, annotations={**written.descriptor.annotations, **ours})
        lazy = lazy_readers(layer.annotations)
        state = "converted" if lazy else "plain"
        report = OutputReport(format, state, layer.digest, layer.size, lazy, written.reason)  # type: ignore[arg-type]
        return Outcome(NewLayer(layer, written.diff_id or None), report, self.store, staged)


def kept(
    job: LayerJob, formats: tuple[str, ...], state: str, reason: str, *, with_index: bool = False
) -> Converted:
    """A layer that stays as it is in all formats."""
    row = job.report(state, reason)
    return Converted(with_outputs(row, formats), {}, (row, None) if with_index else None)


def with_outputs(row: LayerReport, formats: tuple[str, ...]) -> LayerReport:
    """The row of a layer that stays as it is."""
    outputs = tuple(
        OutputReport(format, "kept", row.digest, row.comp_size, (), row.reason) for format in formats
    )
    return replace(row, outputs=outputs)
