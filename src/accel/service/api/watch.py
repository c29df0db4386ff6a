"""Changes of jobs as they happen: server-sent events (HTML standard, «Server-sent events»)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from accel.errors import NotFoundError
from accel.service.api import queries
from accel.service.api.auth import Gate
from accel.service.api.errors import answers
from accel.service.api.models import Job, Text
from accel.service.api.state import ServiceState
from accel.service.model import ENDED

_EVERY_S = 0.7
_BEAT_S = 15.0
_MAX_WATCHERS = 64
_AT_ONCE = 200  # changes in one look


def watch_routes(state: ServiceState, gate: Gate) -> APIRouter:
    """Streams of changes."""
    api = APIRouter(tags=["jobs"])
    watchers: set[object] = set()
    stream: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {}}, "description": "A job as JSON in each event."}
    }

    def answer(source: AsyncIterator[str]) -> StreamingResponse:
        if len(watchers) >= _MAX_WATCHERS:
            raise HTTPException(503, "too many are watching")
        return StreamingResponse(_counted(source, watchers), media_type="text/event-stream")

    def changed(at: float) -> list[Job]:
        return queries.jobs_changed_since(state.database, at, _AT_ONCE)

    @api.get("/watch", dependencies=gate.read, responses={**answers(503), **stream}, response_class=StreamingResponse)
    async def watch() -> StreamingResponse:
        """Every job that changes, from now on."""
        return answer(_changes(changed, state.now()))

    @api.get(
        "/jobs/{job}/watch",
        dependencies=gate.read,
        responses={**answers(404, 503), **stream},
        response_class=StreamingResponse,
    )
    async def watch_job(job: Text) -> StreamingResponse:
        """A job as it is and whenever it changes, until it has ended."""

        def look() -> Job:
            found = queries.job_detail(state.database, job)
            if found is None:
                raise NotFoundError(f"no job {job}")
            return found.job

        await run_in_threadpool(look)
        return answer(_one(look))

    return api


async def _changes(changed: Callable[[float], list[Job]], since: float) -> AsyncIterator[str]:
    quiet_s = 0.0
    yield ": watching\n\n"
    while True:
        for job in await run_in_threadpool(changed, since):
            since = max(since, job.updated_at)
            quiet_s = 0.0
            yield _event(job)
        await asyncio.sleep(_EVERY_S)
        quiet_s += _EVERY_S
        if quiet_s >= _BEAT_S:
            quiet_s = 0.0
            yield ": still here\n\n"


async def _one(look: Callable[[], Job]) -> AsyncIterator[str]:
    said = ""
    while True:
        job = await run_in_threadpool(look)
        event = _event(job)
        if event != said:
            said = event
            yield event
        if job.state in ENDED:
            return
        await asyncio.sleep(_EVERY_S)


def _event(job: Job) -> str:
    return f"event: job\ndata: {job.model_dump_json()}\n\n"


async def _counted(source: AsyncIterator[str], watchers: set[object]) -> AsyncIterator[str]:
    ticket = object()
    watchers.add(ticket)
    try:
        async for event in source:
            yield event
    finally:
        watchers.discard(ticket)
