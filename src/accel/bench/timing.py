"""Interleaved timing: the contenders take turns, so that what disturbs the machine disturbs all of them alike."""

import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call. ``cpu_s`` is that of all threads and of child processes; ``cycles`` None without a counter."""

    cpu_s: float
    wall_s: float
    cycles: int | None = None


class Watch:
    """What sampling tells about itself while it runs. This one says nothing and lets errors through."""

    def begin(self, number: int) -> None:
        """Round ``number`` starts; 0 is the one to warm up, which is not counted."""

    def done(self, name: str) -> None:
        """The call ``name`` of this round is over."""

    def end(self, number: int) -> None:
        """Round ``number`` is over."""

    def failed(self, name: str, error: Exception) -> None:
        """The call ``name`` raised. If this returns, the call is left out from now on."""
        raise error


def cpu_seconds() -> float:
    """CPU time of this process so far, all threads, and of the child processes it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def sampled(
    calls: Mapping[str, Call],
    rounds: int,
    watch: Watch | None = None,
    cycles: Callable[[], int] | None = None,
) -> dict[str, list[Sample]]:
    """Name -> one sample a round, of ``rounds`` rounds in which each call runs once; one more round warms up.

    ``cycles`` reads a counter that only grows. Calls that failed (see ``Watch.failed``) are not in the result.
    """
    watching = watch or Watch()
    taken: dict[str, list[Sample]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        watching.begin(number)
        # In another order each time: who comes behind whom matters.
        for name in random.Random(number).sample(list(taken), len(taken)):
            try:
                sample = _sample(calls[name], cycles)
            except Exception as error:  # noqa: BLE001  somebody else's code: whatever it raises is the watch's to judge
                watching.failed(name, error)
                del taken[name]
                continue
            if number:
                taken[name].append(sample)
            watching.done(name)
        watching.end(number)
    return taken


def _sample(call: Call, cycles: Callable[[], int] | None) -> Sample:
    before = cycles() if cycles is not None else 0
    cpu, wall = cpu_seconds(), time.perf_counter()
    call()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return Sample(cpu, wall, cycles() - before if cycles is not None else None)


def interleaved(calls: Mapping[str, Call], rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> (CPU seconds, wall seconds), medians over ``rounds`` in which each call runs once; one more to warm up.

    CPU time is that of all threads of the process, which is also what a call costs its neighbours.
    """
    return {name: medians(samples) for name, samples in sampled(calls, rounds).items()}


def medians(samples: list[Sample]) -> tuple[float, float]:
    """(CPU seconds, wall seconds)."""
    return statistics.median(s.cpu_s for s in samples), statistics.median(s.wall_s for s in samples)
