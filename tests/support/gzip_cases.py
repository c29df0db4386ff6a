"""Hand-made gzip streams that no encoder makes: the corners of RFC 1951 and 1952, legal and not.

Each case has a name and bytes. What they mean is not claimed here: the tests ask zlib.
"""

import random
import struct
import zlib

from support.deflate_bits import (
    FIXED_DISTANCE,
    FIXED_LITLEN,
    Bits,
    Step,
    canonical_codes,
    lengths_of,
    replay,
)
from support.gzip_member import PLAIN_HEADER, deflate, header, member, packed

TEXT = b"Any sufficiently long layer holds every byte sequence at least once. " * 9

# Literals a..d, end, lengths 3 and 258 in 3 bits; one bit pattern over.
SMALL_LITLEN = lengths_of({97: 3, 98: 3, 99: 3, 100: 3, 256: 3, 257: 3, 284: 3, 285: 3}, 286)
FOUR_DISTANCES = (2, 2, 2, 2)


def _gz(bits: Bits, data: bytes) -> bytes:
    return member(bits.done(), data)


def _case(bits: Bits, steps: list[Step]) -> bytes:
    return _gz(bits, replay(steps))


def _stairs(symbols: list[int], n: int) -> list[int]:
    """Code lengths 1, 2, 3, … 14, 15, 15 for 16 symbols: the deepest complete code."""
    return lengths_of(dict(zip(symbols, [*range(1, 16), 15], strict=True)), n)


