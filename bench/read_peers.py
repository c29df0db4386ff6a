"""Readers of a gzip layer through an index, ours and other people's, behind one door: open, read at, read on.

All use checkpoints 4 MiB apart in the output, made before; indexed_gzip and rapidgzip the same GZIDX file. ratarmount
keeps its own index in a file, and is asked for ranges of tar members, as its users do, not of the archive; where those
lie is looked up before the clock starts. Its gzip backend is the rapidgzip or indexed_gzip that is installed.
"""

import bisect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import SPACING, module

import data
from accel_core import LayerIndex, inflate_span, open_indexed

PIECE_BYTES = 4 << 20   # read at a time in a full read


class Reader:
    """An open layer; ``read_at(offset, n)`` gives bytes, ``pieces()`` all of them in order."""

    read_at: Callable[[int, int], bytes]
    file: Any
    name_note = ""

    def pieces(self) -> Iterator[int]:
        """Lengths of the pieces of a full read."""
        while piece := self.file.read(PIECE_BYTES):
            yield len(piece)

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to read; ``open`` gives a cold reader whose index is loaded."""

    name: str
    open: Callable[[], Reader]
    random: bool = True
    sequential: bool = False
    parallel: bool = False
    note: str = ""


class Accel(Reader):
    def __init__(self, path: Path, index: LayerIndex, threads: int, verify: bool) -> None:
        self.file = open_indexed(path, index, threads=threads, verify=verify)
        self.read_at = self.file.read_at


class WholeSpans(Reader):
    """What an index gives without a reader: the span is fetched and inflated whole, as SOCI's snapshotter does."""

    def __init__(self, path: Path, index: LayerIndex) -> None:
        self.file = path.open("rb", buffering=0)
        self.index = index

    def span(self, i: int) -> bytes:
        start, end = self.index.span_comp(i)
        first = self.index.checkpoints.uncomp_offset[i]
        last = self.index.checkpoints.uncomp_offset[i + 1] if i + 1 < self.index.n_spans else self.index.uncomp_size
        comp = os.pread(self.file.fileno(), end - start, start)
        return inflate_span(comp, self.index.checkpoints.bits[i], self.index.checkpoints.window(i), last - first)

    def read_at(self, offset: int, n: int) -> bytes:  # type: ignore[override]
        starts = self.index.checkpoints.uncomp_offset
        out = b""
        while len(out) < n:
            i = bisect.bisect_right(starts, offset + len(out)) - 1
            at = offset + len(out) - starts[i]
            out += self.span(i)[at : at + n - len(out)]
        return out

    def pieces(self) -> Iterator[int]:
        return (len(self.span(i)) for i in range(self.index.n_spans))


class IndexedGzip(Reader):
    def __init__(self, path: Path, index_file: Path) -> None:
        self.file = module("indexed_gzip").IndexedGzipFile(str(path))
        self.file.import_index(str(index_file))
        self.read_at = lambda offset, n: self.file.pread(n, offset)


class Rapidgzip(Reader):
    def __init__(self, path: Path, index_file: Path, threads: int) -> None:
        self.file = module("rapidgzip").RapidgzipFile(str(path), parallelization=threads)
        self.file.import_index(str(index_file))

    def read_at(self, offset: int, n: int) -> bytes:  # type: ignore[override]
        self.file.seek(offset)
        return self.file.read(n)


class Ratarmount(Reader):
    """Ranges of members; a full read is one of the archive, through the file object its members are cut from."""

    def __init__(self, path: Path, index_file: Path, threads: int, members: "Members") -> None:
        self.mount = ratarmount_open(path, index_file, threads)
        self.file = self.mount.tarFileObject
        self.members = members
        self.infos = {name: self.mount.lookup("/" + name) for _, _, name in members.rows}

    def read_at(self, offset: int, n: int) -> bytes:  # type: ignore[override]
        start, name = self.members.around(offset)
        return self.mount.read(self.infos[name], n, offset - start)

    def close(self) -> None:
        self.mount.__exit__(None, None, None)


class Members:
    """The regular files that reads fall into: rows of data offset, size and name."""

    def __init__(self, index: LayerIndex) -> None:
        last = {entry.name: entry.index for entry in index.entries}     # a later entry of a name hides the earlier ones
        self.rows = [
            (entry.data_offset, entry.size, entry.name.decode().lstrip("/"))
            for entry in index.entries
            if entry.typeflag == "0" and last[entry.name] == entry.index and _plain(entry.name)
        ]
        self.starts = [row[0] for row in self.rows]

    def around(self, offset: int) -> tuple[int, str]:
        row = self.rows[bisect.bisect_right(self.starts, offset) - 1]
        return row[0], row[2]


def _plain(name: bytes) -> bool:
    return name.isascii() and not name.startswith(b"./")


def ratarmount_open(path: Path, index_file: Path, threads: int) -> Any:
    tar = module("ratarmountcore.mountsource.formats.tar")
    return tar.SQLiteIndexedTar(
        str(path), writeIndex=True, indexFilePath=str(index_file), gzipSeekPointSpacing=SPACING,
        parallelization=threads, printDebug=0,
    )  # fmt: skip


def implementations(path: Path, index: LayerIndex, members: Members) -> list[Implementation]:
    """Ours, and those that are installed. Indexes of others are made once, beside the bench's layers."""
    made = [
        Implementation("accel", lambda: Accel(path, index, 1, False), sequential=True),
        Implementation("accel -P2", lambda: Accel(path, index, 2, False), random=False, parallel=True),
        Implementation("accel, spans verified", lambda: Accel(path, index, 1, True), sequential=True),
        Implementation("accel -P2, spans verified", lambda: Accel(path, index, 2, True), random=False, parallel=True),
        Implementation("accel, whole spans by inflate_span", lambda: WholeSpans(path, index), sequential=True),
    ]
    gzidx = data.CACHE / f"{path.name}.gzidx"
    if indexed_gzip := module("indexed_gzip"):
        if not gzidx.exists():
            with indexed_gzip.IndexedGzipFile(str(path), spacing=SPACING) as file, data.publish(gzidx) as temporary:
                file.build_full_index()
                file.export_index(str(temporary))
        name = f"indexed_gzip {version('indexed_gzip')}"
        made.append(Implementation(name, lambda: IndexedGzip(path, gzidx), sequential=True))
    if gzidx.exists() and module("rapidgzip"):
        name = f"rapidgzip {version('rapidgzip')}"
        made += [
            Implementation(f"{name} -P1", lambda: Rapidgzip(path, gzidx, 1), sequential=True),
            Implementation(f"{name} -P2", lambda: Rapidgzip(path, gzidx, 2), parallel=True),
        ]
    if module("ratarmountcore"):
        name = f"ratarmountcore {version('ratarmountcore')}"
        for threads in (1, 2):
            index_file = data.CACHE / f"{path.name}.P{threads}.ratarmount.sqlite"
            if not index_file.exists():
                ratarmount_open(path, index_file, threads).__exit__(None, None, None)
            made.append(
                Implementation(
                    f"{name} -P{threads}",
                    lambda threads=threads, index_file=index_file: Ratarmount(path, index_file, threads, members),
                    sequential=threads == 1,
                    parallel=threads == 2,
                    note="ranges of members",
                )
            )
    return made
