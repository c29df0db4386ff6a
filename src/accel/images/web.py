"""One file from the web, as a stream."""

from collections.abc import Iterator

from accel.blobs import CHUNK_BYTES
from accel.registry.errors import refusal
from accel.registry.options import RegistryOptions
from accel.registry.transport import Transport
from accel.registry.urls import redact


def download(url: str, options: RegistryOptions | None = None) -> Iterator[bytes]:
    """The body of an http or https ``url``, as it is sent; the TLS options of ``options`` apply, credentials do not.

    Raises ``RegistryError`` (``AuthError``, ``NotFoundError``) for refusals and connections that break.
    """
    transport = Transport(options or RegistryOptions())
    try:
        what = redact(url)
        response = transport.request("GET", url, what=what)
        with response:
            if response.status != 200:
                raise refusal(what, response.status, response.headers, response.error_body())
            yield from response.chunks(CHUNK_BYTES)
    finally:
        transport.close()
