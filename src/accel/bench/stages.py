"""What each stage of the scan costs for one uncompressed byte.

Two ways, and each figure says which: a kernel *alone* where it can be called alone, else the *difference* of two scans
of which one does just this stage more (median of the differences round by round, so that a machine that changes its
speed slowly does not spoil them). ``inflate`` is what is left.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from random import Random

from accel.bench.checksums import BLOCK_BYTES, repeated
from accel.bench.contenders import BARE, DIFF_ID, FULL, LAYER_DIGEST, SCAN, SPAN_DIGESTS
from accel.bench.layer import BenchLayer
from accel.bench.timing import Call, Sample
from accel.images.compression import decompressed
from accel_core import crc32
from accel_core.tar_scan import TarScanner

CRC_ALONE, TAR_ALONE = "CRC-32 alone", "tar scanner alone"
SAMPLE_BYTES = 64 << 20  # of the tar, for the tar scanner alone

_DIFFERENCES = (
    ("checkpoints", FULL, BARE, "scan with checkpoints and full windows − scan without"),
    ("sparse windows", SCAN, FULL, "scan with sparse windows − scan with full windows"),
    ("span digests", SPAN_DIGESTS, SCAN, "scan with SHA-256 of spans − scan without"),
    ("layer digest", LAYER_DIGEST, SPAN_DIGESTS, "scan with SHA-256 of the blob too − scan without"),
    ("diffID", DIFF_ID, LAYER_DIGEST, "scan with SHA-256 of the uncompressed bytes too − scan without"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """``noise_ns``: half the distance of the quartiles over the rounds. ``cycles_per_byte`` None: not known."""

    name: str
    ns_per_byte: float
    noise_ns: float
    cycles_per_byte: float | None
    how: str

    @property
    def is_certain(self) -> bool:
        """Whether the figure stands out of the noise."""
        return self.ns_per_byte > self.noise_ns

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def stage_calls(layer: BenchLayer) -> tuple[dict[str, Call], dict[str, int]]:
    """The kernels alone, and how many bytes each call works on."""
    sample = tar_sample(layer.content)
    pieces = [sample[i : i + BLOCK_BYTES] for i in range(0, len(sample), BLOCK_BYTES)]

    def scan_tar() -> None:
        scanner = TarScanner()
        for piece in pieces:
            scanner.feed(piece)

    block = Random(1).randbytes(BLOCK_BYTES)
    times = max(layer.uncomp_size // BLOCK_BYTES, 1)
    crc = partial(crc32.crc32, implementation=crc32.implementations()[0])
    calls: dict[str, Call] = {CRC_ALONE: repeated(crc, block, times), TAR_ALONE: scan_tar}
    return calls, {CRC_ALONE: times * BLOCK_BYTES, TAR_ALONE: len(sample)}


def tar_sample(content: memoryview) -> memoryview:
    """The first 64 MiB of the tar in a gzip layer."""
    pieces = (bytes(content[i : i + BLOCK_BYTES]) for i in range(0, len(content), BLOCK_BYTES))
    taken = bytearray()
    for piece in decompressed(pieces, "gzip"):
        taken += piece
        if len(taken) >= SAMPLE_BYTES:
            break
    return memoryview(taken)[:SAMPLE_BYTES]


@dataclass(frozen=True, slots=True)
class Clock:
    """How cycles are known: ``counted`` by hardware, else from CPU time at ``ghz`` (None: not at all)."""

    counted: bool
    ghz: float | None

    def cost(self, sample: Sample, n_bytes: int) -> tuple[float, float]:
        """(nanoseconds, cycles) for each of ``n_bytes``; no cycles where they are not known."""
        ns = sample.cpu_s * 1e9
        cycles = sample.cycles if self.counted and sample.cycles is not None else ns * (self.ghz or 0)
        return ns / n_bytes, cycles / n_bytes


def stages(samples: Mapping[str, Sequence[Sample]], n_bytes: Mapping[str, int], clock: Clock) -> list[Stage]:
    """The stages of which all samples are there, in the order the scan does them."""
    costs = {name: [clock.cost(sample, n_bytes[name]) for sample in taken] for name, taken in samples.items()}
    made = []
    if costs.keys() >= {BARE, CRC_ALONE, TAR_ALONE}:
        how = "scan without checkpoints − CRC-32 alone − tar scanner alone"
        made.append(_stage("inflate", _less(costs[BARE], costs[CRC_ALONE], costs[TAR_ALONE]), clock, how))
        made.append(
            _stage("CRC-32", costs[CRC_ALONE], clock, "kernel alone over blocks of 256 KiB in the cache")
        )
        how = f"kernel alone over {n_bytes[TAR_ALONE] / 1e6:.0f} MB of the tar, in memory"
        made.append(_stage("tar entries", costs[TAR_ALONE], clock, how))
    for name, with_it, without, how in _DIFFERENCES:
        if costs.keys() >= {with_it, without}:
            made.append(_stage(name, _less(costs[with_it], costs[without]), clock, how))
    return made


_Costs = list[tuple[float, float]]


def _less(whole: _Costs, *parts: _Costs) -> _Costs:
    """Round by round, ``whole`` without ``parts``."""
    return [
        (one[0] - sum(part[0] for part in others), one[1] - sum(part[1] for part in others))
        for one, *others in zip(whole, *parts, strict=True)
    ]


def _stage(name: str, rounds: _Costs, clock: Clock, how: str) -> Stage:
    ns = [one[0] for one in rounds]
    quartiles = statistics.quantiles(ns, n=4) if len(ns) > 1 else [ns[0]] * 3
    return Stage(
        name,
        ns_per_byte=round(statistics.median(ns), 5),
        noise_ns=round((quartiles[2] - quartiles[0]) / 2, 5),
        cycles_per_byte=round(statistics.median(one[1] for one in rounds), 4)
        if clock.counted or clock.ghz
        else None,
        how=how,
    )
