"""``accel bench``: table, JSON, picture, peers that are missing or fail, and layers that cannot be measured."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accel.bench import GROUPS, BenchOptions, thread_counts
from accel.bench.builders import BUILDERS
from accel.cli.app import run
from accel.cli.options import parse_counts
from accel.errors import ConfigError
from accel.layout import LayoutStore
from support.gzips import missing
from support.images import gzip_layer, image, put, random_tar

LAYER = gzip_layer(random_tar(1, 30, 20_000))
MODULES = ("indexed_gzip", "rapidgzip", "isal", "isal.isal_zlib", "zlib_ng", "zlib_ng.zlib_ng", "deflate")


@pytest.fixture
def layer(tmp_path: Path) -> str:
    (tmp_path / "layer.tar.gz").write_bytes(LAYER.data or b"")
    return str(tmp_path / "layer.tar.gz")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any peer but zlib."""
    for name in MODULES:
        monkeypatch.setitem(__import__("sys").modules, name, None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)


def call(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run(["bench", *args])
    out, err = capfd.readouterr()
    return code, out, err


def test_json_holds_everything(layer: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, layer, "--rounds", "1", "--threads", "1,2", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["schema"] == 1 and report["rounds"] == 1 and report["groups"] == list(GROUPS)
    assert report["layer"]["comp_size"] == LAYER.descriptor.size and report["layer"]["entries"] == 32
    machine = report["machine"]
    assert (
        machine["cpu"]
        and machine["cpus"] >= 1
        and machine["decoder"]
        and machine["crc32"]
        and machine["sha256"]
        and machine["compiler"]
    )
    names = {group: {row["name"]: row for row in report["rows"] if row["group"] == group} for group in GROUPS}
    assert {"accel scan", "zlib"} <= names["decoders"].keys()
    assert {"accel scan", "accel + span digests", "accel + layer digest", "accel + diffID"} <= names[
        "indexers"
    ].keys()
    assert {f"accel.index, {n}" for n in ("1 thread", "2 threads")} <= names["threads"].keys()
    assert {"accel plain", "zlib"} <= names["crc"].keys()
    assert report["baseline"] in names["decoders"] and names["decoders"][report["baseline"]]["ratio"] == 1
    for row in report["rows"]:
        assert row["cpu_s"] > 0 and row["wall_s"] > 0 and row["mb_s"] > 0 and row["ratio"] > 0 and row["does"]
    assert {stage["name"] for stage in report["stages"]} == {
        "inflate", "CRC-32", "tar entries", "checkpoints", "sparse windows", "span digests", "layer digest", "diffID",
    }  # fmt: skip
    assert all(stage["how"] for stage in report["stages"]) and report["cycles"]
    ours = [one for one in report["sizes"] if one["ours"]]
    assert ours and all(0 < one["n_bytes"] and 0 < one["share"] < 1 for one in report["sizes"])
    states = {peer["name"]: peer for peer in report["peers"]}
    assert {"libdeflate", "isal", "zlib-ng", "zlib", "deflate"} <= states.keys()
    assert {builder.peer.name for builder in BUILDERS} <= states.keys()
    for peer in states.values():
        assert peer["state"] in ("measured", "not installed") and (peer["version"] is None) == bool(
            peer["note"]
        )


def test_sizes_are_those_of_what_accel_index_writes(
    layer: str, tmp_path: Path, alone: None, capfd: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = call(capfd, layer, "--only", "sizes", "--json")
    sizes = {one["format"]: one["n_bytes"] for one in json.loads(out)["sizes"] if one["ours"]}
    for label, options in (
        ("SOCI zTOC", []),
        ("SOCI zTOC, digest-identical", ["--digest-identical"]),
        ("GZIDX", ["--format", "gzidx"]),
        ("gztool .gzi", ["--format", "gztool"]),
    ):
        assert run(["index", layer, "-o", str(tmp_path / "index"), *options]) == 0
        assert sizes[label] == (tmp_path / "index").stat().st_size, label


def test_the_tables_say_who_was_measured_on_what(layer: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, layer, "--quick")
    assert (code, err) == (0, "")
    for words in (
        "accel scan",
        "zlib",
        "÷ ",
        "Index files",
        "Stages of the scan",
        "32 entries",
        layer,
        "kernels:",
    ):
        assert words in out, words


def test_missing_peers_are_listed_with_how_to_get_them(
    layer: str, alone: None, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capfd, layer, "--rounds", "1", "--threads", "1")
    assert code == 0
    for words in (
        "isal: not installed: pip install isal",
        "indexed_gzip: not installed: pip install indexed_gzip",
        "libdeflate: not installed: apt install libdeflate0",
        "gztool: not installed: apt install gztool",
        "soci-ztoc: not installed",
        "÷ zlib",
    ):
        assert words in out, words


def test_a_peer_that_fails_is_reported_and_the_others_go_on(
    layer: str,
    alone: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    script = tmp_path / "gztool"
    script.write_text("#!/bin/sh\necho 'gztool v9.9.9'\necho 'cannot do that' >&2; exit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    code, out, _ = call(capfd, layer, "--rounds", "1", "--only", "indexers", "--only", "sizes", "--json")
    report = json.loads(out)
    failed = next(peer for peer in report["peers"] if peer["name"] == "gztool")
    assert code == 0 and failed["state"] == "failed" and failed["version"] == "9.9.9"
    assert "cannot do that" in failed["note"]
    assert "accel scan" in {row["name"] for row in report["rows"]}


def test_only_some_groups(layer: str, alone: None, capfd: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capfd, layer, "--rounds", "1", "--only", "crc", "--json")
    report = json.loads(out)
    assert {row["group"] for row in report["rows"]} == {"crc"}
    assert (report["sizes"], report["stages"], report["baseline"]) == ([], [], None)
    _, out, _ = call(capfd, layer, "--rounds", "1", "--only", "threads", "--threads", "1", "--json")
    report = json.loads(out)
    assert {row["group"] for row in report["rows"]} == {"threads"} and report["baseline"] == "zlib"


def test_what_does_not_fit_into_memory_is_left_out(
    layer: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("accel.bench.run.free_memory", lambda: 100_000)
    _, out, _ = call(capfd, layer, "--rounds", "1", "--only", "decoders", "--json")
    states = {peer["name"]: peer for peer in json.loads(out)["peers"]}
    whole = [states[name] for name in ("libdeflate", "deflate") if states[name]["version"]]
    assert all(peer["state"] == "left out" and "whole output" in peer["note"] for peer in whole)
    assert states["zlib"]["state"] == "measured"


def test_a_busy_machine_is_warned_of(
    layer: str, alone: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for load, warned in ((0.1, False), (7.5, True)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, load, load))
        _, out, _ = call(capfd, layer, "--rounds", "1", "--only", "crc", "--threads", "1", "--json")
        assert any("busy" in said and "7.5" in said for said in json.loads(out)["warnings"]) == warned


def test_an_image_and_a_layer_made_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(LayoutStore(tmp_path / "in"), image([gzip_layer(random_tar(4, 2)), LAYER]), "v1")
    code, out, _ = call(capfd, f"oci:{tmp_path}/in:v1", "--rounds", "1", "--only", "crc")
    assert code == 0 and LAYER.descriptor.digest in out and "largest gzip layer of" in out
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("accel.bench.QUICK_BYTES", 1_000_000)
    code, out, _ = call(capfd, "--quick", "--only", "crc")
    assert code == 0 and "synthetic" in out and "this machine's" in out
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_plot_is_a_png(
    layer: str, alone: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("Python module matplotlib")
    path = tmp_path / "bench.png"
    code, out, err = call(capfd, layer, "--rounds", "1", "--threads", "1", "--plot", str(path))
    assert (code, err) == (0, "") and f"drawn in {path}" in out
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "accel", "bench"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/synthetic.tar.gz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == b"" and err.count(b"\n") == 1 and b"interrupted" in err
    assert list(tmp_path.iterdir()) == []


def test_layers_that_cannot_be_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut").write_bytes((LAYER.data or b"")[:-9])
    (tmp_path / "zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    (tmp_path / "tar").write_bytes(random_tar(1))
    for name, code, kind in (
        ("cut", 5, "TruncatedError"),
        ("zst", 5, "UnsupportedError"),
        ("tar", 5, "UnsupportedError"),
        ("none.tar.gz", 3, "FileNotFoundError"),
        (".", 8, "IsADirectoryError"),
    ):
        got, out, err = call(capfd, str(tmp_path / name), "--json")
        error = json.loads(out)["error"]
        assert (got, error["kind"]) == (code, kind), name
        assert err.count("\n") == 1 and str(tmp_path) in err, name
        if name == "cut":
            assert error["blob"] == str(tmp_path / "cut") and error["comp_offset"] > 0


@pytest.mark.parametrize(
    "args",
    [
        ("--only", "speed"),
        ("--threads", "many"),
        ("--threads", "0"),
        ("--threads", "1,,2"),
        ("--rounds", "0"),
        ("--rounds", "1000000"),
        ("--plot", "/no/such/folder/bench.png"),
        ("--plot", "bench.svg"),
        ("--platform", "/"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_measured(
    args: tuple[str, str], layer: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capfd, layer, *args)
    assert (code, out) == (2, "") and err.startswith("accel: error: ") and err.count("\n") == 1


def test_thread_counts() -> None:
    assert parse_counts("8,1, 2,8") == (1, 2, 8)
    assert [thread_counts(n) for n in (1, 2, 3, 8, 12)] == [
        (1,), (1, 2), (1, 2, 3), (1, 2, 4, 8), (1, 2, 4, 8, 12),
    ]  # fmt: skip
    with pytest.raises(ConfigError):
        BenchOptions(threads=())
