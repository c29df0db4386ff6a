"""The web application: the API, incoming events, probes, and the page."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accel.service.api.auth import Gate
from accel.service.api.errors import add_handlers, refused
from accel.service.api.routes import job_routes, other_routes, protection_routes, rule_routes
from accel.service.api.state import ServiceState
from accel.service.api.watch import watch_routes
from accel.service.health import Health
from accel.service.metrics import CONTENT_TYPE

WEB = Path(__file__).parents[1] / "web"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(state: ServiceState) -> FastAPI:
    """The application for ``state``; a description of it is at ``/openapi.json``, for people at ``/docs``."""
    app = FastAPI(
        title="accel",
        version=version("accel"),
        summary="Container images that start before they are downloaded: the conversion service.",
        docs_url=None,
        redoc_url=None,
    )
    add_handlers(app)
    hooks = ExceptionMiddleware(Router(state.hook_routes), {HTTPException: refused})
    app.add_middleware(_Front, hooks=hooks, limit=state.settings.api.max_body_bytes)
    gate = Gate(state.settings.api)
    v1 = APIRouter(prefix="/api/v1")
    for routes in (job_routes, watch_routes, rule_routes, protection_routes, other_routes):
        v1.include_router(routes(state, gate))
    app.include_router(v1)
    app.include_router(_probes(state.health, state.metrics))

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return Response((WEB / "docs.html").read_bytes(), media_type="text/html; charset=utf-8")

    app.mount("/", StaticFiles(directory=WEB, html=True), name="page")
    return app


def create_probes(health: Health, metrics: Callable[[], bytes]) -> FastAPI:
    """What a process without an API answers."""
    app = FastAPI(openapi_url=None)
    app.include_router(_probes(health, metrics))
    return app


def _probes(health: Health, metrics: Callable[[], bytes]) -> APIRouter:
    """For those who watch over processes; without a token."""
    probes = APIRouter(include_in_schema=False)

    @probes.get("/healthz")
    def alive() -> JSONResponse:
        report = health.health()
        return JSONResponse(report.as_dict(), report.status)

    @probes.get("/readyz")
    def ready() -> JSONResponse:
        report = health.ready()
        return JSONResponse(report.as_dict(), report.status)

    @probes.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics(), media_type=CONTENT_TYPE)

    return probes


class _Front:
    """Before the rest: events go straight to their routes, as there are many; all answers get our headers."""

    def __init__(self, app: ASGIApp, hooks: ASGIApp, limit: int) -> None:
        self._app = app
        self._hooks = hooks
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._hooks if scope["path"].startswith("/hooks/") else self._guarded(scope)
        await app(scope, receive, send_more)

    def _guarded(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) <= self._limit and "transfer-encoding" not in headers:
            return self._app
        message = f"a body of known length, at most {self._limit} bytes, is taken"
        return JSONResponse({"error": {"code": "too_large", "message": message}}, 413)
