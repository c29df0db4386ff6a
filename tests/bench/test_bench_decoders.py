"""The calls of the peers: they do all of the work, on every kind of gzip stream, and notice what is wrong."""

import gzip
import mmap
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from accel.bench.builders import BUILDERS, index_builders
from accel.bench.checksums import checksum_calls, checksums
from accel.bench.decoders import PIECE_BYTES, decoders, known_decoders
from accel.bench.peers import package_version, program
from accel.errors import AccelError
from support.gzips import missing
from support.images import random_tar

TAR = random_tar(7, 60, 30_000)
ONE = gzip.compress(TAR, mtime=0)
MEMBERS = b"".join(gzip.compress(TAR[i : i + 100_000], mtime=0) for i in range(0, len(TAR), 100_000))
STREAMS = {
    "one member": ONE,
    "several members": MEMBERS,
    "zeros behind": ONE + bytes(PIECE_BYTES),
    "garbage behind": MEMBERS + b"garbage",
    "an empty member in front": gzip.compress(b"") + ONE,
}
LABELS = [decoder.label for decoder in known_decoders()]


def call_of(label: str, blob: bytes | memoryview, n_out: int):  # type: ignore[no-untyped-def]
    calls = decoders(blob, n_out)
    if label not in calls:
        missing(label)
    return calls[label]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("stream", STREAMS)
def test_decoders_decode_every_member(label: str, stream: str) -> None:
    decoder = next(one for one in known_decoders() if one.label == label)
    if decoder.one_member and stream != "one member":
        pytest.skip("documented: one member only")
    call_of(label, STREAMS[stream], len(TAR))()


@pytest.mark.parametrize("label", LABELS)
def test_decoders_notice_a_wrong_crc_and_a_wrong_size(label: str) -> None:
    bad = ONE[:-8] + bytes([ONE[-8] ^ 1]) + ONE[-7:]
    with pytest.raises(Exception):  # noqa: B017  each has errors of its own
        call_of(label, bad, len(TAR))()
    if not label.endswith("allocates)"):
        with pytest.raises(AccelError, match=str(len(TAR) + 512)):
            call_of(label, ONE, len(TAR) + 512)()


def test_a_mapped_file_is_decoded_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(MEMBERS)
    with (tmp_path / "layer").open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    for label, call in decoders(view, len(TAR)).items():
        if "allocates" not in label:
            call()


def test_a_library_that_is_none_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(b"no library")
    for path in (tmp_path / "lib.so", tmp_path / "missing.so"):
        peer = known_decoders(str(path))[0].peer
        assert peer.version() is None and "libdeflate" in peer.get


def test_every_crc_is_zlibs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"accel plain", "zlib"} <= checksums(b"123456789" * 100).keys()
    for call in checksum_calls(n_bytes=1 << 19).values():
        call()
    wrong = zlib.crc32

    def lies(data: bytes, value: int = 0) -> int:
        return wrong(data, value) ^ 1

    isal = pytest.importorskip("isal.isal_zlib")
    monkeypatch.setattr(isal, "crc32", lies)
    assert "isal_zlib" not in checksums(b"123456789" * 100)


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.label)
def test_index_builders_build_and_their_files_are_indexes(builder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if builder.peer.version() is None:
        pytest.skip(f"{builder.label} is not installed")
    layer, out = tmp_path / "layer.tar.gz", tmp_path / "out"
    layer.write_bytes(ONE)
    for threads in (1, 2) if builder.threaded else (1,):
        builder.prepare(layer, tmp_path / "timed", threads)()
    builder.export(layer, out)
    magic = {"GZIDX": b"GZIDX", "gztool .gzi": b"\0" * 8 + b"gzipind"}.get(builder.format, b"")
    assert out.read_bytes().startswith(magic) and out.stat().st_size > 30


def test_the_developers_benches_get_builders_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(ONE)
    calls = index_builders(tmp_path / "layer")
    assert set(calls) <= {"indexed_gzip", "rapidgzip -P1"}
    for call in calls.values():
        call()


def test_a_process_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "gztool"
    script.write_text("#!/bin/sh\necho reading >&2; echo 'no such thing' >&2; exit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    gztool = next(builder for builder in BUILDERS if builder.label == "gztool")
    with pytest.raises(OSError, match="gztool failed with code 3: no such thing"):
        gztool.prepare(tmp_path / "layer", tmp_path / "out", 1)()


def test_versions_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "a-peer"
    script.write_text("#!/bin/sh\necho 'a-peer (v2.31.7) by someone' >&2; exit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert program("a-peer", "nowhere", "-h").version() == "2.31.7"
    assert program("a-peer", "nowhere").version() == "unknown version"
    assert program("not-a-peer", "nowhere", "-h").version() is None


def test_a_file_of_no_package_has_no_version(tmp_path: Path) -> None:
    assert package_version(str(tmp_path)) is None


def test_measuring_imports_no_peer_until_it_is_asked_for() -> None:
    code = "import accel.bench, sys; print(sorted({'indexed_gzip', 'rapidgzip', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
