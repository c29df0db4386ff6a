"""TLS, plain HTTP, retries and redirects."""

import socket
import threading

import pytest

from accel.errors import ConfigError, NotFoundError, RegistryError
from accel.registry import HostOptions, RegistryOptions, RegistryStore, TransientError
from accel.registry.attempts import Attempts
from support.registry_faults import FakeRegistry
from support.registry_server import Answer, LoopbackServer
from support.registry_tls import certificate_authority, issued_by, server_context


def manifest_of(reg, **hosts):
    s = RegistryStore(
        f"{reg.host}/app:v1", reg.options(hosts={reg.host: HostOptions(**hosts)} if hosts else {})
    )
    try:
        return s.get_manifest("v1")
    finally:
        s.close()


@pytest.fixture(scope="module")
def authority():
    return certificate_authority("test authority")


@pytest.fixture
def tls_reg(tmp_path, authority):
    with FakeRegistry(tls=server_context(issued_by(authority, "server"), tmp_path)) as registry:
        registry.add_image("app", "v1", [b"x"])
        yield registry


@pytest.fixture
def ca_bundle(tmp_path, authority):
    return str(authority.write(tmp_path, "ca")[0])


def test_an_unknown_certificate_is_refused_with_what_to_do(tls_reg):
    with pytest.raises(RegistryError, match="not trusted.*CA bundle") as raised:
        manifest_of(tls_reg)
    assert not raised.value.temporary and tls_reg.sleeps == [] and tls_reg.requests == []


def test_a_ca_bundle_named_for_the_host_makes_it_trusted(tls_reg, ca_bundle):
    manifest_of(tls_reg, ca_bundle=ca_bundle)


def test_insecure_counts_only_for_the_host_it_names(tls_reg):
    manifest_of(tls_reg, insecure=True)
    options = tls_reg.options(
        hosts={"127.0.0.1": HostOptions(insecure=True), "other": HostOptions(insecure=True)}
    )
    with pytest.raises(RegistryError, match="not trusted"):
        RegistryStore(f"{tls_reg.host}/app:v1", options).get_manifest("v1")


def test_a_client_certificate_is_shown_to_those_who_ask(tmp_path, authority, ca_bundle):
    server = server_context(issued_by(authority, "server"), tmp_path, clients=authority)
    certificate, key = issued_by(authority, "client").write(tmp_path, "client")
    with FakeRegistry(tls=server) as reg:
        reg.add_image("app", "v1", [b"x"])
        manifest_of(reg, ca_bundle=ca_bundle, client_cert=str(certificate), client_key=str(key))
        with pytest.raises(RegistryError):
            manifest_of(reg, ca_bundle=ca_bundle)


def test_tls_files_that_cannot_be_loaded_are_config_errors(tls_reg, tmp_path):
    (tmp_path / "broken").write_text("no certificate")
    for bad in (
        {"ca_bundle": "/nowhere"},
        {"ca_bundle": str(tmp_path / "broken")},
        {"client_cert": "/nowhere"},
    ):
        with pytest.raises(ConfigError):
            manifest_of(tls_reg, **bad)
    with pytest.raises(ConfigError):
        HostOptions(client_key="x")
    with pytest.raises(ConfigError):
        HostOptions(plain_http=True, insecure=True)


def test_plain_http_is_never_guessed_not_even_on_loopback(reg):
    reg.add_image("app", "v1", [b"x"])
    options = RegistryOptions(sleep=reg.sleeps.append)
    with pytest.raises(RegistryError, match="name it for plain HTTP") as raised:
        RegistryStore(f"{reg.host}/app:v1", options).get_manifest("v1")
    assert not raised.value.temporary and reg.sleeps == [] and reg.requests == []


