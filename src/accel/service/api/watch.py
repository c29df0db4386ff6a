"""Changes of jobs as they happen: server-sent events (HTML standard, «Server-sent events»)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter
from starlette.background import BackgroundTask
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
_AT_ONCE = 1000  # changes in one look
_LOOK_BACK_S = 3.0
_STILL_HERE = ": still here\n\n"


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
        ticket = object()
        watchers.add(ticket)
        done = BackgroundTask(watchers.discard, ticket)  # also if the stream is never begun
        return StreamingResponse(_counted(source, watchers, ticket), media_type="text/event-stream", background=done)

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
    sent: dict[str, float] = {}  # a change may become visible after a later one: look back, and say it once
    quiet_s = 0.0
    yield ": watching\n\n"
    while True:
        for job in await run_in_threadpool(changed, since - _LOOK_BACK_S):
            if sent.get(job.id) == job.updated_at:
                continue
            sent[job.id] = job.updated_at
            since, quiet_s = max(since, job.updated_at), 0.0
            yield _event(job)
        sent = {id: at for id, at in sent.items() if at > since - _LOOK_BACK_S}
        await asyncio.sleep(_EVERY_S)
        quiet_s += _EVERY_S
        if quiet_s >= _BEAT_S:
            quiet_s = 0.0
            yield _STILL_HERE


async def _one(look: Callable[[], Job]) -> AsyncIterator[str]:
    said, quiet_s = "", 0.0
    while True:
        try:
            job = await run_in_threadpool(look)
        except NotFoundError:  # forgotten meanwhile
            return
        event = _event(job)
        if event != said or quiet_s >= _BEAT_S:
            yield event if event != said else _STILL_HERE
            said, quiet_s = event, 0.0
        if job.state in ENDED:
            return
        await asyncio.sleep(_EVERY_S)
        quiet_s += _EVERY_S


def _event(job: Job) -> str:
    return f"event: job\ndata: {job.model_dump_json()}\n\n"


async def _counted(source: AsyncIterator[str], watchers: set[object], ticket: object) -> AsyncIterator[str]:
    try:
        async for event in source:
            yield event
    finally:
        watchers.discard(ticket)
