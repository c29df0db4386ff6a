"""The operations of ``/api/v1``: reads from the tables, writes through the parts that own them."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from starlette.exceptions import HTTPException

from accel.errors import NotFoundError, ReferenceSyntaxError
from accel.oci import Reference
from accel.service.api import queries
from accel.service.api.auth import Gate
from accel.service.api.errors import answers
from accel.service.api.models import (
    Backfill,
    BackfillAnswer,
    Deleted,
    DeliveryPage,
    Dependency,
    Explain,
    JobDetail,
    JobPage,
    LogLine,
    Missing,
    NewRule,
    Rule,
    Stats,
    Submit,
    Submitted,
    Text,
    VerdictAnswer,
)
from accel.service.api.proxied import manifest_of
from accel.service.api.state import Json, ServiceState
from accel.service.model import JobState
from accel.service.rules import StoredRule
from accel.service.settings import RuleSettings

_LIMIT = Query(50, ge=1, le=500)
_MANY = Query(1000, ge=1, le=10_000)
_BEFORE = Query(None, ge=0, le=2**62)
_STATE = Query("", alias="state")
_STATES = Query([], alias="state", max_length=10)


def job_routes(state: ServiceState, gate: Gate) -> APIRouter:
    """Jobs."""
    api = APIRouter(tags=["jobs"])

    @api.get("/jobs", dependencies=gate.read, responses=answers())
    def list_jobs(
        state_: list[JobState] = _STATES,
        repository: Text = "",
        q: Text = "",
        limit: int = _LIMIT,
        before: int | None = _BEFORE,
    ) -> JobPage:
        """Jobs, newest first. ``q`` is looked for in their ids, repositories and digests."""
        return queries.job_page(
            state.database, states=state_, repository=repository, text=q, limit=limit, before=before
        )

    @api.post("/jobs", dependencies=gate.admin, status_code=202, responses=answers(404, 409, 502))
    def submit(wanted: Submit) -> Submitted:
        """Convert an image as the rules say, as if it had been pushed now."""
        found = state.look_up(wanted.image, None)
        if not found:
            raise NotFoundError(f"no rule covers {wanted.image}")
        return Submitted(jobs=[state.jobs.submit(one) for one in found])

    @api.get("/jobs/{job}", dependencies=gate.read, responses=answers(404))
    def show_job(job: Text) -> JobDetail:
        """A job with its tags and layers."""
        found = queries.job_detail(state.database, job)
        if found is None:
            raise NotFoundError(f"no job {job}")
        return found

    @api.get("/jobs/{job}/log", dependencies=gate.read, responses=answers(404))
    def show_log(job: Text) -> list[LogLine]:
        """What was logged about a job, oldest first."""
        show_job(job)
        return queries.log_lines(state.database, job)

    def add(name: str, act: Callable[[str], None]) -> None:
        def change(job: Text) -> JobDetail:
            act(job)
            return show_job(job)

        api.add_api_route(
            f"/jobs/{{job}}/{name}",
            change,
            methods=["POST"],
            name=f"{name}_job",
            description=act.__doc__,
            dependencies=gate.admin,
            responses=answers(404, 409),
            response_model=JobDetail,
        )

    add("cancel", state.jobs.cancel)
    add("retry", state.jobs.retry)
    add("pause", state.jobs.pause)
    add("resume", state.jobs.resume)
    return api


def rule_routes(state: ServiceState, gate: Gate) -> APIRouter:
    """Rules."""
    api = APIRouter(tags=["rules"])
    book = state.rulebook

    @api.get("/rules", dependencies=gate.read, responses=answers())
    def list_rules() -> list[Rule]:
        """The rules in their order."""
        return [_rule(stored) for stored in book.rules()]

    @api.post("/rules", dependencies=gate.admin, status_code=201, responses=answers(409))
    def add_rule(new: NewRule) -> Rule:
        """Add a rule, at the end or as the ``position``-th."""
        return _rule(book.add(new.rule, new.position))

    @api.put("/rules/{name}", dependencies=gate.admin, responses=answers(404, 409))
    def edit_rule(name: Text, rule: RuleSettings) -> Rule:
        """Replace a rule; of one of the configuration file, only ``enabled`` can be changed."""
        return _rule(book.edit(name, rule))

    @api.delete("/rules/{name}", dependencies=gate.admin, status_code=204, responses=answers(404, 409))
    def remove_rule(name: Text) -> Response:
        """Forget a rule that was added at run time."""
        book.remove(name)
        return Response(status_code=204)

    @api.post("/rules/explain", dependencies=gate.read, responses=answers())
    def explain(asked: Explain) -> Json:
        """Which rules cover an image, why the others do not, and what would happen."""
        return book.explain(asked.image, asked.pusher)

    @api.post("/backfill", dependencies=gate.admin, responses=answers(409, 502))
    def backfill(wanted: Backfill) -> BackfillAnswer:
        """Convert what the rules cover in repositories and nobody converted yet."""
        found = state.backfill(wanted.registry, tuple(wanted.repositories), wanted.dry_run)
        images = [
            Missing(repository=one.repository, tag=one.tag, digest=one.digest, rule=one.rule) for one in found
        ]
        return BackfillAnswer(images=images, dry_run=wanted.dry_run)

    return api


def protection_routes(state: ServiceState, gate: Gate) -> APIRouter:
    """Protection of sources."""
    api = APIRouter(tags=["protection"])

    @api.get("/protection", dependencies=gate.read, responses=answers(404, 409, 502))
    def check(image: Text) -> VerdictAnswer:
        """Whether an image may be deleted, and by which accelerated images it is needed if not."""
        reference = _place(state, image)
        verdict = state.protector.check(
            reference.host, reference.repository, reference.tag or None, reference.digest or None
        )
        return VerdictAnswer(allowed=verdict.allowed, used_by=list(verdict.used_by))

    @api.get("/protection/dependencies", dependencies=gate.read, responses=answers())
    def list_dependencies(limit: int = _MANY) -> list[Dependency]:
        """Accelerated tags that need their source; broken ones first."""
        return queries.dependency_list(state.database, limit)

    @api.delete("/protection/source", dependencies=gate.admin, responses=answers(404, 409, 502))
    def delete_source(image: Text, force: bool = False) -> Deleted:
        """Delete an image unless it is needed. ``force``: although other tags of the same digest go with it."""
        reference = _place(state, image)
        done = state.protector.delete_source(reference.host, reference.repository, reference.tag, force=force)
        return Deleted(**done)

    @api.get("/protection/auth", dependencies=gate.read, status_code=204, responses=answers(404, 409, 502))
    def authorise(
        x_original_method: Annotated[str, Header(min_length=1, max_length=20)],
        x_original_uri: Annotated[str, Header(min_length=1, max_length=2000)],
        registry: Text = "",
    ) -> Response:
        """For nginx's ``auth_request``: 204 if the original request may pass, 403 if it deletes what is needed.

        Both headers must be there: a proxy that forgets one lets nothing pass.
        """
        manifest = manifest_of(x_original_uri) if x_original_method.upper() == "DELETE" else None
        if manifest is not None:
            host = registry or state.settings.registries[0].host
            repository, selector = manifest
            sign = "@" if ":" in selector else ":"
            reference = _place(state, f"{host}/{repository}{sign}{selector}")
            verdict = state.protector.check(
                reference.host, reference.repository, reference.tag or None, reference.digest or None
            )
            if not verdict.allowed:
                raise HTTPException(403, f"needed by {', '.join(verdict.used_by)}")
        return Response(status_code=204)

    return api


def other_routes(state: ServiceState, gate: Gate) -> APIRouter:
    """Deliveries, sums, and the switch for all."""
    api = APIRouter(tags=["service"])

    @api.get("/deliveries", dependencies=gate.read, responses=answers())
    def list_deliveries(
        state_: Literal["", "pending", "delivered", "failed"] = _STATE,
        job: Text = "",
        limit: int = _LIMIT,
        before: int | None = _BEFORE,
    ) -> DeliveryPage:
        """Events on their way out, newest first."""
        return queries.delivery_page(state.database, state=state_, job=job, limit=limit, before=before)

    @api.post("/deliveries/{delivery}/redeliver", dependencies=gate.admin, status_code=204, responses=answers(404))
    def redeliver(delivery: int) -> Response:
        """Send an event again, with the same id."""
        if not 0 < delivery < 2**31:
            raise NotFoundError(f"no delivery {delivery}")
        state.deliveries.redeliver(delivery)
        return Response(status_code=204)

    @api.get("/stats", dependencies=gate.read, responses=answers())
    def show_stats() -> Stats:
        """Sums for a dashboard."""
        return queries.stats(state.database, paused=state.is_paused(), now=state.now())

    @api.post("/pause", dependencies=gate.admin, status_code=204, responses=answers())
    def pause() -> Response:
        """Begin no more jobs; those that run go on."""
        state.jobs.pause_all(True)
        return Response(status_code=204)

    @api.post("/resume", dependencies=gate.admin, status_code=204, responses=answers())
    def resume() -> Response:
        """Begin jobs again."""
        state.jobs.pause_all(False)
        return Response(status_code=204)

    return api


def _place(state: ServiceState, image: str) -> Reference:
    reference = Reference.parse(image)
    host = state.settings.host_of(reference.host) if reference.transport == "docker" else None
    if host is None:
        raise ReferenceSyntaxError(f"{image} is in no registry that is configured")
    return Reference.parse(str(reference).replace(reference.host, host, 1)) if host != reference.host else reference


def _rule(stored: StoredRule) -> Rule:
    return Rule(rule=stored.rule, origin=stored.origin, position=stored.position)  # type: ignore[arg-type]
