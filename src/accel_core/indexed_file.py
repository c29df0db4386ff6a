"""``accel_core.open_indexed``: what a layer inflates to, as a file that can seek."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import Buffer

from accel_core.byte_source import BufferSource, ByteSource, CallSource, FileSource
from accel_core.errors import FormatError, TruncatedError
from accel_core.indexed_reader import IndexedReader
from accel_core.layer_index import LayerIndex
from accel_core.read_ahead import RangeReader, ReadAhead, stream

DEFAULT_CACHE_BYTES = 64 << 20
HASH_BYTES = 1 << 20
AHEAD_AFTER = 4 << 20  # bytes read in sequence before threads inflate ahead

Source = str | os.PathLike[str] | int | Buffer | Callable[[int, int], Buffer]


def open_indexed(
    source: Source,
    index: LayerIndex,
    *,
    threads: int = 1,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    verify: bool = True,
    blob: str | None = None,
) -> "IndexedFile":
    """A file object over the inflated bytes of the layer ``source``: a path, a descriptor, its bytes, or
    ``read_at(offset, n)``.

    With ``verify``, if the index has span digests, a span is compared with its digest when it is first touched, before
    a byte of it is inflated: reading 4 KiB then costs hashing a span, once. What changes in the source after that is
    not noticed. Without, as nothing else can tell, wrong bytes that still inflate are returned as they are.

    ``threads`` inflate ahead once reads follow each other, and share reads of many spans. ``cache_bytes`` bounds what
    is kept between reads; reading ahead takes ``threads + 1`` spans more. ``blob`` names the layer in errors (default:
    the path, or the index's digest).

    Raises FormatError if the index does not belong to the source, OSError if that cannot be opened; reads raise
    FormatError or TruncatedError, naming blob and offset.
    """
    if blob is None:
        blob = os.fspath(source) if isinstance(source, str | os.PathLike) else index.digest
    descriptor = None
    if isinstance(source, str | os.PathLike):
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        data = _byte_source(descriptor if descriptor is not None else source, index.comp_size)
        if data.size != index.comp_size:
            raise FormatError(
                f"index is for a layer of {index.comp_size} bytes, this one has {data.size}", blob=blob
            )
        before_span = _Verifier(data, index, blob) if verify and index.span_digests else None
        reader: RangeReader
        if index.compression == "tar":
            reader = StoredReader(data, index, before_span, blob)
        else:
            reader = IndexedReader(
                data,
                index.checkpoints,
                index.uncomp_size,
                cache_bytes=cache_bytes,
                before_span=before_span,
                blob=blob,
            )
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    return IndexedFile(reader, threads=threads, descriptor=descriptor)


def _byte_source(source: Any, size: int) -> ByteSource:
    if isinstance(source, int):
        return FileSource(source)
    if callable(source):
        return CallSource(source, size)
    return BufferSource(source)


class IndexedFile(io.RawIOBase):
    """A seekable, read-only file. ``read_at`` and ``readinto_at`` may be called by several threads at once; the
    position (``read``, ``readinto``, ``seek``) is for one."""

    def __init__(self, reader: RangeReader, *, threads: int = 1, descriptor: int | None = None) -> None:
        super().__init__()
        self.reader = reader
        self._threads = threads
        self._descriptor = descriptor
        self._pos = 0
        self._in_sequence = 0  # bytes read up to `_pos` without a seek
        self._ahead: ReadAhead | None = None

    @property
    def size(self) -> int:
        """Inflated bytes."""
        return self.reader.size

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The bytes ``[offset, offset + n_bytes)``, fewer at the end; the position stays."""
        self._check_open()
        return self.reader.read_at(offset, n_bytes)

    def readinto_at(self, offset: int, into: Buffer) -> int:
        """Fill ``into`` from ``offset`` on and say how far; the position stays."""
        self._check_open()
        return self.reader.readinto_at(offset, into)

    def stream(self, start: int = 0, end: int | None = None, *, threads: int | None = None) -> Iterator[memoryview]:
        """The bytes ``[start, end)`` in order, in pieces that are valid until the next one is asked for."""
        self._check_open()
        end = self.size if end is None else min(end, self.size)
        return stream(self.reader, max(0, start), end, threads=threads or self._threads)

    def read(self, n_bytes: int | None = -1) -> bytes:
        n = self._clip(n_bytes if n_bytes is not None and n_bytes >= 0 else self.size)
        ahead = self._sequence(n)
        if ahead is None:
            data = self.reader.read_at(self._pos, n)
        else:
            parts = []
            while n:
                parts.append(bytes(ahead.next_part(n)))
                n -= len(parts[-1])
            data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._pos += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, into: Buffer) -> int:
        view = memoryview(into).cast("B")
        n = self._clip(len(view))
        ahead = self._sequence(n)
        if ahead is None:
            self.reader.readinto_at(self._pos, view[:n])
        done = 0
        while ahead is not None and done < n:
            part = ahead.next_part(n - done)
            view[done : done + len(part)] = part
            done += len(part)
        self._pos += n
        return n

    def _clip(self, n_bytes: int) -> int:
        self._check_open()
        return max(0, min(n_bytes, self.size - self._pos))

    def _sequence(self, n_bytes: int) -> ReadAhead | None:
        """What inflates ahead, if that pays for the ``n_bytes`` to be read now."""
        self._in_sequence += n_bytes
        if self._ahead is None and self._threads > 1 and n_bytes and self._in_sequence >= AHEAD_AFTER:
            self._ahead = ReadAhead(self.reader, self._pos, self._threads)
        return self._ahead

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._pos, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        if base + offset != self._pos:
            self._pos = base + offset
            self._in_sequence = 0
            self._stop_ahead()
        return self._pos

    def tell(self) -> int:
        self._check_open()
        return self._pos

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._stop_ahead()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
        super().close()

    def _stop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class StoredReader:
    """The reader of a layer that is not compressed."""

    def __init__(
        self, source: ByteSource, index: LayerIndex, before_span: Callable[[int], None] | None, blob: str | None
    ) -> None:
        if index.span_bytes <= 0 or index.uncomp_size != source.size:
            raise FormatError("spans of the index do not cover the layer", blob=blob)
        self.size = index.uncomp_size
        self._source = source
        self._span_bytes = index.span_bytes
        self._before_span = before_span
        self._seen: set[int] = set()
        self._blob = blob

    def spans(self, start: int, end: int) -> list[tuple[int, int]]:
        return [(max(0, start), min(end, self.size))] if start < end else []

    def read_at(self, offset: int, n: int) -> bytes:
        if self._before_span is not None:
            for span in range(offset // self._span_bytes, -(-min(offset + n, self.size) // self._span_bytes)):
                if span not in self._seen:
                    self._before_span(span)
                    self._seen.add(span)
        data = self._source.read_at(offset, n)
        if len(data) != max(0, min(n, self.size - offset)):
            raise TruncatedError("the blob ends early", comp_offset=offset + len(data), blob=self._blob)
        return data

    def readinto_at(self, offset: int, into: Buffer) -> int:
        view = memoryview(into).cast("B")
        data = self.read_at(offset, len(view))
        view[: len(data)] = data
        return len(data)


class _Verifier:
    """Called with a span's number: compares the span with its digest."""

    def __init__(self, source: ByteSource, index: LayerIndex, blob: str | None) -> None:
        if len(index.span_digests) != index.n_spans:
            raise FormatError("the index has not one digest for each span", blob=blob)
        self._source = source
        self._index = index
        self._blob = blob

    def __call__(self, span: int) -> None:
        start, end = self._index.span_comp(span)
        got = hashlib.sha256()
        for offset in range(start, end, HASH_BYTES):
            got.update(self._source.read_at(offset, min(HASH_BYTES, end - offset)))
        if "sha256:" + got.hexdigest() != self._index.span_digests[span]:
            raise FormatError(f"span {span} is not what its digest says", comp_offset=start, blob=self._blob)