def valid_streams() -> dict[str, bytes]:
    """Streams that zlib accepts."""
    cases: dict[str, bytes] = {}
    abcd: list[Step] = [97, 98, 99, 100]

    cases["empty stored"] = _gz(Bits().stored(b"", True), b"")
    cases["empty fixed"] = _gz(Bits().fixed([], True), b"")
    lone_end = lengths_of({256: 1}, 257)
    cases["dynamic with nothing but the end code"] = _gz(Bits().dynamic(lone_end, [0], [], True), b"")
    cases["no distance code"] = _case(Bits().dynamic(SMALL_LITLEN, [0], abcd * 5, True), abcd * 5)
    one: list[Step] = [97, (3, 1), 98, (258, 1)]
    cases["single distance code"] = _case(Bits().dynamic(SMALL_LITLEN, [1], one, True), one)
    cases["length 258 by 285"] = _case(Bits().fixed([97, (258, 1)], True), [97, (258, 1)])

    bits = Bits().header(1, True).code(canonical_codes(FIXED_LITLEN)[97])
    bits.code(canonical_codes(FIXED_LITLEN)[284]).number(31, 5).code(canonical_codes(FIXED_DISTANCE)[0])
    bits.code(canonical_codes(FIXED_LITLEN)[256])
    cases["length 258 by 284 and 31"] = _gz(bits, b"a" * 259)

    deep = _stairs([97, 98, 99, 256, 257, 285, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109], 286)
    steps: list[Step] = [*range(97, 110), (3, 1), (258, 2)] * 3
    cases["15-bit literal codes"] = _case(Bits().dynamic(deep, FOUR_DISTANCES, steps, True), steps)
    deep_distance = _stairs(list(range(16)), 16)
    steps = [*range(97, 110)] * 30 + [(3, d) for d in (1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 256)]
    cases["15-bit distance codes"] = _case(Bits().dynamic(deep, deep_distance, steps, True), steps)

    rare = _stairs([256, 257, 258, 259, 97, 98, 99, 285, 264, 268, 272, 276, 280, 284, 100, 101], 286)
    rare_distance = _stairs([29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 3, 4, 2, 1, 5, 0], 30)
    far = random.Random(5).choices([97, 98, 99, 100, 101], k=32768)
    steps = [*far, (258, 32768), (257, 1), (3, 24577), (4, 16385), (5, 1), 97, (257, 32767), (130, 1), 101]
    cases["deep codes with all extra bits, distance 32768"] = _case(
        Bits().dynamic(rare, rare_distance, steps, True), steps
    )

    full = Bits().dynamic([8] * 226 + [9] * 60, [5] * 28 + [4] * 2, [], True)
    cases["all 286 and 30 codes"] = _gz(full, b"")

    litlen = lengths_of({97: 1, 256: 2, 257: 2}, 258)
    until_distances = [(18, 97 - 11), (1, 0), (18, 127), (18, 158 - 138 - 11), (2, 0), (2, 0)]
    steps = [97, 97, (3, 1)]
    sent = [*until_distances, (1, 0)]
    cases["lengths by repeat 18"] = _case(Bits().dynamic(litlen, [1], steps, True, lengths=sent), steps)
    steps = [97] * 6 + [(3, 5)]
    sent = [*until_distances, (18, 20 + 4 - 11), (1, 0)]
    bits = Bits().dynamic(litlen + [0] * 20, [0] * 4 + [1], steps, True, lengths=sent)
    cases["repeat from literal into distance lengths"] = _case(bits, steps)
    litlen = lengths_of(dict.fromkeys([*range(31), 256], 5), 257)
    sent = [(5, 0), *[(16, 3)] * 5, (18, 127), (18, 225 - 138 - 11), (5, 0), (1, 0), (1, 0)]
    cases["lengths by repeat 16"] = _case(
        Bits().dynamic(litlen, [1, 1], range(31), True, lengths=sent), list(range(31))
    )
    minimal = lengths_of({0: 1, 1: 2, 18: 2}, 19)
    litlen = lengths_of({97: 1, 256: 1}, 257)
    sent = [(18, 97 - 11), (1, 0), (18, 127), (18, 256 - 98 - 138 - 11), (1, 0), (0, 0)]
    cases["precode of three codes"] = _gz(
        Bits().dynamic(litlen, [0], [97, 97], True, lengths=sent, precode=minimal, n_precode=18), b"aa"
    )

    for phase in range(8):
        # A fixed literal below 144 takes 8 bits, above 9: n of the latter shift the next block by n bits.
        shift = [200] * ((phase - 10) % 8)
        for kind in ("stored", "fixed", "dynamic"):
            bits = Bits().fixed(shift)
            assert bits.bit_length() % 8 == phase
            if kind == "stored":
                bits.stored(b"abcd", True)
            elif kind == "fixed":
                bits.fixed(abcd, True)
            else:
                bits.dynamic(SMALL_LITLEN, [0], abcd, True)
            cases[f"{kind} block at bit {phase}"] = _gz(bits, bytes(shift) + b"abcd")

    noise = random.Random(6).randbytes(65535)
    row = Bits()
    for _ in range(3):
        row.stored(noise)
    cases["more than 64 KiB stored in a row"] = _gz(row.stored(b"", True), noise * 3)
    row = Bits()
    for i in range(300):
        row.stored(noise[i : i + 1])
    cases["300 stored bytes, a block each"] = _gz(row.stored(b"", True), noise[:300])
    row = Bits()
    for _ in range(500):
        row.fixed([]).stored(b"").dynamic(lone_end, [0])
    cases["1500 empty blocks"] = _gz(row.fixed([97], True), b"a")
    cases["padding of ones before a stored length"] = _gz(Bits().stored(b"abc", True, padding=0x1F), b"abc")
    ones = Bits().fixed([97], True).align(0xFF)
    cases["ones after the last block"] = _gz(ones, b"a")

    history = random.Random(7).choices([97, 98, 99, 100], k=32768)
    for d in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 4096, 32767, 32768):
        steps = [*history, *((n, d) for n in (3, 4, 7, 8, 9, 31, 32, 33, 39, 40, 41, 257, 258)), 97]
        cases[f"matches of every kind at distance {d}"] = _case(Bits().fixed(steps, True), steps)
    cases.update(container_streams())
    return cases


def container_streams() -> dict[str, bytes]:
    """Corners of the member format: names, extra fields, many members, what follows the last one."""
    long = b"n" * 70_000
    cases = {
        "name": packed(TEXT, head=header(name=b"layer.tar")),
        "empty name": packed(TEXT, head=header(name=b"")),
        "long name": packed(TEXT, head=header(name=long)),
        "comment": packed(TEXT, head=header(comment=b"made by hand")),
        "long comment": packed(TEXT, head=header(comment=long)),
        "extra": packed(TEXT, head=header(extra=b"BC\x02\x00\x34\x12")),
        "empty extra": packed(TEXT, head=header(extra=b"")),
        "longest extra": packed(TEXT, head=header(extra=bytes(65535))),
        "header CRC": packed(TEXT, head=header(header_crc=True)),
        "text flag": packed(TEXT, head=header(flags=1)),
        "all fields": packed(
            TEXT, head=header(flags=1, extra=b"xy" * 40, name=b"n", comment=b"c" * 500, header_crc=True)
        ),
        "empty member": packed(b""),
        "two members": packed(b"one") + packed(b"two"),
        "empty members around data": packed(b"") * 3 + packed(TEXT) + packed(b"") * 3,
        "200 members": b"".join(packed(TEXT[i : i + 97], i % 10) for i in range(200)),
        "named members": packed(b"a", head=header(name=b"a", header_crc=True)) + packed(b"b", head=header(extra=b"")),
        "member that repeats the one before": packed(TEXT) * 2,
        "stored, fixed and dynamic members": packed(TEXT, 0) + packed(b"ab") + packed(TEXT * 20, 9),
        "gzip inside gzip, stored": packed(packed(TEXT) * 3, 0),
    }
    for n in (1, 2, 7, 8, 511, 512, 100_000):
        cases[f"{n} zero bytes after"] = packed(TEXT) + bytes(n)
    return cases


