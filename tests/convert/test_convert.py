"""Conversions end to end: every kind of place, every kind of image, read back and verified."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

import accel
from accel.convert import ConvertOptions, convert
from accel.errors import Cancelled, ConfigError, NotFoundError, ReferenceSyntaxError
from accel.formats.soci import Annotation, SociType
from accel.layout import LayoutStore, OciArchiveStore
from accel.oci import Descriptor, Index, Manifest, MediaType, Platform, digest_of
from accel.progress import CancelToken
from accel.registry import RegistryStore
from accel.stores import ImageStore
from support.images import (
    EMPTY_LAYER,
    Built,
    attestation_of,
    file,
    foreign_layer,
    gzip_layer,
    hardlink,
    image,
    index,
    layer_of,
    plain_layer,
    put,
    random_tar,
    symlink,
    tar_of,
    whiteout,
)
from support.registry_faults import FakeRegistry

ALL = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10)
BASE = gzip_layer(random_tar(1, 40, 20_000))
TOP = gzip_layer(tar_of(file("etc/motd", b"hello"), symlink("motd", "etc/motd"), whiteout("usr/share/f0001")))


def two_platforms(**changes: bool) -> Built:
    amd64 = image([BASE, TOP], platform="linux/amd64", **changes)
    arm64 = image(
        [BASE, plain_layer(random_tar(3, 9, 3000)), EMPTY_LAYER], platform="linux/arm64/v8", **changes
    )
    return index([amd64, arm64, attestation_of(amd64)], **changes)


def top_index(store: ImageStore, tag: str) -> Index:
    descriptor, raw = store.get_manifest(tag)
    return Index.parse(raw, descriptor.media_type)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def layout(tmp_path: Path) -> tuple[LayoutStore, str]:
    return LayoutStore(tmp_path / "layout"), f"oci:{tmp_path}/layout"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_gets_a_sibling_that_verifies(layout: tuple[LayoutStore, str], docker: bool) -> None:
    store, where = layout
    source = two_platforms(docker=docker)
    put(store, source, "v1")
    report = convert(f"{where}:v1", None, ALL)
    assert report.reference == f"{where}:v1_accelerated" and report.changed
    assert [layer.state for layer in report.layers] == ["indexed"] * 4  # the shared layer once
    assert report.layers[0].platforms == ("linux/amd64", "linux/arm64/v8")
    assert report.digest == store.get_manifest("v1_accelerated")[0].digest
    assert store.get_manifest("v1") == (store.get_manifest("v1")[0], source.raw)
    checked = accel.verify(f"{where}:v1_accelerated")
    assert checked.mismatches == [] and checked.n_indexed_layers == 4


def test_attestations_point_at_the_new_manifest(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    convert(f"{where}:v1", None, ALL)
    result = top_index(store, "v1_accelerated")
    [attestation] = [entry for entry in result.manifests if entry.is_attestation]
    assert attestation.attested_digest == result.manifests[0].digest
    assert store.has_manifest(attestation.digest)


@pytest.mark.parametrize("docker", [False, True])
def test_a_single_image_becomes_an_index(layout: tuple[LayoutStore, str], docker: bool) -> None:
    store, where = layout
    put(store, image([BASE, TOP], docker=docker), "v1")
    report = convert(f"{where}:v1", None, ALL)
    entries = top_index(store, "v1_accelerated").manifests
    assert [entry.artifact_type for entry in entries] == ["", SociType.INDEX_V2]
    assert entries[0].platform == Platform("linux", "amd64")
    manifest = Manifest.parse(store.get_manifest(entries[0].digest)[1])
    assert manifest.annotations[Annotation.INDEX_DIGEST] == entries[1].digest
    assert [layer.digest for layer in manifest.layers] == [BASE.descriptor.digest, TOP.descriptor.digest]
    assert report.totals["usable"] == 2


def test_a_second_run_finds_everything_and_writes_nothing(
    tmp_path: Path, layout: tuple[LayoutStore, str]
) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    first = convert(f"{where}:v1", None, ALL)
    before = snapshot(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    second = convert(f"{where}:v1", None, ALL)
    assert [layer.state for layer in second.layers] == ["already indexed"] * 4
    assert not second.changed and second.digest == first.digest
    assert snapshot(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == times


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_an_image_that_needs_no_tag_lends_its_own_to_the_result(tmp_path: Path, transport: str) -> None:
    store = (LayoutStore if transport == "oci" else OciArchiveStore)(tmp_path / "in")
    put(store, image([BASE, TOP]), "v1")
    store.close()
    source = f"{transport}:{tmp_path}/in"
    assert convert(source, None, ALL).reference == f"{source}:v1_accelerated"
    again = convert(source, None, ALL)
    assert not again.changed and again.reference == f"{source}:v1_accelerated"
    assert {row.state for row in again.layers} == {"already indexed"}


def test_a_changed_image_reuses_the_layers_it_shares(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    convert(f"{where}:v1", None, ALL)
    put(store, image([BASE, gzip_layer(tar_of(file("new", b"x")))]), "v1")
    report = convert(f"{where}:v1", None, ALL)
    assert [layer.state for layer in report.layers] == ["already indexed", "indexed"]
    assert accel.verify(f"{where}:v1_accelerated").ok


@pytest.mark.parametrize("change", [ConvertOptions(min_layer_bytes=0, span_bytes=128 << 10)])
def test_other_options_are_other_work(layout: tuple[LayoutStore, str], change: ConvertOptions) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    convert(f"{where}:v1", None, ALL)
    report = convert(f"{where}:v1", None, change)
    assert [layer.state for layer in report.layers] == ["indexed", "indexed"]


def test_force_indexes_again_and_gives_the_same(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    first = convert(f"{where}:v1", None, ALL)
    again = convert(f"{where}:v1", None, ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10, force=True))
    assert [layer.state for layer in again.layers] == ["indexed", "indexed"]
    assert again.digest == first.digest and not again.changed


def test_the_bytes_do_not_depend_on_threads_or_place(tmp_path: Path, registry: FakeRegistry) -> None:
    digests = set()
    for threads in (1, 4):
        store = LayoutStore(tmp_path / str(threads))
        put(store, two_platforms(), "v1")
        options = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10, threads=threads)
        digests.add(convert(f"oci:{tmp_path}/{threads}:v1", None, options).digest)
    remote = RegistryStore(f"{registry.host}/app:v1", registry.options())
    put(remote, two_platforms(), "v1")
    remote.close()
    digests.add(convert(f"{registry.host}/app:v1", None, ALL, registries=registry.options()).digest)
    assert len(digests) == 1


def test_one_platform_only_leaves_the_others_byte_for_byte(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    source = two_platforms()
    put(store, source, "v1")
    options = ConvertOptions(min_layer_bytes=0, platforms=(Platform.parse("linux/arm64"),))
    report = convert(f"{where}:v1", None, options)
    assert {layer.platforms for layer in report.layers} == {("linux/arm64/v8",)}
    result = top_index(store, "v1_accelerated")
    assert result.manifests[0] == Index.parse(source.raw).manifests[0]
    assert accel.verify(f"{where}:v1_accelerated").ok


def test_a_platform_that_is_not_there_is_said_with_those_that_are(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    with pytest.raises(NotFoundError, match="linux/s390x.*linux/amd64, linux/arm64"):
        convert(f"{where}:v1", None, ConvertOptions(platforms=(Platform.parse("s390x"),)))


def test_nested_indexes_are_laid_flat(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    inner = index([image([BASE], platform="linux/arm64/v8")])
    put(store, index([image([BASE, TOP]), inner]), "v1")
    convert(f"{where}:v1", None, ALL)
    kinds = [(str(e.platform), bool(e.artifact_type)) for e in top_index(store, "v1_accelerated").manifests]
    assert kinds == [
        ("linux/amd64", False),
        ("linux/arm64/v8", False),
        ("linux/amd64", True),
        ("linux/arm64/v8", True),
    ]
    assert accel.verify(f"{where}:v1_accelerated").ok


def test_entries_that_are_not_there_are_kept_with_a_message(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    here, absent = image([BASE]), image([TOP], platform="linux/s390x")
    both = index([here, absent])
    put(store, here)
    store.put_manifest(both.raw, both.media_type, tag="v1")
    report = convert(f"{where}:v1", None, ALL)
    assert any(absent.digest in message for message in report.messages)
    assert absent.digest in {entry.digest for entry in top_index(store, "v1_accelerated").manifests}


def test_small_layers_are_skipped_with_the_reason(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    report = convert(f"{where}:v1", None, ConvertOptions(min_layer_bytes=BASE.descriptor.size))
    assert [layer.state for layer in report.layers] == ["indexed", "skipped"]
    assert "minimum" in report.layers[1].reason


def test_duplicate_and_empty_layers(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, EMPTY_LAYER, BASE, EMPTY_LAYER]), "v1")
    report = convert(f"{where}:v1", None, ALL)
    assert len(report.layers) == 2
    assert accel.verify(f"{where}:v1_accelerated").ok


def test_foreign_layers_are_left_alone_with_a_message(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([foreign_layer(), BASE], platform="windows/amd64", docker=True), "v1")
    report = convert(f"{where}:v1", None, ALL)
    assert [layer.state for layer in report.layers] == ["skipped", "indexed"]
    assert any("foreign" in message for message in report.messages)
    checked = accel.verify(f"{where}:v1_accelerated")
    assert checked.ok and any("foreign" in note for note in checked.notes)


def test_unsupported_layers_are_left_out_and_the_rest_is_done(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    tar = tar_of(file("z", b"zstd"))
    zstd = layer_of(zstandard.compress(tar), MediaType.OCI_LAYER_ZSTD, digest_of(tar))
    put(store, image([BASE, zstd]), "v1")
    report = convert(f"{where}:v1", None, ALL)
    assert [layer.state for layer in report.layers] == ["indexed", "unsupported"]
    assert "zstd" in report.layers[1].reason
    assert accel.verify(f"{where}:v1_accelerated").ok
    with accel.open_image(f"{where}:v1_accelerated") as opened:
        assert b"".join(opened.cat("z")) == b"zstd"


@pytest.mark.parametrize("media_type", [MediaType.OCI_LAYER, MediaType.DOCKER_LAYER])
def test_mislabelled_layers_are_told_by_their_bytes(layout: tuple[LayoutStore, str], media_type: str) -> None:
    store, where = layout
    assert BASE.data is not None
    put(store, image([layer_of(BASE.data, media_type, BASE.diff_id)]), "v1")
    assert convert(f"{where}:v1", None, ALL).layers[0].state == "indexed"
    assert accel.verify(f"{where}:v1_accelerated").ok


def test_nothing_to_index_writes_nothing(tmp_path: Path, layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([TOP]), "v1")
    before = snapshot(tmp_path)
    report = convert(f"{where}:v1", f"oci:{tmp_path}/other:v1")
    assert report.nothing_to_index and report.digest is None and not report.changed
    assert snapshot(tmp_path) == before


def test_hard_links_across_entries_and_layers_survive(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    base = gzip_layer(tar_of(file("a", b"content"), hardlink("b", "a")))
    put(store, image([base, gzip_layer(tar_of(file("a", b"new")))]), "v1")
    convert(f"{where}:v1", None, ALL)
    with accel.open_image(f"{where}:v1_accelerated") as opened:
        assert (b"".join(opened.cat("a")), b"".join(opened.cat("b"))) == (b"new", b"content")


# --- places -------------------------------------------------------------------------------------------------


def test_layout_to_archive_and_archive_to_itself(tmp_path: Path, layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, two_platforms(), "v1")
    archive = f"oci-archive:{tmp_path}/app.tar"
    convert(f"{where}:v1", f"{archive}:v1", ALL)
    assert accel.verify(f"{archive}:v1").ok
    single = tmp_path / "single.tar"
    with OciArchiveStore(single) as opened:
        put(opened, image([BASE, TOP]), "v1")
    report = convert(f"oci-archive:{single}:v1", None, ALL)
    assert report.changed
    assert accel.verify(f"oci-archive:{single}:v1_accelerated").ok
    before = single.read_bytes()
    assert not convert(f"oci-archive:{single}:v1", None, ALL).changed
    assert single.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["app.tar", "layout", "single.tar"]


def test_registry_to_itself(registry: FakeRegistry) -> None:
    options = registry.options()
    store = RegistryStore(f"{registry.host}/team/app:v1", options)
    put(store, two_platforms(), "v1")
    registry.requests.clear()
    report = convert(f"docker://{registry.host}/team/app:v1", None, ALL, registries=options)
    puts = [r.path.rpartition("/")[2] for r in registry.seen("PUT", "/manifests/")]
    assert puts[-1] == "v1_accelerated" and puts.count("v1_accelerated") == 1
    assert all(p.startswith("sha256:") for p in puts[:-1])
    layers = [r for r in registry.seen("GET", "/blobs/") if BASE.descriptor.digest in r.path]
    assert len(layers) == 1  # one stream a layer
    registry.requests.clear()
    again = convert(f"docker://{registry.host}/team/app:v1", None, ALL, registries=options)
    assert not again.changed and again.digest == report.digest
    assert registry.seen("PUT") == registry.seen("POST") == registry.seen("PATCH") == []
    assert not [r for r in registry.seen("GET", "/blobs/") if BASE.descriptor.digest in r.path]
    assert accel.verify(report.reference, registries=options).ok
    store.close()


@pytest.mark.parametrize("mounts", [True, False])
def test_another_repository_gets_all_blobs(registry: FakeRegistry, mounts: bool) -> None:
    registry.mounts = mounts
    options = registry.options()
    store = RegistryStore(f"{registry.host}/one:v1", options)
    put(store, two_platforms(), "v1")
    convert(f"{registry.host}/one:v1", f"{registry.host}/two:fast", ALL, registries=options)
    assert accel.verify(f"{registry.host}/two:fast", registries=options).ok
    uploads = registry.seen("PUT", f"/v2/two/blobs/uploads/.*{BASE.descriptor.digest}")
    assert bool(uploads) != mounts
    store.close()


def test_between_registries_and_layouts(tmp_path: Path, registry: FakeRegistry) -> None:
    put(LayoutStore(tmp_path / "in"), two_platforms(), "v1")
    with FakeRegistry() as second:
        hosts = {**registry.options().hosts, **second.options().hosts}
        options = registry.options(hosts=hosts)
        convert(f"oci:{tmp_path}/in:v1", f"{registry.host}/app:v1", ALL, registries=options)
        convert(f"{registry.host}/app:v1", f"{second.host}/app:v1", ALL, registries=options)
        report = convert(f"{second.host}/app:v1", f"oci:{tmp_path}/out:v1", ALL, registries=options)
    assert {layer.state for layer in report.layers} == {"already indexed"}
    assert accel.verify(f"oci:{tmp_path}/out:v1").ok


@pytest.mark.parametrize("referrers", ["api", "none"])
def test_referrers_link_the_index_to_the_source(registry: FakeRegistry, referrers: str) -> None:
    registry.referrers = referrers
    options = registry.options()
    store = RegistryStore(f"{registry.host}/app:v1", options)
    source = image([BASE, TOP])
    put(store, source, "v1")
    wish = ConvertOptions(min_layer_bytes=0, referrers=True)
    report = convert(f"{registry.host}/app:v1", None, wish, registries=options)
    [linked] = store.referrers(source.digest, SociType.INDEX_V1)
    assert report.referrers == (linked.digest,)
    manifest = Manifest.parse(store.get_manifest(linked.digest)[1])
    assert manifest.subject is not None and manifest.subject.digest == source.digest
    assert accel.verify(f"{registry.host}/app:v1", registries=options).ok  # found from the source tag itself
    assert not convert(f"{registry.host}/app:v1", None, wish, registries=options).changed
    store.close()


def test_an_index_linked_by_referrers_is_earlier_work_too(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    convert(f"{where}:v1", None, ConvertOptions(min_layer_bytes=0, referrers=True))
    report = convert(f"{where}:v1", f"{where}:other", ConvertOptions(min_layer_bytes=0))
    assert {layer.state for layer in report.layers} == {"already indexed"} and report.changed


def test_an_index_of_other_images_never_lends_its_layers_wrongly(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE]), "v1_accelerated")  # somebody's ordinary image under our name
    put(store, image([BASE, TOP]), "v1")
    report = convert(f"{where}:v1", None, ALL)
    assert {layer.state for layer in report.layers} == {"indexed"}
    assert accel.verify(f"{where}:v1_accelerated").ok


# --- wishes that cannot be met ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "dest", "error"),
    [
        ("docker-archive:x.tar", None, ConfigError),
        ("oci:x:v1", "docker-archive:y.tar", ConfigError),
        ("oci:x:v1_accelerated", None, ConfigError),
        ("registry.example/app@sha256:" + "a" * 64, None, ReferenceSyntaxError),
        ("oci:x:v1", "registry.example/app@sha256:" + "a" * 64, ConfigError),
        ("registry.example/app:" + "t" * 120, None, ReferenceSyntaxError),
        ("UPPER/Case", None, ReferenceSyntaxError),
    ],
)
def test_impossible_places_are_refused_before_any_work(
    src: str, dest: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        convert(src, dest)


def test_referrers_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same repository"):
        convert(f"oci:{tmp_path}/a:v1", f"oci:{tmp_path}/b:v1", ConvertOptions(referrers=True))


@pytest.mark.parametrize(
    "wrong",
    [{"span_bytes": 1}, {"span_bytes": 1 << 40}, {"min_layer_bytes": -1}, {"threads": 0}, {"mode": "none"}],
)
def test_options_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        ConvertOptions(**wrong)  # type: ignore[arg-type]


# --- progress and cancelling --------------------------------------------------------------------------------


class Recorder:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}
        self.outcomes: dict[str, str] = {}

    def begin(self, stage: str, total_bytes: int | None) -> None:
        with self.lock:
            self.totals[stage], self.done[stage] = total_bytes, 0

    def advance(self, stage: str, n_bytes: int) -> None:
        with self.lock:
            self.done[stage] += n_bytes

    def end(self, stage: str, outcome: str) -> None:
        with self.lock:
            self.outcomes[stage] = outcome


def test_progress_counts_every_byte_of_every_layer(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE, TOP]), "v1")
    recorder = Recorder()
    convert(f"{where}:v1", None, ALL, progress=recorder)
    assert recorder.done == recorder.totals
    assert recorder.outcomes[BASE.descriptor.digest] == "indexed"


class CancelAt(Recorder):
    """Cancels at the n-th report."""

    def __init__(self, n_reports: int) -> None:
        super().__init__()
        self.token = CancelToken(self)
        self.left = n_reports

    def advance(self, stage: str, n_bytes: int) -> None:
        super().advance(stage, n_bytes)
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.token.cancel()


@pytest.mark.parametrize("n_reports", [1, 2, 3, 4, 5, 6])
def test_cancelling_at_any_report_tags_nothing(tmp_path: Path, n_reports: int) -> None:
    put(LayoutStore(tmp_path / "in"), two_platforms(), "v1")
    where = f"oci-archive:{tmp_path}/out.tar:v1"
    with pytest.raises(Cancelled):
        convert(f"oci:{tmp_path}/in:v1", where, ALL, progress=CancelAt(n_reports).token)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
    assert not [t for t in threading.enumerate() if t.name.startswith("accel")]


def test_digest_identical_mode_gives_spans_by_the_reference_rule(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    put(store, image([BASE]), "v1")
    options = ConvertOptions(min_layer_bytes=0, span_bytes=64 << 10, digest_identical=True)
    convert(f"{where}:v1", None, options)
    result = top_index(store, "v1_accelerated")
    assert Annotation.SOURCE_DIGEST not in result.annotations
    assert accel.verify(f"{where}:v1_accelerated").ok
    assert not convert(f"{where}:v1", None, options).changed


def test_unknown_descriptors_are_kept(layout: tuple[LayoutStore, str]) -> None:
    store, where = layout
    platform = image([BASE])
    other = Descriptor("application/vnd.example+json", digest_of(b"{}"), 2, annotations={"keep": "me"})
    built = index([platform, Built(b"{}", other, {})])
    put(store, platform)
    store.put_manifest(built.raw, built.media_type, tag="v1")
    convert(f"{where}:v1", None, ALL)
    assert other in top_index(store, "v1_accelerated").manifests
