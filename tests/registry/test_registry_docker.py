"""The client against the real docker-registry (distribution 2.8): open, with htpasswd, with tokens that run out."""

import hashlib
import json
import random
import time
import urllib.request

import pytest

from accel.errors import AuthError, NotFoundError, RegistryError
from accel.oci import Descriptor, MediaType
from accel.registry import (
    Credential,
    DockerConfig,
    Given,
    MissingBlobsError,
    RegistryClient,
    RegistryStore,
)
from accel.registry.referrers import fallback_tag
from support.registry_docker import USERS
from support.registry_tokens import LEEWAY_S

pytestmark = [pytest.mark.registry, pytest.mark.timeout(120)]

LAYER = random.Random(11).randbytes(3_000_017)
LAYER_DESC = Descriptor.of(LAYER, MediaType.OCI_LAYER_GZIP)
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
CONFIG_DESC = Descriptor.of(CONFIG, MediaType.OCI_CONFIG)
ADA = Credential("ada", USERS["ada"])


def manifest_bytes(**more):
    value = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST, "config": CONFIG_DESC.to_json()}
    return json.dumps(value | {"layers": [LAYER_DESC.to_json()]} | more, indent=1).encode()


def push_image(store, tag):
    store.put_blob(LAYER_DESC, iter([LAYER[:1_000_000], LAYER[1_000_000:]]))
    store.put_blob(CONFIG_DESC, [CONFIG])
    return store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag=tag)


def check_image(store, put, tag):
    assert store.get_manifest(tag) == (put, manifest_bytes()) == store.get_manifest(put.digest)
    assert b"".join(store.blob(LAYER_DESC).stream(100_000)) == LAYER
    assert store.blob(LAYER_DESC).read_at(2_999_999, 18) == LAYER[-18:]
    assert store.has_blob(LAYER_DESC) and not store.has_blob(Descriptor.of(b"none", "x"))
    assert store.has_manifest(put.digest) and not store.has_manifest("none")


@pytest.mark.parametrize("chunk_bytes", [500_000, 16 << 20])
def test_an_image_goes_in_and_comes_out(open_registry, chunk_bytes):
    with_name = f"{open_registry.host}/io/chunk{chunk_bytes}:v1"
    store = RegistryStore(with_name, open_registry.options(chunk_bytes=chunk_bytes))
    put = push_image(store, "v1")
    check_image(store, put, "v1")
    assert store.tags() == ["v1"]
    # what an independent client sees
    url = f"http://{open_registry.host}/v2/io/chunk{chunk_bytes}/blobs/{LAYER_DESC.digest}"
    with urllib.request.urlopen(url) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == LAYER_DESC.digest.partition(":")[2]
    store.close()


def test_a_large_replayable_blob_goes_in_by_one_put(open_registry):
    store = RegistryStore(f"{open_registry.host}/io/whole", open_registry.options(chunk_bytes=100_000))
    store.put_blob(LAYER_DESC, [LAYER])
    assert b"".join(store.blob(LAYER_DESC).stream()) == LAYER
    store.close()


def test_missing_things_are_named(open_registry):
    store = RegistryStore(f"{open_registry.host}/io/missing:v1", open_registry.options())
    for call in (lambda: store.get_manifest(""), store.tags, lambda: store.blob(LAYER_DESC).read_at(0, 5)):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(MissingBlobsError) as raised:
        store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    assert set(raised.value.digests) == {LAYER_DESC.digest, CONFIG_DESC.digest}
    store.close()


def test_a_blob_shorter_than_its_descriptor_is_told(open_registry):
    # the registry answers 416 with a Content-Length that it does not keep to
    store = RegistryStore(f"{open_registry.host}/io/short", open_registry.options())
    store.put_blob(LAYER_DESC, [LAYER])
    with pytest.raises(RegistryError, match="416|the registry has 3000017 bytes"):
        store.blob(Descriptor("x", LAYER_DESC.digest, 4_000_000)).read_at(3_500_000, 10)
    with pytest.raises(RegistryError):
        b"".join(store.blob(Descriptor("x", LAYER_DESC.digest, 4_000_000)).stream())
    assert not store.has_blob(Descriptor("x", LAYER_DESC.digest, 4_000_000))
    store.close()


def test_mounting_between_repositories(open_registry):
    client = RegistryClient(open_registry.host, open_registry.options())
    source = RegistryStore(f"{open_registry.host}/mount/from", client=client)
    target = RegistryStore(f"{open_registry.host}/mount/to", client=client)
    source.put_blob(LAYER_DESC, [LAYER])
    assert target.mount_blob(LAYER_DESC, source) and target.has_blob(LAYER_DESC)
    assert not target.mount_blob(Descriptor.of(b"none", "x"), source)
    client.close()


