"""Whole processes, measured from outside: CPU time of all threads, wall time, peak memory, and what they wrote."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from measure import Row

# A small process starts the one to measure: a peak resident set begins with what the process had that started it.
LAUNCHER = """
import os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
begin = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, used = os.wait4(pid, 0)
wall = time.perf_counter() - begin
print(used.ru_utime + used.ru_stime, wall, used.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A command. ``fresh`` removes what an earlier run left; ``check`` says what this one made, or raises."""

    command: list[str]
    version: str = ""
    fresh: Callable[[], object] = lambda: None
    check: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took, the processes it waited for included."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def run(child: Child) -> Taken:
    """Run it once, from afresh. Raises ``ChildFailed``."""
    child.fresh()
    launch = [sys.executable, "-I", "-S", "-c", LAUNCHER, *child.command]
    # Modules compiled beforehand, as pip does it: the first run leaves them so.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(launch, capture_output=True, text=True, errors="replace", check=False, env=environment)
    if done.returncode:
        raise ChildFailed(child.command, done.stderr)
    cpu, wall, peak_kb, code = done.stdout.split()
    if code != "0":
        raise ChildFailed(child.command, f"code {code}: {done.stderr}")
    return Taken(float(cpu), float(wall), int(peak_kb) * 1024 / 1e6)


class ChildFailed(Exception):
    def __init__(self, command: list[str], why: str) -> None:
        super().__init__(f"{' '.join(command)}: {why.strip()}")


def rows(
    bench: str, case: str, children: Mapping[str, Child], baseline: str, rounds: int, bytes_in: int, bytes_out: int
) -> list[Row]:
    """Medians over ``rounds`` in which each child runs once; the first round's output is checked.

    Ratios are of CPU time, to ``baseline``: 0.5 took twice as much.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in children}
    notes: dict[str, str] = {}
    for _ in range(rounds):
        for name, child in children.items():
            taken[name].append(run(child))
            if name not in notes:
                notes[name] = child.check()
    cpu = {name: statistics.median(t.cpu_s for t in times) for name, times in taken.items()}
    return [
        Row(
            bench, case, name, bytes_in, bytes_out, version=children[name].version,
            cpu_s=round(cpu[name], 4), wall_s=round(statistics.median(t.wall_s for t in times), 4),
            mb_s=round(bytes_out / cpu[name] / 1e6, 1), ratio=round(cpu[baseline] / cpu[name], 3),
            peak_mb=round(statistics.median(t.peak_mb for t in times), 1), note=notes[name],
        )
        for name, times in taken.items()
    ]  # fmt: skip
