"""What a fuzzer calls: each target takes any bytes and raises ``Mismatch`` when something that must hold does not.

``inflate``   the verdict of zlib on the bytes as a gzip stream, and on their deflate part with a trailer that fits; if
              that is valid, every checkpoint in it
``windows``   the bytes of a sparse window that are gone are not needed: any others do in their place
``members``   the bytes as a gzip stream, its matches bent a little, and members anywhere: zlib reads them all
``frames``    the same in zstd frames: libzstd reads them all
``tar``       entries and errors do not depend on how the bytes are cut into pieces
``parallel``  a layer scanned in chunks by several threads is what one scan says it is, and no great deal of work
``stargz_toc``  a table of contents is read only if ``json`` reads it too; chunks then lie in order, and what is written
              again says the same
``ztoc``      decoding ends with a value or one of our errors; what decodes, encodes and decodes to the same value
``compact``   the same for a compact index, digests set right first, and within bounds of time and memory
"""

import importlib
import json
import resource
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any, Literal

import zstandard

from accel.formats.compact import decode as decode_compact
from accel.formats.compact import encode as encode_compact
from accel.formats.compact import open_compact
from accel_core import LayerIndex, LayerScanner, inflate_span
from accel_core.checkpoints import WINDOW_BYTES
from accel_core.errors import AccelError
from accel_core.frame_encode import encode_frames
from accel_core.member_encode import encode_members
from accel_core.tar_scan import TarScanner
from support.compact_files import signed
from support.gzip_member import member
from support.hostile_layers import CHUNK_BYTES
from support.matches import fault, tokens_of, unpack
from support.scans import said_by_one_scan, said_by_threads
from support.tar_layers import around
from support.verdicts import our_verdict
from support.windows import window_fault
from support.zlib_oracle import disagreement

MAX_INPUT_BYTES = 1 << 16      # deflate makes at most 1032 times as much of it
PLACEMENTS: tuple[Literal["adaptive", "soci"], ...] = ("adaptive", "soci")
MAX_LAYER_BYTES = 1 << 21
MAX_CPU_S = 20.0               # of a parallel scan, which takes some tenths of a second
MAX_INDEX_BYTES = 8 << 20      # what a compact index may use for a part ...
MAX_PEAK_BYTES = 128 << 20     # ... and for all of them, with their columns
MAX_INDEX_S = 5.0


class Mismatch(Exception):
    """Something that must hold does not."""


def require(condition: object, what: str) -> None:
    """An assert that optimised runs keep."""
    if not condition:
        raise Mismatch(what)


def inflate(data: bytes) -> None:
    data = data[:MAX_INPUT_BYTES]
    rng = Random(zlib.crc32(data))
    pieces = (0, rng.randrange(1, 400), rng.choice((1, 319, 320, 321, 2048)))
    compare_with_zlib(data, pieces)
    body = data[10:] if data.startswith(b"\x1f\x8b") else data
    raw = zlib.decompressobj(-15)
    try:
        inflated = raw.decompress(body)
    except zlib.error:
        return
    if not raw.eof:
        return
    fitted = member(body[: len(body) - len(raw.unused_data)], inflated)
    compare_with_zlib(fitted, pieces)
    if len(inflated) < 1 << 20:
        check_spans(*around(fitted, inflated), piece_bytes=pieces[1])


def compare_with_zlib(stream: bytes, pieces: tuple[int, ...]) -> None:
    for piece_bytes in pieces:
        difference = disagreement(stream, partial(our_verdict, piece_bytes=piece_bytes))
        require(difference is None, f"{difference}, pieces of {piece_bytes}")


