"""Interleaved timing: who runs when, what is counted, and what a call that fails does to the others."""

import subprocess
import sys
import time

import pytest

from accel.bench.counters import SOFTWARE_TASK_CLOCK, Counter, cycle_counter, nominal_ghz
from accel.bench.timing import Sample, Watch, cpu_seconds, interleaved, medians, sampled


def test_calls_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []
    samples = sampled({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    rounds = [tuple(order[at : at + 2]) for at in range(0, 8, 2)]
    assert len(order) == 8 and set(rounds) == {("a", "b"), ("b", "a")}
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 3, "b": 3}


def test_a_failed_call_is_left_out_from_then_on() -> None:
    class Lenient(Watch):
        def __init__(self) -> None:
            self.said: list[str] = []

        def done(self, name: str) -> None:
            self.said.append(name)

        def failed(self, name: str, error: Exception) -> None:
            self.said.append(f"{name}: {error}")

    def broken() -> None:
        raise ValueError("no")

    watch = Lenient()
    samples = sampled({"good": int, "broken": broken}, 2, watch)
    assert sorted(watch.said[:2]) == ["broken: no", "good"] and watch.said[2:] == ["good", "good"]
    assert list(samples) == ["good"] and len(samples["good"]) == 2
    with pytest.raises(ValueError, match="no"):
        sampled({"broken": broken}, 1)


def test_sleeping_takes_wall_time_and_no_cpu() -> None:
    cpu, wall = interleaved({"sleep": lambda: time.sleep(0.05)}, 1)["sleep"]
    assert wall >= 0.05 > cpu


def test_the_cpu_time_of_child_processes_counts() -> None:
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert cpu_seconds() - before > time.process_time() / 1e6  # more than nothing
    (sample,) = sampled({"child": lambda: subprocess.run([sys.executable, "-c", ""], check=True)}, 1)["child"]
    assert sample.cpu_s > 0.001


def test_a_counter_is_read_before_and_after_each_call() -> None:
    count = iter(range(0, 1000, 7))
    samples = sampled({"a": int, "b": int}, 2, None, lambda: next(count))
    assert {sample.cycles for taken in samples.values() for sample in taken} == {7}


def test_medians_are_those_of_each_clock() -> None:
    assert medians([Sample(1, 30), Sample(3, 10), Sample(2, 20)]) == (2, 20)


def test_event_counters_count_or_say_that_they_cannot() -> None:
    try:
        counter = Counter(SOFTWARE_TASK_CLOCK)
    except OSError as error:  # forbidden in this container, or no Linux
        assert str(error)
        return
    try:
        first = counter.read()
        while time.process_time_ns() % 7 or counter.read() == first:
            pass
        second = counter.read()
        assert 0 < first < second < 300_000_000_000  # nanoseconds
    finally:
        counter.close()
        counter.close()


def test_cycles_are_counted_or_there_is_a_nominal_frequency_or_none() -> None:
    counter = cycle_counter()
    if counter is not None:
        assert counter.read() > 0
        counter.close()
    ghz = nominal_ghz()
    assert ghz is None or 0.1 < ghz < 10
