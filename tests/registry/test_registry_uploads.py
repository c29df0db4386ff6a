"""Blobs written: whole, in chunks, resumed, mounted; and nothing published that is not right."""

import random

import pytest

from accel.errors import AuthError, DigestMismatch, RegistryError
from accel.oci import Descriptor
from accel.registry import Credential, Given, RegistryClient, RegistryStore, TransientError
from support.registry_faults import FakeRegistry

DATA = random.Random(5).randbytes(1_000_003)
DESC = Descriptor.of(DATA, "application/octet-stream")
CHUNK = 200_000


class Pieces:
    """The data as something that can be read again and says how often it was."""

    def __init__(self, data=DATA):
        self.data = data
        self.times = 0

    def __iter__(self):
        self.times += 1
        for start in range(0, len(self.data), 70_000):
            yield memoryview(self.data)[start : start + 70_000]


def once(data=DATA):
    """The data as a stream that can be read only once."""
    return iter([data[start : start + 70_000] for start in range(0, len(data), 70_000)])


@pytest.fixture(params=["small", "replayable", "once"])
def put(request, reg):
    """Uploads DATA in one of the three ways."""
    chunk_bytes = 4 << 20 if request.param == "small" else CHUNK
    s = RegistryStore(f"{reg.host}/app:v1", reg.options(chunk_bytes=chunk_bytes))

    def call(data=DATA):
        s.put_blob(DESC, Pieces(data) if request.param == "replayable" else once(data))

    call.way = request.param
    yield call
    s.close()


@pytest.fixture
def store(reg):
    s = RegistryStore(f"{reg.host}/app:v1", reg.options(chunk_bytes=CHUNK))
    yield s
    s.close()


def test_a_blob_arrives_whole_and_no_upload_stays_open(reg, put):
    put()
    assert reg.blobs("app") == {DESC.digest: DATA} and reg.uploads("app") == {}
    methods = [r.method for r in reg.requests]
    assert methods == ["HEAD", "POST", *(["PATCH"] * 6 if put.way == "once" else []), "PUT"]


def test_requests_say_how_long_they_are(reg, put):
    put()
    for r in reg.requests:
        assert r.headers["Transfer-Encoding"] is None
        if r.method in ("POST", "PUT", "PATCH"):
            assert int(r.headers["Content-Length"]) == len(r.body)
    patches = reg.seen("PATCH")
    starts = list(range(0, len(DATA), CHUNK)) if put.way == "once" else []
    assert [r.headers["Content-Range"] for r in patches] == [
        f"{s}-{min(s + CHUNK, len(DATA)) - 1}" for s in starts
    ]


@pytest.mark.parametrize("locations", ["relative", "absolute"])
def test_locations_and_their_queries_are_followed(reg, put, locations):
    reg.locations = locations
    put()
    assert "x=a%2Fb&digest=sha256:" in reg.seen("PUT")[0].target


def test_what_is_there_is_not_sent_again(reg, store):
    reg.add_blob("app", DATA)

    def touched():
        raise AssertionError("the source was read")
        yield b""

    store.put_blob(DESC, touched())
    assert [r.method for r in reg.requests] == ["HEAD"]


@pytest.mark.parametrize("data", [DATA[:-1] + b"?", DATA[:-1], DATA + b"x", b""])
def test_wrong_bytes_are_never_published(reg, put, data):
    with pytest.raises(DigestMismatch):
        put(data)
    assert reg.blobs("app") == {} and reg.uploads("app") == {}
    assert reg.seen("PUT") == [] or put.way == "replayable"  # then its body was cut before the end
    assert all(len(r.body) < DESC.size for r in reg.seen("PUT"))


