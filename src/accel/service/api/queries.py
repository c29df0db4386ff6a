"""Reads for the API, by keyset so that every page costs the same."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from accel.service.api.models import (
    Delivery,
    DeliveryPage,
    Dependency,
    Job,
    JobDetail,
    JobLayer,
    JobPage,
    LayerSavings,
    LogLine,
    Stats,
    Target,
)
from accel.service.database import (
    Database,
    deliveries,
    delivery_attempts,
    dependencies,
    job_layers,
    job_log,
    jobs,
    layer_results,
    leases,
    targets,
)

_JOB_COLUMNS = [column for column in jobs.c if column.name not in ("submitted", "results", "report")]
_DELIVERY_COLUMNS = [column for column in deliveries.c if column.name not in ("body", "content_type")]
_LEASE_S = 10.0


def job_page(
    database: Database,
    *,
    states: Sequence[str],
    repository: str,
    text: str,
    limit: int,
    before: int | None,
) -> JobPage:
    """Jobs, newest first."""
    query = sa.select(*_JOB_COLUMNS).order_by(jobs.c.seq.desc()).limit(limit + 1)
    if states:
        query = query.where(jobs.c.state.in_(states))
    if repository:
        query = query.where(jobs.c.repository == repository)
    if text:  # ids, repositories and digests are lower case; LIKE minds case on PostgreSQL alone
        found = [jobs.c[name].contains(text.lower(), autoescape=True) for name in ("id", "repository", "source_digest")]
        query = query.where(sa.or_(*found))
    if before is not None:
        query = query.where(jobs.c.seq < before)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        page = rows[:limit]
        _add_facts(connection, page)
    more = len(rows) > limit
    return JobPage(jobs=[Job(**row) for row in page], next=page[-1]["seq"] if more else None)


def jobs_changed_since(database: Database, at: float, limit: int) -> list[Job]:
    """Jobs that changed after ``at``, oldest change first."""
    query = sa.select(*_JOB_COLUMNS).where(jobs.c.updated_at > at).order_by(jobs.c.updated_at).limit(limit)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        _add_facts(connection, rows)
    return [Job(**row) for row in rows]


def job_detail(database: Database, job: str) -> JobDetail | None:
    """Everything about a job but its log."""
    with database.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).mappings().first()
        if row is None:
            return None
        aims = connection.execute(sa.select(targets).where(targets.c.job == job).order_by(targets.c.tag)).mappings()
        layers = connection.execute(
            sa.select(job_layers).where(job_layers.c.job == job).order_by(job_layers.c.position)
        ).mappings()
        plain = {column.name: row[column.name] for column in _JOB_COLUMNS}
        _add_facts(connection, [plain])
        return JobDetail(
            job=Job(**plain),
            targets=[Target.model_validate(dict(one)) for one in aims],
            layers=[JobLayer.model_validate(dict(one)) for one in layers],
            results=row["results"],
            report=row["report"],
        )


def _add_facts(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Tags and progress of jobs."""
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        row |= {"tags": [], "comp_size": 0, "done_bytes": 0}
    names = sa.select(targets.c.job, targets.c.tag).where(targets.c.job.in_(by_id)).order_by(targets.c.tag)
    for job, tag in connection.execute(names):
        if len(by_id[job]["tags"]) < 10:
            by_id[job]["tags"].append(tag)
    sums = (
        sa.select(job_layers.c.job, sa.func.sum(job_layers.c.comp_size), sa.func.sum(job_layers.c.done_bytes))
        .where(job_layers.c.job.in_(by_id))
        .group_by(job_layers.c.job)
    )
    for job, comp_size, done_bytes in connection.execute(sums):
        by_id[job] |= {"comp_size": int(comp_size or 0), "done_bytes": int(done_bytes or 0)}


def log_lines(database: Database, job: str) -> list[LogLine]:
    """The log of a job, oldest first."""
    query = sa.select(job_log).where(job_log.c.job == job).order_by(job_log.c.id)
    with database.read() as connection:
        return [LogLine.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def delivery_page(database: Database, *, state: str, job: str, limit: int, before: int | None) -> DeliveryPage:
    """Deliveries, newest first, each with the outcome of its last attempt."""
    query = sa.select(*_DELIVERY_COLUMNS).order_by(deliveries.c.id.desc()).limit(limit + 1)
    for column, value in ((deliveries.c.state, state), (deliveries.c.job, job)):
        if value:
            query = query.where(column == value)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        page = rows[:limit]
        last = sa.select(sa.func.max(delivery_attempts.c.id)).group_by(delivery_attempts.c.delivery)
        said = sa.select(delivery_attempts).where(
            delivery_attempts.c.id.in_(last.where(delivery_attempts.c.delivery.in_([row["id"] for row in page])))
        )
        attempts = {one["delivery"]: one for one in connection.execute(said).mappings()}
    for row in page:
        if row["id"] in attempts:
            row |= {"last_status": attempts[row["id"]]["status"], "last_error": attempts[row["id"]]["error"]}
    more = len(rows) > limit
    return DeliveryPage(
        deliveries=[Delivery.model_validate(row) for row in page], next=page[-1]["id"] if more else None
    )


def dependency_list(database: Database, limit: int) -> list[Dependency]:
    """Accelerated tags that need their source; broken ones first."""
    query = sa.select(dependencies).order_by(
        dependencies.c.state, dependencies.c.registry, dependencies.c.repository, dependencies.c.tag
    )
    with database.read() as connection:
        return [
            Dependency.model_validate(dict(row)) for row in connection.execute(query.limit(limit)).mappings()
        ]


def stats(database: Database, *, paused: bool, now: float) -> Stats:
    """Sums for the dashboard."""
    with database.read() as connection:
        by_state = _counts(connection, jobs.c.state)
        queued = sa.select(jobs.c.created_at).where(jobs.c.state == "queued")
        oldest = connection.scalar(queued.order_by(jobs.c.seq).limit(1))
        made = layer_results.c.result.is_not(None)
        results, made_bytes, uses, saved = connection.execute(
            sa.select(
                sa.func.count(),
                sa.func.sum(layer_results.c.comp_size),
                sa.func.sum(layer_results.c.uses),
                sa.func.sum(layer_results.c.comp_size * layer_results.c.uses),
            ).where(made)
        ).one()
        alive = connection.scalars(
            sa.select(leases.c.holder).where(
                leases.c.name.startswith("worker/"), leases.c.beat > database.clock - _LEASE_S
            )
        )
        return Stats(
            jobs=by_state,
            oldest_queued_at=oldest,
            layers=LayerSavings(
                results=results, made_bytes=int(made_bytes or 0), uses=int(uses or 0), saved_bytes=int(saved or 0)
            ),
            deliveries=_counts(connection, deliveries.c.state),
            dependencies=_counts(connection, dependencies.c.state),
            workers=sorted(alive),
            paused=paused,
            now=now,
        )


def _counts(connection: sa.Connection, column: sa.ColumnElement[str]) -> dict[str, int]:
    found = connection.execute(sa.select(column, sa.func.count()).group_by(column))
    return {value: int(n) for value, n in found}
