"""What a service says, as tables on stdout."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from accel.cli.render import console, printable, size

Json = dict[str, Any]
_STATES = {
    "done": "green",
    "set": "green",
    "ok": "green",
    "delivered": "green",
    "running": "cyan",
    "queued": "dim",
    "paused": "yellow",
    "skipped": "dim",
    "superseded": "dim",
    "failed": "red",
    "broken": "red",
    "cancelled": "yellow",
}


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; every cell is text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*[Text(printable(cell), style=_STATES.get(cell, "")) for cell in row])
    console().print(table)


def age(then: float | None) -> str:
    """``5 s``, ``3 min``, ``2 h``, ``4 d`` ago; ``-`` for never."""
    if then is None:
        return "-"
    seconds = max(0.0, time.time() - then)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def show_jobs(jobs: Iterable[Json]) -> None:
    """One line a job."""
    rows = [
        (
            job["id"],
            job["state"],
            _share(job["done_bytes"], job["comp_size"]),
            job["repository"],
            ", ".join(job["tags"][:3]),
            age(job["updated_at"]),
            job["reason"],
        )
        for job in jobs
    ]
    show_table(("job", "state", "read", "repository", "tags", "changed", "reason"), rows)


def show_job(detail: Json) -> None:
    """A job, its tags and its layers."""
    job = detail["job"]
    print(f"job {job['id']}: {job['state']}" + (f": {printable(job['reason'])}" if job["reason"] else ""))
    print(f"{printable(job['registry'])}/{printable(job['repository'])}@{job['source_digest']}")
    print(f"rule {job['rule']}, mode {job['recipe']['mode']}, attempt {job['attempt']}, from {job['origin']}")
    show_table(
        ("source tag", "tag", "state", "digest"),
        [(one["source_tag"], one["tag"], one["state"], one["digest"] or "-") for one in detail["targets"]],
    )
    show_table(
        ("layer", "state", "size", "read", "reason"),
        [
            (
                one["layer"],
                one["state"] + (" (reused)" if one["reused"] else ""),
                size(one["comp_size"]),
                _share(one["done_bytes"], one["comp_size"]),
                one["reason"],
            )
            for one in detail["layers"]
        ],
    )


def _share(part: int, whole: int) -> str:
    return f"{min(100, 100 * part // whole)} %" if whole else "-"
