"""SHA-256 of several streams side by side, against hashlib."""

import hashlib
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from accel_core import sha256 as module
from accel_core.cpu import features
from accel_core.sha256 import implementations, sha256, sha256_ranges, update_all

DATA = random.Random(1).randbytes(1 << 18)
# What ACCEL_CPU must allow for each implementation.
NEEDS = {"hashlib": "none", "shani": "sha,ssse3,sse4.1", "avx512": "sha,ssse3,sse4.1,avx512f,avx512bw"}


def theirs(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def ranges_of(pairs: list[tuple[int, int]]) -> bytes:
    starts, ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return sha256_ranges(DATA, np.ascontiguousarray(starts), np.ascontiguousarray(ends))


@pytest.mark.parametrize("n_bytes", [*range(0, 260), 1000, 4095, 4096, 4097, 100_003])
def test_one_hash(n_bytes: int) -> None:
    one = sha256()
    one.update(DATA[:n_bytes])
    assert (one.digest(), one.hexdigest()) == (theirs(DATA[:n_bytes]), theirs(DATA[:n_bytes]).hex())


def test_a_hash_behaves_as_those_of_hashlib() -> None:
    one, other = sha256(), hashlib.sha256()
    assert (one.name, one.digest_size, one.block_size) == (other.name, other.digest_size, other.block_size)
    one.update(bytearray(b"ab"))
    copied = one.copy()
    one.update(memoryview(b"c"))
    assert one.hexdigest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2 B.1
    assert one.digest() == one.digest()
    assert copied.digest() == theirs(b"ab")
    with pytest.raises(TypeError):
        one.update("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("n_hashes", [1, 2, 3, 7, 8, 15, 16, 17, 40])
def test_many_hashes_in_pieces_of_any_size(n_hashes: int) -> None:
    rng = random.Random(n_hashes)
    ours, others = [sha256() for _ in range(n_hashes)], [hashlib.sha256() for _ in range(n_hashes)]
    for _ in range(30):
        pairs = []
        for _ in range(rng.randrange(3 * n_hashes)):
            start = rng.randrange(4000)
            pairs.append((rng.randrange(n_hashes), DATA[start : start + rng.choice([0, 1, 63, 64, 65, 128, 2000])]))
        update_all([(ours[i], data) for i, data in pairs])
        for i, data in pairs:
            others[i].update(data)
    assert [one.digest() for one in ours] == [one.digest() for one in others]


@pytest.mark.parametrize("n_ranges", [0, 1, 2, 5, 8, 16, 17, 300])
def test_ranges(n_ranges: int) -> None:
    rng = random.Random(n_ranges)
    pairs = []
    for _ in range(n_ranges):
        start = rng.randrange(len(DATA))
        pairs.append((start, min(len(DATA), start + rng.choice([0, 1, 55, 56, 63, 64, 65, 119, 120, 5000, 70_000]))))
    assert ranges_of(pairs) == b"".join(theirs(DATA[start:end]) for start, end in pairs)


@pytest.mark.parametrize("pair", [(-1, 3), (5, 4), (0, len(DATA) + 1), (1 << 62, (1 << 62) + 1)])
def test_ranges_outside_the_data_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="range 1, "):
        ranges_of([(0, 1), pair])
    with pytest.raises(ValueError, match="1 starts and 2 ends"):
        sha256_ranges(DATA, np.zeros(1, np.int64), np.ones(2, np.int64))


def test_lengths_above_32_bits() -> None:
    piece = bytes(1 << 24)
    ours, theirs_ = sha256(), hashlib.sha256()
    update_all((ours, piece) for _ in range(33))    # 2^32 bits and more
    for _ in range(33):
        theirs_.update(piece)
    assert ours.digest() == theirs_.digest()


def test_only_hashes_of_this_module_take_part() -> None:
    if implementations() != ("hashlib",):
        with pytest.raises(TypeError):
            update_all([(hashlib.sha256(), b"")])  # type: ignore[list-item]


@pytest.mark.parametrize("name", NEEDS)
def test_each_implementation(name: str) -> None:
    """In a process of its own: which one is used is decided at import."""
    if not set(NEEDS[name].split(",")) - {"none"} <= features():
        pytest.skip(f"this CPU (or ACCEL_CPU) has no {name}")
    script = (
        "import pytest, sys; from accel_core.sha256 import implementations;"
        f"assert implementations()[0] == {name!r}, implementations();"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {__file__!r}, '-k', 'not each_implementation']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "ACCEL_CPU": NEEDS[name]}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fastest_is_in_use() -> None:
    assert implementations()[-1] == "hashlib"
    assert isinstance(sha256(), module.Sha256) == (len(implementations()) > 1)
