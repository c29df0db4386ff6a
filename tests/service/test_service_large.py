"""A 20 GB image within limits of memory and disk: nothing that grows with it is held."""

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.oci import MediaType
from accel.registry import RegistryStore
from support.images import image, layer_of, put
from support.registry_docker import DockerRegistry
from support.running_service import RunningService, wait_for

pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.timeout(900)]

TAR_BYTES = 20 << 30
PIECE = 64 << 20
MEMORY, DISK = 512 << 20, 256 << 20


def large_layer() -> tuple[bytes, str]:
    """A gzip layer with one file of zeros that inflates to 20 GiB, and its diffID: the same member many times."""
    info = tarfile.TarInfo("var/large")
    info.size = TAR_BYTES - 512 - 1024 - 1024
    header = info.tobuf(tarfile.GNU_FORMAT)
    blocks = io.BytesIO()
    n_pieces, rest = divmod(TAR_BYTES - len(header), PIECE)
    zeros = bytes(PIECE)
    member = gzip.compress(zeros, 6, mtime=0)
    blocks.write(gzip.compress(header, 6, mtime=0))
    blocks.write(member * n_pieces)
    blocks.write(gzip.compress(bytes(rest), 6, mtime=0))
    hasher = hashlib.sha256(header)
    for _ in range(n_pieces):
        hasher.update(zeros)
    hasher.update(bytes(rest))
    assert zlib.decompressobj(31).decompress(member[:100], 10) == bytes(10)
    return blocks.getvalue(), f"sha256:{hasher.hexdigest()}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of ``DISK`` bytes for temporary files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "accel-test", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("mode", ["index-only", "full"])
def test_a_20_gb_image_fits_the_limits(tmp_path: Path, small_disk: Path, mode: str) -> None:
    data, diff_id = large_layer()
    large = layer_of(data, MediaType.OCI_LAYER_GZIP, diff_id)
    (tmp_path / "registry").mkdir()
    with DockerRegistry(tmp_path / "registry") as registry:
        service = RunningService(
            tmp_path / "service",
            registries=[{"host": registry.host, "plain_http": True}],
            rules=[{"name": "all", "mode": mode, "min_layer": 0}],
            limits={"memory": MEMORY, "disk": DISK, "threads": 2},
        )
        with service.with_environment(TMPDIR=str(small_disk)):
            store = RegistryStore(f"{registry.host}/large:v1", registry.options())
            put(store, image([large], platform="linux/amd64"), tag="v1")
            service.api("POST", "/jobs", {"image": f"{registry.host}/large:v1"})

            def ended() -> bool:
                (job,) = service.api("GET", "/jobs")["jobs"]
                assert job["state"] in ("queued", "running", "done"), job["reason"]
                return bool(job["state"] == "done")

            wait_for(ended, "the conversion", 600)
            assert store.tag_digest("v1_accelerated")
            store.close()
            assert peak_bytes(service.processes["serve"].pid) < MEMORY + (200 << 20)  # the service itself


def peak_bytes(pid: int) -> int:
    """The most memory that a process had resident so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
