"""Shows the whole thing on one image: ``run.py [IMAGE]``; without IMAGE on one that is assembled here.

Converts the image into ``demo/work/accelerated`` with the ``accel`` command, prints what each layer's index costs,
then reads files through the index alone and compares them with what tarfile finds in the layers. Exits 1 on any
difference.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from build_image import LEAST_BYTES, TAG, WORK, build
from originals import File, image_manifests, merged_files
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ACCEL = str(Path(sys.executable).with_name("accel"))
N_FILES = 12
LAYOUT, RESULT_TAG = WORK / "accelerated", "demo_accelerated"
RESULT = f"oci:{LAYOUT}:{RESULT_TAG}"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
differences: list[str] = []


def expect(right: bool, what: str) -> None:
    """Print the outcome of one check and remember a failed one."""
    console.print(f"  {'[green]ok[/]' if right else '[red]DIFFERS[/]'}  {what}")
    if not right:
        differences.append(what)


def accel(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([ACCEL, *arguments], capture_output=True)


def convert(source: str) -> dict[str, Any]:
    """The report of an index-only conversion of ``source``. Small layers too, so that every file can be read back."""
    done = accel("convert", source, RESULT, "--mode", "index-only", "--min-layer-size", "1K", "--json")
    if done.returncode:
        console.print(done.stderr.decode(errors="replace"), markup=False)
        sys.exit(f"accel convert ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def mb(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:,.2f}"


def percent(part: int | None, whole: int) -> str:
    return "" if part is None or not whole else f"{100 * part / whole:.2f} %"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def times_used(manifests: list[dict[str, Any]]) -> Counter[str]:
    """How many layers of all platforms each digest is."""
    return Counter(layer["digest"] for manifest in manifests for layer in manifest["layers"])


def show_layers(layers: list[dict[str, Any]], used: Counter[str]) -> None:
    """One row per distinct layer; sizes in 10^6 bytes, speed in 10^6 uncompressed bytes per second."""
    table = Table(title="Layers (MB = 10^6 bytes; MB/s of uncompressed data)")
    table.add_column("layer")
    table.add_column("used", justify="right")
    table.add_column("state")
    for name in ("entries", "comp. MB", "uncomp. MB", "index MB", "% of layer", "TOC MB", "checkpoints", "MB/s"):
        table.add_column(name, justify="right")
    for row in layers:
        speed = row["uncomp_size"] / row["seconds"] / 1e6 if row.get("seconds") and row.get("uncomp_size") else None
        table.add_row(
            row["digest"].removeprefix("sha256:")[:12],
            f"{used[row['digest']]} ×",
            row["state"] + (f": {row['reason']}" if row.get("reason") else ""),
            number(row["entries"]),
            mb(row["comp_size"]),
            mb(row["uncomp_size"]),
            mb(row["index_size"]),
            percent(row["index_size"], row["comp_size"]),
            mb(row.get("toc_bytes")),
            number(row["checkpoints"]),
            number(speed),
        )
    console.print(table)
    total = {key: sum(row.get(key) or 0 for row in layers) for key in ("comp_size", "index_size", "toc_bytes")}
    console.print(
        f"Indexes: {mb(total['index_size'])} MB, {percent(total['index_size'], total['comp_size'])} of the layers; "
        f"{percent(total['toc_bytes'], total['index_size'])} of that is table of contents, the rest checkpoints"
    )


def chosen(files: dict[str, File]) -> list[str]:
    """A few paths worth reading: the largest, the empty, the long-named, a hard link, and some from every layer."""
    ordered = sorted(files)
    picks = [
        max(ordered, key=lambda p: files[p].size),
        min(ordered, key=lambda p: files[p].size),
        max(ordered, key=len),
        *[p for p in ordered if files[p].typeflag == b"1"][:1],
    ]
    for layer in sorted({file.layer for file in files.values()}):
        inside = [p for p in ordered if files[p].layer == layer]
        picks += [inside[len(inside) // 3], inside[-len(inside) // 3]]
    return list(dict.fromkeys(picks))[:N_FILES]


def read_back(platform: str, files: dict[str, File], removed: set[str]) -> None:
    """Read files of one platform through the index and compare each with its original."""
    for path in chosen(files):
        done = accel("cat", "-v", "--platform", platform, RESULT, path)
        same = done.returncode == 0 and hashlib.sha256(done.stdout).hexdigest() == files[path].digest
        said = done.stderr.decode(errors="replace").strip()
        short = path if len(path) <= 60 else f"{path[:28]}…{path[-28:]}"
        expect(same, f"{escape(short)}  {files[path].size:,} bytes\n      [dim]{escape(said)}[/]")
    for path in sorted({min(removed), max(removed)} if removed else ()):
        done = accel("cat", "--platform", platform, RESULT, path)
        absent = done.returncode != 0 and not done.stdout
        expect(absent, f"{escape(path)} was removed by a later layer, and is not found")


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert an image index-only and read it back through its index.")
    parser.add_argument("image", nargs="?", help="any reference (default: an image assembled from this machine)")
    source = parser.parse_args().image
    if source is None:
        console.print("Assembling an image from files of this machine …")
        layout, made = build()
        source = f"oci:{layout}:{TAG}"
        if (total := sum(layer.uncomp_size for layer in made)) < LEAST_BYTES:
            sys.exit(f"this machine has too few files for the demo: {total:,} bytes of tar, wanted {LEAST_BYTES:,}")

    shutil.rmtree(LAYOUT, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    console.print(f"accel convert {source} {RESULT} --mode index-only", markup=False)
    report = convert(source)
    images = image_manifests(LAYOUT, RESULT_TAG)
    show_layers(report["layers"], times_used([manifest for _, manifest in images]))
    for message in report.get("messages", []):
        console.print(f"  {message}", markup=False)

    platform, manifest = max(images, key=lambda item: layer_bytes(item[1]))
    console.print(f"\nReading {platform} through the index alone, beside tarfile on the whole layers:")
    files, removed = merged_files(LAYOUT, manifest)
    read_back(platform, files, removed)

    console.print("\nEverything else:")
    verified = accel("verify", RESULT)
    expect(verified.returncode == 0, "accel verify recomputes every claim")
    if verified.returncode:
        console.print((verified.stdout + verified.stderr).decode(errors="replace"), markup=False)
    again = convert(source)
    idle = not again["changed"] and all(row["state"] != "indexed" for row in again["layers"])
    expect(idle, "a second run finds its own work and does nothing")

    console.print(f"\n[red]FAIL[/]: {len(differences)} differences" if differences else "\n[green]PASS[/]")
    sys.exit(bool(differences))


def layer_bytes(manifest: dict[str, Any]) -> int:
    return sum(layer["size"] for layer in manifest["layers"])


if __name__ == "__main__":
    main()
