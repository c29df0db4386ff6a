"""Sparse windows as runs: any windows come back, and runs that are none are refused."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_core import FormatError
from accel_core.checkpoints import WINDOW_BYTES
from accel_core.window_runs import pack, unpack


def sparse(seed: int, n_runs: int) -> bytes:
    """A window with runs at random places, of bytes that are sometimes zero."""
    rng = random.Random(seed)
    window = bytearray(WINDOW_BYTES)
    for _ in range(n_runs):
        at = rng.randrange(WINDOW_BYTES)
        for i in range(at, min(WINDOW_BYTES, at + rng.choice([1, 2, 5, 40, 300]))):
            window[i] = rng.choice([0, 1, 65, 255])
    return bytes(window)


def ends(*at: int) -> bytes:
    window = bytearray(WINDOW_BYTES)
    for i in at:
        window[i] = 1
    return bytes(window)


WINDOWS = {
    "zeros": bytes(WINDOW_BYTES),
    "full": b"\xff" * WINDOW_BYTES,
    "first byte": ends(0),
    "last byte": ends(-1),
    "both ends": ends(0, -1),
    "few zeros at the end": ends(*range(WINDOW_BYTES - 3)),
    "many short gaps": (b"\1\0\0\0" * 8192),
    "as many runs as there can be": (b"\1\0\0\0\0" * 6554)[:WINDOW_BYTES],
    "as many runs, and a gap": (b"\0\1\0\0\0\0" + b"\1\0\0\0\0" * 6553)[:WINDOW_BYTES],
    "random": random.Random(1).randbytes(WINDOW_BYTES),
    **{f"sparse {n}": sparse(n, n) for n in (1, 20, 400, 3000)},
}


@pytest.mark.parametrize("name", WINDOWS)
def test_every_window_comes_back(name: str) -> None:
    runs, kept = pack(WINDOWS[name])
    assert unpack(runs, kept, 1) == WINDOWS[name]
    assert len(kept) <= WINDOW_BYTES
    assert len(runs) % 4 == 0


def test_windows_come_back_together() -> None:
    windows = b"".join(WINDOWS.values())
    assert unpack(*pack(windows), len(WINDOWS)) == windows
    assert pack(b"") == (b"", b"")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, WINDOW_BYTES - 1), st.binary(min_size=1, max_size=9)), max_size=40))
def test_any_window_comes_back(parts: list[tuple[int, bytes]]) -> None:
    window = bytearray(WINDOW_BYTES)
    for at, data in parts:
        window[at : at + len(data)] = data[: WINDOW_BYTES - at]
    assert unpack(*pack(bytes(window)), 1) == window


def test_only_what_a_sparse_window_keeps_is_stored() -> None:
    runs, kept = pack(ends(5, 6, 7, 20_000) + bytes(WINDOW_BYTES))
    assert kept == b"\1\1\1\1"
    # 5 and 3; 19992 and 1; the rest and 0; a whole window and 0.
    gaps, lengths = (5, 19_992, WINDOW_BYTES - 20_001, WINDOW_BYTES), (3, 1, 0, 0)
    assert runs == bytes(b for values in (gaps, lengths) for k in (0, 8) for b in (v >> k & 255 for v in values))


def test_other_lengths_are_no_windows() -> None:
    for n in (1, WINDOW_BYTES - 1, WINDOW_BYTES + 1):
        with pytest.raises(ValueError):
            pack(bytes(n))


@pytest.mark.parametrize("name", ["sparse 20", "full", "zeros"])
def test_runs_and_bytes_that_are_cut_or_too_many_are_refused(name: str) -> None:
    runs, kept = pack(WINDOWS[name])
    for n in range(0, len(runs), 4):
        with pytest.raises(FormatError):
            unpack(runs[:n], kept, 1)
    for wrong in (runs + bytes(4), runs[:-1], runs + b"\0"):
        with pytest.raises(FormatError):
            unpack(wrong, kept, 1)
    for wrong in (kept[:-1], kept[: len(kept) // 2], kept + b"\0"):
        if wrong != kept:
            with pytest.raises(FormatError):
                unpack(runs, wrong, 1)
    for n_windows in (0, -1, 2, 1 << 40):
        with pytest.raises(FormatError):
            unpack(runs, kept, n_windows)


def test_every_flipped_bit_of_the_runs_is_refused_or_another_window() -> None:
    runs, kept = pack(WINDOWS["sparse 20"])
    for i in range(len(runs)):
        for bit in range(8):
            changed = bytearray(runs)
            changed[i] ^= 1 << bit
            try:
                assert len(unpack(changed, kept, 1)) == WINDOW_BYTES
            except FormatError:
                pass


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.binary(max_size=64), st.integers(0, 9))
def test_runs_of_chance_are_refused_or_windows(runs: bytes, kept: bytes, n_windows: int) -> None:
    try:
        assert len(unpack(runs, kept, n_windows)) == n_windows * WINDOW_BYTES
    except FormatError:
        pass
