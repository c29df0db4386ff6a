"""How fast is the scan of a layer, beside what others need for a part of it?

Ours: container, inflate, CRC, tar entries and checkpoints with their windows; then with the SHA-256 of blob and
spans; then with that of the uncompressed bytes too. Theirs: inflate and CRC (decoders), or that and checkpoints
(index builders). One process, calls interleaved, CPU time of all threads, medians. The baseline is libdeflate with a
buffer ready for all of the output, which checks the CRC and does nothing else.
"""

from collections.abc import Iterator
from pathlib import Path

import peers
from measure import Row, interleaved, rows_of, skipped

import data
from accel_core import LayerIndex, LayerScanner
from accel_core.gzip_stream import implementations, use_implementation

PIECE_BYTES = 1 << 20


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    for encoder in ("gzip-6", "go") if tiny else data.ENCODERS:
        if only and only != encoder:
            continue
        path = data.layer("mixed", encoder, tiny)
        if path is None:
            skipped(f"scan of {encoder}: the encoder is not installed")
            continue
        yield from one(encoder, path, rounds)
    if not tiny and only in (None, "demo"):
        for path in data.demo_layers():
            yield from one(f"demo {path.name[:12]}", path, rounds)


def one(encoder: str, path: Path, rounds: int) -> Iterator[Row]:
    blob = path.read_bytes()
    n_out = scan(blob).uncomp_size
    calls: dict[str, peers.Call] = {
        "accel, no digests, sparse windows": lambda: scan(blob, digest=False, span_digests=False, sparse_windows=True),
        "accel, no digests": lambda: scan(blob, digest=False, span_digests=False),
        "accel, span digests": lambda: scan(blob, digest=False),
        "accel": lambda: scan(blob),
        "accel + diffID": lambda: scan(blob, diff_id=True),
    }
    if implementations() != ["plain"]:
        calls["accel, no digests, plain decoder"] = lambda: scan_plain(blob)
    calls |= peers.decoders(blob, n_out) | peers.index_builders(path)
    times = interleaved(calls, rounds)
    baseline = "libdeflate" if "libdeflate" in times else "isal_zlib" if "isal_zlib" in times else "zlib"
    yield from rows_of("scan", encoder, times, baseline, len(blob), n_out, peers.versions())


def scan(
    blob: bytes,
    *,
    digest: bool = True,
    span_digests: bool = True,
    sparse_windows: bool = False,
    diff_id: bool = False,
) -> LayerIndex:
    scanner = LayerScanner(
        digest=digest, span_digests=span_digests, sparse_windows=sparse_windows, diff_id=diff_id
    )
    view = memoryview(blob)
    for start in range(0, len(view), PIECE_BYTES):
        scanner.feed(view[start : start + PIECE_BYTES])
    return scanner.finish()


def scan_plain(blob: bytes) -> LayerIndex:
    """With the decoder every machine can run."""
    use_implementation("plain")
    try:
        return scan(blob, digest=False, span_digests=False)
    finally:
        use_implementation(implementations()[0])
