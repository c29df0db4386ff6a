"""The web application: the API, incoming events, probes, and the page."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from accel.service.api.auth import Gate
from accel.service.api.errors import add_handlers
from accel.service.api.routes import job_routes, other_routes, protection_routes, rule_routes
from accel.service.api.state import ServiceState
from accel.service.api.watch import watch_routes
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
    app.middleware("http")(_with_headers(state.settings.api.max_body_bytes))
    gate = Gate(state.settings.api)
    v1 = APIRouter(prefix="/api/v1")
    for routes in (job_routes, watch_routes, rule_routes, protection_routes, other_routes):
        v1.include_router(routes(state, gate))
    app.include_router(v1)
    app.include_router(_probes(state))
    app.router.routes.extend(state.hook_routes)
    app.mount("/", StaticFiles(directory=WEB, html=True), name="page")
    return app


def _probes(state: ServiceState) -> APIRouter:
    """For those who watch over processes; without a token."""
    probes = APIRouter(include_in_schema=False)

    @probes.get("/healthz")
    def health() -> JSONResponse:
        report = state.health.health()
        return JSONResponse(report.as_dict(), report.status)

    @probes.get("/readyz")
    def ready() -> JSONResponse:
        report = state.health.ready()
        return JSONResponse(report.as_dict(), report.status)

    @probes.get("/metrics")
    def metrics() -> Response:
        return Response(state.metrics(), media_type=CONTENT_TYPE)

    @probes.get("/docs")
    def docs() -> Response:
        return Response((WEB / "docs.html").read_bytes(), media_type="text/html; charset=utf-8")

    return probes


def _with_headers(
    limit: int,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def run(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        if not request.url.path.startswith("/hooks/") and (
            not length.isdecimal() or int(length) > limit or "transfer-encoding" in request.headers
        ):
            message = f"a body of known length, at most {limit} bytes, is taken"
            response: Response = JSONResponse({"error": {"code": "too_large", "message": message}}, 413)
        else:
            response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return run
