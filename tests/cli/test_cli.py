"""The command line: what is printed where, exit codes, and what a Ctrl-C leaves behind."""

import gzip
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel_core.indexing
from accel.cli.app import run
from accel.cli.exits import exit_code
from accel.cli.options import parse_size
from accel.errors import ConfigError
from accel.indexing import FORMATS
from accel.layout import LayoutStore
from accel.oci import MediaType
from accel.registry import RegistryStore
from accel_core.ztoc import decode
from support.gzip_member import bgzf
from support.images import file, gzip_layer, image, index, layer_of, put, random_tar, symlink, tar_of
from support.registry_faults import FakeRegistry

BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello\n"), symlink("motd", "etc/motd")))


@pytest.fixture
def where(tmp_path: Path) -> str:
    """A layout with the image ``v1``."""
    put(
        LayoutStore(tmp_path / "in"), index([image([BASE, TOP]), image([BASE], platform="linux/arm64")]), "v1"
    )
    return f"oci:{tmp_path}/in"


@pytest.fixture
def accelerated(where: str, capfd: pytest.CaptureFixture[str]) -> str:
    assert run(["convert", f"{where}:v1", "--min-layer-size", "0"]) == 0
    capfd.readouterr()
    return f"{where}:v1_accelerated"


def call(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run(args)
    out, err = capfd.readouterr()
    return code, out, err


def test_convert_prints_a_table_and_nothing_on_stderr(where: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, "convert", f"{where}:v1", "--min-layer-size", "0", "--span-size", "64K")
    assert (code, err) == (0, "")
    assert BASE.descriptor.digest[7:19] in out and "indexed" in out and "v1_accelerated@sha256:" in out
    code, out, _ = call(capfd, "convert", f"{where}:v1", "--min-layer-size", "0", "--span-size", "64K")
    assert code == 0 and "already indexed" in out and "nothing written" in out


def test_convert_json(where: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, "convert", f"{where}:v1", "--min-layer-size", "0", "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["reference"] == f"{where}:v1_accelerated" and report["changed"]
    row = report["layers"][0]
    assert row["toc_bytes"] + row["checkpoint_bytes"] == row["index_size"] > 0
    assert row["mb_per_s"] > 0 and row["platforms"] == ["linux/amd64", "linux/arm64"]


def test_a_platform_that_is_none_is_wrong_usage(where: str, capfd: pytest.CaptureFixture[str]) -> None:
    for command in ("convert", "ls"):
        code, _, err = call(capfd, command, f"{where}:v1", "--platform", "/")
        assert code == 2 and "os/architecture" in err


def test_nothing_to_index_has_its_own_code(where: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, "convert", f"{where}:v1")
    assert code == 7 and "nothing was written" in out


def test_a_bad_layer_is_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = layer_of(gzip.compress(random_tar(3))[:-5], MediaType.OCI_LAYER_GZIP)
    put(LayoutStore(tmp_path / "in"), image([BASE, bad]), "v1")
    code, out, _ = call(capfd, "convert", f"oci:{tmp_path}/in:v1", "--min-layer-size", "0")
    assert code == 0 and "warning:" in out and bad.descriptor.digest[7:30] in out
    code, _, err = call(
        capfd, "convert", f"oci:{tmp_path}/in:v1", "--min-layer-size", "0", "--digest-identical", "--force"
    )
    assert code == 5 and bad.descriptor.digest in err and "compressed offset" in err


def test_cat_writes_exactly_the_bytes(accelerated: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(capfd, "cat", accelerated, "/motd", "--platform", "linux/amd64") == (0, "hello\n", "")
    code, out, err = call(capfd, "cat", "-v", accelerated, "motd", "--platform", "amd64")
    assert (code, out) == (0, "hello\n") and "fetched" in err and "bytes" in err


def test_ls(accelerated: str, capfd: pytest.CaptureFixture[str]) -> None:
    amd64 = ("--platform", "linux/amd64")
    assert call(capfd, "ls", accelerated, *amd64) == (0, "etc\nmotd\nusr\n", "")
    _, out, _ = call(capfd, "ls", "-lR", accelerated, "/etc", *amd64)
    assert out.startswith("-rw-r--r--") and out.endswith("/etc/motd\n")
    _, out, _ = call(capfd, "ls", "-l", accelerated, *amd64)
    assert "motd -> etc/motd" in out
    _, out, _ = call(capfd, "ls", "--json", accelerated, "motd", *amd64)
    assert json.loads(out)[0]["path"] == "/etc/motd"


def test_names_are_printed_harmlessly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layer = gzip_layer(tar_of(file("evil\x1b]0;title\x07\nname", b"")))
    put(LayoutStore(tmp_path / "in"), image([layer]), "v1")
    for options in ([], ["-l"], ["-R"]):
        _, out, _ = call(capfd, "ls", f"oci:{tmp_path}/in:v1", *options)
        assert out.count("\n") == 1 and "\x1b" not in out and "\x07" not in out


def test_extract(accelerated: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, text, _ = call(capfd, "extract", accelerated, "/etc", "-o", str(out), "--platform", "amd64")
    assert code == 0 and (out / "motd").read_bytes() == b"hello\n" and "1 files" in text
    code, _, err = call(capfd, "extract", accelerated, "/etc", "-o", str(out), "--platform", "amd64")
    assert code == 2 and "exists already" in err


def test_inspect_images_and_index_files(
    accelerated: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capfd, "inspect", accelerated)
    assert code == 0 and "linux/amd64" in out and "SOCI v2" in out and "TOC" in out
    _, out, _ = call(capfd, "inspect", accelerated, "--json", "--spans")
    described = json.loads(out)["platforms"][0]["layers"][0]["index"]
    assert described["spans"]
    assert described["checkpoint_bytes"] + described["toc_bytes"] == described["size"] > described["toc_bytes"] > 0
    assert BASE.data is not None
    (tmp_path / "layer").write_bytes(BASE.data)
    assert call(capfd, "index", str(tmp_path / "layer"), "-o", str(tmp_path / "z"))[0] == 0
    code, out, _ = call(capfd, "inspect", str(tmp_path / "z"), "--spans")
    assert code == 0 and "span 0: compressed" in out
    code, _, err = call(capfd, "inspect", str(tmp_path / "layer"))
    assert code == 5 and err.startswith("accel: error: ")


def test_verify_exits_1_and_lists_mismatches(
    accelerated: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capfd, "verify", accelerated)
    assert code == 0 and out.startswith("OK")
    path = tmp_path / "in/blobs/sha256" / BASE.descriptor.digest.partition(":")[2]
    data = path.read_bytes()
    path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    code, out, _ = call(capfd, "verify", accelerated)
    assert code == 1 and f"mismatch: {BASE.descriptor.digest}: blob digest is" in out and "NOT OK" in out
    code, out, _ = call(capfd, "verify", accelerated, "--json")
    assert code == 1 and json.loads(out)["ok"] is False


# --- accel index --------------------------------------------------------------------------------------------


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = BASE.data or b""
        self.send_response(200 if self.path == "/layer" else 404)
        self.send_header("Content-Length", str(len(body) if self.path == "/layer" else 0))
        self.end_headers()
        if self.path == "/layer":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_index_from_path_pipe_and_url_is_the_same(
    tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert BASE.data is not None
    (tmp_path / "layer").write_bytes(BASE.data)
    made = []
    for source in (str(tmp_path / "layer"), "-", f"{web}/layer"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BASE.data)))
        code, out, err = call(capfd, "index", source, "-o", str(tmp_path / "ztoc"), "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["digest"] == BASE.descriptor.digest
        made.append((tmp_path / "ztoc").read_bytes())
    assert len(set(made)) == 1
    assert len(decode(made[0])[0].entries) == 42
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layer", "ztoc"]


def test_index_errors(tmp_path: Path, web: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_bytes(gzip.compress(random_tar(1))[:-4])
    (tmp_path / "zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    target = str(tmp_path / "ztoc")
    for layer, code in (
        (tmp_path / "bad", 5),
        (tmp_path / "zst", 5),
        (tmp_path / "none", 3),
        (f"{web}/none", 3),
    ):
        assert call(capfd, "index", str(layer), "-o", target)[0] == code
    assert call(capfd, "index", str(tmp_path / "bad"), "-o", "-", "--json")[0] == 2
    assert not Path(target).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "zst"]


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "soci"])
def test_index_in_other_formats_is_the_same_from_path_and_pipe_and_with_any_threads(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bgzf(random_tar(1, 40, 20_000))
    (tmp_path / "layer").write_bytes(data)
    monkeypatch.setattr(accel_core.indexing, "MIN_CHUNK_BYTES", 1 << 16)
    made = []
    for source, *options in ((str(tmp_path / "layer"), "--threads", "1"), (str(tmp_path / "layer"),), ("-",)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code, out, err = call(
            capfd, "index", source, "--format", format, "-o", str(tmp_path / "index"), "--json", *options
        )
        assert (code, err) == (0, "")
        facts = json.loads(out)
        assert facts["format"] == format and (facts["digest"] is None) == (format != "accel")
        assert facts["comp_size"] == len(data) and facts["uncomp_size"] == len(random_tar(1, 40, 20_000))
        assert facts["entries"] == (None if format == "bgzip" else 42)
        made.append((tmp_path / "index").read_bytes())
        assert facts["index_size"] == len(made[-1])
    assert len(set(made)) == 1
    code, out, err = call(capfd, "index", str(tmp_path / "layer"), "--format", format)
    assert (code, err) == (0, "") and f"{facts['spans']} spans" in out


def test_index_formats_refuse_what_does_not_fit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layer, tar, target = tmp_path / "layer", tmp_path / "tar", tmp_path / "index"
    layer.write_bytes(BASE.data or b"")
    tar.write_bytes(random_tar(1))
    for args, code, message in (
        ((layer, "--format", "none"), 2, "soci, accel"),
        ((layer, "--format", "gzidx", "--digest-identical"), 2, "soci"),
        ((layer, "--threads", "0"), 2, "--threads"),
        ((layer, "--format", "bgzip"), 5, "not BGZF"),
        ((tar, "--format", "bgzip"), 5, "not BGZF"),
        ((tar, "--format", "gzidx"), 5, "not compressed"),
        ((tar, "--format", "gztool"), 5, "not compressed"),
    ):
        got, _, err = call(capfd, "index", *map(str, args), "-o", str(target))
        assert got == code and message in err, (args, err)
        assert not target.exists()


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["convert", "oci:/none:v1"], 3),
        (["convert", "bogus://x"], 2),
        (["convert", "--no-such-option"], 2),
        (["convert"], 2),
        (["no-such-command"], 2),
        (["convert", "oci:x:v1", "--span-size", "many"], 2),
        (["convert", "oci:x:v1", "--ca-cert", "no-equals"], 2),
        (["convert", "oci:x:v1", "--ca-cert", "host=/no/such/file"], 2),
        (["convert", "oci:x:v1", "--authfile", "/no/such/file"], 2),
        (["convert", "oci:x:v1", "--mode", "none"], 2),
        (["convert", "oci:x:v1", "--threads", "0"], 2),
        (["cat", "oci:/none:v1", "x"], 3),
    ],
)
def test_errors_are_one_line_on_stderr_with_their_code(
    args: list[str], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    got, out, err = call(capfd, *args)
    assert got == code
    assert err.count("\n") == 1 and err.startswith("accel: error: ")
    assert out == "" and "Traceback" not in err


def test_json_errors_are_objects_with_facts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_bytes(gzip.compress(random_tar(1))[:-4])
    code, out, err = call(capfd, "index", str(tmp_path / "bad"), "--json")
    error = json.loads(out)["error"]
    assert code == error["exit_code"] == 5
    assert (
        error["kind"] == "TruncatedError"
        and error["comp_offset"] > 0
        and error["blob"] == str(tmp_path / "bad")
    )
    assert err.count("\n") == 1


def test_auth_errors_have_their_own_code(capfd: pytest.CaptureFixture[str]) -> None:
    with FakeRegistry(auth="basic") as registry:
        code, _, err = call(capfd, "convert", f"{registry.host}/app:v1", "--plain-http", registry.host)
    assert code == 4 and "lovelace" not in err


def test_unknown_errors_are_internal() -> None:
    assert exit_code(RuntimeError()) == 70
    assert exit_code(KeyboardInterrupt()) == 130


def test_registries_need_plain_http_by_name(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        store = RegistryStore(f"{registry.host}/app:v1", registry.options())
        put(store, image([BASE, TOP]), "v1")
        store.close()
        registry.requests.clear()
        args = ["convert", f"{registry.host}/app:v1", "--min-layer-size", "0"]
        assert call(capfd, *args)[0] == 6
        assert registry.requests == []  # nothing was ever sent in the clear
        assert call(capfd, *args, "--plain-http", registry.host)[0] == 0
        code, out, _ = call(
            capfd, "cat", f"{registry.host}/app:v1_accelerated", "/motd", "--plain-http", registry.host
        )
        assert (code, out) == (0, "hello\n")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("0", 0), ("65536", 65536), ("512K", 512 << 10), ("4MiB", 4 << 20), ("1g", 1 << 30), ("2 TB", 2 << 40)],
)
def test_sizes(text: str, n_bytes: int) -> None:
    assert parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "-1", "4X", "1.5M", "MiB"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_size(text)


# --- as a process -------------------------------------------------------------------------------------------


def accel(*args: str, **options: object) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "accel", *args],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("command", ["", "convert", "index", "ls", "cat", "extract", "inspect", "verify", "bench"])
def test_help_teaches(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, *command.split(), "--help")
    assert code == 0 and "Exit codes" in out
    assert "accel " in out  # an example


def test_a_command_loads_only_what_it_needs() -> None:
    heavy = ["urllib3", "rich.table", "accel.convert.run", "accel.registry.client", "accel.bench", "matplotlib"]
    heavy += ["accel.cli.index", "accel.cli.rules"]
    script = "import sys; from accel.cli.app import application; application('convert'); "
    script += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"[]\n"


def test_ctrl_c_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        store = RegistryStore(f"{registry.host}/app:v1", registry.options())
        put(store, image([BASE, TOP]), "v1")
        registry.requests.clear()
        registry.fail_next(
            "GET", "/blobs/" + BASE.descriptor.digest, drip_s=0.02, times=100
        )  # takes for ever
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        try:
            process = accel(
                "convert", f"{registry.host}/app:v1", "--min-layer-size", "0", "--plain-http", registry.host
            )
        finally:
            del os.environ["TMPDIR"]
        deadline = time.monotonic() + 30
        while not registry.seen("GET", "/blobs/" + BASE.descriptor.digest) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert out == b"" and err.count(b"\n") == 1 and b"interrupted" in err
        assert store.tags() == ["v1"]
        assert list(temporary.iterdir()) == []
        store.close()


def test_a_closed_pipe_ends_quietly(accelerated: str) -> None:
    process = accel("cat", accelerated, "usr/share/f0003", "--platform", "amd64")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(30) in (0, 141)
    assert process.stderr.read() == b""
    process.stderr.close()
