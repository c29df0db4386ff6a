"""Requests to one registry: authorised, tried again, and turned into typed errors; and one repository of it."""

import threading
from collections import defaultdict
from collections.abc import Collection, Mapping

from accel.errors import AccelError, NotFoundError, RegistryError
from accel.registry.attempts import Attempts
from accel.registry.auth import Authenticator
from accel.registry.challenge import Scope, Scopes
from accel.registry.errors import TransientError, refusal
from accel.registry.options import HUB_API, RegistryOptions
from accel.registry.response import Meter, Response
from accel.registry.transport import Body, Transport
from accel.registry.urls import Origin, join

_HUB_HOSTS = frozenset({"docker.io", "index.docker.io"})
_STALE_LINK = (400, 401, 403)  # what object storages say to a signature that has run out
_AUTH_ROUNDS = 3  # an expired token, then one for more scopes, then it is a refusal


class RegistryClient:
    """One registry: its connections, tokens and locks, shared by all repositories used there. Safe for threads.

    ``host`` is the registry's name as references have it ("host" or "host:port").
    """

    def __init__(self, host: str, options: RegistryOptions) -> None:
        self.host = "docker.io" if host in _HUB_HOSTS else host
        self.options = options
        self.transport = Transport(options)
        named = options.host(host)
        scheme = "http" if named is not None and named.plain_http else "https"
        self.origin = Origin.of(f"{scheme}://{HUB_API if host in _HUB_HOSTS else host}")
        self._auth = Authenticator(self.host, self.origin, self.transport)
        self._locks: defaultdict[object, threading.Lock] = defaultdict(threading.Lock)
        self._locks_lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def lock(self, key: object) -> threading.Lock:
        """The lock for ``key``, for read-modify-write steps that the registry cannot make atomic."""
        with self._locks_lock:
            return self._locks[key]

    def send(
        self,
        method: str,
        url: str,
        *,
        what: str,
        ok: Collection[int],
        repository: str = "",
        scopes: Scopes = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        follow: bool = True,
        meter: Meter | None = None,
        retry: bool = True,
    ) -> Response:
        """The answer, whose status is one of ``ok``; else AuthError, NotFoundError, TransientError or RegistryError.

        ``url`` may be a path. Temporary failures are tried again unless ``retry`` is off.
        """
        url = join(str(self.origin), url)
        attempts = Attempts(self.options)
        while True:
            try:
                response = self._authorised(
                    method, url, what, repository, scopes, headers or {}, body, follow, meter
                )
                if response.status in ok:
                    return response
                raise _refused(what, response)
            except RegistryError as error:
                if not retry:
                    raise
                attempts.failed(error)

    def _authorised(
        self,
        method: str,
        url: str,
        what: str,
        repository: str,
        scopes: Scopes,
        headers: Mapping[str, str],
        body: Body | None,
        follow: bool,
        meter: Meter | None,
    ) -> Response:
        """The answer after at most a few rounds of 401; credentials go to the registry's own origin only."""
        own = Origin.of(url) == self.origin
        for last in [False] * _AUTH_ROUNDS + [True]:
            authorization = self._auth.header(repository, scopes) if own else None
            sent = dict(headers) | ({"Authorization": authorization} if authorization else {})
            response = self.transport.request(
                method, url, what=what, headers=sent, body=body, follow=follow, meter=meter
            )
            if response.status != 401 or last or not own or response.redirected:
                break
            self._auth.challenged(response, repository, scopes, authorization)
        return response


def _refused(what: str, response: Response) -> AccelError:
    error = refusal(what, response.status, response.headers, response.error_body())
    if response.redirected and response.status in _STALE_LINK:
        return TransientError(str(error), status=response.status)  # the registry signs a new one when asked again
    return error


class Repository:
    """One repository: paths, scopes and words for messages. ``meter`` counts all body bytes received for it."""

    def __init__(self, client: RegistryClient, name: str) -> None:
        self.client = client
        self.name = name
        self.label = f"docker://{client.host}/{name}"
        self.meter = Meter()
        self._pull: Scopes = (Scope.repository(name, "pull"),)
        self._push: Scopes = (Scope.repository(name, "pull", "push"),)

    @property
    def options(self) -> RegistryOptions:
        return self.client.options

    def send(
        self,
        method: str,
        url: str,
        *,
        what: str,
        ok: Collection[int],
        push: bool = False,
        more: Scopes = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        follow: bool = True,
        retry: bool = True,
    ) -> Response:
        """As :meth:`RegistryClient.send`, below ``/v2/NAME/`` unless ``url`` is absolute; ``push``: to write."""
        absolute = url.startswith(("http://", "https://"))
        return self.client.send(
            method,
            url if absolute else f"/v2/{self.name}/{url}",
            what=f"{self.label}: {what}",
            ok=ok,
            repository=self.name,
            scopes=(self._push if push else self._pull) + more,
            headers=headers,
            body=body,
            follow=follow,
            meter=self.meter,
            retry=retry,
        )

    def document(
        self,
        path: str,
        *,
        what: str,
        ok: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
        follow: bool = True,
    ) -> tuple[Response, bytes]:
        """The answer to a GET and its whole, bounded body; a body that breaks off is asked for again."""
        attempts = Attempts(self.options)
        while True:
            try:
                with self.send(
                    "GET", path, what=what, ok=ok, headers=headers, follow=follow, retry=False
                ) as response:
                    return response, response.document(self.options.max_document_bytes)
            except RegistryError as error:
                attempts.failed(error)

    def exists(self, path: str, what: str, *, accept: str | None = None) -> Response | None:
        """The answer to HEAD (or to GET, body unread, where HEAD is not allowed); None if there is no such thing."""
        headers = {"Accept": accept} if accept else {}
        try:
            response = self.send("HEAD", path, what=what, ok=(200, 405, 501), headers=headers)
            if response.status != 200:
                response.close()
                response = self.send("GET", path, what=what, ok=(200,), headers=headers)
        except NotFoundError:
            return None
        response.close()
        return response
