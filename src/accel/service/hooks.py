"""The HTTP side of incoming events: ``POST /hooks/NAME``.

A registry waits a second for the answer and, if it is distribution, sends again for ever what is not answered by 2xx,
with all later events behind it. So: check who it is, store, answer; what an event means is found out later. What can
never be understood is answered by 2xx to senders that would not stop.
"""

import logging
import time
from collections.abc import Callable, Mapping

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from accel.errors import FormatError, LimitError
from accel.service.inbox import Inbox, InboxFull
from accel.service.incoming import authorised, parse
from accel.service.settings import ServiceSettings, SourceSettings

_log = logging.getLogger(__name__)
_LENGTH_DIGITS = 18
_INSISTS = ("distribution",)  # kinds that repeat what was refused until it is not

Count = Callable[[str, str, float | None], None]  # source, outcome, seconds to store


def hook_routes(
    settings: ServiceSettings, inbox: Inbox, count: Count = lambda source, outcome, seconds: None
) -> list[Route]:
    """The routes for all configured sources. ``count`` is told of every request."""
    hooks = _Hooks(settings, inbox, count)
    return [Route("/hooks/{name}", hooks.handle, methods=["POST", "OPTIONS"])]


class TooLarge(Exception):
    """A body beyond the limit."""


class _Hooks:
    def __init__(self, settings: ServiceSettings, inbox: Inbox, count: Count) -> None:
        self._settings = settings
        self._sources = {source.name: source for source in settings.sources}
        self._inbox = inbox
        self._count = count

    async def handle(self, request: Request) -> Response:
        name = request.path_params["name"]
        source = self._sources.get(name)
        if source is None:
            return _error(404, "unknown_source", "no such source")
        if request.method == "OPTIONS":
            return _handshake(request.headers)
        headers = {key.lower(): value for key, value in request.headers.items()}

        def may_tell(body: bytes) -> bool:
            return authorised(source.auth, headers, request.query_params, body, time.time())

        # Only a signature needs the body: nobody else's is read before it is known who sends.
        if source.auth.hmac is None and not may_tell(b""):
            return self._unauthorised(name)
        try:
            body = await _body(request, self._settings.api.max_body_bytes)
        except ClientDisconnect:
            return _error(400, "incomplete", "the body ended too early")  # which nobody hears
        except TooLarge:
            return self._too_large(source)
        if source.auth.hmac is not None and not may_tell(body):
            return self._unauthorised(name)
        return await self._take(source, headers, body)

    def _unauthorised(self, name: str) -> Response:
        self._count(name, "refused", None)
        return _error(401, "unauthorized", "no valid credentials")

    def _too_large(self, source: SourceSettings) -> Response:
        words = f"more than {self._settings.api.max_body_bytes} bytes"
        self._count(source.name, "refused", None)
        if source.kind in _INSISTS and source.auth.hmac is None:  # known to be who it says
            _log.warning("source %s sent an event of %s", source.name, words)
            return JSONResponse({"accepted": 0, "duplicates": 0, "refused": words}, 202)
        return _error(413, "too_large", words)

    async def _take(self, source: SourceSettings, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            events = parse(source, headers, body, self._settings.host_of)
        except (FormatError, LimitError) as error:
            _log.warning("source %s sent what is no event: %s", source.name, error)
            self._count(source.name, "malformed", None)
            if source.kind in _INSISTS:
                return JSONResponse({"accepted": 0, "duplicates": 0, "refused": str(error)}, 202)
            return _error(400, "malformed", str(error))
        wanted = [event for event in events if event.action != "other"]
        if not wanted:
            self._count(source.name, "ignored", None)
            return JSONResponse({"accepted": 0, "duplicates": 0}, 202)
        started = time.monotonic()
        try:
            n_new = await self._inbox.store_async(wanted)
        except (InboxFull, SQLAlchemyError) as error:
            _log.error("an event of source %s could not be stored: %s", source.name, type(error).__name__)
            self._count(source.name, "failed", None)
            return _error(503, "not_stored", "the event could not be stored", retry_after=1)
        self._count(source.name, "stored" if n_new else "repeated", time.monotonic() - started)
        return JSONResponse({"accepted": n_new, "duplicates": len(wanted) - n_new}, 202)


async def _body(request: Request, limit: int) -> bytes:
    """The body, never more than ``limit`` of it in memory."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > _LENGTH_DIGITS or int(length) > limit):
        raise TooLarge
    parts: list[bytes] = []
    n_bytes = 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > limit:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


def _handshake(headers: Mapping[str, str]) -> Response:
    """CloudEvents «HTTP 1.1 Web Hooks», 4.1: who asks whether it may send, may; each event proves itself."""
    allowed = {"Allow": "POST", "WebHook-Allowed-Rate": "*"}
    if origin := headers.get("webhook-request-origin"):
        allowed["WebHook-Allowed-Origin"] = origin
    return Response(status_code=200, headers=allowed)


def _error(status: int, code: str, message: str, retry_after: int | None = None) -> JSONResponse:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
