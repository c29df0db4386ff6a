"""Runs everything that was asked for on one layer, interleaved, and puts the report together."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from accel.bench.checksums import TOTAL_BYTES, checksum_calls
from accel.bench.contenders import Contender, LeftOut, own, peers
from accel.bench.counters import cycle_counter
from accel.bench.layer import BenchLayer
from accel.bench.machine import Machine, free_memory
from accel.bench.options import BenchOptions
from accel.bench.report import BenchReport, PeerState, Row
from accel.bench.sizes import index_sizes
from accel.bench.stages import Clock, stage_calls, stages
from accel.bench.timing import Call, Sample, Watch, medians, sampled
from accel.progress import NoProgress, Progress
from accel_core.parallel_scan import MIN_CHUNK_BYTES

BASELINE = "libdeflate"
TAKEN_AWAY = 1.15  # wall time of one thread by its CPU time: above, others had the CPU meanwhile

Samples = dict[str, list[Sample]]


def run_bench(
    layer: BenchLayer,
    machine: Machine,
    folder: Path,
    options: BenchOptions | None = None,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure on ``layer``; ``machine`` was described before any work of ours made it busy.

    Every contender runs ``rounds`` + 1 times. A peer that fails is reported and does not end the run. ``folder`` is for
    index files. Raises ``Cancelled`` when ``progress`` does.
    """
    chosen = options or BenchOptions()
    shown = progress or NoProgress()
    found = list(peers(layer, chosen, folder, free_memory()))
    theirs = [one for one in found if isinstance(one, Contender)]
    timed = [one for one in [*own(layer, chosen), *theirs] if _is_wanted(one, chosen)]
    watch = _Reporting(shown, chosen.rounds, {one.name: one for one in timed})
    counter = cycle_counter()
    clock = Clock(counter is not None, machine.nominal_ghz)
    try:
        samples = _sampled_layer(layer, timed, chosen, watch, counter.read if counter is not None else None)
    finally:
        if counter is not None:
            counter.close()
    baseline = _baseline(samples, timed)
    rows = _rows(samples, timed, chosen, baseline, layer.uncomp_size)
    if chosen.wants("crc"):
        rows += _checksum_rows(chosen)
    sizes, refused = index_sizes(layer, folder) if chosen.wants("sizes") else ([], {})
    n_bytes = watch.n_bytes
    return BenchReport(
        accel=_own_version(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        layer=layer,
        options=chosen,
        baseline=baseline,
        cycles=_how_cycles(clock),
        rows=rows,
        sizes=sizes,
        stages=stages(samples, n_bytes, clock) if chosen.wants("stages") else [],
        peers=_peer_states(found, timed, refused | watch.failures),
        warnings=_warnings(machine, layer, samples, timed),
    )


def _is_wanted(one: Contender, options: BenchOptions) -> bool:
    # Ratios need decoders to be the baseline, whatever else is asked for.
    is_baseline = one.peer is not None and "decoders" in one.groups and options.wants("indexers", "threads")
    return is_baseline or options.wants(*one.groups)


class _Reporting(Watch):
    """Rounds as stages of a progress, in uncompressed bytes; failures of peers as notes."""

    def __init__(self, progress: Progress, rounds: int, contenders: Mapping[str, Contender]) -> None:
        self.failures: dict[str, str] = {}
        self.n_bytes: dict[str, int] = {}
        self._progress, self._rounds, self._contenders = progress, rounds, contenders
        self._stage = ""

    def begin(self, number: int) -> None:
        self._stage = f"round {number} of {self._rounds}" if number else "warming up"
        self._progress.begin(self._stage, sum(self.n_bytes.values()))

    def done(self, name: str) -> None:
        self._progress.advance(self._stage, self.n_bytes[name])

    def end(self, number: int) -> None:
        self._progress.end(self._stage, "")

    def failed(self, name: str, error: Exception) -> None:
        peer = self._contenders[name].peer if name in self._contenders else None
        if peer is None:
            raise error
        self.failures[peer.name] = f"{type(error).__name__}: {error}"
        self._progress.advance(self._stage, self.n_bytes.pop(name))


def _sampled_layer(
    layer: BenchLayer,
    timed: Sequence[Contender],
    options: BenchOptions,
    watch: _Reporting,
    cycles: Callable[[], int] | None,
) -> Samples:
    calls: dict[str, Call] = {one.name: one.call for one in timed}
    watch.n_bytes = dict.fromkeys(calls, layer.uncomp_size)
    if options.wants("stages"):
        alone, n_bytes = stage_calls(layer)
        calls |= alone
        watch.n_bytes |= n_bytes
    return sampled(calls, options.rounds, watch, cycles) if calls else {}


def _baseline(samples: Samples, timed: Sequence[Contender]) -> str | None:
    """libdeflate in this process, or else the fastest of the other decoders."""
    decoders = [
        one.name for one in timed if one.peer is not None and "decoders" in one.groups and one.name in samples
    ]
    if BASELINE in decoders:
        return BASELINE
    return min(decoders, key=lambda name: medians(samples[name])[0], default=None)


def _rows(
    samples: Samples, timed: Sequence[Contender], options: BenchOptions, baseline: str | None, n_bytes: int
) -> list[Row]:
    base = medians(samples[baseline]) if baseline is not None else None
    rows = []
    for group in options.groups:
        by = 1 if group == "threads" else 0  # wall time where several threads are the point, else CPU time
        for one in timed:
            if group not in one.groups or one.name not in samples or group == "stages":
                continue
            taken = samples[one.name]
            seconds = medians(taken)
            rows.append(
                Row(
                    group=group,
                    name=one.name,
                    ours=one.peer is None,
                    does=one.does,
                    threads=one.threads,
                    n_bytes=n_bytes,
                    cpu_s=round(seconds[0], 6),
                    wall_s=round(seconds[1], 6),
                    spread=_spread([(sample.cpu_s, sample.wall_s)[by] for sample in taken]),
                    mb_s=round(n_bytes / seconds[by] / 1e6, 1),
                    ratio=round(base[by] / seconds[by], 3) if base is not None else None,
                )
            )
    return rows


def _checksum_rows(options: BenchOptions) -> list[Row]:
    calls = checksum_calls(options.libdeflate)
    samples = sampled(calls, options.rounds)
    seconds = {name: medians(taken) for name, taken in samples.items()}
    base = seconds.get(BASELINE) or seconds["zlib"]
    return [
        Row(
            group="crc",
            name=name,
            ours=name.startswith("accel"),
            does="CRC-32 of 256 KiB again and again",
            threads=1,
            n_bytes=TOTAL_BYTES,
            cpu_s=round(cpu, 6),
            wall_s=round(wall, 6),
            spread=_spread([sample.cpu_s for sample in samples[name]]),
            mb_s=round(TOTAL_BYTES / cpu / 1e6, 1),
            ratio=round(base[0] / cpu, 3),
        )
        for name, (cpu, wall) in seconds.items()
    ]


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, median, high = statistics.quantiles(values, n=4)
    return round((high - low) / 2 / median, 4)


def _peer_states(
    found: Sequence[Contender | LeftOut], timed: Sequence[Contender], failures: Mapping[str, str]
) -> list[PeerState]:
    """One for each peer, as good news as there is: a peer may have been measured with some threads and not others."""
    states: dict[str, PeerState] = {}
    for one in found:
        peer = one.peer
        assert peer is not None
        if isinstance(one, LeftOut):
            state = PeerState(peer.name, peer.version(), one.state, one.why)
        elif peer.name in failures:
            state = PeerState(peer.name, peer.version(), "failed", failures[peer.name])
        else:
            state = PeerState(peer.name, peer.version(), "measured" if one in timed else "not chosen", "")
        if peer.name not in states or state.state == "measured":
            states[peer.name] = state
    return list(states.values())


def _warnings(machine: Machine, layer: BenchLayer, samples: Samples, timed: Sequence[Contender]) -> list[str]:
    said = []
    if machine.is_busy:
        said.append(
            f"the machine was busy before this began (load {machine.load}): read the ratios, not the speeds, and run "
            "it again when it is quiet"
        )
    if any(one.threads > 1 for one in timed) and layer.comp_size < 2 * MIN_CHUNK_BYTES:
        said.append(
            f"the layer is too small for several threads: accel takes one below {MIN_CHUNK_BYTES >> 19} MiB"
        )
    single = [medians(samples[one.name]) for one in timed if one.threads == 1 and one.name in samples]
    if single:
        taken = statistics.median(wall / cpu for cpu, wall in single if cpu)
        if taken > TAKEN_AWAY:
            said.append(
                f"others had the CPU for {1 - 1 / taken:.0%} of the time: wall times, and so the rows with threads, "
                "mean little"
            )
    return said


def _how_cycles(clock: Clock) -> str:
    if clock.counted:
        return "counted by the CPU, in user mode"
    if clock.ghz:
        return f"estimated: CPU time at the nominal {clock.ghz:.2f} GHz (no cycle counter here)"
    return "not known: no cycle counter, and no nominal frequency"


def _own_version() -> str:
    try:
        return version("accel")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
