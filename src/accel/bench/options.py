"""What to measure."""

from dataclasses import dataclass
from typing import Literal, get_args

from accel.errors import ConfigError

Group = Literal["decoders", "indexers", "threads", "crc", "sizes", "stages"]
GROUPS: tuple[Group, ...] = get_args(Group)
MAX_ROUNDS = 1000
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """``rounds`` counts after one to warm up. ``libdeflate`` is a shared library to take instead of the system's.

    Raises ``ConfigError`` for what cannot be measured.
    """

    groups: tuple[Group, ...] = GROUPS
    rounds: int = 5
    threads: tuple[int, ...] = (1,)
    libdeflate: str | None = None

    def __post_init__(self) -> None:
        for name in self.groups:
            if name not in GROUPS:
                raise ConfigError(f"{name!r} is not one of {', '.join(GROUPS)}")
        if not self.groups:
            raise ConfigError("nothing to measure")
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ConfigError(f"rounds must be 1 to {MAX_ROUNDS}, not {self.rounds}")
        if not self.threads or not all(1 <= n <= MAX_THREADS for n in self.threads):
            raise ConfigError(f"thread counts must be 1 to {MAX_THREADS}, not {self.threads}")

    def wants(self, *groups: Group) -> bool:
        """Whether any of ``groups`` is to be measured."""
        return any(group in self.groups for group in groups)


def thread_counts(cpus: int) -> tuple[int, ...]:
    """1, 2, 4, … and ``cpus`` itself."""
    return tuple(sorted({cpus, *(2**k for k in range(cpus.bit_length()))}))
