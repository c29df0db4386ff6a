"""CRC-32: every implementation against ``zlib.crc32``."""

import os
import random
import subprocess
import sys
import zlib

import pytest

from accel_core.cpu import detected
from accel_core.crc32 import combine, crc32, implementations

NAMES = implementations()
NEEDED = {"vpclmul": {"vpclmulqdq", "avx512f", "pclmul", "sse4.1"}, "pclmul": {"pclmul", "sse4.1"}}
DATA = random.Random(1).randbytes(1 << 16)


@pytest.mark.parametrize("name", NAMES)
def test_every_length_from_0_to_2000_equals_zlib(name: str) -> None:
    for n in range(2001):
        assert crc32(DATA[:n], 0, name) == zlib.crc32(DATA[:n]), n


@pytest.mark.parametrize("name", NAMES)
def test_every_alignment_equals_zlib(name: str) -> None:
    view = memoryview(DATA)
    for start in range(65):
        for n in (15, 16, 17, 63, 64, 65, 127, 128, 511, 512, 513, 1024, 5000):
            part = view[start : start + n]
            assert crc32(part, 0, name) == zlib.crc32(part), (start, n)


@pytest.mark.parametrize("name", NAMES)
def test_any_seed_and_any_split_gives_the_crc_of_the_whole(name: str) -> None:
    rng = random.Random(2)
    for _ in range(500):
        seed = rng.choice([0, 1, 0xFFFFFFFF, rng.getrandbits(32)])
        n = rng.randrange(len(DATA))
        cut = rng.randrange(n + 1)
        assert crc32(DATA[cut:n], crc32(DATA[:cut], seed, name), name) == zlib.crc32(DATA[:n], seed), (seed, cut, n)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("byte", [0x00, 0x01, 0x80, 0xFF])
def test_runs_of_one_byte_equal_zlib(name: str, byte: int) -> None:
    for n in (0, 1, 16, 128, 640, 4096, 1 << 20):
        run = bytes([byte]) * n
        assert crc32(run, 0, name) == zlib.crc32(run), n


@pytest.mark.parametrize("name", NAMES)
def test_each_single_bit_changes_the_crc_as_zlib_says(name: str) -> None:
    n = 1536 + 64 + 16 + 5          # every stage of the widest kernel, and a tail
    for bit in range(8 * n):
        data = bytearray(n)
        data[bit >> 3] = 1 << (bit & 7)
        assert crc32(data, 0, name) == zlib.crc32(data), bit


def test_any_contiguous_buffer_is_accepted() -> None:
    expected = zlib.crc32(DATA)
    assert crc32(bytearray(DATA)) == crc32(memoryview(DATA)) == expected
    assert crc32(b"") == 0
    assert crc32(b"", 7) == 7


def test_unknown_implementation_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        crc32(b"", 0, "abacus")


def test_combine_gives_the_crc_of_the_concatenation() -> None:
    rng = random.Random(3)
    for _ in range(300):
        n = rng.randrange(5000)
        cut = rng.randrange(n + 1)
        assert combine(zlib.crc32(DATA[:cut]), zlib.crc32(DATA[cut:n]), n - cut) == zlib.crc32(DATA[:n])


def test_combine_reaches_lengths_beyond_32_bits() -> None:
    # The CRC of 2^33 zero bytes by doubling: crc(AA) = combine(crc(A), crc(A), |A|), started where zlib can check it.
    n, crc = 1 << 20, zlib.crc32(bytes(1 << 20))
    while n < 1 << 33:
        crc, n = combine(crc, crc, n), 2 * n
    piece = zlib.crc32(bytes(1 << 32 >> 12))
    expected = piece
    for _ in range((1 << 33) // (1 << 20) - 1):
        expected = combine(expected, piece, 1 << 20)
    assert crc == expected == combine(crc, 0, 0)


def test_combine_rejects_a_negative_length() -> None:
    with pytest.raises(ValueError, match="negative"):
        combine(0, 0, -1)


@pytest.mark.parametrize(
    ("mask", "allowed"),
    [
        ("none", {"plain"}),
        ("baseline", {"plain"}),
        ("", {"plain"}),
        ("pclmul,sse4.1", {"pclmul", "plain"}),
        ("PCLMUL, SSE4.1", {"pclmul", "plain"}),
        ("vpclmulqdq,avx512f", {"plain"}),
        ("vpclmulqdq,avx512f,pclmul,sse4.1", {"vpclmul", "pclmul", "plain"}),
    ],
)
def test_the_environment_masks_cpu_features(mask: str, allowed: set[str]) -> None:
    code = "import accel_core.crc32 as c; print(*c.implementations(), c.crc32(bytes(999)))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ACCEL_CPU": mask, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    *names, crc = run.stdout.split()
    can_run = {name for name, needed in NEEDED.items() if needed <= detected()}
    assert set(names) == allowed & can_run | {"plain"}
    assert int(crc) == zlib.crc32(bytes(999))


def test_the_fastest_kernel_the_cpu_can_run_is_in_use() -> None:
    if os.environ.get("ACCEL_CPU") is not None:
        pytest.skip("ACCEL_CPU masks features")
    best = next((name for name, needed in NEEDED.items() if needed <= detected()), None)
    if best:
        assert NAMES[0] == best
    assert NAMES[-1] == "plain"
