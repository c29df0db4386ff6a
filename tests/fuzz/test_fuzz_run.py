"""A short run of every fuzz target with a fixed seed, and proof that the runner notices what it should."""

import os
import signal
import time

import pytest

from fuzz.run import available, fuzz, read_corpus
from fuzz.targets import TARGETS, Mismatch

INPUTS = {
    "inflate": 400, "windows": 200, "members": 400, "frames": 400, "tar": 1500, "parallel": 30, "ztoc": 1500,
    "stargz_toc": 3000, "compact": 600,
}  # fmt: skip


@pytest.mark.parametrize(("target", "inputs"), INPUTS.items())
def test_nothing_breaks_in_a_short_run(target: str, inputs: int) -> None:
    if not available(target):
        pytest.skip(f"{target} is not built")
    assert fuzz(target, seed=1, seconds=120, most=inputs) == (inputs, [])


def test_every_kept_input_passes() -> None:
    for target in filter(available, TARGETS):
        for data in read_corpus(target):
            TARGETS[target](data)


def fails(data: bytes) -> None:
    if len(data) % 5 == 0:
        raise Mismatch("planted")


def dies(data: bytes) -> None:
    if len(data) % 97 == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def hangs(data: bytes) -> None:
    time.sleep(1000)


def test_failures_crashes_and_hangs_are_reported_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "tar", fails)
    n, failures = fuzz("tar", seed=1, seconds=60, most=50)
    assert n == 50
    assert failures
    assert all(reason == "Mismatch: planted" for _, reason in failures)

    monkeypatch.setitem(TARGETS, "tar", dies)
    n, failures = fuzz("tar", seed=1, seconds=60, most=300)
    assert n == 300
    assert failures
    assert all("exit code -9" in reason for _, reason in failures)

    monkeypatch.setitem(TARGETS, "tar", hangs)
    monkeypatch.setattr("fuzz.run.HANG_S", 0.3)
    assert fuzz("tar", seed=1, seconds=60, most=1) == (1, [(0, "hangs")])
