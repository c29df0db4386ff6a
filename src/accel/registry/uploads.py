"""Writing blobs (distribution-spec «Pushing blobs»): is it there, can it be mounted, else upload.

::

    up to chunk_bytes     POST, PUT with the body              sent again from memory
    can be read again     POST, PUT with the body              sent again from the start; 413: in chunks
    one-shot stream       POST, PATCH chunk by chunk, PUT      a chunk is sent again from the offset reached

An upload becomes a blob only by the last PUT, and that is sent (whole) only after our own check of the digest.
"""

import logging
import re
from collections.abc import Iterable, Iterator

from accel.blobs import Chunk, verified
from accel.errors import AccelError, NotFoundError, RegistryError
from accel.oci import Descriptor
from accel.registry.attempts import Attempts
from accel.registry.challenge import Scope
from accel.registry.client import Repository
from accel.registry.errors import TransientError
from accel.registry.response import Response
from accel.registry.transport import EMPTY, Body
from accel.registry.urls import Origin, join, with_query

_LOG = logging.getLogger(__name__)
_OCTETS = {"Content-Type": "application/octet-stream"}
_REACHED = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)
_MAX_CHUNK_BYTES = 128 << 20  # a registry's OCI-Chunk-Min-Length decides about our memory only up to here


class BlobWriter:
    """Uploads to one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the repository has the blob, with the right size as far as it tells."""
        response = self._repository.exists(f"blobs/{descriptor.digest}", f"blob {descriptor.digest}")
        return response is not None and response.content_length in (None, descriptor.size)

    def mount(self, descriptor: Descriptor, source: str) -> bool:
        """Whether the registry took the blob over from its repository ``source``; False for any kind of no."""
        try:
            response = self._repository.send(
                "POST",
                f"blobs/uploads/?mount={descriptor.digest}&from={source}",
                what=f"mount of {descriptor.digest}",
                ok=(201, 202),
                push=True,
                more=(Scope.repository(source, "pull"),),
                body=EMPTY,
            )
        except (RegistryError, NotFoundError) as error:
            _LOG.info("not mounted: %s", error)
            return False
        response.discard()
        if response.status == 201:
            return True
        self._cancel(self._location(response))  # 202: an upload was opened instead
        return False

    def put(self, descriptor: Descriptor, chunks: Iterable[Chunk]) -> None:
        """Store the blob unless it is there. DigestMismatch if ``chunks`` is not what ``descriptor`` says."""
        if self.has(descriptor):
            return
        limit = self._repository.options.chunk_bytes
        if descriptor.size <= limit:
            data = b"".join(verified(chunks, descriptor))
            self._put_whole(descriptor, Body.of(data))
        elif iter(chunks) is chunks:
            self._put_chunked(descriptor, chunks)
        else:
            try:
                self._put_whole(
                    descriptor, Body(descriptor.size, lambda: _held_back(verified(chunks, descriptor)))
                )
            except RegistryError as error:
                if error.status != 413:  # a proxy's limit for one request
                    raise
                self._put_chunked(descriptor, chunks)

    def _put_whole(self, descriptor: Descriptor, body: Body) -> None:
        attempts = Attempts(self._repository.options)
        while True:
            location = self._start(descriptor)[0]
            try:
                self._commit(location, descriptor, body)
                return
            except BaseException as error:
                self._cancel(location)
                if not isinstance(error, RegistryError):
                    raise
                attempts.failed(error)
                if self.has(descriptor):  # the answer was lost, not the blob; or someone else was faster
                    return

    def _put_chunked(self, descriptor: Descriptor, chunks: Iterable[Chunk]) -> None:
        location, min_bytes = self._start(descriptor)
        upload = _ChunkedUpload(self, descriptor, location)
        try:
            for block in _blocks(
                verified(chunks, descriptor), max(self._repository.options.chunk_bytes, min_bytes)
            ):
                upload.append(block)
            upload.finish()
        except BaseException:
            self._cancel(upload.location)
            raise

    def _start(self, descriptor: Descriptor) -> tuple[str, int]:
        """The location of a new upload, and the least bytes of a chunk but the last."""
        response = self._repository.send(
            "POST", "blobs/uploads/", what=f"upload of {descriptor.digest}", ok=(202,), push=True, body=EMPTY
        )
        response.discard()
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        min_bytes = int(least) if least.isascii() and least.isdigit() and len(least) < 19 else 0
        if min_bytes > _MAX_CHUNK_BYTES:
            raise RegistryError(f"{response.what}: the registry wants chunks of at least {min_bytes} bytes")
        return self._location(response), min_bytes

    def _commit(self, location: str, descriptor: Descriptor, body: Body) -> None:
        """The PUT that makes the upload a blob."""
        url = with_query(location, f"digest={descriptor.digest}")
        self._session("PUT", url, descriptor, ok=(201, 202, 204), headers=_OCTETS, body=body).discard()

    def _session(
        self,
        method: str,
        url: str,
        descriptor: Descriptor,
        *,
        ok: tuple[int, ...],
        headers: dict[str, str] | None = None,
        body: Body | None = None,
    ) -> Response:
        """One request to an open upload, not tried again here; 404 there means that the upload is gone."""
        what = f"upload of {descriptor.digest}"
        try:
            return self._repository.send(
                method, url, what=what, ok=ok, push=True, headers=headers, body=body, retry=False
            )
        except NotFoundError as error:
            raise TransientError(f"the upload was lost: {error}", status=404) from error

    def _location(self, response: Response) -> str:
        """Where the upload goes on. It may be relative, and on another host, which then gets no credentials."""
        location = response.headers.get("Location")
        if not location:
            raise RegistryError(f"{response.what}: the registry opened an upload without a Location")
        url = join(response.url, location)
        client = self._repository.client
        if not client.transport.may_use(Origin.of(url), client.origin):
            raise RegistryError(
                f"{response.what}: {client.origin} sends the upload to {Origin.of(url)}, which is not allowed"
            )
        return url

    def _cancel(self, location: str) -> None:
        """Let the registry forget an upload, if it listens."""
        try:
            self._repository.send(
                "DELETE",
                location,
                what="cancelling an upload",
                ok=(200, 202, 204, 404),
                push=True,
                body=EMPTY,
                retry=False,
            ).discard()
        except AccelError as error:
            _LOG.debug("%s", error)


