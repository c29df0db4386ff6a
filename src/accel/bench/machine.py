"""The machine that was measured on, and whether it was quiet."""

import os
import platform
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import accel_core
from accel.bench.counters import nominal_ghz
from accel_core import cpu, crc32, gzip_stream, sha256

BUSY_LOAD = 0.5  # processes that wanted a CPU, on average over the minute before


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader must know to compare numbers with those of another machine."""

    cpu: str
    cpus: int  # that this process may use
    nominal_ghz: float | None
    features: tuple[str, ...]  # CPU features that the kernels use
    decoder: str  # chosen by accel for these features
    crc32: str
    sha256: str
    memory_mb: int | None  # free at the start
    load: float | None  # of the minute before the start
    system: str
    python: str
    compiler: str  # of the kernels

    @property
    def is_busy(self) -> bool:
        """Whether others wanted the CPUs before the measurement began."""
        return self.load is not None and self.load > BUSY_LOAD

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "features": list(self.features)}


def describe_machine() -> Machine:
    """This machine as it is now."""
    free = free_memory()
    return Machine(
        cpu=cpu_model(),
        cpus=usable_cpus(),
        nominal_ghz=nominal_ghz(),
        features=tuple(sorted(cpu.features())),
        decoder=gzip_stream.implementations()[0],
        crc32=crc32.implementations()[0],
        sha256=sha256.implementations()[0],
        memory_mb=None if free is None else free // 1_000_000,
        load=load(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        compiler=_kernels_compiler() or "unknown",
    )


def summary() -> str:
    """One line: CPU, how many of them, Python."""
    return f"{cpu_model()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


@cache
def cpu_model() -> str:
    """The CPU's name for itself."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return model


def usable_cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Processes running or waiting for a CPU, mean of the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def free_memory() -> int | None:
    """Bytes a process may still take without swapping, its control group's limit considered; None if unknown."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    free = [int(found[1]) * 1024] if found else []
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        numbers = _text(limit).strip(), _text(used).strip()
        if all(map(str.isdecimal, numbers)):
            free.append(max(int(numbers[0]) - int(numbers[1]), 0))
    return min(free) if free else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@cache
def _kernels_compiler() -> str | None:
    """What compiled the kernels, from the comment the compiler leaves in an object; None if it was stripped."""
    for path in sorted(Path(accel_core.__file__).parent.glob("gzip_stream*.so")):
        if found := re.search(rb"GCC: \([^)\0]*\) [\d.]+|clang version [\d.]+", path.read_bytes()):
            return found[0].decode().replace("GCC: ", "gcc ")
    return None
