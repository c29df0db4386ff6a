"""Manifests as raw bytes, tags, and referrers."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from accel.errors import (
    AuthError,
    DigestMismatch,
    FormatError,
    LimitError,
    NotFoundError,
    ReferenceSyntaxError,
    RegistryError,
    UnsupportedError,
)
from accel.oci import Descriptor, MediaType, digest_of
from accel.registry import MissingBlobsError, RegistryClient, RegistryStore, TransientError
from accel.registry.paging import next_page
from accel.registry.referrers import fallback_tag
from support.registry_faults import FakeRegistry

CONFIG = b"{}"
CONFIG_JSON = {"mediaType": MediaType.OCI_EMPTY, "digest": digest_of(CONFIG), "size": 2}


def manifest_bytes(**more):
    # odd blanks: the bytes must survive as they are
    return (
        json.dumps({"schemaVersion": 2, "config": CONFIG_JSON, "layers": []} | more, indent=3).encode()
        + b"\n"
    )


@pytest.fixture
def store(reg):
    reg.add_blob("app", CONFIG)
    s = RegistryStore(f"{reg.host}/app:v1", reg.options())
    yield s
    s.close()


@pytest.mark.parametrize("media_type", [MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST])
@pytest.mark.parametrize("with_type", [False, True])
def test_manifests_come_back_byte_for_byte(reg, store, media_type, with_type):
    raw = manifest_bytes(**({"mediaType": media_type} if with_type else {}))
    wanted = Descriptor(media_type, digest_of(raw), len(raw))
    assert store.put_manifest(raw, media_type, tag="v1") == wanted
    assert store.get_manifest("v1") == (wanted, raw)
    assert store.get_manifest(wanted.digest) == (wanted, raw)
    assert store.get_manifest("") == (wanted, raw)  # the store's own reference
    assert reg.tags("app") == {"v1": wanted.digest}


def test_without_a_tag_a_manifest_is_put_by_digest(reg, store):
    put = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST)
    assert reg.tags("app") == {} and store.has_manifest(put.digest)
    assert reg.seen("PUT")[0].path == f"/v2/app/manifests/{put.digest}"


def test_indexes_are_manifests_too(reg, store):
    child = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST)
    for media_type in (MediaType.OCI_INDEX, MediaType.DOCKER_LIST):
        raw = json.dumps(
            {"schemaVersion": 2, "mediaType": media_type, "manifests": [child.to_json()]}
        ).encode()
        store.put_manifest(raw, media_type, tag="all")
        assert store.get_manifest("all") == (Descriptor.of(raw, media_type), raw)


def test_all_four_types_are_accepted_in_every_request(reg, store):
    store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    store.get_manifest("v1")
    store.has_manifest("v1")
    for r in reg.seen("GET") + reg.seen("HEAD"):
        for kind in (
            MediaType.OCI_MANIFEST,
            MediaType.OCI_INDEX,
            MediaType.DOCKER_MANIFEST,
            MediaType.DOCKER_LIST,
        ):
            assert kind in r.headers["Accept"]


def test_content_type_parameters_do_not_matter(reg, store):
    raw = manifest_bytes()
    store.put_manifest(raw, MediaType.OCI_MANIFEST, tag="v1")
    for kind in (
        f"{MediaType.OCI_MANIFEST}; charset=utf-8",
        "application/json",
        "text/plain",
        MediaType.OCI_MANIFEST.upper(),
    ):
        reg.fail_next("GET", edit=lambda answer, kind=kind: answer.headers.update({"Content-Type": kind}))
        assert store.get_manifest("v1")[0].media_type == MediaType.OCI_MANIFEST


def test_a_type_that_contradicts_the_body_is_refused(reg, store):
    store.put_manifest(manifest_bytes(mediaType=MediaType.OCI_MANIFEST), MediaType.OCI_MANIFEST, tag="v1")
    reg.fail_next(
        "GET", edit=lambda answer: answer.headers.update({"Content-Type": MediaType.DOCKER_MANIFEST})
    )
    with pytest.raises(FormatError, match="mediaType"):
        store.get_manifest("v1")


def test_other_bytes_than_the_digest_says_are_refused(reg, store):
    put = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")

    def swap(answer):
        answer.body = manifest_bytes(annotations={"evil": "1"})

    for ref in (put.digest, "v1"):  # for the tag, by the digest that the registry itself names
        reg.fail_next("GET", edit=swap)
        with pytest.raises(DigestMismatch, match="manifest"):
            store.get_manifest(ref)
    assert reg.sleeps == []


def test_a_digest_header_that_means_nothing_is_ignored(reg, store):
    store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    for value in (None, "", "md5:0", "garbage"):
        reg.fail_next(
            "GET", edit=lambda answer, value=value: answer.headers.update({"Docker-Content-Digest": value})
        )
        store.get_manifest("v1")


def test_a_cut_manifest_is_asked_for_again(reg, store):
    raw = manifest_bytes()
    store.put_manifest(raw, MediaType.OCI_MANIFEST, tag="v1")
    reg.fail_next("GET", cut_after=20, times=2)
    assert store.get_manifest("v1")[1] == raw


def test_compressed_answers_are_unpacked_within_limits(reg, store):
    import gzip

    raw = manifest_bytes()
    put = store.put_manifest(raw, MediaType.OCI_MANIFEST, tag="v1")

    def pack(data, coding="gzip"):
        def edit(answer):
            answer.body = data
            answer.headers["Content-Encoding"] = coding

        return edit

    for ref in ("v1", put.digest):
        reg.fail_next("GET", edit=pack(gzip.compress(raw)))
        assert store.get_manifest(ref) == (put, raw)
    reg.fail_next("GET", edit=pack(gzip.compress(bytes(50_000_000))))
    with pytest.raises(LimitError):
        store.get_manifest("v1")
    for data, coding in ((b"junk", "gzip"), (raw, "br"), (raw, "zstd, gzip")):
        reg.fail_next("GET", edit=pack(data, coding))
        with pytest.raises(RegistryError):
            store.get_manifest("v1")


def test_missing_things_are_not_found(reg, store):
    store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    for ref in ("v2", digest_of(b"none")):
        with pytest.raises(NotFoundError, match="MANIFEST_UNKNOWN"):
            store.get_manifest(ref)
        assert not store.has_manifest(ref)
    other = RegistryStore(f"{reg.host}/other:v1", reg.options())
    with pytest.raises(NotFoundError, match="NAME_UNKNOWN"):
        other.get_manifest("")
    other.close()


def test_bad_tags_and_digests_are_refused_before_asking(reg, store):
    for ref in ("a" * 129, ".x", "a/b", "a b", "é", "../x", "v1?x"):
        with pytest.raises(ReferenceSyntaxError):
            store.get_manifest(ref)
        with pytest.raises(ReferenceSyntaxError):
            store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag=ref)
    with pytest.raises(FormatError):
        store.get_manifest("sha256:short")
    assert reg.requests == []


def test_schema_1_is_refused_in_words(reg, store):
    raw = b'{"schemaVersion": 1, "name": "app", "fsLayers": []}'
    reg.fail_next("GET", status=200, body=raw, headers={"Content-Type": MediaType.DOCKER_SCHEMA1_SIGNED})
    with pytest.raises(UnsupportedError, match="schema 1"):
        store.get_manifest("v1")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\x00" * 100, b"[" * 100_000, b'{"schemaVersion":2}', b'{"a":1,"a":2}']
)
def test_what_is_no_manifest_is_a_format_error(reg, store, body):
    reg.fail_next("GET", status=200, body=body, headers={"Content-Type": MediaType.OCI_MANIFEST})
    with pytest.raises(FormatError):
        store.get_manifest("v1")


def test_a_web_page_is_told_as_such(reg, store):
    reg.fail_next(
        "GET", status=200, body=b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"}
    )
    with pytest.raises(RegistryError, match="web page"):
        store.get_manifest("v1")


def test_missing_blobs_are_named(reg, store):
    layer = {"mediaType": MediaType.OCI_LAYER, "digest": digest_of(b"gone"), "size": 4}
    with pytest.raises(MissingBlobsError) as raised:
        store.put_manifest(manifest_bytes(layers=[layer]), MediaType.OCI_MANIFEST, tag="v1")
    assert raised.value.digests == (layer["digest"],) and raised.value.code == "MANIFEST_BLOB_UNKNOWN"
    assert reg.tags("app") == {} and reg.sleeps == []
    store.put_blob(Descriptor.of(b"gone", "x"), [b"gone"])
    store.put_manifest(manifest_bytes(layers=[layer]), MediaType.OCI_MANIFEST, tag="v1")


def test_a_manifest_stored_as_something_else_is_an_error(reg, store):
    wrong = {"Docker-Content-Digest": digest_of(b"other")}
    reg.fail_next("PUT", edit=lambda answer: answer.headers.update(wrong))
    with pytest.raises(RegistryError, match="stored as"):
        store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")


def test_putting_is_repeated_after_temporary_failures(reg, store):
    reg.fail_next("PUT", status=502)
    reg.fail_next("PUT", drop=True, after=True)
    store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    assert len(reg.seen("PUT")) == 3


def test_has_manifest_does_without_head(reg, store):
    store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    reg.fail_next("HEAD", status=405, times=2)
    assert store.has_manifest("v1") and not store.has_manifest("v2")


# --- tags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [None, 1, 3])
def test_all_pages_of_tags_are_read(reg, store, page_size):
    reg.page_size = page_size
    for i in range(7):
        store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag=f"t{i}")
    assert store.tags() == [f"t{i}" for i in range(7)]


def test_tags_may_be_null(reg, store):
    reg.fail_next("GET", status=200, body=b'{"name":"app","tags":null}')
    assert store.tags() == []


@pytest.mark.parametrize("body", [b"[]", b'{"tags":1}', b'{"tags":[1]}', b"no"])
def test_what_is_no_list_of_tags_is_an_error(reg, store, body):
    reg.fail_next("GET", status=200, body=body)
    with pytest.raises(RegistryError):
        store.tags()


@pytest.mark.parametrize(
    "links", [lambda n: f"/v2/app/tags/list?next={n}", lambda n: "/v2/app/tags/list?n=1000"]
)
def test_pages_without_end_are_cut(reg, store, links):
    count = iter(range(10**6))

    def more(answer):
        answer.body = b'{"tags":["a"]}'
        answer.headers["Link"] = f'<{links(next(count))}>; rel="next"'

    reg.fail_next("GET", edit=more, times=10**6)
    with pytest.raises(LimitError, match="do not end"):
        store.tags()
    assert len(reg.requests) <= 64


def test_a_next_page_elsewhere_is_not_asked_for(reg, store):
    reg.fail_next(
        "GET",
        edit=lambda answer: answer.headers.update({"Link": f'<http://{reg.storage_host}/x>; rel="next"'}),
    )
    with pytest.raises(RegistryError, match="another host"):
        store.tags()
    assert reg.seen(server="storage") == []


@pytest.mark.parametrize(
    ("links", "target"),
    [
        (['</x?n=1>; rel="next"'], "/x?n=1"),
        (["</x>; rel=next"], "/x"),
        (['</a>; rel="prev", </b>;rel="next"'], "/b"),
        (['</a>; rel="prev next"'], "/a"),
        (['</a>; title="x, rel=next"; rel="prev"'], None),
        (['</a>; rel="nextish"'], None),
        (['</a>; rel="prev"', '</b>; rel="next"'], "/b"),
        ([], None), ([""], None), (["<" * 50_000], None), (["</a>" + "; a" * 20_000], None),
    ],
)  # fmt: skip
def test_link_headers(links, target):
    assert next_page(links) == target


# --- referrers -----------------------------------------------------------------------------------------------------


def referrer_of(subject, kind, **more):
    return manifest_bytes(
        mediaType=MediaType.OCI_MANIFEST, subject=subject.to_json(), artifactType=kind, **more
    )


def put_referrer(store, subject, kind, **more):
    put = store.put_manifest(referrer_of(subject, kind, **more), MediaType.OCI_MANIFEST)
    store.add_referrer(subject, put)
    return put


@pytest.mark.parametrize("mode", ["api", "none", "bad", "login"])
def test_referrers_are_found_again(reg, store, mode):
    reg.referrers = mode
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    assert store.referrers(subject.digest) == []
    one = put_referrer(store, subject, "application/x.one", annotations={"k": "v"})
    two = put_referrer(store, subject, "application/x.two")
    put_referrer(store, subject, "application/x.two")  # the same again
    found = {d.digest: d for d in store.referrers(subject.digest)}
    assert set(found) == {one.digest, two.digest}
    assert found[one.digest].artifact_type == "application/x.one" and found[one.digest].annotations == {
        "k": "v"
    }
    assert [d.digest for d in store.referrers(subject.digest, "application/x.two")] == [two.digest]
    assert store.referrers(subject.digest, "application/x.none") == []
    tag = fallback_tag(subject.digest)
    assert set(reg.tags("app")) == ({"v1"} if mode == "api" else {"v1", tag})
    if mode != "api":
        assert len(reg.manifest("app", tag)["manifests"]) == 2


def test_the_fallback_tag_is_the_digest_cut_to_the_grammar_of_tags():
    assert fallback_tag("sha256:" + "ab" * 32) == "sha256-" + "ab" * 32
    assert fallback_tag("sha512:" + "ab" * 64) == "sha512-" + "ab" * 32


def test_what_others_wrote_into_the_fallback_index_is_kept(reg, store):
    reg.referrers = "none"
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    entry = {"mediaType": MediaType.OCI_MANIFEST, "digest": digest_of(b"sig"), "size": 3, "x-unknown": [1]}
    index = {"schemaVersion": 2, "manifests": [entry], "annotations": {"a": "b"}, "x-more": 7}
    reg.add_manifest("app", index, MediaType.OCI_INDEX, fallback_tag(subject.digest))
    reg.content._check_parts = lambda repository, value: None
    put = put_referrer(store, subject, "application/x.one")
    now = reg.manifest("app", fallback_tag(subject.digest))
    assert now["manifests"][0] == entry and now["manifests"][1]["digest"] == put.digest
    assert now["annotations"] == {"a": "b"} and now["x-more"] == 7


def test_the_config_type_stands_in_for_a_missing_artifact_type(reg, store):
    reg.referrers = "none"
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    put = store.put_manifest(manifest_bytes(subject=subject.to_json()), MediaType.OCI_MANIFEST)
    store.add_referrer(subject, put)
    assert store.referrers(subject.digest)[0].artifact_type == MediaType.OCI_EMPTY


def test_an_update_lost_to_another_writer_is_written_again(reg, store):
    reg.referrers = "none"
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    tag = fallback_tag(subject.digest)
    entry = {"mediaType": MediaType.OCI_MANIFEST, "digest": digest_of(b"sig"), "size": 3}
    other = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": [entry]}

    def overwrite(answer):
        reg.add_manifest("app", other, MediaType.OCI_INDEX, tag)

    reg.content._check_parts = lambda repository, value: None
    put = store.put_manifest(referrer_of(subject, "application/x.one"), MediaType.OCI_MANIFEST)
    reg.fail_next("PUT", f"/manifests/{tag}", edit=overwrite, times=2)
    store.add_referrer(subject, put)
    assert {d["digest"] for d in reg.manifest("app", tag)["manifests"]} == {entry["digest"], put.digest}
    reg.fail_next("PUT", f"/manifests/{tag}", edit=overwrite, times=99)
    two = store.put_manifest(referrer_of(subject, "application/x.two"), MediaType.OCI_MANIFEST)
    reg.add_manifest("app", other, MediaType.OCI_INDEX, tag)
    with pytest.raises(TransientError, match="overwritten"):
        store.add_referrer(subject, two)


def test_threads_of_one_client_do_not_lose_updates(reg, store):
    reg.referrers = "none"
    client = RegistryClient(reg.host, reg.options())
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")

    def work(i):
        s = RegistryStore(f"{reg.host}/app", client=client)
        for j in range(3):
            put_referrer(s, subject, f"application/x.t{i}-{j}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(store.referrers(subject.digest)) == 12
    assert (
        len([r for r in reg.seen("PUT", "manifests/sha256-")]) == 12
    )  # no update was lost and written again
    client.close()


def test_a_tag_of_that_name_that_is_an_image_is_left_alone(reg, store):
    reg.referrers = "none"
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    tag = fallback_tag(subject.digest)
    image = store.put_manifest(manifest_bytes(annotations={"some": "image"}), MediaType.OCI_MANIFEST, tag=tag)
    with pytest.raises(RegistryError, match="is an image"):
        put_referrer(store, subject, "application/x.one")
    assert reg.tags("app")[tag] == image.digest


def test_pages_of_referrers_are_joined(reg, store):
    reg.page_size = 2
    subject = store.put_manifest(manifest_bytes(), MediaType.OCI_MANIFEST, tag="v1")
    for i in range(5):
        put_referrer(store, subject, f"application/x.{i}")
    assert len(store.referrers(subject.digest)) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"no",
        b"{}",
        b"[]",
        b'{"schemaVersion":2,"manifests":[{"digest":"x"}]}',
        b'{"schemaVersion":2,"manifests":7}',
    ],
)
def test_a_broken_list_of_referrers_is_an_error(reg, store, body):
    reg.fail_next("GET", "/referrers/", status=200, body=body, headers={"Content-Type": MediaType.OCI_INDEX})
    with pytest.raises(RegistryError, match="referrers of"):
        store.referrers(digest_of(b"x"))


def test_no_permission_is_not_taken_for_a_missing_api(reg, store):
    reg.fail_next("GET", "/referrers/", status=403)
    with pytest.raises(AuthError):
        store.referrers(digest_of(b"x"))


def test_a_registry_that_refuses_subjects_says_so():
    with FakeRegistry() as reg:  # Quay
        reg.add_blob("app", CONFIG)
        s = RegistryStore(f"{reg.host}/app", reg.options())
        reg.fail_next(
            "PUT",
            status=400,
            body=b'{"errors":[{"code":"MANIFEST_INVALID","message":"unknown field subject"}]}',
        )
        with pytest.raises(RegistryError, match="MANIFEST_INVALID"):
            s.put_manifest(referrer_of(Descriptor.of(b"x", "y"), "a/b"), MediaType.OCI_MANIFEST)
        s.close()
