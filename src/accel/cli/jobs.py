"""``accel jobs …``."""

from typing import Annotated, Any, Optional

import typer

from accel.cli.exits import EPILOG, guarded
from accel.cli.options import JsonOption
from accel.cli.service_options import Service, with_service

jobs = typer.Typer(
    name="jobs",
    help="Jobs of a conversion service: an image each, with all tags that its result gets.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def list_jobs(
    service: Service,
    state: Annotated[
        list[str], typer.Option(metavar="STATE", help="Only these (repeatable): queued, running, failed, …")
    ] = [],  # noqa: B006
    repository: Annotated[str, typer.Option(metavar="NAME", help="Only this repository's.")] = "",
    text: Annotated[
        str, typer.Option("--find", metavar="TEXT", help="Only with this in id, repository or digest.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many.")] = 50,
    before: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Those before this number, which --json has as next."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first.

    \b
      accel jobs list --state failed --state running
    """
    from accel.cli.render import print_json
    from accel.cli.render_service import show_jobs

    query = {"state": state, "repository": repository, "q": text, "limit": limit, "before": before}
    found = service().get("/jobs", query)
    if as_json:
        print_json(found)
    else:
        show_jobs(found["jobs"])


def show(service: Service, job: _JobArgument, as_json: JsonOption = False) -> None:
    """Show a job: what became of it, its tags and its layers."""
    from accel.client import path_of

    _show(service().get(path_of("jobs", job)), as_json)


def logs(service: Service, job: _JobArgument, as_json: JsonOption = False) -> None:
    """Print what was logged about a job."""
    from datetime import UTC, datetime

    from accel.cli.render import print_json, printable
    from accel.client import path_of

    lines = service().get(path_of("jobs", job, "log"))
    if as_json:
        print_json(lines)
        return
    for line in lines:
        at = datetime.fromtimestamp(line["at"], UTC).isoformat(timespec="seconds")
        print(f"{at} {line['level']}: {printable(line['message'])}")


def submit(
    service: Service,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image, as HOST/REPOSITORY:TAG.")],
    as_json: JsonOption = False,
) -> None:
    """Convert an image as the rules say, as if it had been pushed now."""
    from accel.cli.render import print_json

    found = service().post("/jobs", {"image": image})
    if as_json:
        print_json(found)
    else:
        print("\n".join(found["jobs"]))


def cancel(service: Service, job: _JobArgument, as_json: JsonOption = False) -> None:
    """Stop a job for good; layers that others need are still made."""
    _act(service, job, "cancel", as_json)


def retry(service: Service, job: _JobArgument, as_json: JsonOption = False) -> None:
    """Run a job that ended again; finished layers are not made again."""
    _act(service, job, "retry", as_json)


def pause(
    service: Service,
    job: Annotated[str, typer.Argument(metavar="[JOB]", help="The job (default: begin no more jobs at all).")] = "",
    as_json: JsonOption = False,
) -> None:
    """Stop a job until it is resumed; without JOB: begin no more jobs."""
    _act(service, job, "pause", as_json)


def resume(
    service: Service,
    job: Annotated[str, typer.Argument(metavar="[JOB]", help="The job (default: begin jobs again).")] = "",
    as_json: JsonOption = False,
) -> None:
    """Let a paused job go on; without JOB: begin jobs again."""
    _act(service, job, "resume", as_json)


def watch(
    service: Service,
    job: Annotated[str, typer.Argument(metavar="[JOB]", help="The job (default: all).")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document a line.")] = False,
) -> None:
    """Follow a job to its end, or all jobs until interrupted."""
    import json

    from accel.cli.render import printable
    from accel.client import path_of

    for one in service().watch(path_of("jobs", job, "watch") if job else "/watch"):
        if as_json:
            print(json.dumps(one), flush=True)
            continue
        read = f"{min(100, 100 * one['done_bytes'] // one['comp_size'])} %" if one["comp_size"] else ""
        words = (one["id"], one["state"], read, printable(one["repository"]), printable(one["reason"]))
        print(" ".join(word for word in words if word), flush=True)


def _act(service: Service, job: str, action: str, as_json: bool) -> None:
    from accel.client import path_of

    done = service().post(path_of("jobs", job, action) if job else f"/{action}")
    if done is not None:
        _show(done, as_json)


def _show(detail: Any, as_json: bool) -> None:
    from accel.cli.render import print_json
    from accel.cli.render_service import show_job

    if as_json:
        print_json(detail)
    else:
        show_job(detail)


for _name, _command in (
    ("list", list_jobs),
    ("show", show),
    ("logs", logs),
    ("submit", submit),
    ("cancel", cancel),
    ("retry", retry),
    ("pause", pause),
    ("resume", resume),
    ("watch", watch),
):
    jobs.command(_name, epilog=EPILOG)(guarded(with_service(_command)))
