"""``accel protect …``, ``accel backfill`` and ``accel deliveries …``."""

from typing import Annotated

import typer

from accel.cli.exits import EPILOG, REFUSED, guarded
from accel.cli.options import JsonOption
from accel.cli.service_options import Service, with_service

protect = typer.Typer(
    name="protect",
    help="Images that accelerated ones need: what they are, whether one may be deleted, and deleting it if so.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
deliveries = typer.Typer(
    name="deliveries",
    help="Events that a conversion service sends to others.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_ImageArgument = Annotated[str, typer.Argument(metavar="IMAGE", help="An image, as HOST/REPOSITORY:TAG.")]


def list_dependencies(service: Service, as_json: JsonOption = False) -> None:
    """List accelerated images that need their source, and whether they have it."""
    from accel.cli.render import print_json
    from accel.cli.render_service import age, show_table

    found = service().get("/protection/dependencies")
    if as_json:
        print_json(found)
        return
    rows = [
        (one["repository"], one["tag"], one["source_tag"], one["state"], age(one["checked_at"]), one["problem"])
        for one in found
    ]
    show_table(("repository", "tag", "needs", "state", "checked", "problem"), rows)


def check(service: Service, image: _ImageArgument, as_json: JsonOption = False) -> None:
    """Say whether an image may be deleted, and who needs it if not (exit code 9 then)."""
    from accel.cli.render import print_json

    found = service().get("/protection", {"image": image})
    if as_json:
        print_json(found)
    elif found["allowed"]:
        print(f"{image} may be deleted")
    else:
        print(f"{image} is needed by {', '.join(found['used_by'])}")
    if not found["allowed"]:
        raise typer.Exit(REFUSED)


def delete(
    service: Service,
    image: _ImageArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Although other tags of the same digest go with it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an image unless it is needed.

    \b
      accel protect delete registry.example.com/team/app:1.0
    """
    from accel.cli.render import print_json

    found = service().delete("/protection/source", {"image": image, "force": "true" if force else None})
    if as_json:
        print_json(found)
    else:
        print(f"deleted {found['deleted']}: {', '.join(found['tags'])}")


@with_service
def backfill(
    service: Service,
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="A registry of the configuration.")],
    repositories: Annotated[
        list[str], typer.Argument(metavar="REPOSITORY…", help="Names or patterns; ** is all of them.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be converted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert images that the rules cover and nobody converted yet.

    \b
      accel backfill registry.example.com 'team/*' --dry-run
    """
    from accel.cli.render import print_json
    from accel.cli.render_service import show_table

    body = {"registry": registry, "repositories": repositories, "dry_run": dry_run}
    found = service().post("/backfill", body)
    if as_json:
        print_json(found)
        return
    rows = [(one["repository"], one["tag"], one["digest"], one["rule"]) for one in found["images"]]
    show_table(("repository", "tag", "digest", "rule"), rows)
    print(f"{len(rows)} images {'would be' if dry_run else 'are being'} converted")


def list_deliveries(
    service: Service,
    state: Annotated[str, typer.Option(metavar="STATE", help="Only pending, delivered or failed ones.")] = "",
    job: Annotated[str, typer.Option(metavar="JOB", help="Only about this job.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List events on their way out, newest first."""
    from accel.cli.render import print_json
    from accel.cli.render_service import age, show_table

    found = service().get("/deliveries", {"state": state, "job": job, "limit": limit})
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(one["id"]),
            one["endpoint"],
            one["type"],
            one["tag"],
            one["state"],
            str(one["attempts"]),
            age(one["created_at"]),
            str(one["last_status"] or one["last_error"] or ""),
        )
        for one in found["deliveries"]
    ]
    show_table(("id", "to", "event", "tag", "state", "tries", "age", "last answer"), rows)


def redeliver(
    service: Service, delivery: Annotated[int, typer.Argument(metavar="ID", min=1, help="The delivery.")]
) -> None:
    """Send an event again, with the same id."""
    from accel.client import path_of

    service().post(path_of("deliveries", str(delivery), "redeliver"))


for _app, _name, _command in (
    (protect, "list", list_dependencies),
    (protect, "check", check),
    (protect, "delete", delete),
    (deliveries, "list", list_deliveries),
    (deliveries, "redeliver", redeliver),
):
    _app.command(_name, epilog=EPILOG)(guarded(with_service(_command)))