def test_https_does_not_become_http_by_redirect(tls_reg, ca_bundle):
    plain = f"http://127.0.0.1:{tls_reg.storage_host.partition(':')[2]}/x"
    tls_reg.fail_next("GET", "/manifests/", status=307, headers={"Location": plain})
    with pytest.raises(RegistryError, match="not allowed"):
        manifest_of(tls_reg, ca_bundle=ca_bundle)
    assert tls_reg.seen(server="storage") == []


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_refused_connection_is_tried_again_then_named():
    sleeps: list[float] = []
    host = f"127.0.0.1:{closed_port()}"
    options = RegistryOptions(
        hosts={host: HostOptions(plain_http=True)}, sleep=sleeps.append, jitter=lambda: 0.0
    )
    with pytest.raises(TransientError, match=f"no connection to http://{host}.*ECONNREFUSED"):
        RegistryStore(f"{host}/app:v1", options).get_manifest("v1")
    assert sleeps == [0.25, 0.5, 1, 2, 4]


def test_an_unknown_host_is_not_tried_again():
    sleeps: list[float] = []
    with pytest.raises(RegistryError, match="no such host: nowhere.invalid") as raised:
        RegistryStore("nowhere.invalid/app:v1", RegistryOptions(sleep=sleeps.append)).get_manifest("v1")
    if raised.value.temporary:
        pytest.skip("the resolver here says 'try again' for names that do not exist")
    assert sleeps == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_temporary_answers_are_tried_again(reg, status):
    digest = reg.add_image("app", "v1", [b"x"])
    reg.fail_next("GET", "/manifests/", status=status, times=2)
    assert manifest_of(reg)[0].digest == digest
    assert reg.sleeps == [0.25, 0.5]