def test_referrers_go_to_the_fallback_tag(open_registry):
    store = RegistryStore(f"{open_registry.host}/io/referrers:v1", open_registry.options())
    subject = push_image(store, "v1")
    assert store.referrers(subject.digest) == []
    for kind in ("application/x.one", "application/x.two"):
        raw = manifest_bytes(subject=subject.to_json(), artifactType=kind)
        store.add_referrer(subject, store.put_manifest(raw, MediaType.OCI_MANIFEST))
    assert [d.artifact_type for d in store.referrers(subject.digest)] == [
        "application/x.one",
        "application/x.two",
    ]
    assert set(store.tags()) == {"v1", fallback_tag(subject.digest)}
    store.close()


def test_docker_and_list_types_survive(open_registry):
    store = RegistryStore(f"{open_registry.host}/io/docker", open_registry.options())
    push_image(store, "oci")
    config = CONFIG_DESC.to_json() | {"mediaType": MediaType.DOCKER_CONFIG}
    layer = LAYER_DESC.to_json() | {"mediaType": MediaType.DOCKER_LAYER_GZIP}
    raw = manifest_bytes(mediaType=MediaType.DOCKER_MANIFEST, config=config, layers=[layer])
    child = store.put_manifest(raw, MediaType.DOCKER_MANIFEST, tag="docker")
    assert store.get_manifest("docker") == (child, raw)
    platform = {"platform": {"architecture": "amd64", "os": "linux"}}
    listed = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_LIST,
        "manifests": [child.to_json() | platform],
    }
    raw = json.dumps(listed).encode()
    assert store.get_manifest(store.put_manifest(raw, MediaType.DOCKER_LIST, tag="list").digest)[1] == raw
    assert store.get_manifest("list")[0].media_type == MediaType.DOCKER_LIST
    store.close()


def test_htpasswd(htpasswd_registry, tmp_path):
    name = f"{htpasswd_registry.host}/private/app:v1"
    config = tmp_path / "config.json"
    import base64

    auth = base64.b64encode(f"ada:{USERS['ada']}".encode()).decode()
    config.write_text(json.dumps({"auths": {htpasswd_registry.host: {"auth": auth}}}))
    store = RegistryStore(name, htpasswd_registry.options(DockerConfig.load(config)))
    put = push_image(store, "v1")
    check_image(store, put, "v1")
    store.close()
    for credentials in (None, Given({htpasswd_registry.host: Credential("ada", "wrong")})):
        store = RegistryStore(name, htpasswd_registry.options(credentials))
        with pytest.raises(AuthError) as raised:
            store.get_manifest("v1")
        assert raised.value.status == 401 and "wrong" not in str(raised.value)
        store.close()


def test_tokens(token_registry, token_server):
    given = Given({token_registry.host: ADA})
    client = RegistryClient(token_registry.host, token_registry.options(given, chunk_bytes=500_000))
    store = RegistryStore(f"{token_registry.host}/app:v1", client=client)
    put = push_image(store, "v1")
    check_image(store, put, "v1")
    other = RegistryStore(f"{token_registry.host}/other:v1", client=client)
    assert other.mount_blob(LAYER_DESC, store)
    # pull, pull+push, and push+pull for the mount; nothing was fetched twice
    assert len(token_server.requests) == 3
    client.close()
    for credentials in (None, Given({token_registry.host: Credential("ada", "wrong")})):
        store = RegistryStore(f"{token_registry.host}/app:v1", token_registry.options(credentials))
        with pytest.raises(AuthError):
            store.get_manifest("v1")
        store.close()


def test_tokens_that_run_out_in_mid_job_are_renewed(token_registry, token_server):
    """Each token lives two seconds, whatever its answer says: the upload, the stream and the reads outlive several."""
    token_server.life_s = 2 - LEEWAY_S
    token_server.told_life_s = 300
    given = Given({token_registry.host: ADA})
    store = RegistryStore(
        f"{token_registry.host}/app:v1", token_registry.options(given, chunk_bytes=1_000_000)
    )

    def slowly():
        for start in range(0, len(LAYER), 1_000_000):
            time.sleep(1.0)
            yield LAYER[start : start + 1_000_000]

    store.put_blob(LAYER_DESC, slowly())
    time.sleep(2.1)
    put = push_image(store, "v1")
    time.sleep(2.1)
    check_image(store, put, "v1")
    assert len(token_server.requests) >= 5
    store.close()


def test_tokens_of_a_short_told_life_are_renewed_before_they_end(token_registry, token_server):
    token_server.told_life_s = 1
    given = Given({token_registry.host: ADA})
    store = RegistryStore(f"{token_registry.host}/app:v1", token_registry.options(given))
    push_image(store, "v1")
    n = len(token_server.requests)
    time.sleep(1.1)
    store.get_manifest("v1")
    assert len(token_server.requests) == n + 1
    store.close()
