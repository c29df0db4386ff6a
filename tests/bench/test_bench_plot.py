"""The picture: what is refused before anything is measured, and that every group gets its bars."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from accel.bench import (
    GROUPS,
    BenchOptions,
    BenchReport,
    IndexSize,
    Row,
    Stage,
    describe_machine,
    file_layer,
)
from accel.bench.plot import check_plot, draw, panels_of, write_plot
from accel.errors import ConfigError
from support.gzips import missing
from support.images import gzip_layer, random_tar

LAYER = gzip_layer(random_tar(1, 20, 20_000))


@pytest.fixture
def report(tmp_path: Path) -> BenchReport:
    """Three rows a group; nothing measured."""
    (tmp_path / "layer").write_bytes(LAYER.data or b"")
    rows = [
        Row(group, name, name.startswith("accel"), "…", 1, 10**6, 0.1, 0.1, 0.01, mb_s, mb_s / 500)
        for group in ("decoders", "indexers", "threads", "crc")
        for name, mb_s in (("zlib", 200.0), ("accel scan", 800.0), ("libdeflate", 500.0))
    ]
    stages = [Stage("inflate", 1.0, 0.1, 2.1, "…"), Stage("sparse windows", -0.1, 0.1, -0.2, "…")]
    return BenchReport(
        accel="0",
        date="2026-11-26T00:00:00+00:00",
        machine=describe_machine(),
        layer=file_layer(tmp_path / "layer"),
        options=BenchOptions(),
        baseline="libdeflate",
        cycles="estimated",
        rows=rows,
        sizes=[IndexSize("GZIDX", "accel", True, 1000, 0.02, False)],
        stages=stages,
        peers=[],
        warnings=[],
    )


def matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("Python module matplotlib")


def test_panels_are_ranked_and_know_the_baseline(report: BenchReport) -> None:
    panels = {panel.group: panel for panel in panels_of(report)}
    assert tuple(panels) == GROUPS
    assert [bar.label for bar in panels["decoders"].bars] == ["accel scan", "libdeflate", "zlib"]
    assert panels["decoders"].base == 500 and panels["crc"].base == 0.5
    assert panels["decoders"].bars[0].text == "800 MB/s   1.60×"
    assert [bar.label for bar in panels["threads"].bars] == ["zlib", "accel scan", "libdeflate"]
    assert [(bar.value, bar.text) for bar in panels["stages"].bars] == [
        (2.1, "2.10"),
        (0.0, "within the noise"),
    ]


def test_what_was_not_measured_is_not_drawn(report: BenchReport) -> None:
    assert [p.group for p in panels_of(replace(report, options=BenchOptions(groups=("crc",))))] == ["crc"]
    unknown = [replace(stage, cycles_per_byte=None) for stage in report.stages]
    groups = [p.group for p in panels_of(replace(report, rows=[], stages=unknown, baseline=None))]
    assert groups == ["sizes"]


@pytest.mark.parametrize("groups", [GROUPS, ("crc",), ("sizes", "stages")])
def test_the_plot_is_a_png(report: BenchReport, tmp_path: Path, groups: tuple[str, ...]) -> None:
    matplotlib()
    path = tmp_path / "out.png"
    write_plot(replace(report, options=BenchOptions(groups=groups)), str(path))  # type: ignore[arg-type]
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    assert 800 < width < 4000 and 200 < height < 4000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layer", "out.png"]


def test_machine_and_date_are_written_on_the_picture(report: BenchReport) -> None:
    matplotlib()
    said = " ".join(text.get_text() for text in draw(report).texts)
    assert report.machine.cpu in said and "2026-11-26" in said and "libdeflate" in said


def test_a_headline_needs_a_quiet_machine_and_some_rounds(report: BenchReport) -> None:
    matplotlib()
    rows = [replace(row, name="accel scan", ratio=1.6) for row in report.rows if row.ours]
    quiet = replace(report, machine=replace(report.machine, load=0.1), rows=rows)
    busy = replace(quiet, machine=replace(report.machine, load=4.0))
    hasty = replace(quiet, options=BenchOptions(rounds=1))
    said = [" ".join(text.get_text() for text in draw(one).texts) for one in (quiet, busy, hasty)]
    assert ["1.60× the speed of libdeflate" in text for text in said] == [True, False, False]
    assert ["load 4.0" in text for text in said] == [False, True, False]


def test_what_cannot_be_written_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib()
    (tmp_path / "folder.png").mkdir()
    check_plot(str(tmp_path / "out.png"))
    for path in ("out.svg", "no/such/out.png", "folder.png"):
        with pytest.raises(ConfigError):
            check_plot(str(tmp_path / path))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="written to"):
        check_plot(str(tmp_path / "out.png"))


def test_without_matplotlib_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install accel\[plot\]"):
        check_plot(str(tmp_path / "out.png"))