class _ChunkedUpload:
    """An open upload and how far it got."""

    def __init__(self, writer: BlobWriter, descriptor: Descriptor, location: str) -> None:
        self._writer = writer
        self._descriptor = descriptor
        self.location = location
        self.offset = 0

    def append(self, block: memoryview) -> None:
        """Send the next bytes, again from where the registry got to if that fails."""
        end = self.offset + len(block)
        start = self.offset
        attempts = Attempts(self._writer._repository.options)
        while self.offset < end:
            try:
                self._patch(block[self.offset - start :])
            except RegistryError as error:
                if error.status == 416:  # the registry is elsewhere: ask where
                    error = TransientError(error.what, status=416)
                attempts.failed(error)
                self._resume(start, end)

    def finish(self) -> None:
        attempts = Attempts(self._writer._repository.options)
        while True:
            try:
                self._writer._commit(self.location, self._descriptor, EMPTY)
                return
            except RegistryError as error:
                attempts.failed(error)
                if self._writer.has(self._descriptor):  # only the answer was lost
                    return

    def _patch(self, data: memoryview) -> None:
        headers = _OCTETS | {"Content-Range": f"{self.offset}-{self.offset + len(data) - 1}"}
        response = self._writer._session(
            "PATCH", self.location, self._descriptor, ok=(201, 202, 204), headers=headers, body=Body.of(data)
        )
        response.discard()
        self.location = self._writer._location(response)
        self.offset += len(data)

    def _resume(self, start: int, end: int) -> None:
        """Ask how far the upload got. Bytes before ``start`` are not ours to send again."""
        try:
            reached = self._reached()
        except TransientError as error:
            if error.status != 404 or start != 0:
                raise
            self.location = self._writer._start(self._descriptor)[0]
            reached = 0
        if not start <= reached <= end:
            raise TransientError(
                f"upload of {self._descriptor.digest}: the registry has {reached} bytes, not {start} to {end}"
            )
        self.offset = reached

    def _reached(self) -> int:
        attempts = Attempts(self._writer._repository.options)
        while True:
            try:
                response = self._writer._session("GET", self.location, self._descriptor, ok=(200, 202, 204))
                break
            except RegistryError as error:
                if error.status == 404:
                    raise
                attempts.failed(error)
        response.discard()
        if response.headers.get("Location"):
            self.location = self._writer._location(response)
        match = _REACHED.fullmatch(response.headers.get("Range", "").strip())
        # "0-0" is what registries say for nothing as well as for one byte; our chunks are longer than that
        return int(match[1]) + 1 if match and match[1] != "0" else 0


def _held_back(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """``chunks`` one late: the last is given only after the iterator has ended well."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None:
            yield held
        held = chunk
    if held is not None:
        yield held


def _blocks(chunks: Iterable[Chunk], block_bytes: int) -> Iterator[memoryview]:
    """The same bytes in blocks of ``block_bytes``, the last one shorter."""
    block = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while len(view):
            n = min(len(view), block_bytes - len(block))
            block += view[:n]
            view = view[n:]
            if len(block) == block_bytes:
                yield memoryview(block)
                block = bytearray()
    if block:
        yield memoryview(block)
