"""What a layer blob really is, told by its first bytes, and ordinary streaming decoders for it.

Media types lie (gzip under a plain-tar type is common), so nothing here looks at them.

::

    1f 8b                 gzip      RFC 1952
    28 b5 2f fd           zstd      RFC 8878 §3.1.1 (a skippable frame 5? 2a 4d 18 counts as zstd too)
    fd 37 7a 58 5a 00     xz
    42 5a 68              bzip2     "BZh"
    04 22 4d 18           lz4       frame format
    512 bytes that are a tar header (their checksum holds) or zeros: tar
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, Literal, Protocol, cast

from accel.errors import FormatError, LimitError, TruncatedError, UnsupportedError

Compression = Literal["gzip", "tar", "zstd", "xz", "bzip2", "lz4", "empty", "unknown"]

SNIFF_BYTES = 512  # one tar block: the longest signature
_PIECE_BYTES = 1 << 20  # inflated bytes handed on at once, whatever a small input expands to

_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
)


def sniff(head: bytes) -> Compression:
    """The compression of the blob that starts with ``head`` (its first :data:`SNIFF_BYTES` bytes or all of it)."""
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18":
        return "zstd"
    if len(head) >= SNIFF_BYTES and _is_tar_header(head[:SNIFF_BYTES]):
        return "tar"
    return "unknown"


def _is_tar_header(block: bytes) -> bool:
    if not block.strip(b"\0"):
        return True  # an archive without entries is two zero blocks
    try:
        claimed = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    blanked = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in blanked)  # as some old tars summed
    return claimed in (sum(blanked), signed)


def peek(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first :data:`SNIFF_BYTES` bytes (or fewer, if that is all), and an iterator over everything again."""
    source = iter(chunks)
    taken: list[bytes] = []
    n_bytes = 0
    while n_bytes < SNIFF_BYTES and (chunk := next(source, None)) is not None:
        taken.append(chunk)
        n_bytes += len(chunk)
    return b"".join(bytes(chunk) for chunk in taken)[:SNIFF_BYTES], chain(taken, source)


def decompressed(
    chunks: Iterable[bytes], compression: Compression, *, max_bytes: int | None = None
) -> Iterator[bytes]:
    """The uncompressed bytes in pieces of at most about 1 MiB; what follows the last gzip member is ignored.

    Raises ``FormatError`` or ``TruncatedError`` for broken data, ``LimitError`` past ``max_bytes`` and
    ``UnsupportedError`` for a compression without a decoder here.
    """
    n_bytes = 0
    for piece in _pieces(chunks, compression):
        n_bytes += len(piece)
        if max_bytes is not None and n_bytes > max_bytes:
            raise LimitError("layer inflates to more than allowed", limit=max_bytes)
        yield piece


