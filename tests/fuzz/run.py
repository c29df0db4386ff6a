"""Throws made-up inputs at the kernels and reports what breaks.

    PYTHONPATH=src python tests/fuzz/run.py --seconds 60 [--seed 1]
        [--target inflate|windows|members|frames|tar|parallel|ztoc|compact|stargz_toc]

Inputs run in a child process, so that a crash or a hang costs one input; those
that fail are written to ``--failures``, named by target, seed and number. Exit code 1 if there were any. For
coverage-guided fuzzing see ``guided.py``.
"""

import argparse
import gzip
import importlib.util
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))      # for `support` and `fuzz`, as pytest does

from fuzz.mutate import make  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402
from support.hostile_layers import hostile_layers  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"
BATCH = 20                  # inputs between two looks at the clock
HANG_S = 60.0               # an input takes milliseconds
DIED, HANGS = -1, -2


def read_corpus(target: str) -> list[bytes]:
    """The inputs kept for a target, in a fixed order; large ones are kept compressed, as NAME.gz, or made here."""
    name = "inflate" if target in ("windows", "members", "frames") else target
    paths = sorted((CORPUS / name).glob("*"))
    kept = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths]
    return [*kept, *hostile_layers().values()] if target == "parallel" else kept


def work(target: str, seed: int, first: int, stop_at: float, most: int, pipe: Connection) -> None:
    """In the child: inputs ``first`` … in order; sends each number before it is tried, and each failure."""
    corpus, run = read_corpus(target), TARGETS[target]
    i = first
    while i < most and (time.monotonic() < stop_at or i % BATCH):
        os.pwrite(work.progress, i.to_bytes(8, "little"), 0)    # type: ignore[attr-defined]
        data = make(target, corpus, seed, i)
        try:
            run(data)
        except Exception as error:      # whatever it is, it is a finding
            pipe.send((i, f"{type(error).__name__}: {error}"))
        i += 1
    pipe.send((i, None))


def fuzz(target: str, seed: int, seconds: float, most: int) -> tuple[int, list[tuple[int, str]]]:
    """Number of inputs tried, and the failures as (number, reason)."""
    progress = os.memfd_create("progress") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
    work.progress = progress            # type: ignore[attr-defined]
    context = multiprocessing.get_context("fork")
    stop_at = time.monotonic() + seconds
    failures: list[tuple[int, str]] = []
    i = 0
    while i < most and time.monotonic() < stop_at:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(target, seed, i, stop_at, most, theirs))
        child.start()
        theirs.close()
        done = listen(ours, progress, failures)
        if done == HANGS:
            child.kill()
        child.join()
        i = done
        if done in (HANGS, DIED):       # on the input it was trying
            at = int.from_bytes(os.pread(progress, 8, 0), "little")
            failures.append((at, "hangs" if done == HANGS else f"kills the process, exit code {child.exitcode}"))
            i = at + 1
    os.close(progress)
    return i, failures


def listen(pipe: Connection, progress: int, failures: list[tuple[int, str]]) -> int:
    """Collects failures until the child says it is done (number of the next input), or DIED, or HANGS."""
    last = b""
    while True:
        if not pipe.poll(HANG_S):
            now = os.pread(progress, 8, 0)
            if now == last:
                return HANGS
            last = now
            continue
        try:
            number, reason = pipe.recv()
        except EOFError:
            return DIED
        if reason is None:
            return int(number)
        failures.append((number, reason))


def available(target: str) -> bool:
    return target != "ztoc" or importlib.util.find_spec("accel_core.ztoc_decode") is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="time for each target")
    parser.add_argument("--inputs", type=int, default=1 << 62, help="end after so many inputs of each target")
    parser.add_argument("--target", choices=TARGETS, action="append", help="may be repeated; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where failing inputs go")
    arguments = parser.parse_args()
    failed = False
    for target in arguments.target or TARGETS:
        if not available(target):
            print(f"{target}: not built, skipped")
            continue
        start = time.monotonic()
        n, failures = fuzz(target, arguments.seed, arguments.seconds, arguments.inputs)
        took = time.monotonic() - start
        print(f"{target}: {n} inputs, {n / took:.0f} a second, seed {arguments.seed}, {len(failures)} failures")
        for i, reason in failures:
            arguments.failures.mkdir(parents=True, exist_ok=True)
            path = arguments.failures / f"{target}-{arguments.seed}-{i}"
            path.write_bytes(make(target, read_corpus(target), arguments.seed, i))
            print(f"  input {i}: {reason}\n    {path}")
        failed |= bool(failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
