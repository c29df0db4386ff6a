"""Bytes by range, and bytes checked while they pass.

A :class:`Blob` is the seam between what needs bytes (scanners, readers) and where they are (file, memory, registry).
:func:`verified` guards the border: it lets bytes through and says at the end whether they were the right ones.
"""

import os
import queue
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from accel.errors import DigestMismatch, FormatError, LimitError, TruncatedError
from accel.oci import MAX_MANIFEST_BYTES, Descriptor, hasher_for

CHUNK_BYTES = 1 << 20

Chunk = bytes | memoryview  # memoryviews are of single bytes (format "B")
_Chunk = TypeVar("_Chunk", bound=bytes | memoryview)


class Blob(Protocol):
    """Bytes of known size. Reads may come from several threads at once."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def is_verified(self) -> bool:
        """Whether ``stream`` itself raises DigestMismatch for wrong bytes."""

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Exactly ``n_bytes`` from ``offset``. Raises TruncatedError where the blob ends before."""

    def stream(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """All bytes in order, in pieces of at most ``chunk_bytes``."""


class MemoryBlob:
    """A blob held in memory."""

    is_verified = False

    def __init__(self, data: bytes, *, name: str | None = None) -> None:
        self._data = data
        self._name = name

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        check_range(self, offset, n_bytes, self._name)
        return self._data[offset : offset + n_bytes]

    def stream(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        for start in range(0, len(self._data), chunk_bytes):
            yield self._data[start : start + chunk_bytes]


class FileBlob:
    """A regular file, or ``size`` bytes of it from ``offset``. Not kept open, except by ``opened`` and ``stream``."""

    is_verified = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        offset: int = 0,
        size: int | None = None,
        *,
        name: str | None = None,
        identity: tuple[int, ...] | None = None,
    ) -> None:
        """``name`` is the blob's name in errors (its path if None).

        With an ``identity`` (see :meth:`identity_of`), reading fails once the path leads to another or a changed file;
        for ranges of an archive, where other bytes would be found at the same offset.
        Raises OSError if there is no such file, FormatError if it is none (a pipe or a device has no size).
        """
        self._path = os.fspath(path)
        self._name = name or self._path
        self._offset = offset
        self._identity = identity
        fd = self._open()
        try:
            file_bytes = os.fstat(fd).st_size
        finally:
            os.close(fd)
        self._size = file_bytes - offset if size is None else size
        if offset < 0 or self._size < 0 or offset + self._size > file_bytes:
            raise TruncatedError(
                f"bytes {offset} to {offset + self._size} of a file of {file_bytes}", blob=self._name
            )

    @staticmethod
    def identity_of(status: os.stat_result) -> tuple[int, ...]:
        """What tells a file from the one that took its place."""
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def path(self) -> str:
        """The file that holds the bytes."""
        return self._path

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        with self.opened() as read_at:
            return read_at(offset, n_bytes)

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, int], bytes]]:
        """``read_at`` for many reads, from several threads too: of the file that the path leads to now."""
        fd = self._open()
        try:
            yield partial(self._read_from, fd)
        finally:
            os.close(fd)

    def _read_from(self, fd: int, offset: int, n_bytes: int) -> bytes:
        check_range(self, offset, n_bytes, self._name)
        return b"".join(self._pieces(fd, offset, n_bytes, max(n_bytes, 1)))

    def stream(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        fd = self._open()
        try:
            yield from self._pieces(fd, 0, self._size, chunk_bytes)
        finally:
            os.close(fd)

    def _open(self) -> int:
        # Without O_NONBLOCK, a named pipe in place of the file would block us here for ever.
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise FormatError("not a regular file", blob=self._name)
        if self._identity not in (None, self.identity_of(status)):
            os.close(fd)
            raise FormatError(f"the file {self._path} was changed while in use", blob=self._name)
        return fd

    def _pieces(self, fd: int, offset: int, n_bytes: int, chunk_bytes: int) -> Iterator[bytes]:
        end = offset + n_bytes
        while offset < end:
            piece = os.pread(fd, min(chunk_bytes, end - offset), self._offset + offset)
            if not piece:
                raise TruncatedError(
                    f"the file ended before its {self._size} bytes", comp_offset=offset, blob=self._name
                )
            yield piece
            offset += len(piece)


def in_background(chunks: Iterable[_Chunk], n_ahead: int = 4) -> Generator[_Chunk, None, None]:
    """The same chunks, made by a thread of their own up to ``n_ahead`` in advance; what it raises is raised here.

    A daemon: one that hangs in a read of a slow connection does not keep an interrupted process alive. Close the
    iterator to have it stop after the chunk it is making.
    """
    ready: queue.Queue[_Chunk | BaseException | None] = queue.Queue(n_ahead)
    closed = threading.Event()

    def work() -> None:
        try:
            for chunk in chunks:
                ready.put(chunk)
                if closed.is_set():
                    return
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=work, name="accel-read", daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        while not ready.empty():        # a full queue would keep the thread waiting
            ready.get_nowait()


def check_range(blob: Blob, offset: int, n_bytes: int, name: str | None = None) -> None:
    """Raise ValueError for negative numbers, TruncatedError for a range that does not lie within ``blob``."""
    if offset < 0 or n_bytes < 0:
        raise ValueError(f"negative range: {n_bytes} bytes at {offset}")
    if offset + n_bytes > blob.size:
        raise TruncatedError(
            f"{n_bytes} bytes wanted, but the blob has only {blob.size}", comp_offset=offset, blob=name
        )


def verified(chunks: Iterable[_Chunk], descriptor: Descriptor) -> Iterator[_Chunk]:
    """The same chunks; DigestMismatch after the last one, or as soon as there are more bytes than ``descriptor.size``.

    What came before an error must not be published: the caller writes aside and publishes after the end.
    """
    hasher = hasher_for(descriptor.digest)
    n_bytes = 0
    for chunk in chunks:
        n_bytes += len(chunk)
        if n_bytes > descriptor.size:
            raise DigestMismatch(f"{descriptor.size} bytes", "more", n_bytes=n_bytes, blob=descriptor.digest)
        hasher.update(chunk)
        yield chunk
    if n_bytes < descriptor.size:
        raise DigestMismatch(f"{descriptor.size} bytes", "fewer", n_bytes=n_bytes, blob=descriptor.digest)
    got = f"{hasher.name}:{hasher.hexdigest()}"
    if got != descriptor.digest:
        raise DigestMismatch(descriptor.digest, got, n_bytes=n_bytes, blob=descriptor.digest)


def check_bytes(raw: bytes, descriptor: Descriptor) -> bytes:
    """``raw``, known to be what ``descriptor`` says. Raises DigestMismatch."""
    for _ in verified([raw], descriptor):
        pass
    return raw


def read_whole(blob: Blob, descriptor: Descriptor, *, max_bytes: int = MAX_MANIFEST_BYTES) -> bytes:
    """All bytes of a small blob (a config, an index), verified. Raises LimitError before reading too much."""
    if descriptor.size > max_bytes:
        raise LimitError(f"blob {descriptor.digest} has {descriptor.size} bytes", limit=max_bytes)
    return b"".join(verified(blob.stream(), descriptor))
