"""Full images run by the real containerd and runc, unpacked and lazily mounted by stargz-snapshotter."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from accel.oci import MediaType, digest_of
from support.containerd import Containerd
from support.full_images import full_image, one_format
from support.go_programs import build_program
from support.images import Built, directory, file, image, tar_of
from support.layer_views import compare, directory_view, tarfile_view
from support.registry_docker import DockerRegistry, pushed
from support.runnable import BIG, BIG_DIGEST, DIGESTS, SHELL, big_digest, digests, printed, runnable_layers
from support.stargz_interop import in_whole_seconds, overlay_view
from support.trees import tree

pytestmark = [pytest.mark.interop, pytest.mark.registry]

TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
SETTLE_S = 3.0  # what the registry has sent is not in the snapshotter's cache yet: it would fetch that part again


@pytest.fixture(scope="module")
def snapshotter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program("stargz", tmp_path_factory.mktemp("snapshotter"), "./snapshotter")


@pytest.fixture
def daemon() -> Iterator[Containerd]:
    with Containerd() as running:
        yield running


@pytest.fixture
def lazy(snapshotter: Path, registry: DockerRegistry) -> Iterator[Containerd]:
    with Containerd(snapshotter, registry.host) as running:
        yield running


@pytest.mark.parametrize("snapshotter_name", ["overlayfs", "native"])
def test_containerd_unpacks_our_image_and_runc_runs_it(
    tmp_path: Path, registry: DockerRegistry, daemon: Containerd, snapshotter_name: str
) -> None:
    tars = runnable_layers()
    name = pushed(registry, full_image(tars, tmp_path).index, f"plain:{snapshotter_name}")
    daemon.pull(name, snapshotter_name)
    assert printed(daemon.run(name, *SHELL, DIGESTS, snapshotter=snapshotter_name)) == digests(tars)
    assert daemon.run(name, *SHELL, BIG_DIGEST, snapshotter=snapshotter_name) == big_digest()


def lazily_run(
    built: Built, used: Built, tars: list[bytes], lazy: Containerd, registry: DockerRegistry, tag: str
) -> str:
    """Runs ``built`` before it is there; ``used`` is the manifest of it that should be taken. The reference of it."""
    name = pushed(registry, built, f"{tag}:v1")
    lazy.pull(name, "stargz")
    seen = lazy.run(name, *SHELL, DIGESTS, snapshotter="stargz")
    assert printed(seen) == digests(tars)
    lower = used.layers[0].descriptor
    answers = registry.fetched(tag, lower.digest)
    assert {code for code, _ in answers} == {206}
    assert sum(n for _, n in answers) < lower.size // 4
    stored = lazy.ctr("content", "ls", "-q").split()
    assert used.digest in stored
    assert not {layer.descriptor.digest for layer in used.layers} & set(stored)
    return name


def test_stargz_snapshotter_mounts_our_estargz_before_it_is_there(
    tmp_path: Path, registry: DockerRegistry, lazy: Containerd
) -> None:
    tars = runnable_layers()
    made = full_image(tars, tmp_path)
    name = lazily_run(made.index, made.estargz, tars, lazy, registry, "estargz")
    assert lazy.run(name, *SHELL, BIG_DIGEST, snapshotter="stargz") == big_digest()
    assert sum(n for _, n in registry.fetched("estargz", made.estargz.layers[0].descriptor.digest)) > 20 << 20
    root = lazy.run(name, *SHELL, "cd /; busybox ls -a", snapshotter="stargz").split()
    assert "stargz.index.json" not in root and ".no.prefetch.landmark" not in root


def test_stargz_snapshotter_mounts_our_zstd_chunked_before_it_is_there(
    tmp_path: Path, registry: DockerRegistry, lazy: Containerd
) -> None:
    tars = runnable_layers()
    made = one_format(tars, tmp_path, containerd_only=True)
    name = lazily_run(made, made, tars, lazy, registry, "zstd")
    assert lazy.run(name, *SHELL, BIG_DIGEST, snapshotter="stargz") == big_digest()


@pytest.mark.parametrize("kind", ["estargz", "shared", "zstd"])
def test_what_the_snapshotter_mounts_is_what_tarfile_says(
    tmp_path: Path, registry: DockerRegistry, lazy: Containerd, kind: str
) -> None:
    tar = tree(9, twice=False)
    truth = tarfile_view(tar)
    if kind == "zstd":
        made = one_format([tar], tmp_path, containerd_only=True)
    else:
        made = one_format([tar], tmp_path, format="estargz", min_chunk_bytes=32 << 10 if kind == "shared" else 0)
    lazy.pull(pushed(registry, made, f"mounted-{kind}:v1"), "stargz")
    (mount,) = lazy.lazy_mounts()
    wanted = overlay_view(truth if kind == "zstd" else in_whole_seconds(truth))
    assert compare(directory_view(mount), wanted) == []


@pytest.mark.parametrize("min_chunk_bytes", [0, 64 << 10])
def test_stargz_snapshotter_fetches_the_prefetched_files_unasked(
    tmp_path: Path, registry: DockerRegistry, lazy: Containerd, min_chunk_bytes: int
) -> None:
    wanted = random.Random(3).randbytes(3 << 20)
    tar = tar_of(file("big", BIG), directory("usr"), file("usr/wanted", wanted))
    unordered, ordered = f"unordered-{min_chunk_bytes}", f"ordered-{min_chunk_bytes}"
    for name, prefetch in ((unordered, ()), (ordered, (b"/usr/wanted",))):
        made = one_format([tar], tmp_path, format="estargz", prefetch=prefetch, min_chunk_bytes=min_chunk_bytes)
        lazy.pull(pushed(registry, made, f"{name}:v1"), "stargz")
    layer = made.layers[0].descriptor

    def n_fetched() -> int:
        return sum(n for _, n in registry.fetched(ordered, layer.digest))

    deadline = time.monotonic() + 60
    while n_fetched() < len(wanted) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(SETTLE_S)
    before = n_fetched()
    assert len(wanted) <= before < len(wanted) + (2 << 20)
    assert sum(n for _, n in registry.fetched(unordered, "sha256:[0-9a-f]+")) < 2 << 20
    found = [mount / "usr/wanted" for mount in lazy.lazy_mounts()]
    assert [path.read_bytes() == wanted for path in found] == [True, True]
    assert n_fetched() - before < len(wanted) // 2


def test_a_wrong_toc_digest_is_found_by_the_snapshotter(
    tmp_path: Path, registry: DockerRegistry, lazy: Containerd
) -> None:
    """Guards the guard: then the layer is fetched whole and unpacked."""
    tars = runnable_layers()
    lower, upper = full_image(tars, tmp_path).estargz.layers
    annotations = dict(lower.descriptor.annotations) | {TOC_DIGEST: digest_of(b"another")}
    assert lower.descriptor.media_type == MediaType.OCI_LAYER_GZIP
    spoilt = image([replace(lower, descriptor=replace(lower.descriptor, annotations=annotations)), upper])
    name = pushed(registry, spoilt, "spoilt:v1")
    lazy.pull(name, "stargz")
    assert (200, lower.descriptor.size) in registry.fetched("spoilt", lower.descriptor.digest)
    assert printed(lazy.run(name, *SHELL, DIGESTS, snapshotter="stargz")) == digests(tars)
