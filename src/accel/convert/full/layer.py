"""One layer in, one layer of each format out: usually in a single pass over its bytes.

::

    first pass    source ─> tar ─> batches ─┬─> eStargz in the source's order
                                            ├─> zstd:chunked
                                            └─> index of the source (index-only)
    then, from the entries, it is known whether eStargz must leave something out or put it in front, or is refused:
    second pass   source ─> tar, reordered ─> batches ─> eStargz      or, as it is ─> plain gzip

With prefetched files the first pass makes no eStargz, for it is likely to be of no use.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from accel.convert.full.batches import Batch, Cutter
from accel.convert.full.encode import Encoded, GzipEncoder, ZstdEncoder
from accel.convert.full.in_order import InOrder
from accel.convert.full.reorder import landmark_at, read_reordered
from accel.convert.full.sums import FileDigests, chunk_digests
from accel.convert.full.tar_source import Push, TarSource
from accel.convert.full.writers import EstargzWriter, PlainGzipWriter, Writer, Written, ZstdWriter
from accel.convert.options import DEFAULT_MIN_CHUNK_BYTES, ESTARGZ, ZSTD_CHUNKED
from accel.formats.stargz import estargz_refusal, layer_order
from accel.stores import StagedBlob
from accel_core.entries import EntryTable
from accel_core.layer_index import LayerIndex
from accel_core.sha256 import update_all

MAX_WORKERS = 6  # decoding, which is done in order, keeps no more of them busy, and each has its memory
_MAX_SLOTS = 8


class Workers:
    """Threads that all layers share, and how many batches may be on their way through them together.

    A batch is at most 8 MiB, and so are its compressed forms.
    """

    def __init__(self, pool: Executor, threads: int) -> None:
        self.pool = pool
        self.slots = threading.BoundedSemaphore(min(2 * threads + 2, _MAX_SLOTS))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make of layers, and how. ``prefetch`` are paths of files that go to the front of eStargz layers."""

    formats: tuple[str, ...]
    gzip_level: int | None  # None: use a gzip source's matches again
    zstd_level: int | None  # the same
    prefetch: tuple[bytes, ...] = ()
    for_stargz: bool = False  # annotate zstd for stargz-snapshotter, not for podman
    index_span_bytes: int | None = None  # of an index of the source, if one is wanted
    min_chunk_bytes: int = DEFAULT_MIN_CHUNK_BYTES  # of eStargz: smaller chunks share members


@dataclass(slots=True)
class Made:
    """What came of a layer: by format what was written and where, and the index of the source.

    ``refused``: where the source is as good as what could be written, why its readers would not load it lazily.
    """

    n_entries: int = 0
    uncomp_size: int = 0
    written: dict[str, Written] = field(default_factory=dict)
    staged: dict[str, StagedBlob] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    index: LayerIndex | None = None

    def discard(self) -> None:
        """Forget what was written and not published."""
        for staged in self.staged.values():
            staged.discard()


def make_layer(
    source: TarSource, recipe: Recipe, workers: Workers, stage: Callable[[], StagedBlob]
) -> Made:
    """The layer in ``recipe.formats``, in blobs that ``stage`` gives. Raises as :meth:`TarSource.read`."""
    made = Made()
    try:
        _Layer(source, recipe, workers, stage, made).make()
    except BaseException:
        made.discard()
        raise
    return made


