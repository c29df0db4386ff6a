"""``accel inspect``."""

from typing import Annotated, Any

import typer

from accel.cli.options import JsonOption, Registries, with_registries


@with_registries
def inspect(
    registries: Registries,
    what: Annotated[
        str, typer.Argument(metavar="IMAGE|INDEX", help="An image, or a file that holds a zTOC.")
    ],
    spans: Annotated[bool, typer.Option("--spans", help="List every span of every index.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how an image is accelerated: its platforms, layers and indexes; or what one index holds.

    \b
      accel inspect registry.example.com/app:1.0_accelerated
      accel inspect layer.ztoc --spans
    """
    import os

    from accel.cli.render import print_json
    from accel.reader.describe import describe_image, describe_ztoc

    if os.path.isfile(what):
        with open(what, "rb") as file:
            described = describe_ztoc(file.read(), spans=spans)
    else:
        described = describe_image(what, spans=spans, registries=registries())
    if as_json:
        print_json(described)
    else:
        _show(described)


def _show(described: dict[str, Any]) -> None:
    from rich.markup import escape

    from accel.cli.render import console, share, size, table

    out = console()
    if "platforms" not in described:
        _show_index(described, indent="")
        return
    out.print(f"{escape(described['reference'])}@{described['digest']} ({escape(described['media_type'])})")
    for image in described["platforms"]:
        soci = (
            f"SOCI v{image['soci_version']} index {image['soci_index']}"
            if image["soci_index"]
            else "no index"
        )
        out.print(f"\n[bold]{escape(image['platform'])}[/bold] {image['digest']}: {soci}")
        numbers = ("size", "index", "of layer", "checkpoints", "TOC", "entries", "spans")
        rows = table("layer", *numbers, right=numbers)
        for layer in image["layers"]:
            index = layer["index"]
            cells = (
                (
                    size(index["size"]),
                    share(index["size"], layer["size"]),
                    size(index["checkpoint_bytes"]),
                    size(index["toc_bytes"]),
                    str(index["entries"]),
                    str(index["n_spans"]),
                )
                if index
                else ("-",) * 6
            )
            rows.add_row(layer["digest"].partition(":")[2][:12], size(layer["size"]), *cells)
        out.print(rows)
        for layer in image["layers"]:
            if layer["toc"]:
                print(_toc_line(layer))
        for layer in image["layers"]:
            if layer["index"] and "spans" in layer["index"]:
                print(layer["digest"])
                _show_index(layer["index"], indent="  ")


def _toc_line(layer: dict[str, Any]) -> str:
    from accel.cli.render import printable, size

    toc, name = layer["toc"], layer["digest"].partition(":")[2][:12]
    if "problem" in toc:
        return f"{name} is not what it claims: {printable(toc['problem'])}"
    return (
        f"{name} is {toc['format']}, loaded lazily by {' and '.join(toc['lazy'])}: {toc['entries']} entries, "
        f"{toc['chunks']} chunks of {size(toc['content_size'])}, TOC {size(toc['comp_size'])}"
    )


def _show_index(index: dict[str, Any], indent: str) -> None:
    for name, value in index.items():
        if name != "spans":
            print(f"{indent}{name}: {value}")
    for number, span in enumerate(index.get("spans", ())):
        comp, uncomp = span["comp"], span["uncomp"]
        print(
            f"{indent}span {number}: compressed {comp[0]}-{comp[1]} -> {uncomp[0]}-{uncomp[1]} {span['digest']}"
        )
