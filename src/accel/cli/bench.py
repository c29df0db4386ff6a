"""``accel bench``."""

from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import typer

from accel.cli.options import (
    JsonOption,
    PlatformOption,
    Registries,
    parse_counts,
    parse_platform,
    with_registries,
)

if TYPE_CHECKING:
    from pathlib import Path

    from accel.bench import BenchLayer
    from accel.oci import Platform
    from accel.progress import Progress


@with_registries
def bench(
    registries: Registries,
    layer: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="LAYER",
            help="A gzip layer in a file, or an image (its largest gzip layer). Default: a layer made here.",
        ),
    ] = None,
    only: Annotated[
        list[str],
        typer.Option(metavar="GROUP", help="decoders, indexers, threads, crc, sizes or stages (repeatable)."),
    ] = [],  # noqa: B006
    rounds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Rounds to take medians of, after one to warm up (default: 5)."),
    ] = None,
    threads: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="LIST", help="Thread counts, as 1,2,8 (default: 1, 2, 4, … all CPUs)."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One round, one and all CPUs, a smaller layer if one is made.")
    ] = False,
    plot: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE.png", help="Also draw the results; needs the extra 'plot'."),
    ] = None,
    libdeflate: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="Take this libdeflate.so instead of the system's."),
    ] = None,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure accel beside other decoders and index builders, on your layer and this machine.

    \b
      decoders  libdeflate, isal, zlib-ng, zlib beside a scan, which does more
      indexers  indexed_gzip, rapidgzip, gztool, SOCI's; a scan with each digest
      threads   accel and rapidgzip with 1 to N threads, by wall time
      crc       CRC-32 kernels
      sizes     index files, by format
      stages    what each stage of a scan costs, in cycles for each byte

    Contenders take turns; medians are shown. MB/s is 10^6 uncompressed bytes a
    second. Peers that are not installed are listed with how to get them.
    Numbers mean little while the machine is busy.

    \b
      accel bench
      accel bench layer.tar.gz --plot bench.png
      accel bench registry.example.com/app:1.0 --only threads --threads 1,16
    """
    from accel.bench import GROUPS, BenchOptions, describe_machine, run_bench, thread_counts, work_folder
    from accel.cli.progress import shown_progress
    from accel.cli.render import print_json
    from accel.cli.render_bench import show_bench

    machine = describe_machine()
    counts = parse_counts(threads) if threads else thread_counts(machine.cpus)
    options = BenchOptions(
        groups=cast(Any, tuple(only)) or GROUPS,  # BenchOptions checks them
        rounds=rounds or (1 if quick else 5),
        threads=tuple(sorted({1, max(counts)})) if quick and not threads else counts,
        libdeflate=libdeflate,
    )
    wanted = parse_platform(platform)
    if plot is not None:
        from accel.bench.plot import check_plot, write_plot

        check_plot(plot)
    with shown_progress(quiet=as_json) as progress, work_folder() as folder:
        measured = _layer(layer, folder, wanted, quick, progress, registries)
        report = run_bench(measured, machine, folder, options, progress)
        if plot is not None:
            write_plot(report, plot)
    if as_json:
        print_json(report.to_json())
    else:
        show_bench(report, plot)


def _layer(
    layer: str | None,
    folder: "Path",
    platform: "Platform | None",
    quick: bool,
    progress: "Progress",
    registries: Registries,
) -> "BenchLayer":
    from accel.bench import (
        QUICK_BYTES,
        SYNTHETIC_BYTES,
        file_layer,
        image_layer,
        is_file_name,
        synthetic_layer,
    )

    if layer is None:
        return synthetic_layer(folder, QUICK_BYTES if quick else SYNTHETIC_BYTES, progress)
    if is_file_name(layer):
        return file_layer(layer, progress)
    return image_layer(layer, folder, platform, progress=progress, registries=registries())
