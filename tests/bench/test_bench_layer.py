"""Where the layer comes from, and what is refused."""

import gzip
import tarfile
from pathlib import Path

import pytest

from accel.bench import file_layer, image_layer, is_file_name, synthetic_layer, work_folder
from accel.errors import DigestMismatch, FormatError, NotFoundError, TruncatedError, UnsupportedError
from accel.layout import LayoutStore, OciArchiveStore
from accel.oci import MediaType, Platform
from accel.registry import RegistryStore
from support.images import gzip_layer, image, index, layer_of, plain_layer, put, random_tar
from support.registry_faults import FakeRegistry

SMALL, LARGE = gzip_layer(random_tar(1, 5)), gzip_layer(random_tar(2, 60, 20_000))
ZSTD = layer_of(b"\x28\xb5\x2f\xfd" + bytes(1 << 20), MediaType.OCI_LAYER_ZSTD)


def test_a_synthetic_layer_is_a_bounded_tar_of_real_files(tmp_path: Path) -> None:
    layer = synthetic_layer(tmp_path, 3_000_000)
    assert 500_000 < layer.uncomp_size < 6_000_000 and "synthetic" in layer.name
    with tarfile.open(layer.path) as tar:
        members = tar.getmembers()
    assert len(members) == layer.entries > 10
    assert all(not member.name.startswith("/") for member in members)
    files = [member for member in members if member.isfile() and Path("/", member.name).is_file()]
    assert files and all(member.uid == 0 for member in members)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedError),
        (LARGE.data, None),
        ((LARGE.data or b"")[:-5], TruncatedError),
        ((LARGE.data or b"")[:-5] + b"x" * 5, FormatError),
        (random_tar(1), UnsupportedError),
        (b"\x28\xb5\x2f\xfd" + bytes(100), UnsupportedError),
        (b"what is this", UnsupportedError),
        (gzip.compress(b"no tar" * 1000), FormatError),
    ],
    ids=["empty", "good", "cut", "wrong trailer", "tar", "zstd", "unknown", "gzip of no tar"],
)
def test_only_a_whole_gzip_layer_is_measured(
    tmp_path: Path, data: bytes, error: type[Exception] | None
) -> None:
    path = tmp_path / "layer"
    path.write_bytes(data)
    if error is None:
        layer = file_layer(path)
        assert (layer.comp_size, layer.entries) == (len(data), 62)
        assert bytes(layer.content) == data
    else:
        with pytest.raises(error, match="layer"):
            file_layer(path)


def test_the_largest_gzip_layer_of_an_image_is_taken(tmp_path: Path) -> None:
    built = image([SMALL, plain_layer(random_tar(5, 200, 20_000)), ZSTD, LARGE])
    put(LayoutStore(tmp_path / "dir"), built, "v1")
    with work_folder() as folder:
        layer = image_layer(f"oci:{tmp_path}/dir:v1", folder)
        assert layer.name == LARGE.descriptor.digest and "v1" in layer.origin
        assert list(folder.iterdir()) == []  # read where it is
    assert not folder.exists()


def test_layers_of_archives_and_registries_are_fetched_and_removed(tmp_path: Path) -> None:
    built = image([SMALL, LARGE])
    archive = OciArchiveStore(str(tmp_path / "app.tar"))
    put(archive, built, "v1")
    archive.close()
    with work_folder() as folder:
        assert image_layer(f"oci-archive:{tmp_path}/app.tar:v1", folder).path.read_bytes() == LARGE.data
    assert not folder.exists()
    with FakeRegistry() as registry:
        store = RegistryStore(f"{registry.host}/app:v1", registry.options())
        put(store, built, "v1")
        store.close()
        with work_folder() as folder:
            layer = image_layer(f"{registry.host}/app:v1", folder, registries=registry.options())
            assert layer.path.parent == folder and layer.path.read_bytes() == LARGE.data
        assert not folder.exists()


def test_the_platform_is_chosen(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path), index([image([SMALL]), image([LARGE], platform="linux/arm64")]), "v1")
    with work_folder() as folder:
        layer = image_layer(f"oci:{tmp_path}:v1", folder, Platform.parse("linux/arm64"))
        assert layer.name == LARGE.descriptor.digest
        with pytest.raises(NotFoundError):
            image_layer(f"oci:{tmp_path}:v1", folder, Platform.parse("linux/s390x"))


def test_images_without_gzip_layers_and_layers_that_are_not_what_they_claim(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path / "zstd"), image([ZSTD]), "v1")
    with work_folder() as folder, pytest.raises(UnsupportedError, match="no gzip layer"):
        image_layer(f"oci:{tmp_path}/zstd:v1", folder)
    archive = OciArchiveStore(str(tmp_path / "app.tar"))
    put(archive, image([LARGE]), "v1")
    archive.close()
    data = LARGE.data or b""
    raw = (tmp_path / "app.tar").read_bytes()
    at = raw.index(data) + len(data) // 2
    (tmp_path / "app.tar").write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    with work_folder() as folder, pytest.raises(DigestMismatch):
        image_layer(f"oci-archive:{tmp_path}/app.tar:v1", folder)


def test_what_means_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").write_bytes(b"")
    for name in ("app", "missing.tar.gz", "/no/such", "./app:1"):
        assert is_file_name(name), name
    for name in ("oci:dir:v1", "docker://host/app", "registry.example.com/app:1.0", "debian"):
        assert not is_file_name(name), name
