"""How much memory does the scan of a large layer take?

Each measurement is a process of its own: peak resident set, less what it was when the modules had been imported. The
layer is a real one over and over, as members of one gzip file, so it has as many entries as its size suggests.
"""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Row, skipped

import data
from accel_core import index

FULL_BYTES, TINY_BYTES = 2_000_000_000, 20_000_000

# argv: what to do, path, repetitions. Prints peak KiB before, after, and bytes of output.
CHILD = """
import resource, sys
def peak():
    try:        # ru_maxrss would begin with what the parent process had when it started this one
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
what, path, times, digests = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1"
if what == "accel":
    from accel_core import LayerScanner
    before = peak()
    scanner = LayerScanner(digest=digests, span_digests=digests)
    for _ in range(times):
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                scanner.feed(piece)
    scanner.feed(END)
    index = scanner.finish()
    print(before, peak(), index.uncomp_size, len(index.entries), index.n_spans)
elif what == "indexed_gzip":
    import indexed_gzip
    before = peak()
    with indexed_gzip.IndexedGzipFile(path, spacing=4 << 20) as file:
        file.build_full_index()
        print(before, peak(), file.seek(0, 2), 0, 0)
elif what == "rapidgzip":
    import rapidgzip
    before = peak()
    with rapidgzip.open(path, parallelization=1) as file:
        file.block_offsets()
        print(before, peak(), file.size(), 0, 0)
"""


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    layer = data.layer("mixed", "gzip-6", tiny)
    if layer is None:
        skipped("memory: gzip is not installed")
        return
    body = endless(layer)
    once = data.tar("mixed", tiny).stat().st_size
    most = (TINY_BYTES if tiny else FULL_BYTES) // once + 1
    for times in (1, most):
        yield measured("accel", body, times)
    yield measured("accel", body, most, digests=False)
    for peer in ("indexed_gzip", "rapidgzip"):
        try:
            __import__(peer)
        except ImportError:
            skipped(f"memory: {peer} is not installed")
            continue
        yield measured(peer, repeated(body, most), 1)


def endless(layer: Path) -> Path:
    """The layer without its end-of-archive blocks, so that another copy may follow."""
    path = layer.with_suffix(".body.gz")
    if not path.exists():
        size = index(layer).archive_size - 1024
        with data.publish(path) as temporary, gzip.open(layer) as whole, gzip.open(temporary, "wb", 6) as out:
            while size:
                piece = whole.read(min(size, 1 << 20))
                out.write(piece)
                size -= len(piece)
    return path


def repeated(body: Path, times: int) -> Path:
    """A file of ``times`` copies."""
    path = body.with_suffix(f".{times}.gz")
    if not path.exists():
        with data.publish(path) as temporary, temporary.open("wb") as out:
            for _ in range(times):
                out.write(body.read_bytes())
    return path


def measured(what: str, path: Path, times: int, digests: bool = True) -> Row:
    child = f"END = {gzip.compress(bytes(1024), mtime=0)!r}\n{CHILD}"
    command = [sys.executable, "-c", child, what, str(path), str(times), str(int(digests))]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after, n_out, n_entries, n_spans = map(int, result.stdout.split())
    return Row(
        "memory",
        f"{n_out / 1e6:.0f} MB layer",
        what if digests else f"{what}, no digests",
        bytes_in=path.stat().st_size * times,
        bytes_out=n_out,
        peak_mb=round((after - before) * 1024 / 1e6, 1),
        note=f"{n_entries} entries, {n_spans} spans" if n_entries else "",
    )
