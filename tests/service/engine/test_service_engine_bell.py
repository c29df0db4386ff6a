"""Waits that others end."""

import threading
import time

from accel.service.engine.bell import Bell

LONG_S = 60.0


def test_a_ring_before_or_during_a_wait_ends_it_once() -> None:
    bell = Bell()
    bell.ring()
    assert bell.wait(LONG_S) is False
    threading.Timer(0.1, bell.ring).start()
    assert bell.wait(LONG_S) is False
    assert bell.wait(0.01) is False  # no ring is left, or this would not be what ends


def test_a_ring_for_later_ends_a_wait_that_has_begun_and_one_that_has_not() -> None:
    bell = Bell()
    began = time.monotonic()
    bell.ring(0.3)
    bell.ring(0.6)
    assert not bell.wait(LONG_S) and 0.3 <= time.monotonic() - began
    assert not bell.wait(LONG_S) and 0.6 <= time.monotonic() - began


def test_many_rings_are_few_looks() -> None:
    bell, looks = Bell(), 0
    ringing = threading.Thread(target=lambda: [(bell.ring(), time.sleep(0.001)) for _ in range(200)])
    began = time.monotonic()
    ringing.start()
    while ringing.is_alive():
        bell.wait(0.2)
        looks += 1
    assert looks <= 3 + (time.monotonic() - began) / 0.05


def test_stopping_ends_all_waits() -> None:
    bell = Bell()
    threading.Timer(0.1, bell.stop).start()
    assert bell.wait(LONG_S) is True
    assert bell.is_set() and bell.wait(LONG_S) is True


def test_no_wait_is_longer_than_it_may_be() -> None:
    bell = Bell(0.1)
    began = time.monotonic()
    assert bell.wait(LONG_S) is False
    assert time.monotonic() - began < LONG_S / 2
