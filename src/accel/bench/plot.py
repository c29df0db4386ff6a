"""The report as a picture: bars, grouped as the tables are, with the ratios on them. Needs ``accel[plot]``."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.aside import write_aside
from accel.bench.contenders import SCAN
from accel.bench.options import Group
from accel.bench.report import BenchReport, Row
from accel.bench.stages import Stage
from accel.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, THEIRS, BASE, INK, SOFT, ALARM = "#0f7c6c", "#b8c0ca", "#5b6775", "#1d2733", "#6b7683", "#b4531a"
FEW_ROUNDS = 3  # fewer, and a busy machine, give no headline
BAR_INCHES, PANEL_INCHES = 0.27, 0.95  # a bar and its gap; a panel's title and axis
TOP_INCHES, COLUMN_INCHES = 1.2, 7.6
DPI = 160

_TITLES: dict[Group, str] = {
    "decoders": "Decoders, one thread",
    "indexers": "Index builders, one thread",
    "threads": "Several threads (wall time)",
    "crc": "CRC-32, blocks in the cache",
    "sizes": "Index files",
    "stages": "Stages of the scan",
}
_UNITS: dict[Group, str] = {
    "decoders": "MB/s of uncompressed bytes, by CPU time",
    "indexers": "MB/s of uncompressed bytes, by CPU time",
    "threads": "MB/s of uncompressed bytes, by wall time",
    "crc": "GB/s",
    "sizes": "% of the compressed layer",
    "stages": "cycles for each uncompressed byte",
}


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    value: float
    text: str
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars from top to bottom; ``base`` is where the baseline's bar ends, if it is among them."""

    group: Group
    bars: Sequence[Bar]
    base: float | None = None


def check_plot(path: str) -> None:
    """Raise ``ConfigError`` now if ``write_plot`` could not write ``path`` after a long measurement."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("drawing needs matplotlib: install accel[plot]")
    if not path.lower().endswith(".png"):
        raise ConfigError(f"{path}: a plot is a PNG; name it so")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} is no directory that can be written to")
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a directory")


def write_plot(report: BenchReport, path: str) -> None:
    """Draw what was measured into a PNG. Raises ``ConfigError`` as ``check_plot`` does, ``OSError``."""
    check_plot(path)
    figure = draw(report)
    with write_aside(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def draw(report: BenchReport) -> "Figure":
    """The picture: one column of panels, two where there are many."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = panels_of(report)
    n_columns = 2 if len(panels) > 2 else 1
    columns = _split(panels, n_columns)
    height = TOP_INCHES + max(sum(map(_height, column)) for column in columns)
    width = COLUMN_INCHES * n_columns
    top = TOP_INCHES / height
    layout = ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 0.99 - top), wspace=0.06, hspace=0.07)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    margin = 0.18 / width
    figure.text(margin, 1 - 0.38 / height, _headline(report), size=15, weight="bold", color=INK)
    for number, line in enumerate(_subtitle(report)):
        figure.text(margin, 1 - (0.64 + 0.2 * number) / height, line, size=8.5, color=SOFT)
    if report.machine.is_busy:
        said = f"busy machine (load {report.machine.load}): read the ratios only"
        figure.text(1 - margin, 1 - 0.38 / height, said, size=9, color=ALARM, ha="right")
    grid = figure.add_gridspec(1, n_columns)
    for number, column in enumerate(columns):
        rows = grid[number].subgridspec(len(column), 1, height_ratios=[_height(panel) for panel in column])
        for row, panel in enumerate(column):
            _draw(figure.add_subplot(rows[row]), panel)
    return figure