def _pieces(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    match compression:
        case "tar":
            return (bytes(chunk) for chunk in chunks)
        case "empty":
            return iter(())
        case "gzip":
            return _gunzip(chunks)
        case "bzip2":
            return _frames(chunks, bz2.BZ2Decompressor, b"BZh", "bzip2")
        case "xz":
            return _frames(chunks, lzma.LZMADecompressor, b"\xfd7zXZ\x00", "xz")
        case "zstd":
            return _unzstd(chunks)
    raise UnsupportedError(f"no decoder for {compression} layers")


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # zlib checks the CRC and length of every member; members follow each other until something else does.
    inflate = zlib.decompressobj(31)
    comp_offset = 0
    inside = False  # a member has begun and not ended
    data = b""  # not yet inflated; carries over when one byte cannot tell whether another member starts
    for chunk in chunks:
        data += bytes(chunk)
        pending = False  # zlib may hold output back when a piece fills up
        while data or pending:
            if not inside and comp_offset:
                if len(data) < 2:
                    break
                if data[:2] != b"\x1f\x8b":
                    return
            inside = True
            try:
                piece = inflate.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise FormatError(f"gzip: {error}", comp_offset=comp_offset) from error
            pending = len(piece) == _PIECE_BYTES and not inflate.eof
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            comp_offset += len(data) - len(rest)
            data = rest
            if inflate.eof:
                inflate, inside = zlib.decompressobj(31), False
            if piece:
                yield piece
    if inside:
        raise TruncatedError("gzip member ends early", comp_offset=comp_offset)


class _FrameDecoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _frames(
    chunks: Iterable[bytes], new_decoder: Callable[[], _FrameDecoder], magic: bytes, what: str
) -> Iterator[bytes]:
    decoder = new_decoder()
    comp_offset = 0
    started = False
    for chunk in chunks:
        data = bytes(chunk)
        comp_offset += len(data)
        while data or not (decoder.needs_input or decoder.eof):
            if decoder.eof:
                decoder, started = new_decoder(), False
                if not data.startswith(magic[: len(data)]):
                    return
            started = True
            try:
                piece = decoder.decompress(data, _PIECE_BYTES)
            except (OSError, EOFError, lzma.LZMAError) as error:
                raise FormatError(f"{what}: {error}", comp_offset=comp_offset) from error
            data = decoder.unused_data if decoder.eof else b""
            if piece:
                yield piece
    if started and not decoder.eof:
        raise TruncatedError(f"{what} stream ends early", comp_offset=comp_offset)


def _unzstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise UnsupportedError("reading zstd layers needs the Python package zstandard") from None
    frames = ZstdFrames()
    source = _ReadableChunks(map(frames.take, chunks))
    try:
        # its stubs ask for IO; it only calls read
        decompressor = zstandard.ZstdDecompressor()
        with decompressor.stream_reader(cast(IO[bytes], source), read_across_frames=True) as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise FormatError(f"zstd: {error}", comp_offset=source.position) from error
    if frames.inside:  # the decoder takes what there is
        raise TruncatedError("zstd frame ends early", comp_offset=source.position)


class ZstdFrames:
    """Follows frames and blocks of a zstd stream (RFC 8878 §3.1), to know whether it ends where it may."""

    def __init__(self) -> None:
        self._pass_over = 0
        self._held = b""
        self._needed = 4
        self._next: Callable[[bytes], None] = self._magic
        self._has_checksum = False

    @property
    def inside(self) -> bool:
        """Whether the stream is in the middle of a frame."""
        return bool(self._pass_over or self._held) or self._next not in (self._magic, self._lost)

    def take(self, chunk: bytes) -> bytes:
        """The next bytes, given back."""
        at = 0
        while at < len(chunk):
            if self._pass_over:
                n_bytes = min(self._pass_over, len(chunk) - at)
                self._pass_over -= n_bytes
                at += n_bytes
                continue
            n_bytes = self._needed - len(self._held)
            self._held += chunk[at : at + n_bytes]
            at += n_bytes
            if len(self._held) >= self._needed:
                held, self._held = self._held, b""
                self._next(held)
        return chunk

    def _expect(self, n_bytes: int, step: Callable[[bytes], None]) -> None:
        self._needed, self._next = n_bytes, step

    def _magic(self, held: bytes) -> None:
        if held == b"\x28\xb5\x2f\xfd":
            self._expect(1, self._descriptor)
        elif held[0] & 0xF0 == 0x50 and held[1:] == b"\x2a\x4d\x18":
            self._expect(4, self._skippable)
        else:
            self._expect(1 << 16, self._lost)

    def _skippable(self, held: bytes) -> None:
        self._pass_over = int.from_bytes(held, "little")
        self._expect(4, self._magic)

    def _descriptor(self, held: bytes) -> None:
        single_segment = bool(held[0] & 0x20)
        content_size = (1 if single_segment else 0, 2, 4, 8)[held[0] >> 6]
        self._has_checksum = bool(held[0] & 0x04)
        self._pass_over = (not single_segment) + (0, 1, 2, 4)[held[0] & 3] + content_size
        self._expect(3, self._block)

    def _block(self, held: bytes) -> None:
        header = int.from_bytes(held, "little")
        is_last, is_run = header & 1, header >> 1 & 3 == 1
        self._pass_over = 1 if is_run else header >> 3
        if is_last:
            self._pass_over += 4 * self._has_checksum
            self._expect(4, self._magic)

    def _lost(self, held: bytes) -> None:
        """What is no frame, the decoder will say."""


class _ReadableChunks:
    """An iterator of chunks as an object with ``read``."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = b""
        self.position = 0

    def read(self, n: int = -1) -> bytes:
        if n < 0:
            data, self._left = self._left + b"".join(self._chunks), b""
        else:
            if not self._left:
                self._left = bytes(next(self._chunks, b""))
            data, self._left = self._left[:n], self._left[n:]
        self.position += len(data)
        return data
