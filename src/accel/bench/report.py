"""What came out, as values and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from accel.bench.layer import BenchLayer
from accel.bench.machine import Machine
from accel.bench.options import BenchOptions, Group
from accel.bench.stages import Stage

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one group. Seconds are medians, ``spread`` half the distance of their quartiles by the median.

    ``mb_s`` is 10^6 uncompressed bytes a second: of CPU time, or of wall time in the group "threads". ``ratio`` is that
    by the baseline's.
    """

    group: Group
    name: str
    ours: bool
    does: str
    threads: int
    n_bytes: int
    cpu_s: float
    wall_s: float
    spread: float
    mb_s: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class IndexSize:
    """An index file of the layer. ``share``: of the compressed layer; ``entries``: whether it lists the files."""

    format: str
    by: str
    ours: bool
    n_bytes: int
    share: float
    entries: bool


@dataclass(frozen=True, slots=True)
class PeerState:
    """A peer: ``state`` is "measured", "not chosen", "not installed", "left out" or "failed", ``note`` why, or how to
    get it."""

    name: str
    version: str | None
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything, in the order it was measured. ``baseline`` names the decoder that ratios are to."""

    accel: str
    date: str
    machine: Machine
    layer: BenchLayer
    options: BenchOptions
    baseline: str | None
    cycles: str
    rows: Sequence[Row]
    sizes: Sequence[IndexSize]
    stages: Sequence[Stage]
    peers: Sequence[PeerState]
    warnings: Sequence[str]

    def group(self, name: Group) -> list[Row]:
        """The rows of one group, as measured."""
        return [row for row in self.rows if row.group == name]

    def ranked(self, name: Group) -> list[Row]:
        """The rows of one group as one looks at them: fastest first, but thread counts in order."""
        rows = self.group(name)
        return rows if name == "threads" else sorted(rows, key=lambda row: -row.mb_s)

    def to_json(self) -> dict[str, object]:
        """Plain values; ``schema`` changes when a name or a meaning does."""
        return {
            "schema": SCHEMA,
            "accel": self.accel,
            "date": self.date,
            "machine": self.machine.to_json(),
            "layer": self.layer.to_json(),
            "groups": list(self.options.groups),
            "rounds": self.options.rounds,
            "baseline": self.baseline,
            "cycles": self.cycles,
            "rows": [asdict(row) for row in self.rows],
            "sizes": [asdict(size) for size in self.sizes],
            "stages": [stage.to_json() for stage in self.stages],
            "peers": [asdict(peer) for peer in self.peers],
            "warnings": list(self.warnings),
        }
