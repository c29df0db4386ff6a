"""``accel extract``."""

from typing import Annotated, Optional

import typer

from accel.cli.options import JsonOption, PlatformOption, Registries, parse_platform, with_registries


@with_registries
def extract(
    registries: Registries,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to read from.")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A file, or a directory whose content is wanted.")
    ] = "/",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Directory to write into (made if missing).")
    ] = ".",
    owner: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--owner/--no-owner", help="Keep owners and set-id bits (default: when root)."),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="Make device nodes (as root).")] = False,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write files of an image to disk: never outside DIR, never over what is there.

    \b
      accel extract registry.example.com/app:1.0_accelerated /etc -o etc
      accel extract oci:build/image:1.0_accelerated -o rootfs
    """
    import sys

    from accel.cli.render import print_json, printable, size
    from accel.reader import ExtractOptions, open_image

    with open_image(image, platform=parse_platform(platform), registries=registries()) as opened:
        report = opened.extract(output, path, ExtractOptions(owner=owner, devices=devices))
    if as_json:
        skipped = [{"path": name, "reason": why} for name, why in report.skipped]
        print_json({"files": report.n_files, "bytes": report.n_bytes, "skipped": skipped})
        return
    for name, why in report.skipped:
        print(f"accel: skipped {printable(name)}: {printable(why)}", file=sys.stderr)
    print(f"{report.n_files} files, {size(report.n_bytes)}")
