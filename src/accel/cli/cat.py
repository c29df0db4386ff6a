"""``accel cat``."""

from typing import Annotated

import typer

from accel.cli.options import PlatformOption, Registries, parse_platform, with_registries


@with_registries
def cat(
    registries: Registries,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to read from.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file in it.")],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr how much was fetched.")
    ] = False,
    platform: PlatformOption = None,
) -> None:
    """Write a file of an image to stdout, fetching only the spans it lies in.

    \b
      accel cat registry.example.com/app:1.0_accelerated /etc/os-release
      accel cat -v oci:build/image:1.0_accelerated /usr/bin/python3 > python3
    """
    import sys

    from accel.cli.render import share, size
    from accel.reader import open_image

    with open_image(image, platform=parse_platform(platform), registries=registries()) as opened:
        for piece in opened.cat(path):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        if verbose:
            whole = sum(layer.size for layer in opened.manifest.layers)
            part = share(opened.fetched_bytes, whole)
            print(
                f"fetched {opened.fetched_bytes} bytes of layers ({part} of {size(whole)})"
                f" and {opened.index_bytes} bytes of indexes",
                file=sys.stderr,
            )
