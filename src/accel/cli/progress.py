"""Progress of a conversion as bars on a terminal; nothing at all elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from accel.progress import NoProgress, Progress


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress]:
    """A progress drawn on stderr while the block runs, if stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield NoProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[outcome]}"),
        console=Console(stderr=True),
    )
    with bars:
        yield _RichProgress(bars)


class _RichProgress:
    def __init__(self, bars: "object") -> None:
        from rich.progress import Progress as Bars

        assert isinstance(bars, Bars)
        self._bars = bars
        self._tasks: dict[str, int] = {}

    def begin(self, stage: str, total_bytes: int | None) -> None:
        name = stage.replace("sha256:", "")[:19]
        self._tasks[stage] = self._bars.add_task(name, total=total_bytes, outcome="")

    def advance(self, stage: str, n_bytes: int) -> None:
        if stage in self._tasks:
            self._bars.update(self._tasks[stage], advance=n_bytes)  # type: ignore[arg-type]

    def end(self, stage: str, outcome: str) -> None:
        if stage in self._tasks:
            self._bars.update(self._tasks[stage], outcome=outcome[:60])  # type: ignore[arg-type]
