"""The report of ``accel bench`` on a terminal."""

from typing import TYPE_CHECKING

from accel.cli.render import console, printable, share, size, table

if TYPE_CHECKING:
    from rich.console import Console

    from accel.bench import BenchReport, Group, Machine, Row

_TITLES: dict["Group", str] = {
    "decoders": "Decoders, one thread: inflate and CRC (accel: tar entries and checkpoints as well)",
    "indexers": "Index builders, one thread",
    "threads": "Several threads, by wall time",
    "crc": "CRC-32 over blocks in the cache",
}
_WIDE = 130


def show_bench(report: "BenchReport", plot: str | None = None) -> None:
    """Machine and layer, a table for each group, then peers and warnings."""
    from rich.markup import escape

    out = console()
    out.print(f"[bold]{escape(machine_line(report.machine))}[/bold]")
    layer = report.layer
    out.print(
        f"{escape(printable(layer.name))} ({escape(printable(layer.origin))}): {size(layer.comp_size)} -> "
        f"{size(layer.uncomp_size)}, {layer.entries} entries; medians of {report.options.rounds} interleaved rounds"
    )
    for group in report.options.groups:
        if group in _TITLES and (rows := report.ranked(group)):
            out.print(f"\n[bold]{_TITLES[group]}[/bold]")
            _show_rows(out, rows, report.baseline)
    _show_sizes(out, report)
    _show_stages(out, report)
    _show_peers(out, report)
    if plot is not None:
        out.print(f"drawn in {escape(printable(plot))}")
    for warning in report.warnings:
        out.print(f"[yellow]warning:[/yellow] {escape(warning)}")


def machine_line(machine: "Machine") -> str:
    """CPU, how many, what the kernels make of it."""
    return (
        f"{machine.cpu}, {machine.cpus} CPUs, {machine.system}, Python {machine.python}; "
        f"kernels: {machine.decoder} decoder, {machine.crc32} CRC-32, {machine.sha256} SHA-256 "
        f"(CPU: {', '.join(machine.features) or 'plain'}), "
        f"{machine.compiler}"
    )


def _show_rows(out: "Console", rows: "list[Row]", baseline: str | None) -> None:
    ratio = "÷ libdeflate" if rows[0].group == "crc" else f"÷ {baseline}"
    numbers = ("MB/s", ratio, "CPU s", "wall s", "±")
    does = ("does",) if out.width >= _WIDE else ()
    lines = table("", *numbers, *does, right=numbers)
    for row in rows:
        style = "green" if row.ours else "default"
        cells = [
            f"[{style}]{row.name}[/{style}]",
            f"{row.mb_s:.0f}",
            "-" if row.ratio is None else f"{row.ratio:.2f}",
            f"{row.cpu_s:.3f}",
            f"{row.wall_s:.3f}",
            f"{row.spread:.0%}",
        ]
        lines.add_row(*cells, *([row.does] if does else []))
    out.print(lines)


def _show_sizes(out: "Console", report: "BenchReport") -> None:
    if not report.sizes:
        return
    out.print("\n[bold]Index files, default options[/bold]")
    numbers = ("size", "of layer")
    lines = table("format", "by", *numbers, "file list", right=numbers)
    for one in sorted(report.sizes, key=lambda one: one.n_bytes):
        style = "green" if one.ours else "default"
        listed = "yes" if one.entries else "no"
        part = share(one.n_bytes, report.layer.comp_size)
        lines.add_row(f"[{style}]{one.format}[/{style}]", one.by, size(one.n_bytes), part, listed)
    out.print(lines)


def _show_stages(out: "Console", report: "BenchReport") -> None:
    if not report.stages:
        return
    out.print(f"\n[bold]Stages of the scan, for each uncompressed byte[/bold] (cycles {report.cycles})")
    numbers = ("cycles", "ns", "± ns")
    lines = table("stage", *numbers, "how", right=numbers)
    for one in report.stages:
        cycles = "-" if one.cycles_per_byte is None else f"{one.cycles_per_byte:.3f}"
        values = (cycles, f"{one.ns_per_byte:.4f}") if one.is_certain else ("~0", "~0")
        lines.add_row(one.name, *values, f"{one.noise_ns:.4f}", one.how)
    out.print(lines)


def _show_peers(out: "Console", report: "BenchReport") -> None:
    from rich.markup import escape

    here = [
        f"{peer.name} {peer.version}" for peer in report.peers if peer.state in ("measured", "not chosen")
    ]
    if here:
        out.print(f"\n[dim]peers: {escape(', '.join(here))}[/dim]")
    for peer in report.peers:
        if peer.state in ("not installed", "left out", "failed"):
            out.print(f"[dim]{escape(peer.name)}: {peer.state}: {escape(printable(peer.note))}[/dim]")
