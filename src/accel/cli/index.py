"""``accel index``."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Optional

import typer
from typing_extensions import Buffer

from accel.cli.options import JsonOption, Registries, parse_size, with_registries
from accel.indexing import FORMATS, Found, Source


@with_registries
def index(
    registries: Registries,
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="A layer blob: path, - for stdin, or http(s) URL.")
    ],
    output: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE", help="Where the index goes (- for stdout)."),
    ] = None,
    format: Annotated[str, typer.Option(metavar="NAME", help="Format of the index, see above.")] = "soci",
    span_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Nominal distance of checkpoints (not for bgzip).")
    ] = "4MiB",
    max_layer_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Give up if it inflates to more.")
    ] = "64GiB",
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Threads that scan a file (default: number of CPUs)."),
    ] = None,
    digest_identical: Annotated[
        bool, typer.Option("--digest-identical", help="Write the very bytes the soci tool writes (soci only).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Index one gzip or plain tar layer, for tools that handle images themselves.

    Without -o nothing is written: use it with --json to look at what an index would hold.

    \b
      accel index layer.tar.gz -o layer.ztoc
      accel index layer.tar.gz --format gzidx -o layer.gzidx
      curl -sL https://example.com/layer.tar.gz | accel index - -o layer.ztoc --json
    """
    from accel.cli.progress import shown_progress
    from accel.cli.render import print_json
    from accel.errors import ConfigError
    from accel.indexing import IndexOptions, index_layer
    from accel_core import n_cpus

    if output == "-" and as_json:
        raise ConfigError("-o - and --json both write to stdout")
    options = IndexOptions(
        span_bytes=parse_size(span_size),
        max_layer_bytes=parse_size(max_layer_size),
        identical=digest_identical,
        threads=threads or n_cpus(),
    )
    with shown_progress(quiet=as_json or output == "-") as progress:
        found, pieces = index_layer(_source(layer, registries), format, options, name=layer, progress=progress)
        index_size = _write(pieces, output)
    facts = _facts(found)
    if as_json:
        print_json({"format": format} | facts | {"index_size": index_size})
    elif output != "-":
        _tell(facts, index_size)


_ROWS = "".join(f"      {row.name:<8}{row.about}\n" for row in FORMATS.values())
index.__doc__ = f"{index.__doc__}\n    Formats:\n\n    \b\n{_ROWS}"


def _source(layer: str, registries: Registries) -> Source:
    import os
    import sys

    if layer == "-":
        return iter(lambda: sys.stdin.buffer.read(1 << 20), b"")
    if layer.startswith(("http://", "https://")):
        from accel.images.web import download

        return download(layer, registries())
    return layer if os.path.isfile(layer) else _pipe(layer)


def _pipe(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        yield from iter(lambda: file.read(1 << 20), b"")


def _write(pieces: Iterable[Buffer], output: str | None) -> int:
    """The number of bytes, written to ``output`` unless that is None."""
    import sys

    if output is None:
        return sum(memoryview(piece).nbytes for piece in pieces)
    if output == "-":
        return sum(sys.stdout.buffer.write(piece) for piece in pieces)
    from accel.aside import write_aside

    with write_aside(output) as file:
        return sum(file.write(piece) for piece in pieces)


def _facts(found: Found) -> dict[str, Any]:
    from accel_core import LayerIndex

    scan = found if isinstance(found, LayerIndex) else None  # bgzip: only the blocks were looked at
    return {
        "digest": scan.digest if scan else None,
        "diff_id": scan.diff_id if scan else None,
        "compression": scan.compression if scan else "gzip",
        "comp_size": found.comp_size,
        "uncomp_size": found.uncomp_size,
        "entries": len(scan.entries) if scan else None,
        "spans": scan.n_spans if scan else len(found.checkpoints),
        "checkpoints": len(found.checkpoints),
    }


def _tell(facts: dict[str, Any], index_size: int) -> None:
    from accel.cli.render import share, size

    entries = "" if facts["entries"] is None else f"{facts['entries']} entries, "
    print(
        f"{entries}{facts['spans']} spans, {size(facts['comp_size'])} -> {size(facts['uncomp_size'])}, "
        f"index {size(index_size)} ({share(index_size, facts['comp_size'])})"
    )
