"""Bad input and bad luck: a typed error that names blob and offset, and nothing half-published."""

import errno
import gzip
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel
from accel.convert import ConvertOptions, convert
from accel.errors import AuthError, DigestMismatch, FormatError, LimitError, NotFoundError, RegistryError
from accel.layout import LayoutStore
from accel.oci import MediaType, digest_of
from accel.registry import RegistryStore
from support.images import Layer, file, gzip_layer, image, layer_of, plain_layer, put, random_tar, tar_of
from support.registry_faults import FakeRegistry

ALL = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10)
STRICT = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10, digest_identical=True)
GOOD = gzip_layer(random_tar(1, 40, 20_000))
TAR = random_tar(2, 20, 9000)
GZIP = gzip.compress(TAR, mtime=0)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def of_gzip(data: bytes) -> Layer:
    return layer_of(data, MediaType.OCI_LAYER_GZIP, digest_of(TAR))


def lying_tar() -> bytes:
    """A second header whose checksum does not hold."""
    tar = bytearray(tar_of(file("a", b"x" * 600), file("b", b"y")))
    tar[512 + 1024] ^= 1
    return bytes(tar)


BAD_LAYERS: dict[str, tuple[Layer, str]] = {
    "truncated": (of_gzip(GZIP[:-9]), "compressed offset"),
    "cut in the trailer": (of_gzip(GZIP[:-1]), "compressed offset"),
    "corrupt in the middle": (of_gzip(flipped(GZIP, len(GZIP) // 2)), "compressed offset"),
    "wrong CRC": (of_gzip(flipped(GZIP, len(GZIP) - 8)), "CRC"),
    "wrong length": (of_gzip(flipped(GZIP, len(GZIP) - 1)), "compressed offset"),
    "not a tar inside": (of_gzip(gzip.compress(random.Random(1).randbytes(5000))), "uncompressed offset"),
    "header that lies": (of_gzip(gzip.compress(lying_tar())), "uncompressed offset 1536"),
    "tar cut in a file": (plain_layer(TAR[:5000]), "uncompressed offset"),
    "neither gzip nor tar": (layer_of(b"\x00garbage" * 999, MediaType.OCI_LAYER_GZIP), "unsupported"),
    "empty blob": (layer_of(b"", MediaType.OCI_LAYER_GZIP), "empty"),
}


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path / "in")


def left_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize("name", list(BAD_LAYERS))
def test_one_bad_layer_is_left_out_with_a_warning(tmp_path: Path, store: LayoutStore, name: str) -> None:
    bad, says = BAD_LAYERS[name]
    put_any(store, bad)
    report = convert(f"oci:{tmp_path}/in:v1", None, ALL)
    by_digest = {layer.digest: layer for layer in report.layers}
    row = by_digest[bad.descriptor.digest]
    assert row.state in ("failed", "unsupported") and says in row.reason
    assert by_digest[GOOD.descriptor.digest].state == "indexed"
    assert any(bad.descriptor.digest in message for message in report.messages)
    if row.state == "failed":
        assert bad.descriptor.digest in row.reason


@pytest.mark.parametrize(
    "name", [name for name in BAD_LAYERS if name not in ("neither gzip nor tar", "empty blob")]
)
def test_in_identical_mode_it_fails_the_image(tmp_path: Path, store: LayoutStore, name: str) -> None:
    bad, _ = BAD_LAYERS[name]
    put_any(store, bad)
    with pytest.raises(FormatError) as caught:
        convert(f"oci:{tmp_path}/in:v1", f"oci:{tmp_path}/out:v1", STRICT)
    assert caught.value.blob == bad.descriptor.digest
    assert (caught.value.comp_offset, caught.value.uncomp_offset) != (None, None)
    assert not (tmp_path / "out").exists()


def put_any(store: LayoutStore, bad: Layer) -> None:
    built = image([GOOD, bad])
    blobs = dict(built.blobs)
    if bad.data == b"":
        store.put_blob(bad.descriptor, [])
    put(store, type(built)(built.raw, built.descriptor, blobs), "v1")


def test_a_blob_that_is_not_what_its_digest_says(tmp_path: Path, store: LayoutStore) -> None:
    victim = gzip_layer(TAR)
    put(store, image([GOOD, victim]), "v1")
    path = tmp_path / "in/blobs/sha256" / victim.descriptor.digest.partition(":")[2]
    other = gzip_layer(TAR[:-1024] + bytes(1024)).data  # a fine layer, but another one
    assert other is not None
    path.write_bytes(flipped(other, 4))  # mtime in the gzip header: still inflates
    report = convert(f"oci:{tmp_path}/in:v1", None, ALL)
    assert [layer.state for layer in report.layers] == ["indexed", "failed"]
    assert (
        "digest mismatch" in report.layers[1].reason and victim.descriptor.digest in report.layers[1].reason
    )
    with pytest.raises(DigestMismatch):
        convert(f"oci:{tmp_path}/in:v1", f"oci:{tmp_path}/out:v1", STRICT)


def test_a_flipped_byte_is_told_by_the_digest_not_by_what_it_breaks(tmp_path: Path, store: LayoutStore) -> None:
    put_any(store, of_gzip(GZIP))
    path = tmp_path / "in" / "blobs" / of_gzip(GZIP).descriptor.digest.replace(":", "/")
    path.write_bytes(flipped(GZIP, len(GZIP) - 8))
    report = convert(f"oci:{tmp_path}/in:v1", None, ALL)
    row = next(layer for layer in report.layers if layer.digest == of_gzip(GZIP).descriptor.digest)
    assert row.state == "failed" and "digest mismatch" in row.reason


@pytest.mark.parametrize("level", [1, 9])
def test_bombs_stop_at_the_limit(tmp_path: Path, store: LayoutStore, level: int) -> None:
    bomb = gzip_layer(tar_of(file("zeros", bytes(32 << 20))), level=level)
    put(store, image([GOOD, bomb]), "v1")
    limits = ConvertOptions(min_layer_bytes=0, max_layer_bytes=4 << 20)
    report = convert(f"oci:{tmp_path}/in:v1", None, limits)
    assert [layer.state for layer in report.layers] == ["indexed", "failed"]
    assert "limit 4194304" in report.layers[1].reason and bomb.descriptor.digest in report.layers[1].reason
    strict = ConvertOptions(min_layer_bytes=0, max_layer_bytes=4 << 20, digest_identical=True)
    with pytest.raises(LimitError):
        convert(f"oci:{tmp_path}/in:v1", f"oci:{tmp_path}/out:v1", strict)


def test_all_layers_bad_is_nothing_to_index(tmp_path: Path, store: LayoutStore) -> None:
    put(store, image([BAD_LAYERS["truncated"][0]]), "v1")
    before = left_in(tmp_path)
    report = convert(f"oci:{tmp_path}/in:v1", None, ALL)
    assert report.nothing_to_index and report.count("failed") == 1
    assert left_in(tmp_path) == before


def test_a_missing_layer_blob_is_said_by_name(tmp_path: Path, store: LayoutStore) -> None:
    put(store, image([GOOD]), "v1")
    (tmp_path / "in/blobs/sha256" / GOOD.descriptor.digest.partition(":")[2]).unlink()
    with pytest.raises(NotFoundError, match=GOOD.descriptor.digest):
        convert(f"oci:{tmp_path}/in:v1", f"oci:{tmp_path}/out:v1", ALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "reference", ["oci:{dir}/in:nope", "oci:{dir}/none:v1", "oci-archive:{dir}/none.tar:v1"]
)
def test_missing_tags_and_places(tmp_path: Path, store: LayoutStore, reference: str) -> None:
    put(store, image([GOOD]), "v1")
    before = left_in(tmp_path)
    with pytest.raises(NotFoundError):
        convert(reference.format(dir=tmp_path), None, ALL)
    assert left_in(tmp_path) == before


# --- registries ---------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        seed = RegistryStore(f"{running.host}/app:v1", running.options())
        put(seed, image([GOOD, gzip_layer(TAR)]), "v1")
        seed.close()
        running.requests.clear()
        yield running


def tags_of(registry: FakeRegistry) -> list[str]:
    store = RegistryStore(f"{registry.host}/app:v1", registry.options())
    try:
        return sorted(store.tags())
    finally:
        store.close()


def test_missing_tag_in_a_registry(registry: FakeRegistry) -> None:
    with pytest.raises(NotFoundError):
        convert(f"{registry.host}/app:v2", None, ALL, registries=registry.options())


def test_no_permission_to_push(registry: FakeRegistry) -> None:
    registry.fail_next("POST", "/blobs/uploads", status=403, times=100)
    with pytest.raises(AuthError):
        convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    assert tags_of(registry) == ["v1"]


def test_no_credentials_at_all(registry: FakeRegistry) -> None:
    registry.auth = "basic"
    with pytest.raises(AuthError):
        convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())


@pytest.mark.parametrize("path", ["/blobs/uploads", "/manifests/sha256", "/manifests/v1_accelerated"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_push_that_breaks_anywhere_leaves_no_tag(registry: FakeRegistry, method: str, path: str) -> None:
    registry.fail_next(method, path, status=500, times=10_000)
    try:
        convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    except RegistryError:
        assert tags_of(registry) == ["v1"]
    else:
        assert not [
            r for r in registry.seen(method, path) if r.status == 500
        ]  # that step is not part of a push


def test_a_push_interrupted_before_the_tag_is_taken_up_again(registry: FakeRegistry) -> None:
    registry.fail_next("PUT", "/manifests/v1_accelerated", status=403)
    with pytest.raises(AuthError):
        convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    registry.requests.clear()
    report = convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    assert report.changed and tags_of(registry) == ["v1", "v1_accelerated"]
    assert accel.verify(report.reference, registries=registry.options()).ok


def test_a_body_cut_for_ever_is_a_registry_error(registry: FakeRegistry) -> None:
    registry.fail_next("GET", f"/blobs/{GOOD.descriptor.digest}", cut_after=100, times=10_000)
    with pytest.raises(RegistryError):
        convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    assert tags_of(registry) == ["v1"]


def test_wrong_bytes_from_a_registry_are_never_indexed(registry: FakeRegistry) -> None:
    def corrupt(answer: object) -> None:
        body = answer.body  # type: ignore[attr-defined]
        answer.body = flipped(body, 4) if len(body) > 5 else body  # type: ignore[attr-defined]

    registry.fail_next("GET", f"/blobs/{GOOD.descriptor.digest}", edit=corrupt, times=10_000)
    report = convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    assert [layer.state for layer in report.layers] == ["failed", "indexed"]
    assert "digest mismatch" in report.layers[0].reason


def test_a_tag_that_moves_meanwhile_changes_nothing(registry: FakeRegistry) -> None:
    """The source is pinned by digest when its tag is resolved."""
    seen: list[int] = []

    def move() -> None:
        if not seen:
            seen.append(1)
            other = RegistryStore(f"{registry.host}/app:v1", registry.options())
            put(other, image([gzip_layer(tar_of(file("other", b"x")))]), "v1")
            other.close()

    registry.fail_next("GET", "/blobs/", act=move)
    report = convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options())
    assert seen and {layer.digest for layer in report.layers} >= {GOOD.descriptor.digest}
    assert accel.verify(report.reference, registries=registry.options()).ok


# --- disks --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("dest", ["oci:{disk}/out:v1", "oci-archive:{disk}/out.tar:v1"])
def test_a_full_disk_tags_nothing_and_leaves_no_temporary_files(
    tmp_path: Path, store: LayoutStore, small_disk: Path, dest: str
) -> None:
    put(store, image([GOOD, gzip_layer(random.Random(1).randbytes(400_000))]), "v1")
    with pytest.raises(OSError) as caught:
        convert(f"oci:{tmp_path}/in:v1", dest.format(disk=small_disk), ALL)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename
    assert not (small_disk / "out.tar").exists()
    assert not [path for path in left_in(small_disk) if path.endswith(".tmp") or "/." in path]
    if (small_disk / "out/index.json").exists():
        assert LayoutStore(small_disk / "out").tags() == []


def test_no_room_for_the_index_while_it_waits(
    tmp_path: Path, store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, image([GOOD]), "v1")
    before = left_in(tmp_path)
    from accel.convert import scan

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scan.tempfile, "SpooledTemporaryFile", full)
    with pytest.raises(OSError, match="No space"):
        convert(f"oci:{tmp_path}/in:v1", None, ALL)
    assert left_in(tmp_path) == before


def test_errors_of_one_layer_stop_the_others(tmp_path: Path, store: LayoutStore) -> None:
    """In identical mode the first bad layer ends the work; threads are gone when the error arrives."""
    import threading

    many = [gzip_layer(random_tar(n, 30, 9000)) for n in range(6)]
    put(store, image([*many, BAD_LAYERS["corrupt in the middle"][0]]), "v1")
    with pytest.raises(FormatError):
        convert(f"oci:{tmp_path}/in:v1", f"oci:{tmp_path}/out:v1", STRICT)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("accel")]