class _Layer:
    def __init__(
        self, source: TarSource, recipe: Recipe, workers: Workers, stage: Callable[[], StagedBlob], made: Made
    ) -> None:
        self._source = source
        self._recipe = recipe
        self._workers = workers
        self._stage = stage
        self._made = made

    def make(self) -> None:
        recipe, made = self._recipe, self._made
        writers: list[Writer] = []
        estargz = zstd = None
        if ESTARGZ in recipe.formats and not recipe.prefetch:
            estargz = EstargzWriter(self._staged(ESTARGZ), self._gzip())
            writers.append(estargz)
        if ZSTD_CHUNKED in recipe.formats:
            zstd = ZstdWriter(self._staged(ZSTD_CHUNKED), ZstdEncoder(recipe.zstd_level), for_stargz=recipe.for_stargz)
            writers.append(zstd)

        def read(push: Push) -> None:
            made.index = self._source.read(push, index_span_bytes=recipe.index_span_bytes)

        entries, file_digests, made.uncomp_size = self._pass(writers, read)
        made.n_entries = len(entries)
        if zstd is not None:
            reason = zstd.refusal(entries)
            if not (reason and self._keep_source(ZSTD_CHUNKED, "zstd", reason)):
                made.written[ZSTD_CHUNKED] = zstd.finish(entries, file_digests, reason)
        if ESTARGZ in recipe.formats:
            self._finish_estargz(estargz, entries, file_digests)

    def _finish_estargz(
        self, first: EstargzWriter | None, entries: EntryTable, file_digests: dict[int, bytes]
    ) -> None:
        """What the first pass wrote if that will do, else what another one writes."""
        order = layer_order(entries, self._recipe.prefetch)
        reason = estargz_refusal(entries, order.dropped)
        if reason:
            if not self._keep_source(ESTARGZ, "gzip", reason):
                self._made.written[ESTARGZ] = self._plain_gzip(reason)
            return
        is_natural = order.is_streamable and not order.dropped
        if first is None or not is_natural:
            read, at = self._source.read, None
            if not is_natural:
                read, at = partial(read_reordered, self._source, entries, order), landmark_at(entries, order)
            first = EstargzWriter(self._staged(ESTARGZ), self._gzip(), landmark_at=at)
            entries, file_digests, _ = self._pass([first], read)
        self._made.written[ESTARGZ] = first.finish(entries, file_digests)

    def _plain_gzip(self, reason: str) -> Written:
        plain = PlainGzipWriter(self._staged(ESTARGZ), self._gzip())
        self._pass([plain], self._source.read)
        return plain.finish(reason)

    def _keep_source(self, format: str, compression: str, reason: str) -> bool:
        """Whether the source itself is the plain layer that would be written."""
        if self._source.compression != compression:
            return False
        if format in self._made.staged:
            self._made.staged.pop(format).discard()
        self._made.refused[format] = reason
        return True

    def _gzip(self) -> GzipEncoder:
        return GzipEncoder(self._recipe.gzip_level, self._recipe.min_chunk_bytes)

    def _staged(self, format: str) -> StagedBlob:
        """A new blob in the place of an earlier one."""
        if format in self._made.staged:
            self._made.staged.pop(format).discard()
        staged = self._made.staged[format] = self._stage()
        return staged

    def _pass(
        self, writers: Sequence[Writer], read: Callable[[Push], object]
    ) -> tuple[EntryTable, dict[int, bytes], int]:
        """Have the tar that ``read`` pushes written by all writers; its entries, file digests and size."""
        file_digests = FileDigests()

        def compress(batch: Batch) -> tuple[Batch, list[Encoded], bytes]:
            return batch, [writer.encode(batch) for writer in writers], chunk_digests(batch)

        def take(done: tuple[Batch, list[Encoded], bytes]) -> None:
            batch, pieces, digests = done
            pairs = file_digests.pairs(batch)
            for writer, encoded in zip(writers, pieces, strict=True):
                pairs += writer.pairs(batch, encoded)
            update_all(pairs)
            for writer, encoded in zip(writers, pieces, strict=True):
                writer.add(batch, encoded, digests)

        with InOrder(self._workers.pool, self._workers.slots, take) as in_order:

            def hand_on(batch: Batch) -> None:
                end = batch.start + len(batch.data)
                for writer in writers:
                    writer.look(batch, cutter.entries, cutter.n_entries_until(end))
                if writers:
                    in_order.submit(lambda: compress(batch))

            cutter = Cutter(hand_on)
            read(cutter.push)
            entries = cutter.close()
            in_order.finish()
        return entries, file_digests.finish(), cutter.position
