"""Inputs for the targets: a corpus file bent a little, or something built from scratch that is valid by construction.

Input number i is a function of (seed, i) and the corpus alone, so that every failure can be made again.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

from support.compact_files import Part, file_of, parts_of, stored
from support.deflate_bits import Bits, Step, distance_code, length_code
from support.gzip_member import deflate, header, member

INTERESTING = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BLOCK_BYTES = 512


def make(target: str, corpus: Sequence[bytes], seed: int, i: int) -> bytes:
    """Input number ``i``."""
    rng = Random(f"{target} {seed} {i}")
    if target in ("inflate", "windows", "members", "frames") and rng.random() < 0.4:
        data = random_gzip(rng)
        return data if rng.random() < 0.5 else bend(data, corpus, rng)
    if target == "compact":
        return bend_compact(corpus, rng)
    if target == "ztoc" and rng.random() < 0.7:     # offsets everywhere: what moves bytes ends at the first check
        data = bend(rng.choice(corpus), corpus, rng, IN_PLACE)
    elif target == "stargz_toc" and rng.random() < 0.6:     # text: bent bytes end at the parser
        data = bend_json(rng.choice(corpus), rng)
    else:
        data = bend(rng.choice(corpus), corpus, rng)
    return fix_tar_sums(data, rng) if target == "tar" else data


def bend_json(data: bytes, rng: Random) -> bytes:
    """Numbers, strings or whole objects of a JSON text replaced by others, which leaves most of it JSON."""
    pattern = rng.choice((rb"-?[0-9]+", rb"-?[0-9]+", rb'"[^"]*"', rb"\{[^{}]*\}", rb",?\{[^{}]*\}"))
    for _ in range(rng.choice((1, 1, 2, 4))):
        found = list(re.finditer(pattern, data))
        if not found:
            break
        old, new = rng.choice(found), rng.choice(found).group()
        if rng.random() < 0.3 and new[-1:].isdigit():
            new = b"%d" % (rng.choice(INTERESTING) - rng.choice((0, 1)))
        data = data[: old.start()] + new + data[old.end() :]
    return data


def bend(data: bytes, corpus: Sequence[bytes], rng: Random, edits: "Sequence[Edit] | None" = None) -> bytes:
    """A few edits of different kinds."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        rng.choice(edits or EDITS)(out, corpus, rng)
    return bytes(out)