def test_errors_of_the_source_come_through_and_cancel_the_upload(reg, store):
    class Broken:
        def __iter__(self):
            yield DATA[:500_000]
            raise OSError(5, "the disk died")

    for source in (Broken(), iter(Broken())):
        with pytest.raises(OSError, match="the disk died"):
            store.put_blob(DESC, source)
        assert reg.blobs("app") == {} and reg.uploads("app") == {} and reg.sleeps == []


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 429, "retry_after": 1}, {"drop": True}, {"status": 503, "after": True}],
)
def test_failed_requests_are_repeated(reg, put, method, fault):
    reg.fail_next(method, "/uploads/", times=2, **fault)
    put()
    assert reg.blobs("app") == {DESC.digest: DATA} and reg.sleeps


def fail_nth(reg, n, **fault):
    """Arm ``fault`` for the n-th PATCH from now."""
    if n:
        reg.fail_next("PATCH", times=n)
    reg.fail_next("PATCH", **fault)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429},
        {"drop": True},
        {"take": 12_345},
        {"status": 503, "after": True},
        {"drop": True, "after": True},
    ],
)
@pytest.mark.parametrize("nth", [0, 3, 4])
def test_a_chunk_is_resumed_from_the_offset_reached(reg, store, fault, nth):
    fail_nth(reg, nth, **fault)
    store.put_blob(DESC, once())
    assert reg.blobs("app") == {DESC.digest: DATA}
    assert len(reg.seen("GET", "/uploads/")) == 1
    if "take" in fault:
        again = reg.seen("PATCH")[nth + 1]
        assert again.headers["Content-Range"].startswith(f"{nth * CHUNK + 12_345}-")


def test_a_registry_that_is_elsewhere_is_asked_where(reg, store):
    fail_nth(reg, 2, status=416)
    store.put_blob(DESC, once())
    assert reg.blobs("app") == {DESC.digest: DATA}


@pytest.mark.parametrize("nth", [0, 2])
def test_a_lost_upload_starts_anew_where_that_is_possible(reg, nth):
    # by one-shot streams only while the first chunk is at hand; by others always
    s = RegistryStore(f"{reg.host}/app:v1", reg.options(chunk_bytes=CHUNK))
    fail_nth(reg, nth, status=404, act=lambda: reg.lose_uploads("app"))
    if nth == 0:
        s.put_blob(DESC, once())
        assert reg.blobs("app") == {DESC.digest: DATA}
    else:
        with pytest.raises(TransientError, match="lost"):
            s.put_blob(DESC, once())
        assert reg.blobs("app") == {}
    reg.fail_next("PUT", status=404, act=lambda: reg.lose_uploads("app"))
    again = Pieces()
    s.put_blob(DESC, again)
    assert reg.blobs("app") == {DESC.digest: DATA} and again.times == (0 if nth == 0 else 2)
    s.close()


def test_a_registry_that_forgets_broken_uploads_gets_them_again_from_those_who_can(reg):
    reg.forgetful = True
    s = RegistryStore(f"{reg.host}/app:v1", reg.options(chunk_bytes=CHUNK))
    fail_nth(reg, 2, take=1000)
    with pytest.raises(TransientError, match="lost"):
        s.put_blob(DESC, once())
    reg.fail_next("PUT", take=1000)
    s.put_blob(DESC, Pieces())
    assert reg.blobs("app") == {DESC.digest: DATA}
    s.close()


def test_a_proxy_that_refuses_large_bodies_gets_chunks(reg, store):
    reg.fail_next("PUT", status=413)
    store.put_blob(DESC, Pieces())
    assert reg.blobs("app") == {DESC.digest: DATA}
    assert len(reg.seen("PATCH")) == 6


def test_a_lost_answer_to_the_last_put_is_no_failure(reg, put):
    reg.fail_next("PUT", drop=True, after=True)
    put()
    assert reg.blobs("app") == {DESC.digest: DATA}
    assert len(reg.seen("PUT")) == 1


