"""OCI archives: read in place, written aside, and published whole or not at all."""

import gc
import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from accel.errors import AccelError, DigestMismatch, FormatError, NotFoundError, UnsupportedError
from accel.layout import LayoutStore, OciArchiveStore
from accel.oci import Descriptor, digest_of
from support.images import (
    attestation_of,
    file,
    gzip_layer,
    hardlink,
    image,
    index,
    put,
    random_tar,
    symlink,
    tar_of,
)

LAYER = gzip_layer(random_tar(1))
AMD64 = image([LAYER])
ARM64 = image([LAYER, gzip_layer(random_tar(2))], platform="linux/arm64/v8")
MULTI = index([AMD64, ARM64, attestation_of(AMD64)])


def test_an_image_comes_back_as_it_was_put(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with OciArchiveStore(path) as store:
        put(store, MULTI, "v1")
        assert not path.exists()
        assert store.get_manifest("v1")[1] == MULTI.raw
    store = OciArchiveStore(path)
    assert store.get_manifest("")[1] == MULTI.raw
    assert store.get_manifest(ARM64.digest)[1] == ARM64.raw
    for digest, data in MULTI.blobs.items():
        assert store.blob(Descriptor("a/b", digest, len(data))).read_at(0, len(data)) == data
    assert os.listdir(tmp_path) == ["x.tar"]


def test_the_archive_is_a_tar_of_a_layout_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("x.tar", "y.tar"):
        with OciArchiveStore(tmp_path / name) as store:
            put(store, MULTI, "v1")
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()
    with tarfile.open(tmp_path / "x.tar") as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later
        tar.extractall(tmp_path / "layout")
        assert {(m.mtime, m.uid, m.mode, m.type) for m in tar} == {(0, 0, 0o644, tarfile.REGTYPE)}
    assert LayoutStore(tmp_path / "layout").get_manifest("v1")[1] == MULTI.raw
    for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_images_are_added_to_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with OciArchiveStore(path) as store:
        put(store, AMD64, "v1")
    with OciArchiveStore(path) as store:
        assert store.has_blob(LAYER.descriptor)
        put(store, ARM64, "v1_accelerated")
        assert store.get_manifest("v1")[1] == AMD64.raw
    store = OciArchiveStore(path)
    assert store.tags() == ["v1", "v1_accelerated"]
    assert store.get_manifest("v1")[1] == AMD64.raw
    assert store.get_manifest("v1_accelerated")[1] == ARM64.raw
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))


def test_referrers_are_kept_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with OciArchiveStore(path) as store:
        put(store, AMD64, "v1")
    referrer = image([], subject=Descriptor.of(AMD64.raw, AMD64.media_type))
    with OciArchiveStore(path) as store:
        store.add_referrer(AMD64.descriptor, put(store, referrer))
    assert [d.digest for d in OciArchiveStore(path).referrers(AMD64.digest)] == [referrer.digest]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("end", ["error", "interrupt", "discard", "no tag", "forgotten"])
