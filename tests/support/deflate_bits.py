"""A writer of deflate streams bit by bit (RFC 1951), able to write what no encoder would.

Nothing here is checked: the caller says which codes, lengths and symbols go out, right or wrong.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

END_OF_BLOCK = 256
PRECODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
# A complete code over all 19 code-length symbols: 13 of 4 bits, 6 of 5 bits.
FULL_PRECODE = (4,) * 13 + (5,) * 6
FIXED_LITLEN = (8,) * 144 + (9,) * 112 + (7,) * 24 + (8,) * 8
FIXED_DISTANCE = (5,) * 32
REPEAT_BITS = {16: 2, 17: 3, 18: 7}

LENGTH_BASE = (
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
)
LENGTH_EXTRA = (0,) * 8 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4,) * 4 + (5,) * 4 + (0,)
DISTANCE_BASE = tuple(
    [1, 2, 3, 4] + [(2 + (i & 1)) * (1 << (i // 2 - 1)) + 1 for i in range(4, 30)]
)
DISTANCE_EXTRA = tuple([0, 0, 0, 0] + [i // 2 - 1 for i in range(4, 30)])

# One step of a block: a literal byte, or (length, distance).
Step = int | tuple[int, int]


def canonical_codes(lengths: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Symbol -> (code, bits) for each non-zero length (RFC 1951 §3.2.2); nonsense in, nonsense out."""
    codes, code = {}, 0
    for bits in range(1, 16):
        code <<= 1
        for symbol, length in enumerate(lengths):
            if length == bits:
                codes[symbol] = (code & ((1 << bits) - 1), bits)
                code += 1
    return codes


class Bits:
    """Bits in deflate order: numbers from the low bit up, Huffman codes from the high bit down."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._pending = 0
        self._count = 0

    def number(self, value: int, bits: int) -> "Bits":
        """Append the low ``bits`` bits of ``value``."""
        self._pending |= (value & ((1 << bits) - 1)) << self._count
        self._count += bits
        while self._count >= 8:
            self._done.append(self._pending & 0xFF)
            self._pending >>= 8
            self._count -= 8
        return self

    def code(self, code: tuple[int, int]) -> "Bits":
        """Append a Huffman code given as (code, bits)."""
        value, bits = code
        return self.number(int(f"{value:0{bits}b}"[::-1], 2), bits) if bits else self

    def align(self, padding: int = 0) -> "Bits":
        """Fill up the byte, with the low bits of ``padding``."""
        return self.number(padding, -self._count % 8)

    def raw(self, data: bytes) -> "Bits":
        """Append whole bytes; must be aligned."""
        assert self._count == 0
        self._done += data
        return self

    def bit_length(self) -> int:
        """Bits written so far."""
        return 8 * len(self._done) + self._count

    def done(self) -> bytes:
        """All bytes, the last one padded with zero bits."""
        return bytes(self.align()._done)

    # Blocks ---------------------------------------------------------------------------------------------------

    def header(self, block_type: int, final: bool) -> "Bits":
        return self.number(int(final), 1).number(block_type, 2)

    def stored(self, data: bytes, final: bool = False, nlen: int | None = None, padding: int = 0) -> "Bits":
        """A stored block; ``nlen`` overrides the complement of the length."""
        n = len(data)
        self.header(0, final).align(padding)
        return self.number(n, 16).number(n ^ 0xFFFF if nlen is None else nlen, 16).raw(data)

    def fixed(self, steps: Iterable[Step], final: bool = False) -> "Bits":
        """A block in the fixed codes, ended properly."""
        return self.header(1, final).steps(steps, FIXED_LITLEN, FIXED_DISTANCE)

    def dynamic(
        self,
        litlen: Sequence[int],
        distance: Sequence[int],
        steps: Iterable[Step] = (),
        final: bool = False,
        *,
        end: bool = True,
        lengths: Iterable[tuple[int, int]] | None = None,
        n_litlen: int | None = None,
        n_distance: int | None = None,
        precode: Sequence[int] = FULL_PRECODE,
        n_precode: int = 19,
    ) -> "Bits":
        """A block with codes of the given lengths.

        ``lengths`` overrides how they are sent: (code-length symbol, extra value) each. ``n_litlen``, ``n_distance``
        and ``n_precode`` override HLIT + 257, HDIST + 1 and HCLEN + 4.
        """
        self.header(2, final)
        self.number((len(litlen) if n_litlen is None else n_litlen) - 257, 5)
        self.number((len(distance) if n_distance is None else n_distance) - 1, 5)
        self.number(n_precode - 4, 4)
        for symbol in PRECODE_ORDER[:n_precode]:
            self.number(precode[symbol], 3)
        precodes = canonical_codes(precode)
        sent = [(length, 0) for length in (*litlen, *distance)] if lengths is None else lengths
        for symbol, extra in sent:
            self.code(precodes[symbol]).number(extra, REPEAT_BITS.get(symbol, 0))
        return self.steps(steps, litlen, distance, end=end)

    def steps(
        self, steps: Iterable[Step], litlen: Sequence[int], distance: Sequence[int], *, end: bool = True
    ) -> "Bits":
        """Literals and matches in the codes of these lengths, and the end of the block."""
        litlen_codes, distance_codes = canonical_codes(litlen), canonical_codes(distance)
        for step in steps:
            if isinstance(step, tuple):
                length_symbol, length_extra, length_bits = length_code(step[0])
                distance_symbol, distance_extra, distance_bits = distance_code(step[1])
                self.code(litlen_codes[length_symbol]).number(length_extra, length_bits)
                self.code(distance_codes[distance_symbol]).number(distance_extra, distance_bits)
            else:
                self.code(litlen_codes[step])
        return self.code(litlen_codes[END_OF_BLOCK]) if end else self


def length_code(length: int) -> tuple[int, int, int]:
    """(symbol, extra value, extra bits) of a match length 3..258; 258 as symbol 285."""
    i = bisect_right(LENGTH_BASE, length) - 1
    return 257 + i, length - LENGTH_BASE[i], LENGTH_EXTRA[i]


def distance_code(distance: int) -> tuple[int, int, int]:
    """(symbol, extra value, extra bits) of a distance 1..32768."""
    i = bisect_right(DISTANCE_BASE, distance) - 1
    return i, distance - DISTANCE_BASE[i], DISTANCE_EXTRA[i]


def lengths_of(sizes: dict[int, int], n: int) -> list[int]:
    """``n`` code lengths, zero but for ``sizes``."""
    lengths = [0] * n
    for symbol, bits in sizes.items():
        lengths[symbol] = bits
    return lengths


def replay(steps: Iterable[Step]) -> bytes:
    """What literals and matches inflate to, by definition."""
    out = bytearray()
    for step in steps:
        if isinstance(step, tuple):
            for _ in range(step[0]):
                out.append(out[-step[1]])
        else:
            out.append(step)
    return bytes(out)
