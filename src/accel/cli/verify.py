"""``accel verify``."""

from typing import Annotated

import typer

from accel.cli.exits import MISMATCH
from accel.cli.options import JsonOption, Registries, with_registries


@with_registries
def verify(
    registries: Registries,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The accelerated image to check.")],
    platform: Annotated[
        list[str],
        typer.Option(metavar="OS/ARCH", help="Check this platform only (repeatable; default: all)."),
    ] = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Recompute everything an accelerated image claims, from all of its bytes.

    Digests and sizes, diffIDs, digests of spans and chunks, every checkpoint, every entry of the tables of contents and
    every file's content through the index against an ordinary extraction; of zstd:chunked also the tar-split. All
    mismatches are listed.

    \b
      accel verify registry.example.com/app:1.0_accelerated
    """
    from accel.cli.progress import shown_progress
    from accel.cli.render import print_json, printable, size
    from accel.oci import Platform
    from accel.verify import verify

    with shown_progress(quiet=as_json) as progress:
        report = verify(
            image, tuple(Platform.parse(text) for text in platform), progress=progress, registries=registries()
        )
    if as_json:
        print_json(report.to_json())
    else:
        for note in report.notes:
            print(f"note: {note}")
        for mismatch in report.mismatches:
            print(f"mismatch: {mismatch.blob}: {printable(mismatch.what)}")
        if report.n_unlisted:
            print(f"… and {report.n_unlisted} more")
        print(
            f"{'OK' if report.ok else 'NOT OK'}: {report.source}@{report.digest}: {report.n_manifests} manifests, "
            f"{report.n_indexed_layers} of {report.n_layers} layers indexed, {report.n_lazy_layers} with a table of "
            f"contents, {report.n_spans} spans, {report.n_chunks} chunks, {report.n_entries} entries, "
            f"{report.n_files} files, {size(report.n_bytes)}"
        )
    if not report.ok:
        raise typer.Exit(MISMATCH)
