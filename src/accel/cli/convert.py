"""``accel convert``."""

from typing import Annotated, Optional

import typer

from accel.cli.exits import NOTHING_TO_INDEX
from accel.cli.options import JsonOption, Registries, parse_platform, parse_size, with_registries

_INDEX, _FULL = "Mode index-only", "Mode full"


@with_registries
def convert(
    registries: Registries,
    src: Annotated[str, typer.Argument(metavar="SRC", help="The image to convert.")],
    dest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="DEST", help="Where the result goes (default: SRC with tag TAG_accelerated)."),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="index-only keeps all layers and adds an index; full writes layers that load lazily by themselves; "
            "or both: index-only,full.",
        ),
    ] = "index-only",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="LIST",
            help="What to make: soci (index-only); estargz, zstd-chunked or both (full). Default: all of the mode.",
        ),
    ] = "",
    platform: Annotated[
        list[str],
        typer.Option(
            metavar="OS/ARCH", help="Convert this platform only (repeatable; default: all). Others are kept."
        ),
    ] = [],  # noqa: B006
    referrers: Annotated[
        bool,
        typer.Option(
            "--referrers", help="Also attach the index to the source image (SOCI v1).", rich_help_panel=_INDEX
        ),
    ] = False,
    span_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Nominal distance of checkpoints; longer in layers above 160 MiB.",
            rich_help_panel=_INDEX,
        ),
    ] = "4MiB",
    min_layer_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="Layers below this (compressed) get no index.", rich_help_panel=_INDEX
        ),
    ] = "10MiB",
    max_layer_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Give up on a layer that inflates to more.")
    ] = "64GiB",
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Threads for all layers together (default: number of CPUs)."),
    ] = None,
    digest_identical: Annotated[
        bool,
        typer.Option(
            "--digest-identical", help="Write the very bytes the soci tool writes.", rich_help_panel=_INDEX
        ),
    ] = False,
    level: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="How hard to compress: default is the fastest at about the source's size; best; or 1 to 22 "
            "(gzip: up to 12).",
            rich_help_panel=_FULL,
        ),
    ] = "default",
    prefetch: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Put these files in front (estargz), to be fetched before the container starts: a path a line.",
            rich_help_panel=_FULL,
        ),
    ] = None,
    min_chunk_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="estargz: files smaller than this share gzip members of about that size, which saves a few percent. "
            "Older readers than stargz-snapshotter 0.13 need 0: each file on its own.",
            rich_help_panel=_FULL,
        ),
    ] = "16K",
    containerd_only: Annotated[
        bool,
        typer.Option(
            "--containerd-only",
            help="zstd:chunked for containerd's stargz-snapshotter, and nothing else "
            "(default tag: TAG_containerd_accelerated).",
            rich_help_panel=_FULL,
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Make again what is there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Accelerate an image, so that it starts before it is downloaded.

    Mode index-only reads the layers once and leaves them as they are. Mode full writes them anew: for every platform as
    eStargz, which any runtime can run and stargz-snapshotter loads lazily, and beside it as zstd:chunked, which podman,
    buildah and CRI-O choose and pull in parts. A second run finds the work of the first and does nothing.

    \b
      accel convert docker://registry.example.com/app:1.0
      accel convert oci:build/image:1.0 --min-layer-size 0
      accel convert docker-archive:app.tar oci:app:1.0_accelerated
      accel convert registry.example.com/app:1.0 --platform linux/arm64 --referrers
      accel convert registry.example.com/app:1.0 --mode full
      accel convert oci:app:1.0 --mode full --format estargz --prefetch needed-at-start.txt
    """
    from accel.cli.progress import shown_progress
    from accel.cli.render import print_json, show_conversion
    from accel.config import prefetch_list
    from accel.convert import ConvertOptions, convert
    from accel_core import n_cpus

    options = ConvertOptions(
        mode=mode,
        format=format_,
        platforms=tuple(chosen for text in platform if (chosen := parse_platform(text))),
        referrers=referrers,
        span_bytes=parse_size(span_size),
        min_layer_bytes=parse_size(min_layer_size),
        max_layer_bytes=parse_size(max_layer_size),
        threads=threads or n_cpus(),
        digest_identical=digest_identical,
        force=force,
        level=level,
        prefetch=prefetch_list(prefetch) if prefetch else (),
        containerd_only=containerd_only,
        min_chunk_bytes=parse_size(min_chunk_size),
    )
    with shown_progress(quiet=as_json) as progress:
        report = convert(src, dest, options, progress=progress, registries=registries())
    if as_json:
        print_json(report.to_json())
    else:
        show_conversion(report)
    if report.nothing_to_index:
        raise typer.Exit(NOTHING_TO_INDEX)
