"""Images copied by skopeo and by us, both ways, through the real registry and through the one for tests."""

import gzip
import io
import json
import subprocess
import tarfile

import pytest

from accel.oci import Descriptor, Manifest, MediaType, digest_of
from accel.registry import Credential, Given, RegistryStore
from support.registry_docker import USERS, require_program
from support.registry_faults import FakeRegistry

pytestmark = [pytest.mark.registry, pytest.mark.tools, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def skopeo(tmp_path_factory):
    """Runs skopeo with a policy and a home of its own; gives its output."""
    program = require_program("skopeo", "skopeo", "ACCEL_REQUIRE_REGISTRY")
    home = tmp_path_factory.mktemp("skopeo")
    policy = home / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def run(*args):
        environment = {
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(home),
            "TMPDIR": str(home),
        }
        done = subprocess.run(
            [program, "--policy", str(policy), *map(str, args)],
            env=environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def layer_of(**files):
    """A gzip layer and the digest of its tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0), digest_of(out.getvalue())


def push(store, tag):
    """Push a two-layer image with our client and give its manifest."""
    layers = [layer_of(etc=b"one"), layer_of(bin=bytes(2_000_000))]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        "history": [{"created_by": "test"}] * 2,
    }
    raw_config = json.dumps(config).encode()
    blobs = [(raw_config, MediaType.OCI_CONFIG)] + [(layer, MediaType.OCI_LAYER_GZIP) for layer, _ in layers]
    described = [Descriptor.of(*blob) for blob in blobs]
    for descriptor, (data, _) in zip(described, blobs, strict=True):
        store.put_blob(descriptor, iter([data]))
    value = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": described[0].to_json(),
        "layers": [d.to_json() for d in described[1:]],
    }
    raw = json.dumps(value, indent=2).encode()
    store.put_manifest(raw, MediaType.OCI_MANIFEST, tag=tag)
    return raw


def read(store, tag):
    """Manifest bytes and all blobs, verified by the client."""
    _, raw = store.get_manifest(tag)
    manifest = Manifest.parse(raw)
    return raw, {d.digest: b"".join(store.blob(d).stream()) for d in (manifest.config, *manifest.layers)}


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.mark.parametrize("kind", ["open_registry", "fake"])
def test_skopeo_reads_what_we_push_and_we_read_what_it_pushes(request, skopeo, tmp_path, kind):
    registry = request.getfixturevalue(kind)
    ours = RegistryStore(f"{registry.host}/skopeo/ours:v1", registry.options(chunk_bytes=1000))
    raw = push(ours, "v1")
    assert (
        skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/skopeo/ours:v1").encode()
        == raw
    )
    skopeo(
        "copy",
        "--src-tls-verify=false",
        f"docker://{registry.host}/skopeo/ours:v1",
        f"oci:{tmp_path}/layout:v1",
    )
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        f"oci:{tmp_path}/layout:v1",
        f"docker://{registry.host}/skopeo/theirs:v2",
    )
    theirs = RegistryStore(f"{registry.host}/skopeo/theirs:v2", registry.options())
    assert read(theirs, "v2") == read(ours, "v1")
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/skopeo/theirs"))
    assert listed["Tags"] == theirs.tags() == ["v2"]
    ours.close()
    theirs.close()


def test_docker_schema_2_from_skopeo_is_kept_as_it_is(skopeo, tmp_path, open_registry):
    ours = RegistryStore(f"{open_registry.host}/skopeo/oci:v1", open_registry.options())
    push(ours, "v1")
    skopeo(
        "copy", "--format=v2s2", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{open_registry.host}/skopeo/oci:v1", f"docker://{open_registry.host}/skopeo/docker:v1",
    )  # fmt: skip
    docker = RegistryStore(f"{open_registry.host}/skopeo/docker:v1", open_registry.options())
    descriptor, raw = docker.get_manifest("v1")
    assert descriptor.media_type == MediaType.DOCKER_MANIFEST
    reference = f"docker://{open_registry.host}/skopeo/docker:v1"
    assert skopeo("inspect", "--raw", "--tls-verify=false", reference).encode() == raw
    # to another repository, byte for byte
    copy = RegistryStore(f"{open_registry.host}/skopeo/copy:v1", client=docker.client)
    manifest = Manifest.parse(raw)
    for d in (manifest.config, *manifest.layers):
        assert copy.mount_blob(d, docker)
    copy.put_manifest(raw, descriptor.media_type, tag="v1")
    skopeo(
        "copy",
        "--src-tls-verify=false",
        f"docker://{open_registry.host}/skopeo/copy:v1",
        f"dir:{tmp_path}/copy",
    )
    ours.close()
    docker.close()


def test_tokens_serve_skopeo_and_us_alike(skopeo, tmp_path, token_registry):
    """Our token server is one that another client understands, too."""
    given = Given({token_registry.host: Credential("ada", USERS["ada"])})
    ours = RegistryStore(f"{token_registry.host}/app:v1", token_registry.options(given))
    push(ours, "v1")
    skopeo(
        "copy", "--src-tls-verify=false", f"--src-creds=ada:{USERS['ada']}",
        f"docker://{token_registry.host}/app:v1", f"dir:{tmp_path}/copy",
    )  # fmt: skip
    ours.close()