def panels_of(report: BenchReport) -> list[Panel]:
    """What there is to draw, fastest or smallest first."""
    panels = []
    for group in report.options.groups:
        if rows := report.ranked(group):
            per, unit = (1000, "GB/s") if group == "crc" else (1, "MB/s")
            bars = [
                Bar(row.name, row.mb_s / per, _speed(row, per, unit), _color(row, report)) for row in rows
            ]
            base = next((row.mb_s / per for row in rows if row.name == report.baseline), None)
            panels.append(Panel(group, bars, base))
        elif group == "sizes" and report.sizes:
            ascending = sorted(report.sizes, key=lambda one: one.n_bytes)
            panels.append(
                Panel(
                    group,
                    [
                        Bar(
                            f"{one.format} ({one.by})",
                            100 * one.share,
                            f"{100 * one.share:.2f} %{', with the file list' if one.entries else ''}",
                            OURS if one.ours else THEIRS,
                        )
                        for one in ascending
                    ],
                )
            )
        elif group == "stages" and report.stages and report.stages[0].cycles_per_byte is not None:
            panels.append(Panel(group, [_stage_bar(stage) for stage in report.stages]))
    return panels


def _stage_bar(stage: Stage) -> Bar:
    cost = max(stage.cycles_per_byte or 0.0, 0.0)
    return Bar(stage.name, cost, f"{cost:.2f}" if stage.is_certain else "within the noise", OURS)


def _speed(row: Row, per: int, unit: str) -> str:
    ratio = "" if row.ratio is None else f"   {row.ratio:.2f}×"
    return f"{row.mb_s / per:.{1 if per > 1 else 0}f} {unit}{ratio}"


def _color(row: Row, report: BenchReport) -> str:
    return OURS if row.ours else BASE if row.name == report.baseline else THEIRS


def _split(panels: Sequence[Panel], n_columns: int) -> list[Sequence[Panel]]:
    """The panels in order, in columns as equal in height as can be."""
    if n_columns == 1:
        return [panels]
    heights = [_height(panel) for panel in panels]
    cut = min(range(1, len(panels)), key=lambda i: max(sum(heights[:i]), sum(heights[i:])))
    return [panels[:cut], panels[cut:]]


def _height(panel: Panel) -> float:
    return PANEL_INCHES + BAR_INCHES * len(panel.bars)


def _draw(axes: "Axes", panel: Panel) -> None:
    places = range(len(panel.bars))
    most = max(bar.value for bar in panel.bars) or 1.0
    axes.barh(places, [bar.value for bar in panel.bars], 0.72, color=[bar.color for bar in panel.bars])
    for place, bar in zip(places, panel.bars, strict=True):
        text = axes.text(bar.value + most * 0.012, place, bar.text, va="center", size=8, color=INK)
        text.set_bbox(
            {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
        )  # the baseline passes behind it
    axes.set_yticks(places, [bar.label for bar in panel.bars], size=8.5, color=INK)
    axes.set_xlim(0, most * 1.34)  # room for the text of the longest bar
    axes.invert_yaxis()
    axes.set_title(_TITLES[panel.group], loc="left", size=10.5, weight="bold", color=INK)
    axes.set_xlabel(_UNITS[panel.group], loc="left", size=8, color=SOFT)
    if panel.base is not None:
        axes.axvline(panel.base, color=BASE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.tick_params(axis="x", labelsize=8, colors=SOFT, length=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6eaef", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _headline(report: BenchReport) -> str:
    scan = next((row for row in report.group("decoders") if row.name == SCAN), None)
    if scan is None or scan.ratio is None or report.machine.is_busy or report.options.rounds < FEW_ROUNDS:
        return "accel bench"
    return f"accel scans this layer at {scan.ratio:.2f}× the speed of {report.baseline}"


def _subtitle(report: BenchReport) -> list[str]:
    """What a reader must know: the machine, the layer, and how it was measured."""
    machine, layer = report.machine, report.layer
    how = [report.date[:10], f"accel {report.accel}", f"medians of {report.options.rounds}, in turns"]
    if report.baseline:
        how.append(f"× and dashed line: {report.baseline}")
    return [
        f"{machine.cpu}, {machine.cpus} CPUs, {machine.system}",
        f"{layer.name[-50:]}: {layer.comp_size / 1e6:.1f} MB, {layer.uncomp_size / 1e6:.1f} MB uncompressed, "
        f"{layer.entries} entries",
        "   ".join(how),
    ]