def _flip_bit(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _set_byte(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    if out:
        out[rng.randrange(len(out))] = rng.choice((0, 1, 0x20, 0x30, 0x37, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _set_number(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    n = rng.choice((2, 4, 8))
    if len(out) >= n:
        start = rng.randrange(len(out) - n + 1)
        out[start : start + n] = (rng.choice(INTERESTING) & ((1 << 8 * n) - 1)).to_bytes(n, "little")


def _remove(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    start = rng.randrange(len(out) + 1)
    del out[start : start + rng.choice((1, 2, 8, 100, BLOCK_BYTES))]


def _repeat(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    start = rng.randrange(len(out) + 1)
    part = out[start : start + rng.choice((1, 2, 8, 100, BLOCK_BYTES))]
    at = rng.choice((start, rng.randrange(len(out) + 1)))
    out[at:at] = part * rng.choice((1, 1, 2, 20))


def _splice(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    other = rng.choice(corpus)
    start, at = rng.randrange(len(other) + 1), rng.randrange(len(out) + 1)
    part = other[start : start + rng.choice((4, 64, BLOCK_BYTES, len(other)))]
    out[at : at + rng.choice((0, len(part)))] = part


def _end_early(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    del out[rng.randrange(len(out) + 1) :]


Edit = Callable[[bytearray, Sequence[bytes], Random], None]
IN_PLACE: tuple[Edit, ...] = (_flip_bit, _flip_bit, _set_byte, _set_number)
EDITS: tuple[Edit, ...] = (*IN_PLACE, _remove, _repeat, _splice, _end_early)


def fix_tar_sums(data: bytes, rng: Random) -> bytes:
    """Right checksums in what may be tar headers, mostly: behind a wrong one no scanner looks at anything."""
    out = bytearray(data)
    for start in range(0, len(out) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = out[start : start + BLOCK_BYTES]
        if b"ustar" in block[250:270] and rng.random() < 0.95:
            block[148:156] = b" " * 8
            out[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(out)


# Compact index files whose digests are right ---------------------------------------------------------------------

SIZES_AND_COUNTS = slice(16, 100)       # in the fixed part of the header


def bend_compact(corpus: Sequence[bytes], rng: Random) -> bytes:
    """A corpus file with some of its sections bent inside their frames, or its counts, or both, and signed anew."""
    fixed, parts = parts_of(rng.choice(corpus))
    if rng.random() < 0.3:
        counts = bytearray(fixed[SIZES_AND_COUNTS])
        _add_a_little(counts, corpus, rng) if rng.random() < 0.7 else rng.choice(IN_PLACE)(counts, corpus, rng)
        fixed = fixed[: SIZES_AND_COUNTS.start] + bytes(counts) + fixed[SIZES_AND_COUNTS.stop :]
    _, others = parts_of(rng.choice(corpus))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        _bend_part(parts, others, rng)
    sections = stored((kind, raw) for kind, raw in parts if raw or rng.random() < 0.1)
    if sections and rng.random() < 0.1:         # a frame, or what its row says of it
        i = rng.randrange(len(sections))
        kind, frame, n_raw = sections[i]
        sections[i] = (kind, bend(frame, [frame], rng), n_raw + rng.choice((0, 0, 1, -1)))
    return file_of(fixed, sections)


def _bend_part(parts: list[Part], others: Sequence[Part], rng: Random) -> None:
    i = rng.randrange(len(parts))
    kind, raw = parts[i]
    choice = rng.random()
    if choice < 0.7:            # columns are planes of numbers: whatever moves bytes moves all numbers behind them
        parts[i] = kind, bend(raw, [other for _, other in others], rng, IN_PLACE)
    elif choice < 0.8:
        parts[i] = kind, bend(raw, [other for _, other in others], rng)
    elif choice < 0.9:          # the same section of another file, or any
        parts[i] = kind, rng.choice([other for of, other in others if of == kind] or [raw, others[0][1], b""])
    elif choice < 0.95:
        parts.insert(rng.randrange(len(parts)), parts.pop(i))
    else:                       # a frame of little that inflates to much
        parts[i] = kind, bytes([rng.choice((0, 1, 255))]) * rng.choice((1 << 10, 1 << 16, 1 << 20, 1 << 24))


def _add_a_little(out: bytearray, corpus: Sequence[bytes], rng: Random) -> None:
    at = rng.randrange(0, len(out), 4)
    value = int.from_bytes(out[at : at + 4], "little") + rng.choice((-2, -1, 1, 2, 16))
    out[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


# Deflate streams that are valid by construction ------------------------------------------------------------------


def random_gzip(rng: Random) -> bytes:
    """One or more members of random blocks in random codes, with random header fields."""
    return b"".join(_random_member(rng) for _ in range(rng.choice((1, 1, 1, 2, 5))))


def _random_member(rng: Random) -> bytes:
    head = header(
        extra=rng.randbytes(rng.randrange(50)) if rng.random() < 0.1 else None,
        name=b"n" * rng.randrange(400) if rng.random() < 0.1 else None,
        header_crc=rng.random() < 0.2,
    )
    if rng.random() < 0.1:
        data = rng.randbytes(rng.randrange(50)) * rng.randrange(60)
        return member(deflate(data, rng.randrange(10)), data, head)
    bits, out = Bits(), bytearray()
    n_blocks = rng.randrange(1, 8)
    for i in range(n_blocks):
        _random_block(bits, out, rng, final=i == n_blocks - 1)
    return member(bits.done(), bytes(out), head)


def _random_block(bits: Bits, out: bytearray, rng: Random, final: bool) -> None:
    kind = rng.choice(("stored", "fixed", "dynamic", "dynamic", "dynamic"))
    if kind == "stored":
        data = rng.randbytes(rng.choice((0, 1, 30, 700)))
        bits.stored(data, final)
        out += data
        return
    steps = _random_steps(out, rng)
    if kind == "fixed":
        bits.fixed(steps, final)
        return
    litlen = {256}
    distances = set()
    for step in steps:
        if isinstance(step, tuple):
            litlen.add(length_code(step[0])[0])
            distances.add(distance_code(step[1])[0])
        else:
            litlen.add(step)
    n_litlen = rng.choice((max(257, max(litlen) + 1), 286))
    n_distance = rng.choice((max(distances, default=0) + 1, 30))
    bits.dynamic(
        random_code(litlen, n_litlen, rng), random_code(distances, n_distance, rng, lone=True), steps, final
    )


def _random_steps(out: bytearray, rng: Random) -> list[Step]:
    """Literals and matches that are legal after ``out``, which they are appended to."""
    steps: list[Step] = []
    alphabet = rng.sample(range(256), rng.choice((1, 2, 10, 256)))
    for _ in range(rng.choice((0, 1, 5, 20, 60, 60, 400))):
        if out and rng.random() < 0.4:
            length = rng.choice((3, 4, 7, 8, 9, 39, 40, 41, 257, 258, rng.randrange(3, 259)))
            reach = min(len(out), 32768)
            distance = rng.choice((1, rng.randrange(1, 20), reach, rng.randrange(1, reach + 1)))
            distance = min(distance, reach)
            steps.append((length, distance))
            period = bytes(out[len(out) - distance :])
            out += (period * (length // distance + 1))[:length]
        else:
            steps.append(rng.choice(alphabet))
            out.append(steps[-1])       # type: ignore[arg-type]
    return steps


def random_code(used: set[int], n: int, rng: Random, lone: bool = False) -> list[int]:
    """Lengths of a random complete code of ``n`` symbols that covers ``used``; symbols not used may have codes too.

    ``lone`` allows what distances may be: no code at all, or one of a single bit that leaves the other unused.
    """
    lengths = [0] * n
    if lone and len(used) < 2 and rng.random() < 0.7:
        for symbol in used:
            lengths[symbol] = 1
        return lengths
    wanted = max(2, min(n, len(used) + rng.choice((0, 0, 1, 5, 200))))
    symbols = list(used)
    others = [symbol for symbol in range(n) if symbol not in used]
    symbols += rng.sample(others, min(len(others), max(0, wanted - len(symbols))))
    if len(symbols) == 1:               # no room for a second one
        lengths[symbols[0]] = 1
        return lengths
    # Split leaves at random, the deep ones as readily as the shallow: complete at every step.
    leaves = [0]
    while len(leaves) < len(symbols):
        i = rng.randrange(len(leaves)) if rng.random() < 0.5 else len(leaves) - 1
        if leaves[i] == 15:
            i = min(range(len(leaves)), key=leaves.__getitem__)
        leaves[i] += 1
        leaves.append(leaves[i])
    rng.shuffle(leaves)
    for symbol, bits in zip(symbols, leaves, strict=True):
        lengths[symbol] = bits
    return lengths
