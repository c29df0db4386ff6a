"""What a proxy in front of a registry is told about deletions, with the real registry as the judge."""

import http.client
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from accel.registry import RegistryStore
from accel.service.api.proxied import manifest_of
from support.images import image
from support.registry_docker import DockerRegistry, pushed
from support.service_state import READ_TOKEN, FilledService

D = "sha256:" + "1" * 64
SPELLINGS = [
    "/v2/team/app/manifests/{}",
    "/v2/team/app/manifests/{}?force=1",
    "/v2/team/app/%6Danifests/{}",
    "/v2/te%61m/app/manifests/{}",
    "/v2/team%2Fapp%2Fmanifests%2F{}",
    "/v2/team/app/manifests%2f{}",
    "/%762/team/app/manifests/{}",
    "//v2/team/app/manifests/{}",
    "/v2//team/app/manifests/{}",
    "/v2/team/app//manifests//{}",
    "/v2/./team/app/manifests/{}",
    "/v2/other/../team/app/manifests/{}",
    "/v2/other/%2e%2e/team/app/manifests/{}",
    "/v2/team/app/manifests/{}/",
]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FilledService]:
    with FilledService(tmp_path) as running:
        yield running


def verdict(service: FilledService, method: str, uri: str) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {READ_TOKEN}", "X-Original-Method": method, "X-Original-URI": uri}
    return urllib3.request("GET", f"{service.url}/api/v1/protection/auth", headers=headers)


def delete(host: str, uri: str) -> None:
    """Sends the path as it is written, and goes where the registry points."""
    for _ in range(3):
        connection = http.client.HTTPConnection(host, timeout=10)
        try:
            connection.request("DELETE", uri)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        if not 300 <= answer.status < 400:
            return
        to = urllib.parse.urlsplit(answer.headers["Location"])
        uri = to.path + (f"?{to.query}" if to.query else "")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_needed_source_is_refused_however_its_path_is_spelled(service: FilledService, spelling: str) -> None:
    service.protector.needed = {"team/app:v1": ("team/app:v1_accelerated",), f"team/app@{D}": ("team/app:b",)}
    for selector, user in (("v1", "team/app:v1_accelerated"), ("%761", "team/app:v1_accelerated"), (D, "team/app:b")):
        answer = verdict(service, "DELETE", spelling.format(selector))
        assert answer.status == 403
        assert user in answer.json()["error"]["message"]
    assert verdict(service, "DELETE", spelling.format("free")).status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "OPTIONS"])
def test_what_deletes_nothing_passes(service: FilledService, method: str) -> None:
    service.protector.needed = {"team/app:v1": ("team/app:v1_accelerated",)}
    assert verdict(service, method, "/v2/team/app/manifests/v1").status == 204


@pytest.mark.parametrize("missing", ["X-Original-Method", "X-Original-URI"])
def test_a_proxy_that_forgets_a_header_lets_nothing_pass(service: FilledService, missing: str) -> None:
    headers = {"Authorization": f"Bearer {READ_TOKEN}", "X-Original-Method": "GET", "X-Original-URI": "/v2/"}
    for changed in ({name: text for name, text in headers.items() if name != missing}, headers | {missing: ""}):
        answer = urllib3.request("GET", f"{service.url}/api/v1/protection/auth", headers=changed)
        assert answer.status == 422  # auth_request takes all but 2xx, 401 and 403 as an error


@pytest.mark.parametrize("uri", ["/v2/team/app/manifests/v1#/../../x/y", "/v2/x#/../team/app/manifests/v1"])
def test_what_proxies_cut_differently_is_refused(service: FilledService, uri: str) -> None:
    assert verdict(service, "DELETE", uri).status == 400
    assert verdict(service, "GET", uri).status == 204


@pytest.mark.registry
def test_the_registry_deletes_nothing_needed_that_was_let_through(tmp_path: Path, service: FilledService) -> None:
    with DockerRegistry(tmp_path) as registry:
        built = image([], platform="linux/amd64")
        digest = built.descriptor.digest
        service.protector.needed = {f"team/app@{digest}": ("team/app:v1_accelerated",)}
        store = RegistryStore(pushed(registry, built, "team/app:v1"), registry.options())
        try:
            deleted = []
            for spelling in SPELLINGS:
                for selector in (digest, digest.replace(":", "%3A"), urllib.parse.quote(digest, safe="")):
                    uri = spelling.format(selector)
                    passes = verdict(service, "DELETE", uri).status == 204
                    delete(registry.host, uri)
                    if store.tag_digest("v1") is None:
                        deleted.append(uri)
                        assert not passes, uri
                        pushed(registry, built, "team/app:v1")
            # the judge does delete, and by more than the plain spelling
            assert len(deleted) > 3
        finally:
            store.close()


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("/v2/manifests/manifests/v1", ("manifests", "v1")),
        ("/v2/a/v2/b/manifests/v1", ("a/v2/b", "v1")),
        ("/v2/a/manifests/v1%3Fx", ("a", "v1?x")),
        ("/v2/a/manifests/b/blobs/sha256:1", None),
        ("/v2/a/%256Danifests/v1", None),
        ("/v2/a/manifests/", None),
        ("/v2/", None),
        ("", None),
    ],
)
def test_a_manifest_is_found_where_the_registry_finds_it(uri: str, found: tuple[str, str] | None) -> None:
    assert manifest_of(uri) == found
