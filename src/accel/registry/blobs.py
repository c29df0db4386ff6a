"""Blobs of a registry: streamed and verified, resumed where a connection broke, or read by ranges."""

import logging
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from accel.blobs import CHUNK_BYTES, check_range, verified
from accel.errors import RegistryError
from accel.oci import Descriptor
from accel.registry.attempts import Attempts
from accel.registry.client import Repository
from accel.registry.errors import TransientError
from accel.registry.response import Response

_LOG = logging.getLogger(__name__)
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)
_PROGRESS_BYTES = 64 << 10  # a connection that gave this much was worth asking again as often as at first


class BlobReader:
    """The blobs of one repository, and the copies kept of those whose host does not serve ranges."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._lock = threading.Lock()
        self._spools: dict[str, _Spool] = {}

    def blob(self, descriptor: Descriptor) -> "RemoteBlob":
        return RemoteBlob(self, descriptor)

    def spool(self, digest: str) -> "_Spool":
        """The place for the copy of a blob, perhaps empty yet."""
        with self._lock:
            return self._spools.setdefault(digest, _Spool(self.repository.options.spool_bytes))

    def has_spool(self, digest: str) -> bool:
        return digest in self._spools

    def close(self) -> None:
        """Throw the copies away."""
        with self._lock:
            for spool in self._spools.values():
                spool.close()
            self._spools.clear()


class RemoteBlob:
    """One blob. ``stream`` raises DigestMismatch for wrong bytes; ``read_at`` checks position and length only.

    Where the registry redirects to storage, later reads go there directly until the storage refuses (signed URLs
    expire after minutes); then the registry is asked again.
    """

    is_verified = True

    def __init__(self, reader: BlobReader, descriptor: Descriptor) -> None:
        self._reader = reader
        self._repository = reader.repository
        self._descriptor = descriptor
        self._what = f"blob {descriptor.digest}"
        self._label = f"{self._repository.label}: {self._what}"
        self._target: str | None = None

    @property
    def size(self) -> int:
        return self._descriptor.size

    def stream(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """All bytes in order; DigestMismatch after the last, or as soon as there are too many."""
        return verified(self._chunks(chunk_bytes), self._descriptor)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Exactly ``n_bytes`` from ``offset``, by a Range request; TruncatedError beyond the end.

        A host that does not serve ranges is asked for the whole blob once: it is verified, kept in memory or a
        temporary file until the store is closed, and read from there.
        """
        check_range(self, offset, n_bytes, self._label)
        if n_bytes == 0:
            return b""
        if not self._reader.has_spool(self._descriptor.digest):
            data = self._range(offset, offset + n_bytes)
            if data is not None:
                return data
            _LOG.info("%s: no usable ranges, fetching the whole", self._label)
        return self._reader.spool(self._descriptor.digest).read_at(self, offset, n_bytes)

    def _chunks(self, chunk_bytes: int) -> Iterator[bytes]:
        offset = mark = 0
        attempts = Attempts(self._repository.options)
        while offset < self.size:  # never ask past the end: registries answer that badly
            try:
                response, start = self._open(offset, self.size)
                with response:
                    for chunk in response.chunks(chunk_bytes):
                        skip = max(0, min(offset - start, len(chunk)))
                        start += len(chunk)
                        if skip < len(chunk):
                            offset += len(chunk) - skip
                            yield chunk[skip:] if skip else chunk
                if offset < self.size:
                    raise TransientError(f"{self._label}: ended at {offset} of {self.size} bytes")
            except RegistryError as error:
                if offset - mark >= _PROGRESS_BYTES:
                    attempts.progress()
                    mark = offset
                if offset < self.size:
                    attempts.failed(error)

    def _range(self, start: int, end: int) -> bytes | None:
        """The bytes ``[start, end)``, None if the host does not serve them by range."""
        found = bytearray()
        attempts = Attempts(self._repository.options)
        while len(found) < end - start:
            try:
                response, position = self._open(start + len(found), end)
                with response:
                    if position != start + len(found):
                        return None
                    for chunk in response.chunks(CHUNK_BYTES):
                        found += chunk
                        if len(found) > end - start:
                            if response.status == 200:  # the whole was asked for, and there is more
                                break
                            raise RegistryError(
                                f"{self._label}: more bytes than the range [{start}, {end}) has"
                            )
                if len(found) < end - start:
                    raise TransientError(
                        f"{self._label}: the range [{start}, {end}) ended {end - start - len(found)} early"
                    )
            except RegistryError as error:
                attempts.failed(error)
        return bytes(found[: end - start])

    def _open(self, start: int, end: int) -> tuple[Response, int]:
        """An answer and the position of its first byte: ``start``, or 0 where the host gave the whole blob."""
        if start == 0 and end == self.size:
            return self._answer({}), 0
        response = self._answer({"Range": f"bytes={start}-{end - 1}"})
        if response.status == 200:
            return response, 0
        if self._is_at(response, start, end):
            return response, start
        _LOG.info("%s: useless Content-Range %.80r", self._label, response.headers.get("Content-Range"))
        response.close()
        return self._answer({}), 0

    def _answer(self, headers: dict[str, str]) -> Response:
        ok = (200, 206) if headers else (200,)
        repository = self._repository
        target = self._target
        if target is not None:
            transport = repository.client.transport
            try:
                response = transport.request(
                    "GET", target, what=self._label, headers=headers, meter=repository.meter
                )
                if response.status in ok:
                    return response
                response.close()
            except RegistryError as error:
                _LOG.info("%s", error)
            self._target = None
        response = repository.send(
            "GET", f"blobs/{self._descriptor.digest}", what=self._what, ok=ok, headers=headers, retry=False
        )
        if response.redirected:
            self._target = response.url
        return response

    def _is_at(self, response: Response, start: int, end: int) -> bool:
        """Whether a 206 holds what was asked for or its beginning. RegistryError if the blob has another size."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start or not start <= int(match[2]) < end:
            return False
        if match[3] != "*" and int(match[3]) != self.size:
            response.close()
            raise RegistryError(
                f"{self._label}: the registry has {match[3]} bytes, the descriptor says {self.size}"
            )
        return True


class _Spool:
    """A verified copy of a blob in memory or, when large, in an unnamed temporary file."""

    def __init__(self, memory_bytes: int) -> None:
        self._lock = threading.Lock()
        self._memory_bytes = memory_bytes
        self._file: IO[bytes] | None = None

    def read_at(self, blob: RemoteBlob, offset: int, n_bytes: int) -> bytes:
        with self._lock:
            if self._file is None:
                self._file = self._fetch(blob)
            self._file.seek(offset)
            return self._file.read(n_bytes)

    def _fetch(self, blob: RemoteBlob) -> IO[bytes]:
        file = tempfile.SpooledTemporaryFile(max_size=self._memory_bytes)  # noqa: SIM115  (closed with the store)
        try:
            for chunk in blob.stream():
                file.write(chunk)
        except BaseException:
            file.close()
            raise
        return file

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
