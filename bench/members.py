"""What does it take to make the gzip members of an eStargz layer, or the frames of zstd:chunked? How large do they get?

The layer's tar is cut as eStargz wants it: a member begins at each file's bytes and every 4 MiB of a file. In
zstd:chunked a frame ends with these bytes, too. Ours takes the matches of the original gzip; what inflating with those
costs, beside inflating alone, is in rows of its own. Theirs search. What is timed is batches of 4 MiB from all over the
layer, 64 MB together: whole layers take too long at high levels. The notes say how large all our members, or frames,
are beside the original gzip, and those of others beside ours.
"""

import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import peers
import zstandard
from measure import Row, interleaved, rows_of, skipped

import data
from accel.members import compress_members
from accel_core.frame_encode import encode_frames
from accel_core.gzip_tokens import TokenStream
from accel_core.layer_scan import LayerScanner
from accel_core.member_encode import encode_members

CHUNK_BYTES = BATCH_BYTES = 4 << 20
SAMPLE_BYTES = 64_000_000
PIECE_BYTES = 1 << 20
OURS = "accel, from matches"

Batch = tuple[bytes, list[int], bytes, int]     # bytes, member starts, matches, offset in the tar
Encode = Callable[[Batch], int]                 # the size of its members


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    for case, path in layers(tiny):
        if not only or only == case:
            yield from one(case, path, min(rounds, 3))


def layers(tiny: bool) -> Iterator[tuple[str, Path]]:
    if (path := data.layer("mixed", "gzip-6", tiny)) is not None:
        yield "mixed", path
    for name in () if tiny else ("root", "big"):
        path = data.CACHE / "ml" / f"{name}.tar.gz"
        if path.exists():
            yield f"ml {name}", path
        else:
            skipped(f"members of the {name} layer of the ml image: ml.py makes it")


def one(case: str, path: Path, rounds: int) -> Iterator[Row]:
    blob = path.read_bytes()
    tar, records = tokens_of(blob)
    members, frames = cut(tar, records, member_starts(tar)), cut(tar, records, frame_starts(tar))
    yield from compressing(case, len(blob), members, encoders(), "libdeflate 6", rounds)
    yield from compressing(f"{case}, zstd", len(blob), frames, by_zstd(), "zstd 3", rounds)
    reading = {"inflate, keep matches": lambda: inflate(blob), "inflate, scan tar": lambda: scan(blob)}
    yield from rows_of("members", case, interleaved(reading, rounds), "inflate, scan tar", len(blob), len(tar))


