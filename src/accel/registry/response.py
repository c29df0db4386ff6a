"""One answer of a server: status, headers and a body that is read once, in bounded pieces."""

import threading
import zlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import urllib3
import urllib3.exceptions

from accel.errors import LimitError, RegistryError
from accel.registry.errors import TransientError

_ERROR_BODY_BYTES = 64 << 10
_READ_BYTES = 64 << 10
_MAX_READ_BYTES = 256 << 10  # a read that breaks off loses what it had; larger ones are hardly faster


class Meter:
    """Counts body bytes received, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_bytes = 0

    def add(self, n_bytes: int) -> None:
        with self._lock:
            self._n_bytes += n_bytes

    @property
    def n_bytes(self) -> int:
        return self._n_bytes


class Response:
    """Owns its connection until the body is read to the end or :meth:`close` is called; use as a context manager.

    ``url`` is where the answer came from in the end (it may hold a signature: not for messages), ``what`` the words
    for messages, ``redirected`` whether another origin than the one asked has answered.
    """

    def __init__(
        self, raw: urllib3.BaseHTTPResponse, url: str, what: str, *, redirected: bool, meter: Meter | None
    ) -> None:
        self._raw = raw
        self._meter = meter
        self.url = url
        self.what = what
        self.redirected = redirected
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers

    def header_values(self, name: str) -> list[str]:
        """The values of a header that may come several times, unjoined."""
        return list(self._raw.headers.getlist(name))

    @property
    def content_length(self) -> int | None:
        """What ``Content-Length`` says, None if it is absent or no number."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None

    @property
    def media_type(self) -> str:
        """The content type without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def chunks(self, chunk_bytes: int) -> Iterator[bytes]:
        """The body as it was sent (no content decoding) in pieces of at most ``chunk_bytes``.

        TransientError when the connection breaks.
        """
        read_bytes = min(chunk_bytes, _MAX_READ_BYTES)
        try:
            while chunk := self._raw.read(read_bytes, decode_content=False):
                if self._meter:
                    self._meter.add(len(chunk))
                yield chunk
        except (
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as error:  # ValueError: a chunk of -5 bytes
            raise TransientError(f"{self.what}: the connection broke: {_kind(error)}") from error
        finally:
            self.close()

    def body(self, max_bytes: int) -> bytes:
        """The whole body, as sent. LimitError beyond ``max_bytes``."""
        length = self.content_length
        if length is not None and length > max_bytes:
            self.close()
            raise LimitError(f"{self.what}: the answer has {length} bytes", limit=max_bytes)
        parts: list[bytes] = []
        total = 0
        for chunk in self.chunks(_READ_BYTES):
            parts.append(chunk)
            total += len(chunk)
            if total > max_bytes:
                self.close()
                raise LimitError(f"{self.what}: the answer does not end", limit=max_bytes)
        return b"".join(parts)

    def document(self, max_bytes: int) -> bytes:
        """The whole body; a ``gzip`` or ``deflate`` coding, which no one asked for but some apply, is undone."""
        raw = self.body(max_bytes)
        coding = self.headers.get("Content-Encoding", "").strip().lower()
        if coding in ("", "identity"):
            return raw
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise RegistryError(
                f"{self.what}: the answer has the content coding {coding[:40]!r}, which was not asked for"
            )
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            plain = decoder.decompress(raw, max_bytes + 1)
        except zlib.error as error:
            raise RegistryError(f"{self.what}: the answer is not valid {coding}") from error
        if len(plain) > max_bytes:
            raise LimitError(f"{self.what}: the answer unpacks to too much", limit=max_bytes)
        if not decoder.eof:
            raise TransientError(f"{self.what}: the answer's {coding} is cut short")
        return plain

    def error_body(self) -> bytes:
        """What there is of the body, cut at 64 KiB and not counted; never raises for a broken connection."""
        self._meter = None
        parts: list[bytes] = []
        total = 0
        try:
            for chunk in self.chunks(_READ_BYTES):
                parts.append(chunk)
                total += len(chunk)
                if total >= _ERROR_BODY_BYTES:
                    break
        except TransientError:
            pass
        finally:
            self.close()
        return b"".join(parts)[:_ERROR_BODY_BYTES]

    def discard(self) -> None:
        """Read a short rest so that the connection can serve again, or close it."""
        self.error_body()

    def close(self) -> None:
        """Give the connection back if the body was read to the end, close it otherwise. May be called again."""
        raw = self._raw
        if not raw.closed and getattr(raw, "length_remaining", None) == 0:
            raw.drain_conn()  # an answer without a body: nothing is read, but http.client marks it as done
        if not raw.closed:
            raw.close()
        raw.release_conn()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _kind(error: BaseException) -> str:
    """A broken connection in words; the text of urllib3's errors may hold URLs."""
    if isinstance(error, urllib3.exceptions.IncompleteRead):
        return "the body ended early"
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return "it was silent or too slow"
    cause = error.__cause__ or error.__context__
    return type(cause if isinstance(cause, OSError) else error).__name__
