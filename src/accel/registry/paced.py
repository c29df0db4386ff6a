"""urllib3 connections that do not wait for ever.

A socket timeout bounds the silence between two packets, so a peer that sends one byte a minute keeps a client for
days. Here each response is read through :class:`_PacedReader`, which adds up the time spent waiting and gives up
when too little came for it, and bounds what the HTTP framing itself (headers, chunk sizes, trailers) may take.
"""

import http.client
import io
import socket
import time
from functools import partial
from typing import Any

import urllib3
import urllib3.connection

_BUFFER_BYTES = 64 << 10
_HEADER_BYTES = 256 << 10  # http.client alone takes 100 lines of 64 KiB, and any number of "100 Continue"
# Beyond the bytes of a body, chunked framing may take as much again (chunks of 5 bytes do), and what is read ahead.
_FRAMING_PER_BYTE = 2
_FRAMING_BYTES = 128 << 10


class _PacedReader(io.RawIOBase):
    """Reads ``raw`` until it has given ``budget`` bytes (see :meth:`grant`) or gets slower than ``min_rate``."""

    def __init__(self, raw: io.RawIOBase, window_s: float | None, min_rate: int) -> None:
        self._raw = raw
        self._window_s = window_s
        self._min_rate = min_rate
        self._waited_s = 0.0
        self._got = 0
        self._budget = _HEADER_BYTES

    def grant(self, n_bytes: int) -> None:
        """Allow ``n_bytes`` more, however much was left."""
        self._budget = n_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._budget <= 0:
            raise http.client.HTTPException("the response's framing has no end")
        start = time.monotonic()
        n = self._raw.readinto(buffer)
        self._waited_s += time.monotonic() - start
        self._got += n or 0
        self._budget -= n or 0
        if self._window_s is not None and self._waited_s >= self._window_s:
            if n and self._got < self._min_rate * self._waited_s:
                raise TimeoutError(f"{self._got} bytes in {self._waited_s:.0f} s")
            self._waited_s, self._got = 0.0, 0
        return n

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
        *,
        min_rate: int,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        raw: io.RawIOBase = self.fp.detach()
        self._paced = _PacedReader(raw, sock.gettimeout(), min_rate)
        self.fp = io.BufferedReader(self._paced, _BUFFER_BYTES)

    def read(self, amt: int | None = None) -> bytes:
        if amt is not None:
            self._paced.grant(_FRAMING_PER_BYTE * amt + _FRAMING_BYTES)
        return super().read(amt)


class _HTTPConnection(urllib3.connection.HTTPConnection):
    min_rate = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.response_class = partial(_PacedResponse, min_rate=self.min_rate)  # type: ignore[assignment]


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    min_rate = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.response_class = partial(_PacedResponse, min_rate=self.min_rate)  # type: ignore[assignment]

    def connect(self) -> None:
        super().connect()
        # Not verified only where the user named the host "insecure"; urllib3 would warn on each connection.
        self.is_verified = True


def paced_pools(min_rate: int) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Pool classes by scheme, whose responses must come at ``min_rate`` bytes a second over each read timeout."""
    http_connection = type("PacedHTTPConnection", (_HTTPConnection,), {"min_rate": min_rate})
    https_connection = type("PacedHTTPSConnection", (_HTTPSConnection,), {"min_rate": min_rate})
    return {
        "http": type("PacedHTTPPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": http_connection}),
        "https": type("PacedHTTPSPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": https_connection}),
    }