def compressing(
    case: str, gzip_bytes: int, every: list[Batch], encoders: dict[str, Encode], baseline: str, rounds: int
) -> Iterator[Row]:
    """A row for each encoder; the first is ours."""
    ours = next(iter(encoders))
    batches = every[:: 1 + sum(len(batch[0]) for batch in every) // SAMPLE_BYTES]
    n_out = sum(len(batch[0]) for batch in batches)
    whole = sum(encoders[ours](batch) for batch in every) / gzip_bytes
    sizes: dict[str, int] = {}

    def call(name: str, encode: Encode) -> Callable[[], None]:
        def all_batches() -> None:
            sizes[name] = sum(encode(batch) for batch in batches)

        return all_batches

    times = interleaved({name: call(name, encode) for name, encode in encoders.items()}, rounds)
    for row in rows_of("members", case, times, baseline, n_out, n_out, peers.versions()):
        is_ours = row.implementation == ours
        row.note = f"{whole:.4f} of the gzip" if is_ours else f"{sizes[row.implementation] / sizes[ours]:.4f} of ours"
        yield row


def encoders() -> dict[str, Encode]:
    made: dict[str, Encode] = {OURS: from_matches}
    for level in (1, 6, 9, 12):
        made[f"libdeflate {level}"] = partial(by_libdeflate, level)
    for label, name, levels in (
        ("isal_zlib", "isal.isal_zlib", (1, 2, 3)),
        ("zlib-ng", "zlib_ng.zlib_ng", (1, 6, 9)),
        ("zlib", "zlib", (1, 6, 9)),
    ):
        if library := peers.module(name):
            for level in levels:
                made[f"{label} {level}"] = by_library(library.compress, level)
    return made


def by_zstd() -> dict[str, Encode]:
    made: dict[str, Encode] = {OURS: frames_from_matches}
    for level in (1, 3):
        compressor = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        made[f"zstd {level}"] = partial(by_libzstd, compressor)
    return made


def from_matches(batch: Batch) -> int:
    data, starts, matches, origin = batch
    return len(encode_members(data, starts, matches=matches, origin=origin)[0])


def frames_from_matches(batch: Batch) -> int:
    data, starts, matches, origin = batch
    return len(encode_frames(data, starts, matches=matches, origin=origin)[0])


def by_libzstd(compressor: zstandard.ZstdCompressor, batch: Batch) -> int:
    data, starts = batch[:2]
    pairs = zip(starts, [*starts[1:], len(data)], strict=True)
    segments = b"".join(struct.pack("<QQ", start, end - start) for start, end in pairs)
    found = compressor.multi_compress_to_buffer(zstandard.BufferWithSegments(data, segments))
    return sum(len(found[i]) for i in range(len(found)))


def by_libdeflate(level: int, batch: Batch) -> int:
    return len(compress_members(batch[0], batch[1], level=level)[0])


def by_library(compress: Callable[..., bytes], level: int) -> Encode:
    def encode(batch: Batch) -> int:
        view, starts = memoryview(batch[0]), batch[1]
        return sum(
            len(compress(view[start:end], level, wbits=31))
            for start, end in zip(starts, [*starts[1:], len(view)], strict=True)
        )

    return encode


def tokens_of(blob: bytes) -> tuple[bytes, memoryview]:
    """The tar, and the records of its matches."""
    pieces: list[bytes] = []
    matches = bytearray()

    def on_piece(piece: memoryview, found: memoryview) -> None:
        pieces.append(bytes(piece))
        matches.extend(found)

    inflate(blob, on_piece)
    return b"".join(pieces), memoryview(matches).cast("Q")


def cut(tar: bytes, records: memoryview, starts: list[int]) -> list[Batch]:
    """The tar in batches of whole members."""
    batches = []
    for members in batches_of(starts):
        start, end = members[0], members.pop()
        first, last = at_position(records, start), at_position(records, end)
        found = bytes(records[max(0, first - 1) : last])        # one more, which may reach over the start
        batches.append((tar[start:end], [at - start for at in members], found, start))
    return batches


def member_starts(tar: bytes) -> list[int]:
    """Where members begin, and the end."""
    starts = {0, len(tar)}
    for at, size in contents(tar):
        starts.update(range(at, at + size, CHUNK_BYTES))
    return sorted(starts)


def frame_starts(tar: bytes) -> list[int]:
    """Where frames begin, and the end: what is between the bytes of two files has its own."""
    return sorted({*member_starts(tar), *(at + size for at, size in contents(tar))})


def contents(tar: bytes) -> Iterator[tuple[int, int]]:
    """Offset and size of each file's bytes."""
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        for entry in archive:
            if entry.isreg() and entry.size:
                yield entry.offset_data, entry.size


def batches_of(starts: list[int]) -> Iterator[list[int]]:
    """The members' starts of each batch, with the end behind them."""
    batch: list[int] = []
    for at in starts:
        batch.append(at)
        if at - batch[0] >= BATCH_BYTES or at == starts[-1]:
            yield batch
            batch = [at]


def at_position(records: memoryview, pos: int) -> int:
    """Number of the first record at or behind ``pos`` (of a stream below 4 GiB)."""
    low, high = 0, len(records)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if records[middle] & 0xFFFFFFFF < pos else (low, middle)
    return low


def inflate(blob: bytes, on_piece: Callable[[memoryview, memoryview], object] = lambda data, matches: None) -> None:
    tokens, view = TokenStream(on_piece), memoryview(blob)
    for start in range(0, len(view), PIECE_BYTES):
        tokens.feed(view[start : start + PIECE_BYTES])
    tokens.finish()


def scan(blob: bytes) -> None:
    scanner, view = LayerScanner(digest=False, span_digests=False), memoryview(blob)
    for start in range(0, len(view), PIECE_BYTES):
        scanner.feed(view[start : start + PIECE_BYTES])
    scanner.finish()
