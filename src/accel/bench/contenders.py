"""Everything that is timed on the layer, as named calls: accel's own, then its peers'."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from accel.bench.builders import BUILDERS, SPACING
from accel.bench.decoders import Decoder, known_decoders
from accel.bench.layer import BenchLayer
from accel.bench.options import BenchOptions, Group
from accel.bench.peers import Peer
from accel.bench.timing import Call
from accel_core import LayerIndex, LayerScanner, gzip_stream, index

PIECE_BYTES = 1 << 20
NO_CHECKPOINTS = 1 << 40  # a span that no layer fills: one checkpoint, at the start
WHOLE_SHARE = 4  # a decoder that wants all of the output in memory gets 1/4 of the free memory

# The scans, each does one thing more than the one before: the stages are their differences.
BARE, FULL, SCAN = "accel, no checkpoints", "accel, full windows", "accel scan"
SPAN_DIGESTS, LAYER_DIGEST, DIFF_ID = "accel + span digests", "accel + layer digest", "accel + diffID"


@dataclass(frozen=True, slots=True)
class Contender:
    """One call over the whole layer. ``peer`` is None for accel itself."""

    name: str
    groups: tuple[Group, ...]
    call: Call
    does: str
    peer: Peer | None = None
    threads: int = 1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A peer that cannot run here ("not installed", and how to get it) or on this layer ("left out", and why)."""

    peer: Peer
    state: str
    why: str


def scan(
    blob: bytes | memoryview,
    *,
    span_bytes: int = SPACING,
    sparse_windows: bool = True,
    span_digests: bool = False,
    digest: bool = False,
    diff_id: bool = False,
    implementation: str | None = None,
) -> LayerIndex:
    """The index of a gzip layer, fed in pieces as it comes from a disk or a network."""
    scanner = LayerScanner(
        compression="gzip",
        span_bytes=span_bytes,
        sparse_windows=sparse_windows,
        span_digests=span_digests,
        digest=digest,
        diff_id=diff_id,
    )
    view = memoryview(blob)
    usual = gzip_stream.implementations()[0]
    gzip_stream.use_implementation(implementation or usual)
    try:
        for start in range(0, len(view), PIECE_BYTES):
            scanner.feed(view[start : start + PIECE_BYTES])
        return scanner.finish()
    finally:
        gzip_stream.use_implementation(usual)


def own(layer: BenchLayer, options: BenchOptions) -> Iterator[Contender]:
    """accel: one thread with more and more to do, each decoder by name, and several threads."""
    usual, *others = gzip_stream.implementations()
    does = "inflate, CRC, tar entries, checkpoints, sparse windows"
    digests: dict[str, bool] = {}

    def scanner(name: str, groups: tuple[Group, ...], does: str, **how: Any) -> Contender:
        return Contender(name, groups, partial(scan, layer.content, **how), does)

    yield scanner(BARE, ("stages",), "inflate, CRC, tar entries", span_bytes=NO_CHECKPOINTS)
    yield scanner(FULL, ("stages",), does.replace("sparse", "full"), sparse_windows=False)
    yield scanner(SCAN, ("decoders", "indexers", "stages"), f"{does} ({usual})")
    for name in others:
        yield scanner(f"{SCAN}, {name} decoder", ("decoders",), f"{does} ({name})", implementation=name)
    for name, more, of_what in (
        (SPAN_DIGESTS, "span_digests", "spans"),
        (LAYER_DIGEST, "digest", "the blob"),
        (DIFF_ID, "diff_id", "the uncompressed bytes"),
    ):
        digests |= {more: True}
        yield scanner(name, ("indexers", "stages"), f"… and SHA-256 of {of_what}", **digests)
    parallel = partial(index, layer.path, compression="gzip", sparse_windows=True)
    for n in options.threads:
        call = partial(parallel, threads=n, digest=False, span_digests=False)
        yield Contender(f"accel.index, {_threads(n)}", ("threads",), call, does, threads=n)
    for n in options.threads:
        name, more = f"accel.index + digests, {_threads(n)}", f"{does}, SHA-256 of blob and spans"
        yield Contender(name, ("threads",), partial(parallel, threads=n), more, threads=n)


def peers(
    layer: BenchLayer, options: BenchOptions, folder: Path, free_memory: int | None
) -> Iterator[Contender | LeftOut]:
    """Decoders, then index builders. ``folder`` is where processes may leave their index files."""
    for decoder in known_decoders(options.libdeflate):
        if decoder.peer.version() is None:
            yield LeftOut(decoder.peer, "not installed", decoder.peer.get)
        elif why := _unfit(decoder, layer, free_memory):
            yield LeftOut(decoder.peer, "left out", why)
        else:
            # Prepared when first called, to warm up: libdeflate's output takes memory that others may need before.
            prepared = cache(partial(decoder.prepare, layer.content, layer.uncomp_size))
            when_called = partial(_call_prepared, prepared)
            yield Contender(decoder.label, ("decoders",), when_called, "inflate, CRC", decoder.peer)
    for builder in BUILDERS:
        if builder.peer.version() is None:
            yield LeftOut(builder.peer, "not installed", builder.peer.get)
            continue
        for n in sorted({1, *options.threads}) if builder.threaded else (1,):
            groups: list[Group] = ["indexers"] if n == 1 else []
            if builder.threaded and n in options.threads:
                groups.append("threads")
            call = builder.prepare(layer.path, folder / f"{builder.label}.index", n)
            label = f"{builder.label} -P{n}" if builder.threaded else builder.label
            yield Contender(label, tuple(groups), call, builder.does, builder.peer, n)


def _unfit(decoder: Decoder, layer: BenchLayer, free_memory: int | None) -> str:
    """Why the decoder cannot run on the layer; empty if it can."""
    if decoder.one_member and layer.members > 1:
        return f"it stops after the first of {layer.members} gzip members"
    if decoder.whole and free_memory is not None and layer.uncomp_size > free_memory // WHOLE_SHARE:
        return (
            f"it needs {layer.uncomp_size / 1e6:.0f} MB for the whole output, more than 1/{WHOLE_SHARE} of the "
            f"{free_memory / 1e6:.0f} MB that are free"
        )
    return ""


def _call_prepared(prepared: Callable[[], Call]) -> None:
    prepared()()


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"