def trailing_garbage() -> dict[str, bytes]:
    """Members followed by what is no member. Readers differ: zlib stops at the end of the last member."""
    return {
        "one byte": packed(TEXT) + b"x",
        "text": packed(TEXT) + b"this is not a member" * 50,
        "zeros, then text": packed(TEXT) + bytes(64) + b"tail",
        "zeros, then a member": packed(TEXT) + bytes(64) + packed(b"tail"),
        "wrong second magic byte": packed(TEXT) + b"\x1f\x8c\x08" + bytes(40),
        "after two members": packed(TEXT) + packed(b"two") + b"\x00\x1f\x8b",
    }


def invalid_streams() -> dict[str, bytes]:
    """Streams that zlib rejects."""
    cases: dict[str, bytes] = {}
    pad = bytes(400)                    # so that nothing here is merely cut short
    end = lengths_of({97: 1, 256: 1}, 257)

    def bad(name: str, bits: Bits) -> None:
        cases[name] = PLAIN_HEADER + bits.done() + pad

    bad("block type 3", Bits().header(3, True))
    bad("block type 3 after a good block", Bits().fixed([97]).header(3, True))
    bad("stored length without its complement", Bits().stored(b"abc", True, nlen=0))
    bad("stored length equal to its complement field", Bits().stored(b"abc", True, nlen=3))

    bad("over-subscribed literal code", Bits().dynamic(lengths_of({97: 1, 98: 1, 256: 1}, 257), [1, 1]))
    bad("over-subscribed by one 15-bit code", Bits().dynamic([*_stairs([*range(97, 112), 256], 257)[:-1], 14], [1]))
    bad("incomplete literal code", Bits().dynamic(lengths_of({97: 2, 98: 2, 256: 2}, 257), [1, 1]))
    bad("incomplete literal code, one of 2 bits", Bits().dynamic(lengths_of({256: 2}, 257), [1, 1], end=False))
    bad("over-subscribed distance code", Bits().dynamic(end, [1, 1, 1]))
    bad("incomplete distance code", Bits().dynamic(end, [2, 2, 2]))
    bad("incomplete distance code, one of 2 bits", Bits().dynamic(end, [2]))
    bad("incomplete distance code, one of 15 bits", Bits().dynamic(end, [0, 15]))
    over = lengths_of(dict.fromkeys(range(3), 1), 19)
    bad("over-subscribed precode", Bits().dynamic(end, [1], lengths=[(0, 0)] * 4, precode=over, end=False))
    incomplete = lengths_of({0: 2, 1: 2, 18: 2}, 19)
    bad("incomplete precode", Bits().dynamic(end, [1], lengths=[(0, 0)] * 4, precode=incomplete, end=False))
    lone = lengths_of({1: 1}, 19)
    bad("precode of one code", Bits().dynamic(end, [1], lengths=[(1, 0)] * 400, precode=lone, end=False))
    empty = [0] * 19
    bad("empty precode", Bits().dynamic(end, [1], lengths=[], precode=empty, end=False))
    bad("empty short precode", Bits().dynamic(end, [1], lengths=[], precode=empty, n_precode=4, end=False))

    for n in (287, 288):
        long = end + [0] * (n - len(end))
        bad(f"{n} literal codes", Bits().dynamic(long, [1]))
    for n in (31, 32):
        bad(f"{n} distance codes", Bits().dynamic(end, [5] * n))
    bad("no end-of-block code", Bits().dynamic(lengths_of({97: 1, 98: 1}, 257), [1], [97, 98] * 9, end=False))
    bad("no literal code at all", Bits().dynamic([0] * 257, [1], end=False))

    bad("repeat with nothing before it", Bits().dynamic(end, [1], lengths=[(16, 0), (1, 0)], end=False))
    near = [(18, 127), (18, 256 - 138 - 11), (1, 0)]    # 257 literal lengths: code 256 alone
    bad("repeat 18 past the end", Bits().dynamic(end, [1], lengths=[*near, (18, 0)], end=False))
    bad("repeat 17 past the end", Bits().dynamic(end, [1], lengths=[*near, (17, 0)], end=False))
    bad("repeat 16 past the end", Bits().dynamic(end, [1], lengths=[*near, (16, 0)], end=False))
    bad("138 zeros from the last length", Bits().dynamic(end, [1], lengths=[*near, (18, 127)], end=False))

    codes, distances = canonical_codes(FIXED_LITLEN), canonical_codes(FIXED_DISTANCE)
    for symbol in (286, 287):
        bad(f"fixed literal code {symbol}", Bits().header(1, True).code(codes[97]).code(codes[symbol]))
    for symbol in (30, 31):
        prefix = Bits().header(1, True).code(codes[97]).code(codes[257])
        bad(f"fixed distance code {symbol}", prefix.code(distances[symbol]))

    only_end = lengths_of({256: 1}, 257)
    bad("unused half of a lone literal code", Bits().dynamic(only_end, [0], end=False).number(1, 1))
    half = Bits().dynamic(SMALL_LITLEN, [1], [97], end=False).code(canonical_codes(SMALL_LITLEN)[257])
    bad("unused half of a lone distance code", half.number(1, 1))
    none = Bits().dynamic(SMALL_LITLEN, [0], [97], end=False).code(canonical_codes(SMALL_LITLEN)[257])
    bad("match without any distance code", none.number(0, 1))

    bad("distance before the first byte", Bits().fixed([(3, 1)], True))
    bad("distance one too far", Bits().fixed([97, 98, 99, (3, 4)], True))
    bad("distance 32768 after 32767 bytes", Bits().fixed([97] * 32767 + [(3, 32768)], True))
    second = PLAIN_HEADER + Bits().fixed([(3, 1)], True).done() + pad
    cases["distance into the member before"] = packed(TEXT) + second
    second = PLAIN_HEADER + Bits().fixed([97] * 10 + [(3, 11)], True).done() + pad
    cases["distance one byte into the member before"] = packed(TEXT * 100) + second
    bad("distance too far after a stored block", Bits().stored(b"abc").fixed([(3, 4)], True))

    good = packed(TEXT)
    crc, size = struct.unpack("<II", good[-8:])
    cases["wrong CRC"] = good[:-8] + struct.pack("<II", crc ^ 1, size) + pad
    cases["wrong size"] = good[:-8] + struct.pack("<II", crc, size + 1) + pad
    cases["wrong size in the high byte"] = good[:-8] + struct.pack("<II", crc, size ^ 0x80000000) + pad
    cases["wrong CRC in the second member"] = good + good[:-8] + struct.pack("<II", crc ^ 0x8000, size) + good
    cases["wrong CRC of an empty member"] = packed(b"")[:-8] + struct.pack("<II", 1, 0) + pad
    body = deflate(TEXT)
    trailer = struct.pack("<II", zlib.crc32(TEXT), len(TEXT))
    for name, head in {
        "wrong header CRC": header(header_crc=True, break_crc=True),
        "wrong header CRC after a name": header(name=b"n" * 300, header_crc=True, break_crc=True),
        "reserved flag 5": header(flags=0x20),
        "reserved flag 6": header(flags=0x40),
        "reserved flag 7": header(flags=0x80),
        "method 7": header(method=7),
        "method 9": header(method=9),
        "wrong first magic byte": b"\x1e" + header()[1:],
        "wrong second magic byte": b"\x1f\x8c" + header()[2:],
    }.items():
        cases[name] = head + body + trailer + pad
        if "magic" not in name:         # after a good member, no magic means no member
            cases[f"{name}, second member"] = good + head + body + trailer + pad
    cases["zlib stream"] = zlib.compress(TEXT)
    cases["raw deflate"] = body + trailer
    cases["text"] = TEXT
    return cases


def truncation_bases() -> dict[str, bytes]:
    """Small valid streams worth cutting at every byte."""
    return {
        "stored": packed(TEXT[:100], 0),
        "fixed": packed(b"abcabcabc"),
        "dynamic": packed(TEXT + bytes(range(256)), 9),
        "empty": packed(b""),
        "all header fields": packed(b"x", head=header(extra=b"ab", name=b"nm", comment=b"cm", header_crc=True)),
        "two members": packed(TEXT, 9) + packed(b"two", head=header(name=b"x")),
        "flushed blocks": _flushed(TEXT * 2),
        "deep codes": valid_streams()["15-bit literal codes"],
    }


def _flushed(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    out = b""
    for i in range(0, len(data), 200):
        out += packer.compress(data[i : i + 200])
        out += packer.flush((zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_FULL_FLUSH, 5)[i // 200 % 4])
    return out + packer.flush()
