"""Draws the rows of `run.py --json` as the picture of this folder's README.

    python bench/run.py process image full curve --json rows.json && python bench/plot.py rows.json bench/findings.png
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

Rows = list[dict[str, Any]]
OURS, THEIRS = "#1f6f8b", "#b0b7bd"
LINES = {       # of curve.py's implementations, the ones worth a line
    "accel index --format gzidx --threads 2": ("accel, 2 threads", OURS, "-"),
    "accel index --format gzidx --threads 1": ("accel, 1 thread", OURS, "--"),
    "rapidgzip -P 2": ("rapidgzip -P 2", "#d98e04", "-"),
    "rapidgzip -P 1": ("rapidgzip -P 1", "#d98e04", "--"),
    "indexed_gzip": ("indexed_gzip", "#8a5a9e", "-"),
    "SOCI's builder": ("SOCI's builder", "#a23b3b", "-"),
}


def main() -> int:
    source, target = sys.argv[1:]
    rows: Rows = [json.loads(line) for line in Path(source).read_text().splitlines()]
    panels = [panel for bench, panel in PANELS if of(rows, bench)]
    figure, axes = plt.subplots(-(-len(panels) // 2), 2, figsize=(12, 4.3 * -(-len(panels) // 2)), squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        panel(axis, rows)
    figure.suptitle(f"{rows[-1]['machine']}; shorter and lower is better", fontsize=10)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    return 0


def of(rows: Rows, bench: str, case: str = "") -> Rows:
    return [row for row in rows if row["bench"] == bench and case in ("", row["case"])]


def bars(axis: Axes, rows: Rows, field: str, title: str) -> None:
    rows = [row for row in rows if not row["implementation"].endswith("-dc")]
    rows = sorted(rows, key=lambda row: -float(row[field]))
    labels = [short(row["implementation"]) for row in rows]
    colours = [OURS if label.startswith("accel") else THEIRS for label in labels]
    drawn = axis.barh(labels, [row[field] for row in rows], color=colours)
    axis.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    finish(axis, title)
    axis.margins(x=0.12)


def short(name: str) -> str:
    options = name.partition("--mode full --format ")
    if options[1]:
        name = options[0] + options[2].partition(" ")[2]
    return name.split(", both")[0].split(" and openssl")[0]


def by_size(axis: Axes, rows: Rows) -> None:
    for name, (label, colour, style) in LINES.items():
        points = sorted((row["bytes_out"] / 1e9, row["cpu_s"]) for row in rows if row["implementation"] == name)
        if points:
            axis.plot(*zip(*points, strict=True), style, color=colour, label=label, marker="o", markersize=3)
    axis.set_xlabel("GB of tar, one gzip stream")
    axis.set_ylabel("CPU seconds")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.legend(fontsize=8)
    finish(axis, "How the cost grows with the layer (whole processes)")


def by_chunks(axis: Axes, rows: Rows) -> None:
    for case in dict.fromkeys(row["case"] for row in rows if "chunks" in row["case"]):
        points = chunks(row for row in rows if row["case"] == case)
        axis.plot([n for n, _ in points], [s / points[0][1] for _, s in points], marker="o", color=OURS, label=case)
    axis.axhline(1, color=THEIRS)
    axis.set_xlabel("chunks, one after the other in one thread")
    axis.set_ylabel("CPU time, 1 = one scan")
    axis.set_xscale("log", base=2)
    axis.set_ylim(0.9, 1.3)
    axis.legend(fontsize=8)
    finish(axis, "What speculation adds in all")


def chunks(rows: Iterable[dict[str, Any]]) -> list[tuple[int, float]]:
    return sorted((int(row["implementation"].split(", ")[1].split()[0]), row["cpu_s"]) for row in rows)


def finish(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


PANELS: list[tuple[str, Callable[[Axes, Rows], None]]] = [
    ("process", lambda axis, rows: bars(
        axis, of(rows, "process"), "cpu_s", "Index a layer of 1.8 GB: CPU seconds of the process")),
    ("image", lambda axis, rows: bars(
        axis, of(rows, "image"), "wall_s", "Index an image of 2.0 GB on two CPUs: seconds")),
    ("full", lambda axis, rows: bars(
        axis, of(rows, "full", "estargz"), "wall_s", "Write it anew as eStargz: seconds")),
    ("full", lambda axis, rows: bars(
        axis, of(rows, "full", "zstd-chunked"), "wall_s", "Write it anew as zstd:chunked: seconds")),
    ("curve", lambda axis, rows: by_size(axis, of(rows, "curve"))),
    ("curve", lambda axis, rows: by_chunks(axis, of(rows, "curve"))),
]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