def test_unfinished_work_leaves_the_file_as_it_was(tmp_path: Path, existing: bool, end: str) -> None:
    path = tmp_path / "x.tar"
    if existing:
        with OciArchiveStore(path) as store:
            put(store, AMD64, "v1")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    if end in ("error", "interrupt"):
        error = DigestMismatch if end == "error" else KeyboardInterrupt
        with pytest.raises(error), OciArchiveStore(path) as store:
            put(store, ARM64, "v2")
            raise DigestMismatch("a", "b", n_bytes=0) if end == "error" else KeyboardInterrupt
    else:
        store = OciArchiveStore(path)
        put(store, ARM64, None if end == "no tag" else "v2")
        assert len(os.listdir(tmp_path)) == len(before) + 1
        if end == "discard":
            store.discard()
        if end == "no tag":
            store.close()
        del store
        gc.collect()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_failure_while_the_tar_is_made_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tar"
    store = OciArchiveStore(path)
    put(store, AMD64, "v1")

    def full_disk(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.close()
    assert os.listdir(tmp_path) == []


def test_somebody_elses_change_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    ours, theirs = OciArchiveStore(path), OciArchiveStore(path)
    put(theirs, AMD64, "v1")
    put(ours, ARM64, "v1")
    theirs.close()
    with pytest.raises(AccelError, match="changed by somebody else"):
        ours.close()
    assert OciArchiveStore(path).get_manifest("v1")[1] == AMD64.raw
    assert os.listdir(tmp_path) == ["x.tar"]


def test_an_archive_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with OciArchiveStore(path) as store:
        put(store, AMD64, "v1")
    blob = OciArchiveStore(path).blob(LAYER.descriptor)
    with OciArchiveStore(path) as store:
        put(store, ARM64, "v0")
    with pytest.raises(FormatError, match="changed while in use"):
        blob.read_at(0, 1)


def test_blobs_of_a_layout_are_linked_not_copied(tmp_path: Path) -> None:
    source = LayoutStore(tmp_path / "layout")
    put(source, AMD64, "v1")
    with OciArchiveStore(tmp_path / "x.tar") as store:
        assert store.mount_blob(LAYER.descriptor, source)
        assert not store.mount_blob(Descriptor.of(b"absent", "a/b"), source)
        put(store, AMD64, "v1")
        assert not OciArchiveStore(tmp_path / "y.tar").mount_blob(LAYER.descriptor, store)
    assert OciArchiveStore(tmp_path / "x.tar").blob(LAYER.descriptor).read_at(0, 2) == b"\x1f\x8b"
    assert sorted(os.listdir(tmp_path)) == ["layout", "x.tar"]


def layout_tar(*more: object, prefix: str = "") -> bytes:
    listed = index([AMD64]).raw
    blobs = {digest_of(AMD64.raw): AMD64.raw} | AMD64.blobs
    entries = [file(f"{prefix}blobs/{d.replace(':', '/')}", data) for d, data in blobs.items()]
    return tar_of(
        *entries,
        file(f"{prefix}oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        file(f"{prefix}index.json", listed),
        *more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("prefix", ["", "./"])
def test_archives_of_other_tools_are_read(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "x.tar").write_bytes(layout_tar(prefix=prefix))
    assert OciArchiveStore(tmp_path / "x.tar").get_manifest("")[1] == AMD64.raw


def test_compressed_archives_are_unsupported(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(gzip.compress(layout_tar()))
    with pytest.raises(UnsupportedError, match="compressed with gzip"):
        OciArchiveStore(tmp_path / "x.tar")


def test_links_are_followed_inside_the_archive_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    secret, inside = Descriptor.of(b"secret", "a/b"), Descriptor.of(b"inside", "a/b")
    circle = Descriptor.of(b"circle", "a/b")

    def at(desc: Descriptor) -> str:
        return "blobs/" + desc.digest.replace(":", "/")

    links = [
        symlink(at(secret), str(tmp_path / "secret")),
        file("inside", b"inside"),
        symlink(at(inside), "../../inside"),
        symlink(at(circle), "../../circle"),
        hardlink("circle", at(circle)),
    ]
    (tmp_path / "x.tar").write_bytes(layout_tar(*links))
    store = OciArchiveStore(tmp_path / "x.tar")
    assert store.blob(inside).read_at(0, 6) == b"inside"
    with pytest.raises(NotFoundError):
        store.blob(secret)
    with pytest.raises(FormatError, match="circle"):
        store.blob(circle)


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 5000, tar_of(file("a")), bytes(2048)])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises((FormatError, NotFoundError)):
        OciArchiveStore(tmp_path / "x.tar")


def test_an_absent_archive_has_no_images(tmp_path: Path) -> None:
    store = OciArchiveStore(tmp_path / "x.tar")
    with pytest.raises(NotFoundError, match="no archive"):
        store.get_manifest("v1")
    assert not store.has_manifest(AMD64.digest)
    store.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.timeout(120)
def test_archives_cut_anywhere_are_refused_or_read_right(tmp_path: Path) -> None:
    whole = layout_tar()
    path = tmp_path / "x.tar"
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        try:
            store = OciArchiveStore(path)
            assert store.get_manifest("")[1] == AMD64.raw
        except AccelError:
            pass


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type = kind
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:]))
    return bytes(raw)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"S"]
)
@pytest.mark.parametrize("size", [-512, -1024, 1 << 40, 1 << 80])
def test_headers_that_lie_neither_hang_nor_fill_memory(tmp_path: Path, kind: bytes, size: int) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(file("a", b"x" * 600))[:1536] + header(kind, size) + layout_tar())
    os.truncate(path, 1 << 41)  # sparse: the bytes that the header speaks of are there
    with pytest.raises(AccelError):
        OciArchiveStore(path).get_manifest("")


def test_a_slightly_negative_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(header(tarfile.REGTYPE, -1) + layout_tar())
    with pytest.raises(FormatError, match="past the end"):
        OciArchiveStore(tmp_path / "x.tar")


def test_the_last_of_equal_names_counts(tmp_path: Path) -> None:
    listed = index([ARM64]).raw
    extra = [file("index.json", listed), file("blobs/" + ARM64.digest.replace(":", "/"), ARM64.raw)]
    (tmp_path / "x.tar").write_bytes(layout_tar(*extra))
    assert OciArchiveStore(tmp_path / "x.tar").get_manifest("")[1] == ARM64.raw
    with tarfile.open(fileobj=io.BytesIO(layout_tar(*extra))) as tar:
        assert tar.extractfile("index.json").read() == listed  # type: ignore[union-attr]
