"""Reading accelerated images: the bytes tarfile gives, fetched through the index alone and verified."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel
from accel.convert import ConvertOptions, convert
from accel.errors import ConfigError, DigestMismatch, FormatError, NotFoundError
from accel.layout import LayoutStore
from accel.oci import Platform
from accel.registry import RegistryStore
from support.images import (
    directory,
    file,
    gzip_layer,
    hardlink,
    image,
    index,
    plain_layer,
    put,
    random_tar,
    symlink,
    tar_of,
    whiteout,
)
from support.registry_faults import FakeRegistry

OPTIONS = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10)
BASE_TAR = random_tar(7, 60, 30_000)
BASE = gzip_layer(BASE_TAR)
PLAIN = plain_layer(tar_of(*(file(f"opt/f{i}", bytes([i]) * 9000) for i in range(20))))
TOP = gzip_layer(
    tar_of(
        directory("etc", mode=0o750),
        file("etc/motd", b"hello", mode=0o640),
        hardlink("etc/again", "etc/motd"),
        symlink("motd", "/etc/motd"),
        whiteout("usr/share/f0001"),
        file("usr/share/f0002", b"replaced"),
    )
)


def files_in(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {m.name: opened.extractfile(m).read() for m in opened if m.isreg()}  # type: ignore[union-attr]


EXPECTED = files_in(BASE_TAR) | {"etc/motd": b"hello", "etc/again": b"hello", "usr/share/f0002": b"replaced"}
del EXPECTED["usr/share/f0001"]


@pytest.fixture(params=["indexed", "no index"])
def reference(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    put(LayoutStore(tmp_path / "in"), image([BASE, TOP]), "v1")
    if request.param == "no index":
        return f"oci:{tmp_path}/in:v1"
    return convert(f"oci:{tmp_path}/in:v1", None, OPTIONS).reference


def test_every_file_reads_as_tarfile_has_it(reference: str) -> None:
    with accel.open_image(reference) as opened:
        found = {i.name: b"".join(opened.cat(i.path)) for i in opened.ls(recursive=True) if i.kind == "file"}
    assert found == EXPECTED


def test_extraction_gives_the_same_tree(reference: str, tmp_path: Path) -> None:
    with accel.open_image(reference) as opened:
        report = opened.extract(tmp_path / "out")
    out = tmp_path / "out"
    assert {
        str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and not p.is_symlink()
    } == EXPECTED
    assert os.readlink(out / "motd") == "/etc/motd"
    assert (out / "etc/motd").stat().st_ino == (out / "etc/again").stat().st_ino
    assert report.skipped == []


def test_extraction_of_one_file_or_directory(reference: str, tmp_path: Path) -> None:
    with accel.open_image(reference) as opened:
        opened.extract(tmp_path / "one", "/etc/motd")
        opened.extract(tmp_path / "dir", "etc")
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["motd"]
    assert sorted(p.name for p in (tmp_path / "dir").iterdir()) == ["again", "motd"]


def test_ls_and_stat(reference: str) -> None:
    with accel.open_image(reference) as opened:
        assert [(i.name, i.kind) for i in opened.ls("/")] == [
            ("etc", "dir"),
            ("motd", "symlink"),
            ("usr", "dir"),
        ]
        assert [i.name for i in opened.ls("motd")] == ["etc/motd"]
        assert opened.stat("motd").size == 5
        assert opened.stat("motd", follow=False).linkname == "/etc/motd"
        assert opened.stat("etc").mode == 0o750
        with pytest.raises(NotFoundError):
            opened.ls("nope")
        with pytest.raises(ConfigError):
            opened.cat("etc")


def test_uncompressed_layers(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path / "in"), image([PLAIN]), "v1")
    where = convert(f"oci:{tmp_path}/in:v1", None, OPTIONS).reference
    assert PLAIN.data is not None
    with accel.open_image(where) as opened:
        found = {i.name: b"".join(opened.cat(i.path)) for i in opened.ls(recursive=True) if i.kind == "file"}
    assert found == files_in(PLAIN.data)


def test_platforms(tmp_path: Path) -> None:
    arm = image([gzip_layer(tar_of(file("arm", b"")))], platform="linux/arm64/v8")
    s390 = image([gzip_layer(tar_of(file("s390", b"")))], platform="linux/s390x")
    put(LayoutStore(tmp_path / "in"), index([arm, s390]), "v1")
    with accel.open_image(f"oci:{tmp_path}/in:v1", "linux/arm64") as opened:
        assert [i.name for i in opened.ls()] == ["arm"]
    with pytest.raises(NotFoundError, match="linux/arm64/v8, linux/s390x"):
        accel.open_image(f"oci:{tmp_path}/in:v1", "linux/riscv64")
    only = f"oci:{tmp_path}/only:v1"
    put(LayoutStore(tmp_path / "only"), s390, "v1")
    with accel.open_image(only) as opened:  # not the host's, but the only one
        assert opened.platform == Platform("linux", "s390x")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        store = RegistryStore(f"{running.host}/app:v1", running.options())
        put(store, image([BASE, TOP]), "v1")
        store.close()
        convert(f"{running.host}/app:v1", None, OPTIONS, registries=running.options())
        running.requests.clear()
        yield running


def test_a_registry_is_asked_for_the_needed_ranges_only(registry: FakeRegistry) -> None:
    reference = f"{registry.host}/app:v1_accelerated"
    with accel.open_image(reference, registries=registry.options()) as opened:
        name = "usr/share/f0033"
        assert b"".join(opened.cat(name)) == EXPECTED[name]
        asked = [r for r in registry.seen("GET", "/blobs/") if BASE.descriptor.digest in r.path]
        ranges = [r.headers["Range"] for r in asked]
        assert ranges and all(r.startswith("bytes=") for r in ranges)
        n_bytes = sum(int(r[6:].split("-")[1]) - int(r[6:].split("-")[0]) + 1 for r in ranges)
        assert opened.fetched_bytes == n_bytes < BASE.descriptor.size / 3
        before = opened.fetched_bytes
        b"".join(opened.cat(name))
        assert opened.fetched_bytes == before  # the span was kept


def test_a_span_that_was_changed_is_never_shown(registry: FakeRegistry) -> None:
    def corrupt(answer: object) -> None:
        answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]  # type: ignore[attr-defined]

    registry.fail_next("GET", f"/blobs/{BASE.descriptor.digest}", edit=corrupt, times=100)
    where = f"{registry.host}/app:v1_accelerated"
    with (
        accel.open_image(where, registries=registry.options()) as opened,
        pytest.raises(DigestMismatch, match="span"),
    ):
        list(opened.cat("usr/share/f0033"))


def test_a_changed_ztoc_is_never_used(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "in")
    put(store, image([BASE]), "v1")
    where = convert(f"oci:{tmp_path}/in:v1", None, OPTIONS).reference
    with accel.open_image(where) as opened:
        assert opened.soci is not None
        [ztoc] = opened.soci.ztocs.values()
    path = tmp_path / "in/blobs/sha256" / ztoc.digest.partition(":")[2]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with accel.open_image(where) as opened, pytest.raises(DigestMismatch):
        opened.ls()


def test_an_index_for_another_layer_is_refused(tmp_path: Path) -> None:
    from accel.reader.layers import IndexedLayer
    from accel_core import index as index_of

    assert BASE.data is not None
    found = index_of([BASE.data])
    store = LayoutStore(tmp_path / "in")
    put(store, image([TOP]), "v1")
    with pytest.raises(FormatError, match="is for a layer of"):
        IndexedLayer(store.blob(TOP.descriptor), found, TOP.descriptor.digest, lambda n_bytes: None)


def test_damaged_layers_without_index_raise(tmp_path: Path) -> None:
    from accel.oci import MediaType
    from support.images import layer_of

    cut = layer_of(gzip.compress(BASE_TAR)[:-50], MediaType.OCI_LAYER_GZIP)
    put(LayoutStore(tmp_path / "in"), image([cut]), "v1")
    with accel.open_image(f"oci:{tmp_path}/in:v1") as opened, pytest.raises(FormatError) as caught:
        opened.ls()
    assert caught.value.blob == cut.descriptor.digest


def test_a_layer_that_is_there_twice_is_fetched_once(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path), image([BASE, TOP, TOP, BASE]), "v1")
    with accel.open_image(f"oci:{tmp_path}:v1") as opened:
        assert b"".join(opened.cat("etc/motd")) == b"hello"
        assert opened.fetched_bytes < 2 * (BASE.descriptor.size + TOP.descriptor.size)