def test_retry_after_is_obeyed(reg):
    reg.add_image("app", "v1", [b"x"])
    reg.fail_next("GET", "/manifests/", status=429, retry_after=7)
    reg.fail_next("GET", "/manifests/", status=503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    manifest_of(reg)
    assert reg.sleeps == [7, 0.5]


def test_a_retry_after_beyond_the_budget_is_an_error_at_once(reg):
    reg.fail_next("GET", "/manifests/", status=429, retry_after=99999)
    with pytest.raises(TransientError) as raised:
        manifest_of(reg)
    assert raised.value.retry_after_s == 99999 and raised.value.status == 429 and reg.sleeps == []


@pytest.mark.parametrize("status", [400, 404, 409, 501])
def test_final_answers_are_not_tried_again(reg, status):
    reg.fail_next("GET", "/manifests/", status=status, times=9)
    with pytest.raises((RegistryError, NotFoundError)):
        manifest_of(reg)
    assert len(reg.requests) == 1 and reg.sleeps == []


def test_dropped_connections_are_tried_again_and_end(reg):
    reg.add_image("app", "v1", [b"x"])
    reg.fail_next("GET", "/manifests/", drop=True, times=2)
    manifest_of(reg)
    reg.fail_next("GET", "/manifests/", drop=True, times=99)
    with pytest.raises(TransientError, match="broke"):
        manifest_of(reg)
    assert len(reg.requests) == 3 + 6


def test_all_waiting_together_is_bounded():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    options = RegistryOptions(sleep=sleep, clock=lambda: now[0], max_attempts=1000, retry_budget_s=100)
    attempts = Attempts(options)
    with pytest.raises(TransientError):
        while True:
            attempts.failed(TransientError("x"))
    assert 60 < now[0] <= 100


def test_jitter_spreads_clients():
    waits = []
    for jitter in (0.0, 0.999):
        options = RegistryOptions(sleep=waits.append, jitter=lambda j=jitter: j)
        Attempts(options).failed(TransientError("x"))
    assert waits[0] == 0.25 and 0.49 < waits[1] <= 0.5


def test_redirects_are_followed_but_not_for_ever(reg):
    digest = reg.add_image("app", "v1", [b"x"])
    for status in (301, 302, 303, 307, 308):
        reg.fail_next(
            "GET", "/manifests/v1", status=status, headers={"Location": f"/v2/app/manifests/{digest}"}
        )
        assert manifest_of(reg)[0].digest == digest
    reg.fail_next("GET", "/manifests/v1", status=307, headers={"Location": "/v2/app/manifests/v1"}, times=99)
    with pytest.raises(RegistryError, match="more than 5 redirects"):
        manifest_of(reg)


@pytest.mark.parametrize(
    "location", ["ftp://x/", "http://u:p@127.0.0.1/", "/a\tb", "http://[::1", "x" * 20000]
)
def test_redirects_to_nonsense_are_errors(reg, location):
    reg.fail_next("GET", "/manifests/", status=307, headers={"Location": location}, times=9)
    with pytest.raises(RegistryError):
        manifest_of(reg)
    assert len(reg.requests) == 1


def test_secrets_in_redirects_do_not_reach_messages(reg, caplog):
    caplog.set_level("DEBUG", "accel")
    dead = closed_port()
    location = f"http://127.0.0.1:{dead}/x?X-Amz-Signature=hush"
    reg.fail_next("GET", "/manifests/", status=307, headers={"Location": location}, times=9)
    with pytest.raises(TransientError) as raised:
        manifest_of(reg)
    assert "hush" not in str(raised.value) and "hush" not in caplog.text and caplog.text


def test_identity_coding_is_asked_for(reg):
    reg.add_image("app", "v1", [b"x"])
    manifest_of(reg)
    assert {r.headers["Accept-Encoding"] for r in reg.requests} == {"identity"}
    assert all(r.headers["User-Agent"] == "accel" for r in reg.requests)


def test_connections_are_used_again(reg):
    ports = set()
    reg.add_image("app", "v1", [b"x" * 1000])
    s = RegistryStore(f"{reg.host}/app:v1", reg.options())
    original = reg._server.opened
    reg._server.opened = lambda sock: (ports.add(sock.getpeername()), original(sock))[1]
    for _ in range(5):
        s.get_manifest("v1")
        s.has_manifest("v1")
        with pytest.raises(NotFoundError):
            s.get_manifest("none")
    assert len(ports) == 1
    s.close()


def test_proxies_are_used_except_where_told():
    seen = []
    proxy = LoopbackServer("proxy", lambda request, source: Answer(502), seen)
    options = RegistryOptions(
        hosts={"registry.invalid": HostOptions(plain_http=True), "in.corp": HostOptions(plain_http=True)},
        proxies={"http": proxy.url},
        no_proxy=(".corp",),
        sleep=lambda s: None,
        max_attempts=1,
    )
    with pytest.raises(TransientError):
        RegistryStore("registry.invalid/app:v1", options).get_manifest("v1")
    assert seen[0].target == "http://registry.invalid/v2/app/manifests/v1"
    from accel.registry.transport import Transport
    from accel.registry.urls import Origin

    transport = Transport(options)
    for url, used in [
        ("http://x.corp", False),
        ("http://xcorp", True),
        ("http://127.0.0.1:5", False),
        ("https://a.io", False),
    ]:
        assert (transport._proxy(Origin.of(url)) is not None) is used
    proxy.close()


def test_options_that_cannot_work_are_refused():
    for bad in ({"read_timeout_s": 0}, {"max_attempts": 0}, {"chunk_bytes": -1}):
        with pytest.raises(ConfigError):
            RegistryOptions(**bad)


def test_threads_may_share_a_store(reg):
    digests = {f"t{i}": reg.add_image("app", f"t{i}", [bytes([i]) * 100]) for i in range(8)}
    s = RegistryStore(f"{reg.host}/app:v1", reg.options())
    wrong: list[object] = []

    def work(tag):
        for _ in range(10):
            if s.get_manifest(tag)[0].digest != digests[tag]:
                wrong.append(tag)

    threads = [threading.Thread(target=work, args=(tag,)) for tag in digests]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == [] and len(reg.requests) == 80
    s.close()
