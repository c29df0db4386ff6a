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
from accel.bench.contenders import scan
from accel_core.gzip_stream import implementations


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
        "accel, no digests, sparse windows": lambda: scan(blob),
        "accel, no digests": lambda: scan(blob, sparse_windows=False),
        "accel, span digests": lambda: scan(blob, sparse_windows=False, span_digests=True),
        "accel": lambda: scan(blob, sparse_windows=False, span_digests=True, digest=True),
        "accel + diffID": lambda: scan(blob, sparse_windows=False, span_digests=True, digest=True, diff_id=True),
    }
    if implementations() != ["plain"]:
        calls["accel, no digests, plain decoder"] = lambda: scan(blob, sparse_windows=False, implementation="plain")
    calls |= peers.decoders(blob, n_out) | peers.index_builders(path)
    times = interleaved(calls, rounds)
    baseline = "libdeflate" if "libdeflate" in times else "isal_zlib" if "isal_zlib" in times else "zlib"
    yield from rows_of("scan", encoder, times, baseline, len(blob), n_out, peers.versions())
