"""Asks a running service: ``Client("http://127.0.0.1:8086", token).get("/stats")``."""

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import urllib3

from accel.errors import AccelError, AuthError, ConfigError, NotFoundError, Refused, RegistryError

Json = dict[str, Any]
_TIMEOUT_S = 60.0
_MAX_BYTES = 64 << 20
_MAX_EVENT = 4 << 20


class Client:
    """The API of the service at ``url``. Raises AuthError, NotFoundError, Refused, RegistryError."""

    def __init__(self, url: str, token: str = "") -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no http(s) URL of a service")
        self._url = url.rstrip("/") + "/api/v1"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = urllib3.PoolManager(retries=False)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What ``path`` says."""
        return self._ask("GET", path, query)

    def post(self, path: str, body: Any = None) -> Any:
        """What came of it."""
        return self._ask("POST", path, None, body)

    def put(self, path: str, body: Any) -> Any:
        """What is there now."""
        return self._ask("PUT", path, None, body)

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What was deleted, if that is said."""
        return self._ask("DELETE", path, query)

    def watch(self, path: str) -> Iterator[Json]:
        """Jobs as they change, until the service ends the stream."""
        answer = self._send("GET", self._url + path, None, timeout=urllib3.Timeout(_TIMEOUT_S))
        try:
            text = b""
            for piece in answer.stream(4096):
                text += piece
                while b"\n\n" in text:
                    event, _, text = text.partition(b"\n\n")
                    yield from _data(event)
                if len(text) > _MAX_EVENT:
                    raise RegistryError("the service sends an event that does not end")
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"the service went away: {type(error).__name__}", temporary=True) from error
        finally:
            answer.close()

    def close(self) -> None:
        self._http.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, query: Mapping[str, Any] | None, body: Any = None) -> Any:
        given = {key: value for key, value in (query or {}).items() if value not in (None, "", [])}
        url = self._url + path + (f"?{urlencode(given, doseq=True)}" if given else "")
        answer = self._send(method, url, body, timeout=urllib3.Timeout(_TIMEOUT_S))
        try:
            raw = answer.read(_MAX_BYTES)
        finally:
            answer.close()
        try:
            return json.loads(raw) if raw else None
        except ValueError:
            raise RegistryError(f"{self._url} answers, but not as the service does") from None

    def _send(
        self, method: str, url: str, body: Any, timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode() if body is not None else None
        try:
            answer = self._http.request(
                method, url, body=data, headers=headers, timeout=timeout, redirect=False, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"no service answers at {self._url}: {type(error).__name__}", temporary=True) from error
        if answer.status >= 300:
            try:
                raise _refusal(answer.status, answer.read(_MAX_EVENT))
            finally:
                answer.close()
        return answer


def path_of(*parts: str) -> str:
    """A path of the API, its parts escaped."""
    return "".join("/" + quote(part, safe="") for part in parts)


def _data(event: bytes) -> Iterator[Json]:
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    if lines:
        yield json.loads(b"\n".join(lines))


def _refusal(status: int, raw: bytes) -> AccelError:
    try:
        message = str(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the service answers with status {status}"
    if status in (401, 403):
        return AuthError(message, status=status)
    if status == 404:
        return NotFoundError(message)
    if status in (400, 422):
        return ConfigError(message)
    if status == 409:
        return Refused(message)
    return RegistryError(message, status=status, temporary=status in (429, 502, 503, 504))
