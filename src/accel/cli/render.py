"""Reports as tables and JSON on stdout."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from accel.convert import ConvertReport, LayerReport

_FULL_TABLE_COLUMNS = 112
_STYLES = {
    "indexed": "green",
    "already indexed": "cyan",
    "converted": "green",
    "already converted": "cyan",
    "plain": "yellow",
    "kept": "dim",
    "skipped": "dim",
    "unsupported": "yellow",
    "failed": "red",
}


def print_json(value: Any) -> None:
    """One document, readable and stable."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def printable(text: str) -> str:
    """``text`` with what could change a terminal, or pass for another line, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size(n_bytes: int | None) -> str:
    """``12.3 MiB``; ``-`` for unknown."""
    if n_bytes is None:
        return "-"
    if n_bytes < 1024:
        return f"{n_bytes} B"
    value = float(n_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def share(part: int | None, whole: int | None) -> str:
    """``2.51 %``; ``-`` for unknown."""
    return "-" if part is None or not whole else f"{100 * part / whole:.2f} %"


def console() -> "Console":
    """Where tables go: stdout, in its width; wide when piped, so that nothing is cut."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> "Table":
    """An empty table with these columns, those of ``right`` aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def show_conversion(report: "ConvertReport") -> None:
    """The layers as a table, then what came of it."""
    if any(layer.outputs for layer in report.layers):
        _show_full(report)
        if report.index_only is not None:
            _show_index_only(report.index_only)
    else:
        _show_index_only(report)


def _show_index_only(report: "ConvertReport") -> None:
    from rich.markup import escape

    out = console()
    numbers = ("entries", "compressed", "uncompressed", "index", "of layer", "checkpoints", "MB/s")
    # Terminals are often narrow: better fewer columns than broken ones, and the notes below instead of a column.
    shown = 2 + (len(numbers) if out.width >= _FULL_TABLE_COLUMNS else len(numbers) - 3)
    rows = table(*("layer", "state", *numbers)[:shown], right=numbers)
    for layer in report.layers:
        rows.add_row(*_layer_cells(layer)[:shown])
    out.print(rows)
    for layer in report.layers:
        if layer.state == "skipped":
            out.print(f"[dim]skipped {_short(layer.digest)}: {escape(layer.reason)}[/dim]")
    totals = report.totals
    if _show_outcome(report, "No layer could be indexed: nothing was written."):
        out.print(
            f"{totals['usable']} of {totals['layers']} layers indexed, index {size(totals['index_size'])} = "
            f"{share(totals['index_size'], totals['comp_size'])} of {size(totals['comp_size'])}, {report.seconds:.1f} s"
        )


def _show_full(report: "ConvertReport") -> None:
    out = console()
    numbers = ("compressed", "size", "of source", "MB/s")
    rows = table("layer", "format", "state", *numbers, "lazily loaded by", right=numbers)
    for layer in report.layers:
        for number, output in enumerate(layer.outputs):
            first = (_short(layer.digest), size(layer.comp_size), _speed(layer)) if number == 0 else ("", "", "")
            rows.add_row(
                first[0],
                output.format,
                f"[{_STYLES[output.state]}]{output.state}[/{_STYLES[output.state]}]",
                first[1],
                size(output.size),
                share(output.size, layer.comp_size),
                first[2],
                ", ".join(output.lazy) or "nobody",
            )
    out.print(rows)
    source = sum(layer.comp_size for layer in report.layers)
    if _show_outcome(report, "No layer could be converted: nothing was written."):
        sizes = ", ".join(
            f"{format} {size(n_bytes)} = {share(n_bytes, source)}"
            for format, n_bytes in report.output_sizes.items()
        )
        lazy = report.totals["lazy"]
        out.print(
            f"{lazy} of {len(report.layers)} layers load lazily; {sizes} of {size(source)}, {report.seconds:.1f} s"
        )


def _show_outcome(report: "ConvertReport", nothing: str) -> bool:
    """The warnings, and where the result is; False if there is none."""
    from rich.markup import escape

    out = console()
    for message in report.messages:
        out.print(f"[yellow]warning:[/yellow] {escape(message)}")
    if report.nothing_to_index:
        out.print(nothing)
        return False
    done = "" if report.changed else " (already there, nothing written)"
    out.print(f"{escape(report.reference)}@{report.digest}{done}")
    return True


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]


def _speed(layer: "LayerReport") -> str:
    return "-" if layer.mb_per_s is None else f"{layer.mb_per_s:.0f}"


def _layer_cells(layer: "LayerReport") -> list[str]:
    style = _STYLES[layer.state]
    return [
        _short(layer.digest),
        f"[{style}]{layer.state}[/{style}]",
        "-" if layer.entries is None else str(layer.entries),
        size(layer.comp_size),
        size(layer.uncomp_size),
        size(layer.index_size),
        share(layer.index_size, layer.comp_size),
        "-" if layer.checkpoints is None else str(layer.checkpoints),
        _speed(layer),
    ]