def check_spans(blob: bytes, data: bytes, piece_bytes: int) -> None:
    """Each span of a valid layer, at the finest spacing, is the slice it claims to be."""
    scanner = LayerScanner(span_bytes=max(1, len(data) // 50), placement="soci")
    for start in range(0, len(blob), piece_bytes):
        scanner.feed(blob[start : start + piece_bytes])
    index = scanner.finish()
    points = index.checkpoints
    ends = [*points.uncomp_offset[1:], len(data)]
    for i, (start, end) in enumerate(zip(points.uncomp_offset, ends, strict=True)):
        comp_start, comp_end = index.span_comp(i)
        out = inflate_span(blob[comp_start:comp_end], points.bits[i], points.window(i), end - start)
        require(out == data[start:end], f"span {i} differs")


def windows(data: bytes) -> None:
    """Each checkpoint of the bytes' deflate part, as a member in a layer."""
    data = data[:MAX_INPUT_BYTES]
    body = data[10:] if data.startswith(b"\x1f\x8b") else data
    raw = zlib.decompressobj(-15)
    try:
        inflated = raw.decompress(body, 1 << 20)
    except zlib.error:
        return
    if not raw.eof:
        return
    blob, tar = around(member(body[: len(body) - len(raw.unused_data)], inflated), inflated)
    span_bytes = Random(zlib.crc32(data)).choice((1, 3000, 40_000))
    for placement in PLACEMENTS:
        fault = window_fault(blob, tar, span_bytes, placement)
        require(fault is None, fault or "")


def members(data: bytes) -> None:
    for inflated, starts, bent in cut_somewhere(data):
        blob, offsets = encode_members(inflated, starts, matches=bent)
        for start, end, offset in zip(starts, [*starts[1:], len(inflated)], offsets, strict=True):
            one = zlib.decompressobj(31)
            require(one.decompress(blob[offset:], end - start + 1) == inflated[start:end], f"member at {start} differs")
            require(one.eof, f"member at {start} does not end")


def frames(data: bytes) -> None:
    for inflated, starts, bent in cut_somewhere(data):
        blob, offsets = encode_frames(inflated, starts, matches=bent)
        for start, end, offset in zip(starts, [*starts[1:], len(inflated)], offsets, strict=True):
            one = zstandard.ZstdDecompressor().decompressobj()
            try:
                require(one.decompress(blob[offset:]) == inflated[start:end], f"frame at {start} differs")
            except zstandard.ZstdError as error:
                raise Mismatch(f"frame at {start}: {error}") from error
            require(one.eof, f"frame at {start} does not end")


def cut_somewhere(data: bytes) -> Iterator[tuple[bytes, list[int], bytes]]:
    """If the bytes are a gzip stream: what it holds, where to cut that, and its matches, bent a little."""
    data = data[:MAX_INPUT_BYTES]
    rng = Random(zlib.crc32(data))
    try:
        inflated, matches, _ = tokens_of(data, rng.choice((0, 1, 319, 2048)))
    except AccelError:
        return
    require(fault(inflated, unpack(matches)) is None, "a match is not true")
    bent = bytearray(matches)
    for _ in range(rng.choice((0, 0, 1, 50)) if bent else 0):
        bent[rng.randrange(len(bent))] = rng.randrange(256)
    starts = sorted({0, *(rng.randrange(len(inflated) + 1) for _ in range(rng.choice((0, 1, 30))))})
    yield inflated, starts, bytes(bent)


def tar(data: bytes) -> None:
    data = data[:MAX_INPUT_BYTES]
    rng = Random(zlib.crc32(data))
    whole = scan_tar([data])
    require(scan_tar(cut(data, rng, 700)) == whole, "random pieces change the entries")
    require(scan_tar(cut(data, rng, 5)) == whole, "small pieces change the entries")


def scan_tar(pieces: list[bytes]) -> tuple[object, ...]:
    """Everything the scanner says, entries or error."""
    scanner = TarScanner(max_entries=5000, max_string_bytes=1 << 20)
    try:
        for piece in pieces:
            scanner.feed(piece)
        return ("entries", tuple(scanner.close()), scanner.archive_size)
    except AccelError as error:
        return (type(error), str(error))


def cut(data: bytes, rng: Random, most: int) -> list[bytes]:
    pieces, start = [], 0
    while start < len(data):
        n = rng.randrange(most)
        pieces.append(data[start : start + n])
        start += n
    return pieces


def parallel(data: bytes) -> None:
    data = data[:MAX_LAYER_BYTES]
    rng = Random(zlib.crc32(data))
    span_bytes = rng.choice((1, 4000, 16 << 10, 32 << 10, 100_000))
    min_chunk_bytes = rng.choice((1000, CHUNK_BYTES // 2, CHUNK_BYTES))
    max_uncomp_bytes = rng.choice((64 << 20, 64 << 20, rng.randrange(1, 4 << 20)))
    wanted = said_by_one_scan(data, span_bytes=span_bytes, max_uncomp_bytes=max_uncomp_bytes)
    for threads, in_order in ((rng.randrange(2, 12), True), (rng.randrange(1, 9), False)):
        start = time.process_time()
        said = said_by_threads(
            data, threads, span_bytes=span_bytes, min_chunk_bytes=min_chunk_bytes, max_uncomp_bytes=max_uncomp_bytes,
            in_order=in_order,
        )  # fmt: skip
        require(time.process_time() - start < MAX_CPU_S, f"{threads} threads take too long")
        require(
            said == wanted,
            f"{threads} {'chunks' if in_order else 'threads'}, spans of {span_bytes}, chunks from {min_chunk_bytes}, "
            f"at most {max_uncomp_bytes} bytes: {summary(said)}, not {summary(wanted)}",
        )


def summary(said: tuple[object, ...]) -> object:
    """An error, or the numbers among the facts and a sum of all."""
    return said if len(said) == 2 else (zlib.crc32(repr(said).encode()), *said[5:])


def ztoc(data: bytes) -> None:
    decode = importlib.import_module("accel_core.ztoc_decode").decode
    encode = importlib.import_module("accel_core.ztoc_encode").encode
    try:
        index, _, tool = decode(data)
    except AccelError:
        return
    try:
        encoded = encode(index, tool=tool)
    except AccelError:                  # a foreign zTOC may say what ours cannot
        return
    again, _, _ = decode(encoded)
    require(encode(again, tool=tool) == encoded, "an encoded index does not survive a round trip")


def stargz_toc(data: bytes) -> None:
    stargz = importlib.import_module("accel.formats.stargz")
    data = data[:MAX_INPUT_BYTES]
    data_end = 1 << 40
    try:
        toc = stargz.parse_toc(data, data_end=data_end, max_rows=5000)
    except AccelError:
        return
    try:
        json.loads(data.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise Mismatch(f"read, though it is not JSON: {error}") from error
    chunks = toc.chunks
    sizes: dict[int, int] = {}
    for i, row in enumerate(chunks.entry):
        require(chunks.chunk_offset[i] == sizes.get(row, 0), f"chunk {i} does not follow the one before it")
        require(0 <= chunks.blob_offset[i] < chunks.end_offset[i] <= data_end, f"chunk {i} has an impossible place")
        sizes[row] = sizes.get(row, 0) + chunks.chunk_size[i]
    wanted = {entry.index: entry.size for entry in toc.entries if entry.is_file and entry.size}
    require(sizes == wanted, "chunks do not add up to their files")
    check_rewritten(stargz, toc)


def check_rewritten(stargz: Any, toc: Any) -> None:
    """Written in the zstd dialect, which loses nothing of entries but cannot share members, and read again."""
    chunks = toc.chunks
    several = {row for row, offset in zip(chunks.entry, chunks.chunk_offset, strict=True) if offset}
    if any(chunks.inner_offset) or several - set(toc.file_digests):
        return
    raw = stargz.zstd_toc(toc.entries, chunks, toc.file_digests, "")
    again = stargz.parse_toc(raw, data_end=1 << 40)
    fields = ("name", "typeflag", "size", "mode", "uid", "gid", "devmajor", "devminor")
    for ours, theirs in zip(again.entries, toc.entries, strict=True):
        require(all(getattr(ours, f) == getattr(theirs, f) for f in fields), f"entry {ours.index} changes")
    require(again.chunks.digests == chunks.digests, "digests change")
    require(again.chunks.blob_offset == chunks.blob_offset, "places change")


def compact(data: bytes) -> None:
    data = signed(data)
    peak, start = peak_bytes(), time.process_time()
    try:
        index = decode_compact(data, max_bytes=MAX_INDEX_BYTES)
    except AccelError:
        index = None
    require(time.process_time() - start < MAX_INDEX_S, "decoding takes too long")
    require(peak_bytes() - peak < MAX_PEAK_BYTES, "decoding takes too much memory")
    if index is None:
        return
    lazy = open_compact(lambda offset, n: data[offset : offset + n], len(data)).checkpoints
    windows = [lazy.window(i).tobytes().ljust(WINDOW_BYTES, b"\0") for i in reversed(range(len(lazy)))]
    require(windows[::-1] == index_facts(index)[1], "windows read one by one differ")
    encoded = encode_compact(index)
    again = decode_compact(encoded)
    require(index_facts(again) == index_facts(index), "an encoded index decodes to another one")
    require(encode_compact(again) == encoded, "an index that was decoded encodes to other bytes")


def peak_bytes() -> int:
    """The most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


def index_facts(index: LayerIndex) -> tuple[object, list[bytes], object]:
    """All that an index says: sizes and digests, windows, entries."""
    points = index.checkpoints
    windows = [points.window(i).tobytes().ljust(WINDOW_BYTES, b"\0") for i in range(len(points))]
    places = tuple(points.comp_offset), tuple(points.uncomp_offset), bytes(points.bits)
    facts = [getattr(index, field) for field in index.__slots__ if field not in ("checkpoints", "entries")]
    return (facts, places), windows, (list(index.entries), index.entries.all_flags)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "inflate": inflate, "windows": windows, "members": members, "frames": frames, "tar": tar, "parallel": parallel,
    "ztoc": ztoc, "compact": compact, "stargz_toc": stargz_toc,
}  # fmt: skip
