"""Interleaved timing, rows, and the table they are printed as."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from accel.bench.machine import summary as machine
from accel.bench.timing import interleaved as interleaved


@cache
def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


@dataclass(slots=True)
class Row:
    """One measurement. Seconds are medians; ``mb_s`` is 10^6 bytes of ``bytes_out`` per CPU second."""

    bench: str
    case: str
    implementation: str
    bytes_in: int = 0
    bytes_out: int = 0
    cpu_s: float | None = None
    wall_s: float | None = None
    mb_s: float | None = None
    ratio: float | None = None          # mb_s by that of the baseline of the case
    peak_mb: float | None = None
    p50_ms: float | None = None         # of single calls, wall time
    p99_ms: float | None = None
    per_s: float | None = None          # calls a second
    note: str = ""
    version: str = ""                   # of somebody else's implementation
    commit: str = field(default_factory=commit)
    machine: str = field(default_factory=machine)

    def as_json(self) -> str:
        return json.dumps({key: value for key, value in asdict(self).items() if value not in (None, "")})


def rows_of(
    bench: str,
    case: str,
    times: Mapping[str, tuple[float, float]],
    baseline: str,
    bytes_in: int,
    bytes_out: int,
    versions: Mapping[str, str] = {},
) -> list[Row]:
    """Rows of one case, with ratios to ``baseline`` (or to nothing, if that did not run)."""
    base = times[baseline][0] if baseline in times else None
    return [
        Row(
            bench, case, name, bytes_in, bytes_out, cpu_s=round(cpu, 6), wall_s=round(wall, 6),
            mb_s=round(bytes_out / cpu / 1e6, 1), ratio=round(base / cpu, 3) if base else None,
            version=versions.get(name, ""),
        )
        for name, (cpu, wall) in times.items()
    ]  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """The rows as text columns."""
    lines = [
        ("bench", "case", "implementation", "version", "CPU s", "wall s", "MB/s", "ratio", "peak MB", "p50 ms",
         "p99 ms", "calls/s", "note")
    ]  # fmt: skip
    for row in rows:
        lines.append(
            (
                row.bench, row.case, row.implementation, row.version, shown(row.cpu_s, 4), shown(row.wall_s, 4),
                shown(row.mb_s, 0), shown(row.ratio, 2), shown(row.peak_mb, 1), shown(row.p50_ms, 3),
                shown(row.p99_ms, 3), shown(row.per_s, 0), row.note,
            )
        )  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


@cache
def skipped(what: str) -> None:
    """Say so, once."""
    print(f"skipped: {what}", file=sys.stderr)
