"""Blobs read whole and by range, from a registry that breaks off, redirects, ignores and lies."""

import random

import pytest

from accel.errors import DigestMismatch, NotFoundError, RegistryError, TruncatedError
from accel.oci import Descriptor
from accel.registry import RegistryStore, TransientError
from support.registry_faults import FakeRegistry

LAYER = random.Random(7).randbytes(1_000_003)
DESC = Descriptor.of(LAYER, "application/vnd.oci.image.layer.v1.tar+gzip")
BLOBS = "/blobs/|/app/sha256"  # at the registry and at its storage


@pytest.fixture(params=[False, True], ids=["direct", "redirected"])
def reg(request):
    with FakeRegistry(storage=request.param) as registry:
        registry.add_image("app", "v1", [LAYER])
        yield registry


@pytest.fixture
def store(reg):
    s = RegistryStore(f"{reg.host}/app:v1", reg.options())
    yield s
    s.close()


def body_server(reg):
    return "storage" if reg.storage else "registry"


def ranges(reg):
    return [r.headers["Range"] for r in reg.seen("GET", "sha256", body_server(reg))]


def test_a_blob_is_streamed_in_pieces_and_counted(reg, store):
    chunks = list(store.blob(DESC).stream(100_000))
    assert b"".join(chunks) == LAYER and max(map(len, chunks)) <= 100_000
    assert store.bytes_fetched == len(LAYER)
    assert store.blob(DESC).size == len(LAYER)
    assert reg.sleeps == []


def test_sha512_blobs_are_verified_too(reg, store):
    import hashlib

    digest = "sha512:" + hashlib.sha512(b"x").hexdigest()
    reg.content.put_blob("app", b"x", digest)
    assert b"".join(store.blob(Descriptor("t", digest, 1)).stream()) == b"x"
    reg.content.put_blob("app", b"y", digest)
    with pytest.raises(DigestMismatch):
        b"".join(store.blob(Descriptor("t", digest, 1)).stream())


def test_an_empty_blob_is_an_empty_stream(reg, store):
    assert list(store.blob(Descriptor.of(b"", "x")).stream()) == []


def test_a_broken_stream_goes_on_where_it_was(reg, store):
    for cut in (300_000, 1, 200_000):
        reg.fail_next("GET", BLOBS if not reg.storage else "/app/sha256", cut_after=cut)
    assert b"".join(store.blob(DESC).stream(1000)) == LAYER
    assert ranges(reg) == [None, "bytes=300000-1000002", "bytes=300001-1000002", "bytes=500001-1000002"]


def test_breaks_at_any_place_change_nothing(reg, store):
    rng = random.Random(1)
    for _ in range(5):
        for _ in range(rng.randrange(1, 5)):
            reg.fail_next("GET", "/app/", cut_after=rng.randrange(0, 400_000))
        assert b"".join(store.blob(DESC).stream(rng.choice([1 << 10, 1 << 16, 1 << 20]))) == LAYER


def test_a_stream_without_progress_ends(reg, store):
    reg.fail_next("GET", "/app/", cut_after=0, times=99)
    with pytest.raises(TransientError, match=DESC.digest):
        b"".join(store.blob(DESC).stream())
    assert len(reg.sleeps) == 5


def test_a_stream_that_breaks_again_and_again_goes_on_while_it_gets_further(reg, store):
    reg.fail_next("GET", "/app/sha256" if reg.storage else "/blobs/", cut_after=70_000, times=99)
    assert b"".join(store.blob(DESC).stream(10_000)) == LAYER
    assert len(reg.sleeps) == 14


def test_a_resume_that_ignores_the_range_skips_what_is_known(reg, store):
    reg.ranges = False
    reg.fail_next("GET", "/app/sha256" if reg.storage else "/blobs/", cut_after=300_000)
    assert b"".join(store.blob(DESC).stream(1000)) == LAYER
    assert store.bytes_fetched == 300_000 + len(LAYER)


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "",
        "bytes 0-5/1000003",
        "bytes 999-2/1000003",
        "items 5-9/1",
        "bytes 300001-1000002/1000003",
        "bytes */1000003",
        "bytes 300000-99999999/1000003",
    ],
)
def test_a_resume_with_a_wrong_content_range_is_not_trusted(reg, store, content_range):
    path = "/app/sha256" if reg.storage else "/blobs/"
    reg.fail_next("GET", path, cut_after=300_000)

    def edit(answer):
        answer.headers["Content-Range"] = content_range
        if content_range and "300001" in content_range:
            answer.body = answer.body[1:]  # what it says is true, but was not asked for

    reg.fail_next("GET", path, edit=edit)
    assert b"".join(store.blob(DESC).stream(1000)) == LAYER


