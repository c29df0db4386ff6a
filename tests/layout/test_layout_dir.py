"""OCI layout directories: what is stored can be had again, and nothing half-written is seen."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.errors import ConfigError, DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.layout import REF_NAME, LayoutStore
from accel.oci import Descriptor, MediaType, canonical_json, digest_of
from accel.stores import ImageStore
from support.images import (
    Built,
    attestation_of,
    foreign_layer,
    gzip_layer,
    image,
    index,
    put,
    random_tar,
    tar_of,
)

LAYER = gzip_layer(random_tar(1))
AMD64 = image([LAYER])
ARM64 = image([LAYER, gzip_layer(random_tar(2))], platform="linux/arm64/v8")
MULTI = index([AMD64, ARM64, attestation_of(AMD64)])


def bytes_of(built: Built) -> Iterator[tuple[Descriptor, bytes]]:
    """Every blob, config and manifest below ``built``, and itself."""
    yield built.descriptor, built.raw
    for digest, data in built.blobs.items():
        yield Descriptor(MediaType.OCTET_STREAM, digest, len(data)), data
    for child in built.children:
        yield from bytes_of(child)


def files_in(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def write_layout(root: Path, index_json: object, *manifests: Built) -> LayoutStore:
    """A layout as some other tool would write it."""
    store = LayoutStore(root)
    for built in manifests:
        put(store, built)
    store.create()
    (root / "index.json").write_text(json.dumps(index_json))
    return store


def listing(*entries: Descriptor) -> object:
    return {"schemaVersion": 2, "manifests": [entry.to_json() for entry in entries]}


def named(built: Built, name: str) -> Descriptor:
    return Descriptor.of(built.raw, built.media_type, annotations={REF_NAME: name})


def test_an_image_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store: ImageStore = LayoutStore(tmp_path / "new" / "layout")
    descriptor = put(store, MULTI, "v1")
    store.close()
    store = LayoutStore(tmp_path / "new" / "layout")
    entry, raw = store.get_manifest("v1")
    assert raw == MULTI.raw
    assert entry == Descriptor.of(raw, MediaType.OCI_INDEX, annotations={REF_NAME: "v1"})
    assert descriptor == Descriptor.of(raw, MediaType.OCI_INDEX)
    assert store.get_manifest("") == (entry, raw)
    for desc, data in bytes_of(MULTI):
        assert store.has_blob(desc)
        assert store.blob(desc).read_at(0, desc.size) == data
    assert store.get_manifest(ARM64.digest)[1] == ARM64.raw
    assert store.has_manifest(ARM64.digest)


def test_the_files_are_those_of_the_specification(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path), AMD64, "v1")
    files = files_in(tmp_path)
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(files.pop("index.json")) == listing(named(AMD64, "v1"))
    for name, data in files.items():
        assert name == "blobs/" + digest_of(data).replace(":", "/")
    assert len(files) == 3
    modes = {p.stat().st_mode & 0o777 for p in tmp_path.rglob("*") if p.is_file()}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {0o666 & ~umask}


def test_tags_are_moved_and_others_stay(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    put(store, AMD64, "v1")
    put(store, AMD64, "other")
    put(store, ARM64, "v1")
    assert store.tags() == ["v1", "other"]
    assert store.get_manifest("v1")[0].digest == ARM64.digest
    assert store.get_manifest("other")[0].digest == AMD64.digest
    with pytest.raises(NotFoundError, match="2 images.*tags: v1, other"):
        store.get_manifest("")
    with pytest.raises(NotFoundError, match="'v2'.*tags: v1, other"):
        store.get_manifest("v2")


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    put(store, MULTI, "v1")
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")}
    put(store, MULTI, "v1")
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")} == before


def test_without_a_name_an_image_is_listed_once(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    for _ in range(2):
        put(store, AMD64, "")
    assert store.tags() == []
    assert store.get_manifest("")[0] == Descriptor.of(AMD64.raw, AMD64.media_type)
    put(store, AMD64, "v1")
    assert store.get_manifest("")[0].digest == AMD64.digest


def test_unknown_fields_of_the_index_survive(tmp_path: Path) -> None:
    theirs = {
        "digest": AMD64.digest,
        "mediaType": AMD64.media_type,
        "size": len(AMD64.raw),
        "x": [1, {"y": None}],
    }
    store = write_layout(tmp_path, {"schemaVersion": 2, "manifests": [theirs], "z": "<"}, AMD64)
    put(store, ARM64, "v1")
    after = json.loads((tmp_path / "index.json").read_bytes())
    assert (after["manifests"][0], after["z"]) == (theirs, "<")


def test_nested_indexes_and_full_names_lead_to_the_image(tmp_path: Path) -> None:
    nested = index([MULTI])
    full = Descriptor.of(
        nested.raw,
        nested.media_type,
        annotations={REF_NAME: "1", "io.containerd.image.name": "docker.io/library/x:1"},
    )
    store = write_layout(tmp_path, listing(full), nested)
    for ref in ("", "1", "docker.io/library/x:1", nested.digest):
        assert store.get_manifest(ref)[1] == nested.raw
    assert store.get_manifest(MULTI.digest)[1] == MULTI.raw


def test_a_flat_list_of_platforms_is_itself_the_image(tmp_path: Path) -> None:
    store = write_layout(tmp_path, listing(AMD64.descriptor, ARM64.descriptor), AMD64, ARM64)
    descriptor, raw = store.get_manifest("")
    assert raw == (tmp_path / "index.json").read_bytes()
    assert descriptor == Descriptor.of(raw, MediaType.OCI_INDEX)
    assert store.get_manifest(descriptor.digest) == (descriptor, raw)


def test_attestations_and_artifacts_are_not_the_only_image(tmp_path: Path) -> None:
    attestation, subject = attestation_of(AMD64), image([], subject=AMD64.descriptor)
    entries = [
        attestation.descriptor,
        named(AMD64, "v1"),
        subject.descriptor,
        named(index([]), "sha256-" + "0" * 64),
    ]
    store = write_layout(tmp_path, listing(*entries), AMD64, attestation, subject)
    assert store.get_manifest("")[1] == AMD64.raw
    assert store.tags() == ["v1"]


def test_one_tag_on_two_images_is_ambiguous(tmp_path: Path) -> None:
    store = write_layout(tmp_path, listing(named(AMD64, "v1"), named(ARM64, "v1")), AMD64, ARM64)
    with pytest.raises(FormatError, match="2 different images"):
        store.get_manifest("v1")


def test_referrers_are_found_by_subject_and_by_fallback_tag(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    put(store, AMD64, "v1")
    subject = Descriptor.of(AMD64.raw, AMD64.media_type)
    first = image([], subject=subject, annotations={"k": "v"})
    second = image([LAYER], subject=subject)
    referrer = Descriptor.of(first.raw, first.media_type, artifact_type="a/b", annotations={"k": "v"})
    put(store, first)
    assert store.referrers(AMD64.digest) == []
    for _ in range(2):
        store.add_referrer(subject, referrer)
    config_type = MediaType.OCI_CONFIG  # without artifactType, the type of the config stands for it
    found = Descriptor.of(first.raw, first.media_type, annotations={"k": "v"}, artifact_type=config_type)
    assert store.referrers(AMD64.digest) == [found]
    fallback = canonical_json(listing(Descriptor.of(second.raw, second.media_type, artifact_type="c/d")))
    put(store, second)
    store.put_manifest(fallback, MediaType.OCI_INDEX, tag=AMD64.digest.replace(":", "-"))
    assert [d.digest for d in store.referrers(AMD64.digest)] == [first.digest, second.digest]
    assert [d.digest for d in store.referrers(AMD64.digest, "c/d")] == [second.digest]
    assert store.referrers(ARM64.digest) == []
    assert store.get_manifest("")[1] == AMD64.raw


def test_a_broken_neighbour_does_not_hide_referrers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = LayoutStore(tmp_path)
    put(store, AMD64, "v1")
    put(store, ARM64, "v2")
    referrer = image([], subject=AMD64.descriptor)
    store.add_referrer(AMD64.descriptor, put(store, referrer))
    path = tmp_path / "blobs" / ARM64.digest.replace(":", "/")
    path.write_bytes(path.read_bytes().replace(b"linux", b"sunos").replace(b"schema", b"schemA"))
    assert [d.digest for d in store.referrers(AMD64.digest)] == [referrer.digest]
    assert ARM64.digest in caplog.text


def test_wrong_bytes_are_not_stored(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    wanted = Descriptor.of(b"right", "a/b")
    for chunks in ([b"wrong"], [b"righ"], [b"right", b"!"]):
        with pytest.raises(DigestMismatch):
            store.put_blob(wanted, chunks)
    assert not store.has_blob(wanted)
    assert set(files_in(tmp_path)) == {"oci-layout", "index.json"}


def test_an_interrupted_source_leaves_nothing(tmp_path: Path) -> None:
    def source() -> Iterator[bytes]:
        yield b"ri"
        raise KeyboardInterrupt

    store = LayoutStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.put_blob(Descriptor.of(b"right", "a/b"), source())
    assert set(files_in(tmp_path)) == {"oci-layout", "index.json"}


def test_a_stored_blob_is_not_read_again_but_a_cut_one_is_replaced(tmp_path: Path) -> None:
    def untouched() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    store = LayoutStore(tmp_path)
    desc = Descriptor.of(b"right", "a/b")
    store.put_blob(desc, [b"right"])
    store.put_blob(desc, untouched())
    path = tmp_path / "blobs" / desc.digest.replace(":", "/")
    path.write_bytes(b"rig")
    assert not store.has_blob(desc)
    with pytest.raises(DigestMismatch):
        store.blob(desc)
    store.put_blob(desc, [b"right"])
    assert path.read_bytes() == b"right"


def test_a_manifest_needs_its_blobs_but_not_foreign_ones(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    with pytest.raises(NotFoundError, match="needs blob"):
        store.put_manifest(AMD64.raw, AMD64.media_type, tag="v1")
    assert files_in(tmp_path) == {}
    windows = image(
        [foreign_layer(), gzip_layer(tar_of(), docker=True)], platform="windows/amd64", docker=True
    )
    assert put(store, windows, "v1").media_type == MediaType.DOCKER_MANIFEST
    with pytest.raises(FormatError, match="announced as"):
        store.put_manifest(AMD64.raw, MediaType.OCI_INDEX, tag="v1")


def test_a_manifest_that_was_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    put(store, AMD64, "v1")
    path = tmp_path / "blobs" / AMD64.digest.replace(":", "/")
    path.write_bytes(path.read_bytes().replace(b"linux", b"sunos").replace(b"schema", b"schemA"))
    for ref in ("v1", "", AMD64.digest):
        with pytest.raises(DigestMismatch):
            store.get_manifest(ref)


@pytest.mark.parametrize("ref", ["sha256:../../../etc/passwd", "sha256:..", "sha256:" + "0" * 63 + "/"])
def test_digests_do_not_lead_out_of_the_layout(tmp_path: Path, ref: str) -> None:
    store = LayoutStore(tmp_path / "layout")
    put(store, AMD64, "v1")
    (tmp_path / "secret").write_text("{}")
    for call in (store.get_manifest, store.has_manifest, lambda d: store.blob(Descriptor("a/b", d, 2))):
        with pytest.raises(FormatError):
            call(ref)
    hostile = listing(Descriptor("a/b", "sha256:../../../secret", 2))
    (tmp_path / "layout" / "index.json").write_text(json.dumps(hostile))
    with pytest.raises(FormatError, match=r"manifests\[0\].digest"):
        store.get_manifest("")


@pytest.mark.timeout(20)
def test_odd_files_in_place_of_the_right_ones_do_not_hang(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    put(store, AMD64, "v1")
    blob = tmp_path / "blobs" / AMD64.digest.replace(":", "/")
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(FormatError, match="regular"):
        store.get_manifest("v1")
    (tmp_path / "index.json").unlink()
    (tmp_path / "index.json").symlink_to("/dev/zero")
    with pytest.raises(FormatError, match="regular"):
        store.get_manifest("v1")
    (tmp_path / "index.json").unlink()
    with open(tmp_path / "index.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitError):
        store.get_manifest("v1")


@pytest.mark.parametrize("what", ["absent", "empty", "a file"])
def test_where_there_is_no_layout_nothing_is_found(tmp_path: Path, what: str) -> None:
    root = tmp_path / "root"
    if what == "empty":
        root.mkdir()
    if what == "a file":
        root.write_text("x")
    store = LayoutStore(root)
    with pytest.raises(NotFoundError, match="no OCI layout"):
        store.get_manifest("")
    assert not store.has_manifest(AMD64.digest)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path), AMD64, "v1")
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(UnsupportedError, match=r"2\.0\.0"):
        LayoutStore(tmp_path).get_manifest("v1")


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"holiday\.jpg"):
        put(LayoutStore(tmp_path), AMD64, "v1")
    assert set(files_in(tmp_path)) == {"holiday.jpg"}


def test_an_empty_layout_says_so(tmp_path: Path) -> None:
    store = write_layout(tmp_path, {"schemaVersion": 2, "manifests": []})
    with pytest.raises(NotFoundError, match="no image in"):
        store.get_manifest("")
    with pytest.raises(NotFoundError, match="it is empty"):
        store.get_manifest("v1")


def test_blobs_are_linked_between_layouts_of_one_file_system(tmp_path: Path) -> None:
    source, target = LayoutStore(tmp_path / "a"), LayoutStore(tmp_path / "b")
    put(source, AMD64, "v1")
    desc = LAYER.descriptor
    assert target.mount_blob(desc, source)
    assert target.mount_blob(desc, source)
    name = "blobs/" + desc.digest.replace(":", "/")
    assert os.path.samefile(tmp_path / "a" / name, tmp_path / "b" / name)
    assert not target.mount_blob(Descriptor.of(b"absent", "a/b"), source)


def test_blobs_are_not_linked_across_file_systems(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    source, other = LayoutStore(tmp_path / "a"), shm / f"accel-test-{os.getpid()}"
    put(source, AMD64, "v1")
    try:
        target = LayoutStore(other)
        assert not target.mount_blob(LAYER.descriptor, source)
        assert not target.has_blob(LAYER.descriptor)
    finally:
        shutil.rmtree(other, ignore_errors=True)


def _tag_some(root: Path, who: str, n_tags: int) -> None:
    store = LayoutStore(root)
    for i in range(n_tags):
        put(store, image([LAYER], annotations={"who": f"{who}{i}"}), f"{who}{i}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "layout"
    make = threading.Thread if kind == "threads" else multiprocessing.get_context("spawn").Process
    workers = [make(target=_tag_some, args=(root, who, 20)) for who in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    store = LayoutStore(root)
    assert sorted(store.tags()) == sorted(f"{who}{i}" for who in "abc" for i in range(20))
    assert len(store.get_manifest("b7")[1]) > 0
    assert not [name for name in files_in(root) if name.endswith(".tmp")]


def _put_and_die_at_rename(root: Path, victim: str) -> None:
    rename = os.replace

    def dying(source: str, target: str) -> None:
        if target.endswith(victim):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    try:
        os.replace = dying  # type: ignore[assignment]
        put(LayoutStore(root), AMD64, "new")
    finally:
        os._exit(1)


@pytest.mark.parametrize(
    "victim", ["index.json", "oci-layout", LAYER.descriptor.digest.removeprefix("sha256:")]
)
def test_a_kill_between_write_and_rename_leaves_the_old_state(tmp_path: Path, victim: str) -> None:
    root = tmp_path / "layout"
    if victim == "index.json":
        put(LayoutStore(root), image([]), "old")
    before = {n: d for n, d in files_in(root).items() if not n.startswith("blobs")} if root.exists() else {}
    pid = os.fork()
    if pid == 0:
        _put_and_die_at_rename(root, victim)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    after = files_in(root)
    aside = [name for name in after if name.endswith(".tmp")]
    assert len(aside) == 1
    if victim == "index.json":
        assert {n: d for n, d in after.items() if n in before} == before
        assert LayoutStore(root).tags() == ["old"]
    for name, data in after.items():
        if name.startswith("blobs/") and name not in aside:
            assert name == "blobs/" + digest_of(data).replace(":", "/")
    put(LayoutStore(root), AMD64, "new")
    assert LayoutStore(root).get_manifest("new")[1] == AMD64.raw
