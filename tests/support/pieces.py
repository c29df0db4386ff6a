"""What encoders that take other people's matches are tried on: where pieces begin, what records say, true or not."""

import random
from collections.abc import Sequence
from functools import cache

from hypothesis import strategies as st

from support.contents import contents
from support.gzip_member import packed
from support.matches import Match, tokens_of

# (starts, ends) in 10 bytes that are refused.
BAD_CUTS: list[tuple[list[int], list[int] | None]] = [
    ([1, 0], None), ([-1], None), ([11], None),
    ([0, 5], [6, 10]), ([0], [11]), ([5], [4]), ([0], [1, 2]), ([0, 1], [1]),
]  # fmt: skip

# Literals, length and distance of each: in zeros they are all true.
matches_of_zeros = st.lists(st.tuples(st.integers(1, 600), st.integers(0, 300), st.integers(0, 40_000)), max_size=200)
small_data = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([b"ab", b"abcdefgh", b"xyz"])).map(b"".join))
lies = st.lists(st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 400), st.integers(0, 65535) | st.integers(0, 20),
                          st.integers(0, 65535) | st.integers(0, 20)))  # fmt: skip


def random_starts(rng: random.Random, n: int, most: int) -> list[int]:
    """In order, some of them twice, some near each other."""
    starts = [0]
    for _ in range(rng.randrange(most)):
        at = rng.choice((rng.randrange(n + 1), starts[-1] + rng.randrange(400)))
        starts.append(min(n, at))
    return sorted(starts)


@cache
def layer() -> tuple[bytes, bytes, bytes]:
    """Some MB of a tar, its stream, and its matches."""
    data = b"".join(contents()[name] for name in ("mixed tar", "ELF", "text", "random", "zeros", "mixed tar"))
    stream = packed(data * 3)
    return data * 3, stream, tokens_of(stream)[1]


def misled(rng: random.Random) -> tuple[bytes, bytes]:
    """Other bytes than the layer's, and its matches, some of them bent."""
    data, _, matches = layer()
    n = rng.randrange(len(data))
    other = data[n:] + rng.randbytes(100) + data[:n]
    bent = bytearray(matches)
    for _ in range(rng.choice((0, 1, 1000))):
        bent[rng.randrange(len(bent))] = rng.randrange(256)
    return other, bytes(bent)


def matches_like(kinds: Sequence[tuple[int, int, int]], first: int = 0) -> list[Match]:
    """Literals, length and distance of each, from position ``first`` on -> matches."""
    found, pos = [], first
    for n_lits, length, distance in kinds:
        pos += n_lits
        found.append((pos, length, distance))
        pos += length
    return found


def fibonacci(n: int) -> list[int]:
    counts = [1, 1]
    while len(counts) < n:
        counts.append(counts[-1] + counts[-2])
    return counts