def test_wrong_bytes_are_a_digest_mismatch_that_names_the_blob(reg, store):
    reg.content.put_blob("app", LAYER[:-1] + b"?", DESC.digest)
    with pytest.raises(DigestMismatch, match=DESC.digest):
        b"".join(store.blob(DESC).stream())


@pytest.mark.parametrize("data", [LAYER + b"more", LAYER + bytes(10_000_000)])
def test_too_many_bytes_stop_the_stream(reg, store, data):
    reg.content.put_blob("app", data, DESC.digest)
    with pytest.raises(DigestMismatch, match="more"):
        for _ in store.blob(DESC).stream():
            pass
    assert store.bytes_fetched <= len(LAYER) + (1 << 20)


def test_too_few_bytes_are_an_error(reg, store):
    reg.content.put_blob("app", LAYER[:-10], DESC.digest)
    with pytest.raises(RegistryError, match="416|ended at 999993 of 1000003"):
        b"".join(store.blob(DESC).stream())


def test_a_content_length_that_promises_too_much_does_no_harm(reg, store):
    path = "/app/sha256" if reg.storage else "/blobs/"

    def lie(answer):
        answer.headers["Content-Length"] = str(len(answer.body) + 1000)
        answer.cut_after = len(answer.body)

    reg.fail_next("GET", path, edit=lie)
    assert b"".join(store.blob(DESC).stream()) == LAYER


def test_a_content_length_that_promises_too_little_is_resumed(reg, store):
    path = "/app/sha256" if reg.storage else "/blobs/"

    def lie(answer):
        answer.headers["Content-Length"] = "5000"
        answer.cut_after = 5000

    reg.fail_next("GET", path, edit=lie)
    assert b"".join(store.blob(DESC).stream()) == LAYER


def test_a_missing_blob_is_not_found(reg, store):
    missing = Descriptor.of(b"nothing", "x")
    with pytest.raises(NotFoundError, match=missing.digest):
        list(store.blob(missing).stream())
    with pytest.raises(NotFoundError):
        store.blob(missing).read_at(0, 1)
    assert reg.sleeps == []


def test_reads_at_offsets_equal_slices_and_fetch_no_more(reg, store):
    rng = random.Random(3)
    blob, wanted = store.blob(DESC), 0
    for _ in range(40):
        offset = rng.randrange(len(LAYER))
        n = min(rng.choice([0, 1, 100, 50_000]), len(LAYER) - offset)
        assert blob.read_at(offset, n) == LAYER[offset : offset + n]
        wanted += n
    assert blob.read_at(len(LAYER) - 1, 1) == LAYER[-1:]
    assert blob.read_at(0, len(LAYER)) == LAYER
    assert blob.read_at(len(LAYER), 0) == b""
    assert store.bytes_fetched == wanted + 1 + len(LAYER)


@pytest.mark.parametrize(("offset", "n"), [(len(LAYER), 1), (0, len(LAYER) + 1), (1 << 60, 1)])
def test_reads_past_the_end_are_refused_without_asking(reg, store, offset, n):
    with pytest.raises(TruncatedError):
        store.blob(DESC).read_at(offset, n)
    with pytest.raises(ValueError):
        store.blob(DESC).read_at(-1, 1)
    assert reg.requests == []


def test_a_broken_range_is_completed(reg, store):
    path = "/app/sha256" if reg.storage else "/blobs/"
    reg.fail_next("GET", path, cut_after=10)
    reg.fail_next("GET", path, status=503)
    assert store.blob(DESC).read_at(500, 5000) == LAYER[500:5500]


def test_a_range_answered_in_part_is_completed(reg, store):
    path = "/app/sha256" if reg.storage else "/blobs/"

    def shorten(answer):
        answer.body = answer.body[:10]
        answer.headers["Content-Range"] = f"bytes 500-509/{len(LAYER)}"

    reg.fail_next("GET", path, edit=shorten)
    assert store.blob(DESC).read_at(500, 5000) == LAYER[500:5500]


def test_a_range_with_more_than_it_says_is_an_error(reg, store):
    path = "/app/sha256" if reg.storage else "/blobs/"

    def stuff(answer):
        answer.body += b"stuffing"

    reg.fail_next("GET", path, edit=stuff)
    with pytest.raises(RegistryError, match="more bytes"):
        store.blob(DESC).read_at(500, 5000)


def test_a_blob_of_another_size_is_told(reg, store):
    reg.content.put_blob("app", LAYER + b"x", DESC.digest)
    with pytest.raises(RegistryError, match="1000004 bytes, the descriptor says 1000003"):
        store.blob(DESC).read_at(500, 5000)


def test_a_range_beyond_a_short_blob_is_an_error_not_a_hang(reg, store):
    reg.content.put_blob("app", LAYER[:100], DESC.digest)
    with pytest.raises(RegistryError) as raised:
        store.blob(DESC).read_at(500, 5000)
    assert raised.value.status == 416 and reg.sleeps == []


