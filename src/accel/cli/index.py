"""``accel index``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from accel.cli.options import JsonOption, parse_size

if TYPE_CHECKING:
    from accel.registry.options import RegistryOptions


def index(
    registries: "RegistryOptions",
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="A layer blob: path, - for stdin, or http(s) URL.")
    ],
    output: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE", help="Where the zTOC goes (- for stdout)."),
    ] = None,
    span_size: Annotated[str, typer.Option(metavar="SIZE", help="Nominal distance of checkpoints.")] = "4MiB",
    max_layer_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Give up if it inflates to more.")
    ] = "64GiB",
    digest_identical: Annotated[
        bool, typer.Option("--digest-identical", help="Write the very bytes the soci tool writes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Index one gzip or plain tar layer, for tools that handle images themselves.

    Without -o nothing is written: use it with --json to look at what an index would hold.

    \b
      accel index layer.tar.gz -o layer.ztoc
      curl -sL https://example.com/layer.tar.gz | accel index - -o layer.ztoc --json
    """
    import sys

    from accel.cli.progress import shown_progress
    from accel.cli.render import print_json, share, size
    from accel.convert import LayerIndexOptions, index_layer
    from accel.errors import ConfigError
    from accel.formats.soci import SociOptions
    from accel.layout.aside import write_aside

    if output == "-" and as_json:
        raise ConfigError("-o - and --json both write to stdout")
    options = LayerIndexOptions(
        SociOptions(identical=digest_identical, span_bytes=parse_size(span_size), min_layer_bytes=0),
        parse_size(max_layer_size),
    )
    with shown_progress(quiet=as_json or output == "-") as progress:
        found, ztoc = index_layer(_chunks(layer, registries), options, name=layer, progress=progress)
    if output == "-":
        sys.stdout.buffer.write(ztoc)
        return
    if output is not None:
        with write_aside(output) as file:
            file.write(ztoc)
    if as_json:
        print_json(
            {
                "digest": found.digest,
                "diff_id": found.diff_id,
                "compression": found.compression,
                "comp_size": found.comp_size,
                "uncomp_size": found.uncomp_size,
                "entries": len(found.entries),
                "spans": found.n_spans,
                "checkpoints": len(found.checkpoints),
                "index_size": len(ztoc),
            }
        )
    else:
        print(
            f"{len(found.entries)} entries, {found.n_spans} spans, "
            f"{size(found.comp_size)} -> {size(found.uncomp_size)}, "
            f"index {size(len(ztoc))} ({share(len(ztoc), found.comp_size)})"
        )


def _chunks(layer: str, registries: "RegistryOptions") -> Iterator[bytes]:
    import sys

    if layer == "-":
        return iter(lambda: sys.stdin.buffer.read(1 << 20), b"")
    if layer.startswith(("http://", "https://")):
        from accel.images.web import download

        return download(layer, registries)
    return _file_chunks(layer)


def _file_chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        yield from iter(lambda: file.read(1 << 20), b"")
