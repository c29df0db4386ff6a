"""The tar-split: all bytes of a tar that are no file's content, and where the files belong between them.

zstd-compressed JSON lines, in the order of the tar::

    {"type":2,"payload":"…","position":0}                       raw bytes, base64: padding of the file before, then
                                                                all header blocks of the next member
    {"type":1,"name":"…","size":5,"payload":"…","position":1}   that member; payload is the CRC-64 of its content
    …
    {"type":2,"payload":"…","position":n}                       last padding and the end mark
    {"type":2,"payload":"…","position":n+1}                     what follows, a MiB or less a line

A name that is no UTF-8 goes into ``name_raw`` as base64 instead; a member without content has neither size nor CRC
(payload is null). CRC-64: polynomial ISO, big endian, 8 bytes, base64. Source: vbatts/tar-split
``tar/storage/entry.go``, ``tar/asm``; whoever rebuilds the tar from a partial pull has its digest compared with the
diffID.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import zstandard

from accel.oci import digest_of
from accel_core.entries import EntryTable
from accel_core.tar_split_lines import TarSplitLines

LEVEL = 1
FIRST_S, LAST_S = -62167219200, 253402300799  # years 0 to 9999
PIECE_BYTES = 1 << 20  # what the compressor is given at a time, so that its output does not depend on how lines come


@dataclass(frozen=True, slots=True)
class TarSplit:
    """A finished tar-split.

    ``header_times``: access and change time, in seconds, by row, of members whose GNU or star header has them.
    ``refusal``: why containers/storage would not accept the archive's end or such times, "" if it would.
    """

    data: bytes = field(repr=False)
    uncomp_size: int
    digest: str  # of the compressed bytes
    header_times: Mapping[int, tuple[int, int]] = field(repr=False)
    refusal: str = ""


class TarSplitWriter:
    """Takes a tar in pieces cut anywhere, and its members as they become known; gives the compressed tar-split.

    The result does not depend on the cuts.
    """

    def __init__(self, *, level: int = LEVEL) -> None:
        self._lines = TarSplitLines()
        self._compressor = zstandard.ZstdCompressor(level=level).compressobj()
        self._waiting = bytearray()
        self._out: list[bytes] = []
        self._uncomp_size = 0

    def add(self, data: "bytes | bytearray | memoryview", entries: EntryTable, first: int, end: int) -> None:
        """The next bytes of the tar.

        ``entries[first:end]`` are the members whose content begins in or just behind them and that were not given
        before. Nobody may add to ``entries`` meanwhile. Raises ValueError if a member's place is not in these
        bytes.
        """
        self._take(self._lines.feed(data, entries, first, end))

    def finish(self) -> TarSplit:
        """Call once, when all bytes of the tar were added, those behind its end mark too."""
        self._take(self._lines.finish())
        self._out.append(self._compressor.compress(bytes(self._waiting)))
        self._out.append(self._compressor.flush())
        data = b"".join(self._out)
        return TarSplit(data, self._uncomp_size, digest_of(data), self._lines.header_times, self._refusal())

    def _refusal(self) -> str:
        if self._lines.padding_is_cut:
            return "the tar ends inside the padding of its last file"
        if self._lines.tail_is_odd:
            return "something other than blocks of zeros follows the end of the tar"
        for times in self._lines.header_times.values():
            if not all(FIRST_S <= seconds <= LAST_S for seconds in times):
                return "an access or change time is outside the years 0 to 9999"
        return ""

    def _take(self, lines: bytes) -> None:
        self._uncomp_size += len(lines)
        self._waiting += lines
        n_whole = len(self._waiting) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, n_whole, PIECE_BYTES):
            self._out.append(self._compressor.compress(bytes(self._waiting[start : start + PIECE_BYTES])))
        del self._waiting[:n_whole]
