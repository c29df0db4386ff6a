"""``accel convert``."""

from typing import Annotated, Any, Optional, cast

import typer

from accel.cli.exits import NOTHING_TO_INDEX
from accel.cli.options import JsonOption, Registries, parse_platform, parse_size


def convert(
    registries: Registries,
    src: Annotated[str, typer.Argument(metavar="SRC", help="The image to convert.")],
    dest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="DEST", help="Where the result goes (default: SRC with tag TAG_accelerated)."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="What to make: index-only keeps all layers as they are.")
    ] = "index-only",
    format_: Annotated[str, typer.Option("--format", help="Format of the index.")] = "soci",
    platform: Annotated[
        list[str],
        typer.Option(
            metavar="OS/ARCH", help="Index this platform only (repeatable; default: all). Others are kept."
        ),
    ] = [],  # noqa: B006
    referrers: Annotated[
        bool, typer.Option("--referrers", help="Also attach the index to the source image (SOCI v1).")
    ] = False,
    span_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Nominal distance of checkpoints; longer in layers above 160 MiB."),
    ] = "4MiB",
    min_layer_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Layers below this (compressed) get no index.")
    ] = "10MiB",
    max_layer_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Give up on a layer that inflates to more.")
    ] = "64GiB",
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Threads for all layers together (default: number of CPUs)."),
    ] = None,
    digest_identical: Annotated[
        bool, typer.Option("--digest-identical", help="Write the very bytes the soci tool writes.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Index again what is indexed already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give an image an index, so that it starts before it is downloaded.

    The layers are read once and stay as they are. A second run finds the work of the first and does nothing.

    \b
      accel convert docker://registry.example.com/app:1.0
      accel convert oci:build/image:1.0 --min-layer-size 0
      accel convert docker-archive:app.tar oci:app:1.0_accelerated
      accel convert registry.example.com/app:1.0 --platform linux/arm64 --referrers
    """
    from accel.cli.progress import shown_progress
    from accel.cli.render import print_json, show_conversion
    from accel.convert import ConvertOptions, convert
    from accel_core import n_cpus

    options = ConvertOptions(
        mode=cast(Any, mode),  # ConvertOptions checks them
        format=cast(Any, format_),
        platforms=tuple(chosen for text in platform if (chosen := parse_platform(text))),
        referrers=referrers,
        span_bytes=parse_size(span_size),
        min_layer_bytes=parse_size(min_layer_size),
        max_layer_bytes=parse_size(max_layer_size),
        threads=threads or n_cpus(),
        digest_identical=digest_identical,
        force=force,
    )
    with shown_progress(quiet=as_json) as progress:
        report = convert(src, dest, options, progress=progress, registries=registries())
    if as_json:
        print_json(report.to_json())
    else:
        show_conversion(report)
    if report.nothing_to_index:
        raise typer.Exit(NOTHING_TO_INDEX)