def test_the_registrys_least_chunk_is_respected(reg, store):
    reg.chunk_min = 450_000
    store.put_blob(DESC, once())
    assert [len(r.body) for r in reg.seen("PATCH")] == [450_000, 450_000, 100_003]
    reg.chunk_min = 1 << 50
    with pytest.raises(RegistryError, match="chunks of at least"):
        store.put_blob(Descriptor.of(DATA * 2, "x"), once(DATA * 2))


def test_a_refusal_is_final_and_the_upload_is_cancelled(reg, put):
    reg.fail_next("PUT", status=400, body=b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}')
    with pytest.raises(RegistryError, match="DIGEST_INVALID") as raised:
        put()
    assert raised.value.code == "DIGEST_INVALID" and reg.uploads("app") == {} and reg.sleeps == []


def test_a_registry_that_never_takes_it_ends_as_an_error(reg, put):
    reg.fail_next("PUT", status=500, times=99)
    with pytest.raises(TransientError):
        put()
    assert len(reg.seen("PUT")) == 6 and reg.uploads("app") == {}


@pytest.mark.parametrize("location", [None, "", "ftp://x", "https://u:p@h/"])
def test_an_upload_without_a_usable_location_is_an_error(reg, store, location):
    reg.fail_next("POST", status=202, headers={"Location": location})
    with pytest.raises(RegistryError):
        store.put_blob(Descriptor.of(b"x", "x"), [b"x"])


def test_an_empty_blob_can_be_put(reg, store):
    store.put_blob(Descriptor.of(b"", "x"), [])
    assert list(reg.blobs("app").values()) == [b""]


def test_mounting_moves_no_bytes(reg):
    reg.add_blob("from/here", DATA)
    client = RegistryClient(reg.host, reg.options())
    source = RegistryStore(f"{reg.host}/from/here", client=client)
    target = RegistryStore(f"{reg.host}/app", client=client)
    assert target.mount_blob(DESC, source)
    assert reg.blobs("app") == {DESC.digest: DATA}
    assert [r.method for r in reg.requests] == ["POST"]
    assert target.mount_blob(DESC, target)
    client.close()


def test_a_mount_that_opens_an_upload_is_a_no_and_leaves_nothing(reg, store):
    reg.add_blob("base", DATA)
    source = RegistryStore(f"{reg.host}/base", reg.options())
    reg.mounts = False
    assert not store.mount_blob(DESC, source)
    assert reg.uploads("app") == {}
    assert not store.mount_blob(Descriptor.of(b"unknown", "x"), source)
    source.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500])
def test_any_refusal_of_a_mount_is_a_no(reg, store, status):
    source = RegistryStore(f"{reg.host}/base", reg.options())
    reg.fail_next("POST", "mount=", status=status, times=99)
    assert not store.mount_blob(DESC, source)
    source.close()


def test_a_mount_asks_for_both_repositories():
    with FakeRegistry(auth="token") as reg:
        reg.add_blob("base", DATA)
        client = RegistryClient(
            reg.host, reg.options(credentials=Given({reg.host: Credential("ada", "lovelace:1")}))
        )
        source = RegistryStore(f"{reg.host}/base", client=client)
        target = RegistryStore(f"{reg.host}/app", client=client)
        assert target.mount_blob(DESC, source)
        (token,) = reg.seen("GET", "^/token")
        assert token.target.count("scope=") == 2 and "repository%3Abase%3Apull" in token.target
        client.close()


def test_there_is_no_mount_between_registries_or_from_elsewhere(reg, store):
    with FakeRegistry() as other:
        other.add_blob("app", DATA)
        source = RegistryStore(f"{other.host}/app", other.options())
        assert not store.mount_blob(DESC, source)
        source.close()
    assert not store.mount_blob(DESC, object())
    assert reg.requests == []


def test_pushing_without_the_right_is_an_auth_error():
    with FakeRegistry(auth="token", anonymous_pull=True) as reg:
        s = RegistryStore(f"{reg.host}/app", reg.options())
        with pytest.raises(AuthError):
            s.put_blob(DESC, [DATA])
        s.close()
