"""Challenges answered, tokens kept and renewed, credentials kept to those they belong to."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from accel.errors import AuthError, RegistryError
from accel.oci import Descriptor
from accel.registry import Credential, Given, HostOptions, RegistryClient, RegistryOptions, RegistryStore
from accel.registry.auth import Authenticator
from accel.registry.transport import Transport
from accel.registry.urls import Origin
from support.registry_faults import FakeRegistry
from support.registry_server import Answer, LoopbackServer

ADA = Credential("ada", "lovelace:1")
LAYER = b"layer" * 1000
LAYER_DESC = Descriptor.of(LAYER, "application/octet-stream")


def store(reg, credential=ADA, name="app:v1", **changes):
    given = Given({reg.host: credential} if credential else {})
    return RegistryStore(f"{reg.host}/{name}", reg.options(credentials=given, **changes))


def authorizations(reg, server="registry"):
    return [r.headers.get("Authorization") for r in reg.seen(server=server)]


def test_basic_is_sent_only_after_it_was_asked_for():
    with FakeRegistry(auth="basic") as reg:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg)
        s.get_manifest("v1")
        s.get_manifest("v1")
        assert [r.status for r in reg.seen("GET")] == [401, 200, 200]
        assert authorizations(reg) == [None, ADA.basic(), ADA.basic()]
        s.close()


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("credential", [None, Credential("ada", "wrong"), Credential("eve", "lovelace:1")])
def test_wrong_credentials_end_as_an_auth_error(auth, credential):
    with FakeRegistry(auth=auth) as reg:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg, credential)
        with pytest.raises(AuthError) as raised:
            s.get_manifest("v1")
        assert raised.value.status == 401
        assert "wrong" not in str(raised.value) and "lovelace" not in str(raised.value)
        assert len(reg.requests) < 10 and reg.sleeps == []
        s.close()


def test_passwords_that_a_helper_renews_are_used():
    passwords = iter(["stale", "lovelace:1"])

    class Renewing:
        def credential_for(self, host, repository):
            return Credential("ada", next(passwords))

    with FakeRegistry(auth="basic") as reg:
        reg.add_image("app", "v1", [LAYER])
        s = RegistryStore(f"{reg.host}/app:v1", reg.options(credentials=Renewing()))
        s.get_manifest("v1")
        s.close()


def test_anonymous_tokens_pull_and_cannot_push():
    with FakeRegistry(auth="token", anonymous_pull=True) as reg:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg, None)
        s.get_manifest("v1")
        with pytest.raises(AuthError):
            s.put_blob(Descriptor.of(b"x", "y"), [b"x"])
        assert all(a is None or a.startswith("Bearer ") for a in authorizations(reg))
        s.close()


def test_one_token_serves_all_requests_for_its_scope():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg)
        for _ in range(3):
            s.get_manifest("v1")
            assert b"".join(s.blob(LAYER_DESC).stream()) == LAYER
        assert len(reg.seen("GET", "^/token")) == 1
        assert [r.status for r in reg.seen()].count(401) == 1
        s.put_blob(Descriptor.of(b"x", "y"), [b"x"])
        s.get_manifest("v1")
        assert [r.query["scope"] for r in reg.seen("GET", "^/token")] == [
            "repository:app:pull",
            "repository:app:pull,push",
        ]
        s.close()


def test_many_threads_share_one_token_fetch():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg)
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(lambda: b"".join(s.blob(LAYER_DESC).stream())) for _ in range(8)]
        assert all(f.result() == LAYER for f in futures)
        assert len(reg.seen("GET", "^/token")) == 1
        s.close()


def test_stores_sharing_a_client_share_tokens_and_ask_for_their_own_repository():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("a", "v1", [LAYER])
        reg.add_image("b", "v1", [LAYER])
        client = RegistryClient(reg.host, reg.options(credentials=Given({reg.host: ADA})))
        for name in ("a", "b", "a", "b"):
            RegistryStore(f"{reg.host}/{name}:v1", client=client).get_manifest("")
        assert len(reg.seen("GET", "^/token")) == 2
        client.close()


def test_a_token_is_renewed_before_it_ends():
    now = [1000.0]
    with FakeRegistry(auth="token") as reg:
        reg.token_life_s = 300
        reg.add_image("app", "v1", [LAYER])
        s = store(reg, clock=lambda: now[0])
        for now[0] in (1000, 1280, 1291, 1295):
            s.get_manifest("v1")
        assert len(reg.seen("GET", "^/token")) == 2
        assert [r.status for r in reg.seen()].count(401) == 1
        s.close()


def test_a_token_of_unknown_life_lasts_a_minute():
    now = [0.0]
    with FakeRegistry(auth="token") as reg:
        reg.token_life_s = None
        reg.add_image("app", "v1", [LAYER])
        s = store(reg, clock=lambda: now[0])
        for now[0] in (0, 45, 61):
            s.get_manifest("v1")
        assert len(reg.seen("GET", "^/token")) == 2
        s.close()


def test_a_token_refused_in_mid_job_is_renewed():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg, chunk_bytes=1 << 20)
        s.get_manifest("v1")
        reg.expire_tokens()
        assert b"".join(s.blob(LAYER_DESC).stream()) == LAYER
        reg.expire_tokens()
        assert s.blob(LAYER_DESC).read_at(5, 5) == b"layer"
        big = b"0123456789" * 300_000
        reg.fail_next("PATCH", act=reg.expire_tokens, times=2)
        s.put_blob(Descriptor.of(big, "y"), iter([big]))
        reg.expire_tokens()
        s.put_blob(Descriptor.of(b"small", "y"), [b"small"])
        assert set(reg.blobs("app").values()) >= {big, b"small"}
        s.close()


def test_scopes_the_registry_asks_for_are_added_and_come_first():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        more = (
            f'Bearer realm="{reg.url}/token",service="fake",scope="repository:app:pull repository:base:pull"'
        )
        reg.fail_next("GET", "/manifests/", status=401, headers={"WWW-Authenticate": more})
        s = store(reg)
        s.get_manifest("v1")
        assert reg.seen("GET", "^/token")[-1].target.count("scope=") == 2
        s.get_manifest("v1")
        assert len(reg.seen("GET", "^/token")) == 1
        reg.fail_next(
            "GET", "/manifests/", status=401, headers={"WWW-Authenticate": more.replace("base", "other")}
        )
        s.get_manifest("v1")
        scopes = reg.seen("GET", "^/token")[-1].target.partition("?")[2].split("&scope=")[1:]
        assert [x.split("%3A")[1] for x in scopes] == ["app", "other", "base"]
        s.close()


def test_refresh_tokens_are_posted_and_fall_back_to_get():
    with FakeRegistry(auth="token") as reg:
        reg.identity_tokens = {"refresh-me": "ada"}
        reg.add_image("app", "v1", [LAYER])
        s = store(reg, Credential(identity_token="refresh-me"))
        s.get_manifest("v1")
        (post,) = reg.seen("POST", "^/token")
        assert b"grant_type=refresh_token" in post.body and b"refresh_token=refresh-me" in post.body
        assert "refresh-me" not in post.target
        s.close()
        reg.identity_tokens = None  # POST is 404 now
        reg.users[""] = "refresh-me"
        s = store(reg, Credential(identity_token="refresh-me"))
        s.get_manifest("v1")
        s.close()


def test_a_ready_registry_token_is_used_as_it_is():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        reg._tokens["ready"] = {"repository:app:pull"}
        s = store(reg, Credential(registry_token="ready"))
        s.get_manifest("v1")
        assert reg.seen("GET", "^/token") == []
        reg.expire_tokens()
        with pytest.raises(AuthError):
            s.get_manifest("v1")
        s.close()


def test_token_server_hiccups_are_tried_again():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        reg.fail_next("GET", "^/token", status=429, retry_after=3)
        reg.fail_next("GET", "^/token", cut_after=5)
        s = store(reg)
        s.get_manifest("v1")
        assert reg.sleeps[0] == 3 and len(reg.sleeps) == 2
        s.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": 1}',
        b'{"token": ""}',
        b'{"token": "a\\r\\nX: y"}',
        b"<html>",
        b'{"token": "' + b"x" * 70000 + b'"}',
    ],
)
def test_answers_without_a_token_are_auth_or_registry_errors(body):
    with FakeRegistry(auth="token") as reg:
        reg.fail_next("GET", "^/token", status=200, body=body)
        s = store(reg)
        with pytest.raises(RegistryError, match="token for"):
            s.get_manifest("v1")
        s.close()


@pytest.mark.parametrize("expires", ["0", "-5", "1e400", "true", '"60"', "null"])
def test_odd_lives_are_taken_for_a_minute(expires):
    with FakeRegistry(auth="token", anonymous_pull=True) as reg:
        reg.add_image("app", "v1", [LAYER])
        reg._tokens["t"] = {"repository:app:pull"}
        body = f'{{"token": "t", "expires_in": {expires}}}'.encode()
        reg.fail_next("GET", "^/token", status=200, body=body)
        s = store(reg)
        if expires == "1e400":  # not JSON that can be written again; our parser refuses it
            with pytest.raises(Exception, match="token for"):
                s.get_manifest("v1")
        else:
            s.get_manifest("v1")
            s.get_manifest("v1")
            assert len(reg.seen("GET", "^/token")) == 1
        s.close()


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Digest realm=x",
        'Bearer service="x"',
        'Bearer realm="ftp://x/"',
        'Bearer realm="https://u:p@x/"',
        'Bearer realm="/token",scope="x"',
    ],
)
def test_challenges_that_cannot_be_met_are_errors(challenge):
    with FakeRegistry() as reg:
        reg.fail_next(status=401, headers={"WWW-Authenticate": challenge}, times=9)
        s = store(reg)
        with pytest.raises(RegistryError):
            s.get_manifest("v1")
        assert reg.sleeps == []
        s.close()


def test_basic_and_bearer_in_several_headers_prefer_bearer():
    with FakeRegistry(auth="token") as reg:
        reg.add_image("app", "v1", [LAYER])
        both = [
            'Basic realm="b"',
            f'Bearer realm="{reg.url}/token",service="fake",scope="repository:app:pull"',
        ]
        reg.fail_next("GET", "/manifests/", status=401, headers={"WWW-Authenticate": both})
        s = store(reg)
        s.get_manifest("v1")
        assert all(
            a is None or not a.startswith("Basic")
            for a in [r.headers["Authorization"] for r in reg.seen("GET", "/v2/")]
        )
        s.close()


class Eavesdropper:
    """Another server that notes what it is sent."""

    def __enter__(self):
        self.requests = []
        self.server = LoopbackServer("other", self.respond, self.requests)
        self.port = self.server.port
        return self

    def respond(self, request, source):
        return Answer(201 if request.method == "PUT" else 200, {}, b'{"token":"t"}')

    def __exit__(self, *_):
        self.server.close()


def test_credentials_do_not_go_to_a_realm_at_another_private_address():
    with FakeRegistry() as reg, Eavesdropper() as other:
        realm = f"http://localhost:{other.port}/token"
        reg.fail_next(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}, times=9)
        s = store(reg)
        with pytest.raises(AuthError, match=f"localhost:{other.port}"):
            s.get_manifest("v1")
        assert other.requests == []
        s.close()
        # named by the user, it is fine
        s = store(reg, hosts={f"localhost:{other.port}": HostOptions(plain_http=True)})
        with pytest.raises(AuthError):
            s.get_manifest("v1")
        assert other.requests[0].headers["Authorization"] == ADA.basic()
        s.close()


def test_credentials_do_not_follow_redirects_to_another_host():
    with FakeRegistry(auth="basic") as reg, Eavesdropper() as other:
        reg.add_image("app", "v1", [LAYER])
        s = store(reg)
        s.get_manifest("v1")
        reg.fail_next(
            "GET", "/blobs/", status=307, headers={"Location": f"http://127.0.0.1:{other.port}/blob?sig=x"}
        )
        with pytest.raises(Exception, match="fewer|ended"):
            b"".join(s.blob(LAYER_DESC).stream())
        assert len(other.requests) >= 1
        assert all(r.headers["Authorization"] is None for r in other.requests)
        s.close()


def test_an_upload_location_elsewhere_gets_no_credentials():
    with FakeRegistry(auth="basic") as reg, Eavesdropper() as other:
        s = store(reg)
        data = b"data"
        reg.fail_next(
            "POST", "/uploads/", status=202, headers={"Location": f"http://127.0.0.1:{other.port}/up?sig=1"}
        )
        s.put_blob(Descriptor.of(data, "x"), [data])
        (put,) = [r for r in other.requests if r.method == "PUT"]
        assert put.headers["Authorization"] is None and "sig=1&digest=sha256:" in put.target
        s.close()


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("http://169.254.169.254/", False),
        ("https://10.0.0.1/", False),
        ("http://storage.example/", False),  # plain HTTP
        ("https://storage.example/", True),
        ("https://10.0.0.2/", True),  # named
        ("http://plain.example:81/", True),  # named
    ],
)
def test_a_public_registry_cannot_send_us_anywhere(target, allowed):
    hosts = {"10.0.0.2": HostOptions(), "plain.example:81": HostOptions(plain_http=True)}
    transport = Transport(RegistryOptions(hosts=hosts))
    assert transport.may_use(Origin.of(target), Origin.of("https://registry.example")) is allowed


@pytest.mark.parametrize(
    ("realm", "allowed"),
    [
        ("https://auth.example/token", True),
        ("https://registry.example/token", True),
        ("https://10.0.0.1/token", False),
        ("https://localhost/token", False),
        ("https://169.254.169.254/token", False),
        ("http://auth.example/token", False),
        ("http://registry.example/token", False),
        ("https://10.0.0.2/token", True),  # named
        ("http://plain.example/token", True),  # named
    ],
)
def test_where_the_credentials_of_a_public_registry_may_go(realm, allowed):
    hosts = {"10.0.0.2": HostOptions(), "plain.example": HostOptions(plain_http=True)}
    transport = Transport(RegistryOptions(hosts=hosts))
    origin = Origin.of("https://registry.example")
    authenticator = Authenticator("registry.example", origin, transport)
    if allowed:
        authenticator._check_realm(Origin.of(realm))
    else:
        with pytest.raises(AuthError):
            authenticator._check_realm(Origin.of(realm))


def test_docker_hub_is_reached_under_its_api_name():
    s = RegistryStore("alpine")
    assert str(s.client.origin) == "https://registry-1.docker.io"
    assert s.client.host == "docker.io" and s.repository.name == "library/alpine"
    s.close()