@pytest.mark.parametrize("spool_bytes", [10, 1 << 22])
def test_without_ranges_the_blob_is_fetched_once_and_kept(reg, spool_bytes):
    reg.ranges = False
    s = RegistryStore(f"{reg.host}/app:v1", reg.options(spool_bytes=spool_bytes))
    for offset in (5, 500_000, 999_000, 0):
        assert s.blob(DESC).read_at(offset, 1000) == LAYER[offset : offset + 1000]
    assert s.bytes_fetched == len(LAYER)
    s.close()


def test_what_is_kept_was_verified(reg, store):
    reg.ranges = False
    reg.content.put_blob("app", LAYER[:-1] + b"?", DESC.digest)
    with pytest.raises(DigestMismatch):
        store.blob(DESC).read_at(5, 5)


@pytest.mark.parametrize(
    "content_range", [None, "bytes 0-9/1000003", "bytes 500-499/1000003", "bytes 500-6000/1000003"]
)
def test_a_range_with_a_useless_content_range_counts_as_ignored(reg, store, content_range):
    path = "/app/sha256" if reg.storage else "/blobs/"

    def edit(answer):
        answer.headers["Content-Range"] = content_range

    reg.fail_next("GET", path, edit=edit)
    assert store.blob(DESC).read_at(500, 5000) == LAYER[500:5500]


def test_bodies_that_claim_a_content_coding_are_judged_by_their_digest(reg, store):
    # object stores hand out layers uploaded with a wrong "Content-Encoding: gzip"
    path = "/app/sha256" if reg.storage else "/blobs/"

    def edit(answer):
        answer.headers["Content-Encoding"] = "gzip"

    reg.fail_next("GET", path, edit=edit)
    assert b"".join(store.blob(DESC).stream()) == LAYER


def test_redirect_targets_are_used_until_they_expire():
    with FakeRegistry(storage=True) as reg:
        reg.add_image("app", "v1", [LAYER])
        s = RegistryStore(f"{reg.host}/app:v1", reg.options())
        blob = s.blob(DESC)
        for offset in (1, 2, 3):
            blob.read_at(offset, 10)
        assert len(reg.seen("GET", "/blobs/")) == 1
        reg.expire_signatures()
        assert blob.read_at(77, 5) == LAYER[77:82]
        assert [r.status for r in reg.seen(server="storage")] == [206, 206, 206, 403, 206]
        assert len(reg.seen("GET", "/blobs/")) == 2
        s.close()


def test_signatures_that_expire_while_streaming_are_renewed():
    with FakeRegistry(storage=True) as reg:
        reg.add_image("app", "v1", [LAYER])
        reg.fail_next("GET", "/app/sha256", cut_after=400_000)
        s = RegistryStore(f"{reg.host}/app:v1", reg.options(sleep=lambda _: reg.expire_signatures()))
        assert b"".join(s.blob(DESC).stream(1000)) == LAYER
        assert [r.status for r in reg.seen(server="storage")] == [200, 403, 206]
        s.close()


def test_authorization_stays_with_the_registry():
    from accel.registry import Credential, Given

    with FakeRegistry(storage=True, auth="token") as reg:  # its storage answers 400 to Authorization
        reg.add_image("app", "v1", [LAYER])
        given = Given({reg.host: Credential("ada", "lovelace:1")})
        s = RegistryStore(f"{reg.host}/app:v1", reg.options(credentials=given))
        reg.fail_next("GET", "/app/sha256", cut_after=400_000)
        assert b"".join(s.blob(DESC).stream()) == LAYER
        assert s.blob(DESC).read_at(9, 9) == LAYER[9:18]
        assert len(reg.seen(server="storage")) == 3
        assert all(r.headers["Authorization"] is None for r in reg.seen(server="storage"))
        s.close()


def test_has_blob_looks_at_the_size(reg, store):
    assert store.has_blob(DESC)
    assert not store.has_blob(Descriptor(DESC.media_type, DESC.digest, DESC.size + 1))
    assert not store.has_blob(Descriptor.of(b"other", "x"))


def test_has_blob_does_without_head(reg, store):
    reg.fail_next("HEAD", "/blobs/", status=405, times=2)
    assert store.has_blob(DESC)
    assert not store.has_blob(Descriptor.of(b"other", "x"))
    assert store.bytes_fetched <= 1 << 20


def test_an_abandoned_stream_leaves_nothing_open(reg, store):
    stream = store.blob(DESC).stream(1000)
    assert next(stream) == LAYER[:1000]
    stream.close()
    del stream
    assert b"".join(store.blob(DESC).stream()) == LAYER


def test_digests_are_checked_before_they_become_paths(reg, store):
    for digest in ("sha256:../../x", "../x", "md5:" + "0" * 32):
        with pytest.raises(Exception, match="digest"):
            list(store.blob(Descriptor("x", digest, 5)).stream())
    assert reg.requests == []
