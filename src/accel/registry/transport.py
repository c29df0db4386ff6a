"""HTTP requests over one set of connection pools: TLS per host, redirects, broken connections as typed errors.

What a redirect may do is decided here: ``Authorization`` never crosses to another origin, HTTPS never becomes plain
HTTP, and nobody is sent to a private address that the user did not name (unless the registry has one itself).
"""

import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import urllib3
import urllib3.exceptions

from accel.errors import ConfigError, RegistryError
from accel.registry.errors import TransientError
from accel.registry.options import HostOptions, RegistryOptions
from accel.registry.paced import paced_pools
from accel.registry.response import Meter, Response
from accel.registry.urls import Origin, is_private, join, redact, request_target

_LOG = logging.getLogger(__name__)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_SEND_BYTES = 64 << 10  # a piece of a body; each must leave within the connect timeout


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: ``size`` bytes, given anew by each call of ``open`` so that it can be sent again.

    ``in_memory``: nothing has to be asked for to give them.
    """

    size: int
    open: Callable[[], Iterable[bytes | memoryview]]
    in_memory: bool = False

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> "Body":
        """A body held in memory."""
        return cls(len(data), lambda: (memoryview(data),), in_memory=True)


EMPTY = Body.of(b"")


class _SourceFailed(Exception):
    """Carries an error of what a body is read from past urllib3, which would take it for one of the connection."""


def _pieces(chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """``chunks`` in parts small enough for one send timeout each."""
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            for start in range(0, len(view), _SEND_BYTES):
                yield view[start : start + _SEND_BYTES]
    except Exception as error:
        raise _SourceFailed from error


class Transport:
    """Connection pools for all hosts of an operation. Safe for threads. Close it when done."""

    def __init__(self, options: RegistryOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._contexts: dict[HostOptions | None, ssl.SSLContext] = {}

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()

    def may_use(self, target: Origin, source: Origin) -> bool:
        """Whether something at ``source`` may send us to ``target`` at all."""
        named = self.options.host(target.name) is not None
        if target.scheme == "http" and source.scheme == "https" and not self.allows_plain(target):
            return False
        return named or not is_private(target.host) or target.host == source.host or is_private(source.host)

    def allows_plain(self, origin: Origin) -> bool:
        """Whether the user named this host for plain HTTP."""
        named = self.options.host(origin.name)
        return named is not None and named.plain_http

    def request(
        self,
        method: str,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        follow: bool = True,
        meter: Meter | None = None,
    ) -> Response:
        """One answer, after redirects if ``follow``, whatever its status. ``what`` says in messages what was tried.

        Raises TransientError where no answer came, RegistryError where trying again cannot help (TLS, bad redirect).
        """
        options = self.options
        first = origin = Origin.of(url)
        sent = {"User-Agent": options.user_agent, "Accept-Encoding": "identity"} | dict(headers or {})
        for _ in range(options.max_redirects + 1):
            raw = self._observed(method, url, origin, sent, body, what)
            response = Response(raw, url, what, redirected=origin != first, meter=meter)
            location = response.headers.get("Location")
            if not follow or response.status not in _REDIRECTS or not location:
                return response
            if response.status not in _KEEP_METHOD and method not in ("GET", "HEAD"):
                return response
            response.discard()
            url = join(url, location)
            target = Origin.of(url)
            if not self.may_use(target, origin):
                raise RegistryError(
                    f"{what}: {origin} redirects to {target}, which is not allowed unless that host is named"
                )
            if target != origin:
                sent = {k: v for k, v in sent.items() if k.lower() not in ("authorization", "cookie")}
            _LOG.debug("%s: redirected from %s to %s", what, origin, target)
            origin = target
        raise RegistryError(f"{what}: more than {options.max_redirects} redirects")

    def _observed(
        self, method: str, url: str, origin: Origin, headers: Mapping[str, str], body: Body | None, what: str
    ) -> urllib3.BaseHTTPResponse:
        observe = self.options.observe
        if observe is None:
            return self._exchange(method, url, origin, headers, body, what)
        started, status = time.monotonic(), None
        try:
            raw = self._exchange(method, url, origin, headers, body, what)
            status = raw.status
            return raw
        finally:
            observe(origin.name, status, time.monotonic() - started)

    def _exchange(
        self, method: str, url: str, origin: Origin, headers: Mapping[str, str], body: Body | None, what: str
    ) -> urllib3.BaseHTTPResponse:
        options = self.options
        sent = dict(headers)
        pool, proxied = self._pool(origin)
        if body is not None:
            sent["Content-Length"] = str(body.size)
        try:
            with options.limit(origin.name).place(hold=body is None or body.in_memory):
                return pool.urlopen(
                    method,
                    url if proxied else request_target(url),
                    body=cast(Any, _pieces(body.open()) if body is not None and body.size else None),
                    headers=sent,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    timeout=urllib3.Timeout(connect=options.connect_timeout_s, read=options.read_timeout_s),
                    preload_content=False,
                    decode_content=False,
                )
        except _SourceFailed as failed:
            assert failed.__cause__ is not None
            raise failed.__cause__ from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _failure(error, origin, what) from error

    def _pool(self, origin: Origin) -> tuple[urllib3.HTTPConnectionPool, bool]:
        """The pool for ``origin``, and whether it leads to a proxy that wants whole URLs."""
        proxy = self._proxy(origin)
        with self._lock:
            manager = self._managers.get(proxy)
            if manager is None:
                manager = self._managers[proxy] = _manager(proxy, self.options.min_bytes_per_s)
            more: dict[str, object] = {}
            if origin.scheme == "https":
                named = self.options.host(origin.name)
                more["ssl_context"] = self._context(named)
                if named is not None and named.insecure:
                    more |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
            pool = manager.connection_from_host(origin.host, origin.port, origin.scheme, pool_kwargs=more)
            return pool, proxy is not None and origin.scheme == "http"

    def _context(self, named: HostOptions | None) -> ssl.SSLContext:
        """The TLS settings of a host; called with the lock held. ConfigError for files that cannot be loaded."""
        context = self._contexts.get(named)
        if context is None:
            context = ssl.create_default_context()
            try:
                if named is not None and named.ca_bundle:
                    context.load_verify_locations(named.ca_bundle)
                if named is not None and named.client_cert:
                    context.load_cert_chain(named.client_cert, named.client_key)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"cannot load TLS files ({error.strerror or type(error).__name__})"
                ) from error
            if named is not None and named.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[named] = context
        return context

    def _proxy(self, origin: Origin) -> str | None:
        proxy = self.options.proxies.get(origin.scheme)
        if not proxy or origin.host in ("localhost", "::1") or origin.host.startswith("127."):
            return None
        return None if any(_bypasses(entry, origin) for entry in self.options.no_proxy) else proxy


def _bypasses(entry: str, origin: Origin) -> bool:
    """Whether an entry of NO_PROXY ("*", "host", "host:port", ".domain", "domain") covers ``origin``."""
    entry = entry.strip().lower().lstrip(".")
    host = origin.host
    return entry in ("*", host, f"{host}:{origin.port}") or bool(entry) and host.endswith(f".{entry}")


def _manager(proxy: str | None, min_rate: int) -> urllib3.PoolManager:
    manager = (
        urllib3.PoolManager(num_pools=64, maxsize=16)
        if proxy is None
        else urllib3.ProxyManager(proxy, num_pools=64, maxsize=16)
    )
    manager.pool_classes_by_scheme = paced_pools(min_rate)
    return manager


def _failure(error: Exception, origin: Origin, what: str) -> RegistryError:
    """What no answer means: TLS and unknown names stay as they are, everything else may pass."""
    cause = _root(error)
    if isinstance(cause, ssl.SSLError):
        return _tls_failure(cause, origin, what)
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return RegistryError(f"{what}: no such host: {origin.host}")
    if isinstance(error, urllib3.exceptions.LocationParseError | UnicodeError):
        return RegistryError(f"{what}: {origin.host} is no host name")
    if isinstance(error, ValueError) and not isinstance(error, urllib3.exceptions.HTTPError):
        return RegistryError(f"{what}: the request cannot be sent: {redact(str(error))[:200]}")
    if isinstance(error, urllib3.exceptions.ProxyError):
        return TransientError(f"{what}: the proxy for {origin} does not answer or refuses")
    if isinstance(cause, OSError) and cause.errno:
        name = errno.errorcode.get(cause.errno, str(cause.errno))
        return TransientError(f"{what}: no connection to {origin}: {cause.strerror} ({name})")
    if isinstance(error, urllib3.exceptions.TimeoutError) or isinstance(cause, TimeoutError):
        return TransientError(f"{what}: no answer from {origin} in time")
    return TransientError(f"{what}: the connection to {origin} broke ({type(cause).__name__})")


def _tls_failure(error: ssl.SSLError, origin: Origin, what: str) -> RegistryError:
    reason = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return RegistryError(
            f"{what}: the certificate of {origin.name} is not trusted ({error.verify_message}); "
            "name a CA bundle for this host, or name it insecure"
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return RegistryError(
            f"{what}: {origin.name} does not speak TLS; if it speaks plain HTTP, name it for plain HTTP"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TransientError(f"{what}: {origin.name} ended the TLS connection")
    return RegistryError(f"{what}: TLS with {origin.name} failed: {reason}")


def _root(error: BaseException) -> BaseException:
    """The socket or TLS error that urllib3 wrapped."""
    seen = 0
    while seen < 8:
        inner = error.__cause__ or error.__context__
        args = [a for a in error.args if isinstance(a, BaseException)]
        if isinstance(error, OSError) and not isinstance(error, urllib3.exceptions.HTTPError):
            return error
        if args:
            error = args[-1]
        elif inner is not None:
            error = inner
        else:
            return error
        seen += 1
    return error
