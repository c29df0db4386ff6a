"""Full images with Debian's podman, skopeo and umoci, which are older than zstd:chunked as it is today."""

import subprocess
from pathlib import Path

import pytest

from accel.layout import LayoutStore
from accel.oci import Index
from support.full_images import full_image
from support.images import put
from support.layer_views import compare, directory_view, tarfile_view
from support.podman import Podman
from support.registry_docker import DockerRegistry, pushed, require_program
from support.runnable import BIG_DIGEST, DIGESTS, SHELL, big_digest, digests, printed, runnable_layers
from support.stargz_interop import LANDMARK
from support.trees import tree

pytestmark = [pytest.mark.interop, pytest.mark.registry]


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_podman_runs_our_image(registry: DockerRegistry, tmp_path: Path, driver: str) -> None:
    tars = runnable_layers()
    name = pushed(registry, full_image(tars, tmp_path).index, f"podman:{driver}")
    with Podman(driver) as podman:
        podman.pull(name)
        assert printed(podman.run(name, *SHELL, DIGESTS)) == digests(tars)
        assert podman.run(name, *SHELL, BIG_DIGEST) == big_digest()


def test_skopeo_copies_both_manifests_as_they_are(registry: DockerRegistry, tmp_path: Path) -> None:
    skopeo = require_program("skopeo", "skopeo", "ACCEL_REQUIRE_INTEROP")
    made = full_image([tree(6, twice=False)], tmp_path)
    name = pushed(registry, made.index, "skopeo:v1")
    command = [
        skopeo,
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        f"docker://{name}",
        f"oci:{tmp_path}/copy:v1",
    ]
    subprocess.run(command, check=True, timeout=60)
    copied = Index.parse(LayoutStore(tmp_path / "copy").get_manifest("v1")[1])
    assert copied.manifests == Index.parse(made.index.raw).manifests


def test_umoci_unpacks_our_estargz(tmp_path: Path) -> None:
    umoci = require_program("umoci", "umoci", "ACCEL_REQUIRE_INTEROP")
    tar = tree(7, twice=False)
    put(LayoutStore(tmp_path / "layout"), full_image([tar], tmp_path).estargz, "v1")
    command = [umoci, "unpack", "--image", f"{tmp_path}/layout:v1", f"{tmp_path}/bundle"]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    found = directory_view(tmp_path / "bundle" / "rootfs")
    assert found.pop(LANDMARK) and found.pop(b"stargz.index.json")
    wanted = {path: row for path, row in tarfile_view(tar).items() if b".wh." not in path}
    assert compare(found, wanted) == []
