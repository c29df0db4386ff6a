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
            out.print(f"[dim]skipped {layer.digest.partition(':')[2][:12]}: {escape(layer.reason)}[/dim]")
    for message in report.messages:
        out.print(f"[yellow]warning:[/yellow] {escape(message)}")
    totals = report.totals
    if report.nothing_to_index:
        out.print("No layer could be indexed: nothing was written.")
    else:
        done = "" if report.changed else " (already there, nothing written)"
        out.print(f"{escape(report.reference)}@{report.digest}{done}")
        out.print(
            f"{totals['usable']} of {totals['layers']} layers indexed, index {size(totals['index_size'])} = "
            f"{share(totals['index_size'], totals['comp_size'])} of {size(totals['comp_size'])}, {report.seconds:.1f} s"
        )


def _layer_cells(layer: "LayerReport") -> list[str]:
    style = _STYLES[layer.state]
    return [
        layer.digest.partition(":")[2][:12],
        f"[{style}]{layer.state}[/{style}]",
        "-" if layer.entries is None else str(layer.entries),
        size(layer.comp_size),
        size(layer.uncomp_size),
        size(layer.index_size),
        share(layer.index_size, layer.comp_size),
        "-" if layer.checkpoints is None else str(layer.checkpoints),
        "-" if layer.mb_per_s is None else f"{layer.mb_per_s:.0f}",
    ]
