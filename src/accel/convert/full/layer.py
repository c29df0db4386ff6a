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

from accel.convert.full.batches import Batch, Cutter
from accel.convert.full.encode import Encoded, GzipEncoder, ZstdEncoder
from accel.convert.full.in_order import InOrder
from accel.convert.full.reorder import read_reordered
from accel.convert.full.sums import FileDigests, chunk_digests
from accel.convert.full.tar_source import TarSource
from accel.convert.full.writers import EstargzWriter, PlainGzipWriter, Writer, Written, ZstdWriter
from accel.formats.stargz import estargz_refusal, layer_order, zstd_refusal
from accel.stores import StagedBlob
from accel_core.entries import EntryTable
from accel_core.layer_index import LayerIndex

ESTARGZ, ZSTD_CHUNKED = "estargz", "zstd-chunked"
_MAX_SLOTS = 12


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
    gzip_level: int
    zstd_level: int
    prefetch: tuple[bytes, ...] = ()
    for_stargz: bool = False  # annotate zstd for stargz-snapshotter, not for podman
    index_span_bytes: int | None = None  # of an index of the source, if one is wanted


@dataclass(slots=True)
class Made:
    """What came of a layer: by format what was written and where, and the index of the source."""

    n_entries: int = 0
    uncomp_size: int = 0
    written: dict[str, Written] = field(default_factory=dict)
    staged: dict[str, StagedBlob] = field(default_factory=dict)
    index: LayerIndex | None = None

    def discard(self) -> None:
        """Forget what was written and not published."""
        for staged in self.staged.values():
            staged.discard()


def make_layers(
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
            estargz = EstargzWriter(self._staged(ESTARGZ), GzipEncoder(recipe.gzip_level), landmark=True)
            writers.append(estargz)
        if ZSTD_CHUNKED in recipe.formats:
            zstd = ZstdWriter(self._staged(ZSTD_CHUNKED), ZstdEncoder(recipe.zstd_level))
            writers.append(zstd)

        def read(push: Callable[[memoryview], object]) -> None:
            made.index = self._source.read(push, index_span_bytes=recipe.index_span_bytes)

        entries, file_digests, made.uncomp_size = self._pass(writers, read)
        made.n_entries = len(entries)
        if zstd is not None:
            made.written[ZSTD_CHUNKED] = zstd.finish(
                entries, file_digests, zstd_refusal(entries), for_stargz=recipe.for_stargz
            )
        if ESTARGZ in recipe.formats:
            made.written[ESTARGZ] = self._estargz(estargz, entries, file_digests)

    def _estargz(
        self, first: EstargzWriter | None, entries: EntryTable, file_digests: dict[int, bytes]
    ) -> Written:
        """What the first pass wrote if that will do, else what another one writes."""
        order = layer_order(entries, self._recipe.prefetch)
        refusal = estargz_refusal(entries, order.dropped)
        encoder = GzipEncoder(self._recipe.gzip_level)
        if refusal:
            plain = PlainGzipWriter(self._staged(ESTARGZ), encoder)
            self._pass([plain], self._source.read)
            return plain.finish(refusal)
        if order.is_streamable and not order.dropped:
            if first is None:
                first = EstargzWriter(self._staged(ESTARGZ), encoder, landmark=True)
                entries, file_digests, _ = self._pass([first], self._source.read)
            return first.finish(entries, file_digests)
        writer = EstargzWriter(self._staged(ESTARGZ), encoder, landmark=False)
        reordered, file_digests, _ = self._pass(
            [writer], lambda push: read_reordered(self._source, entries, order, push)
        )
        return writer.finish(reordered, file_digests)

    def _staged(self, format: str) -> StagedBlob:
        """A new blob in the place of an earlier one."""
        if format in self._made.staged:
            self._made.staged.pop(format).discard()
        staged = self._made.staged[format] = self._stage()
        return staged

    def _pass(
        self, writers: Sequence[Writer], read: Callable[[Callable[[memoryview], object]], object]
    ) -> tuple[EntryTable, dict[int, bytes], int]:
        """Have the tar that ``read`` pushes written by all writers; its entries, file digests and size."""
        file_digests = FileDigests()

        def compress(batch: Batch) -> tuple[Batch, list[Encoded], bytes]:
            return batch, [writer.encode(batch) for writer in writers], chunk_digests(batch)

        def take(done: tuple[Batch, list[Encoded], bytes]) -> None:
            batch, pieces, digests = done
            file_digests.add(batch)
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
