"""References as skopeo and crane users write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.errors import ReferenceSyntaxError
from accel.oci import Reference, check_tag

DIGEST = "sha256:" + "0123456789abcdef" * 4
LOCAL = st.text("ab:/@._-", max_size=20).map("oci:".__add__)


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("alpine", "docker.io", "library/alpine", "latest", ""),
        ("alpine:3.19", "docker.io", "library/alpine", "3.19", ""),
        ("docker://alpine:3.19", "docker.io", "library/alpine", "3.19", ""),
        ("user/app", "docker.io", "user/app", "latest", ""),
        ("docker.io/alpine", "docker.io", "library/alpine", "latest", ""),
        ("index.docker.io/library/alpine:1", "docker.io", "library/alpine", "1", ""),
        ("localhost/app", "localhost", "app", "latest", ""),
        ("localhost:5000/app:v1", "localhost:5000", "app", "v1", ""),
        ("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000", "a/b/c", "v1", ""),
        ("[::1]:5000/app", "[::1]:5000", "app", "latest", ""),
        ("Host/app:V1", "Host", "app", "V1", ""),
        ("quay.io/a/b_c__d-e---f.g:_x.Y-z", "quay.io", "a/b_c__d-e---f.g", "_x.Y-z", ""),
        (f"quay.io/a@{DIGEST}", "quay.io", "a", "", DIGEST),
        (f"docker://quay.io/a:v1@{DIGEST}", "quay.io", "a", "v1", DIGEST),
        ("oci/thing", "docker.io", "oci/thing", "latest", ""),
    ],
)
def test_registry_references(text: str, host: str, repository: str, tag: str, digest: str) -> None:
    ref = Reference.parse(text)
    assert ref == Reference("docker", host, repository, tag=tag, digest=digest)
    assert str(ref) == f"docker://{host}/{repository}" + (f":{tag}" if tag else "") + (
        f"@{digest}" if digest else ""
    )
    assert Reference.parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "transport", "path", "tag", "digest"),
    [
        ("oci:dir", "oci", "dir", "", ""),
        ("oci:/a/b c/d:v1", "oci", "/a/b c/d", "v1", ""),
        ("oci:dir:host.example:5000/name/x:v1", "oci", "dir", "host.example:5000/name/x:v1", ""),
        (f"oci:dir@{DIGEST}", "oci", "dir", "", DIGEST),
        (f"oci:dir:v1@{DIGEST}", "oci", "dir", "v1", DIGEST),
        ("oci:user@host/dir", "oci", "user@host/dir", "", ""),
        ("oci-archive:x.tar", "oci-archive", "x.tar", "", ""),
        ("oci-archive:x.tar:v1", "oci-archive", "x.tar", "v1", ""),
        ("docker-archive:x.tar", "docker-archive", "x.tar", "", ""),
        ("docker-archive:x.tar:busybox:1", "docker-archive", "x.tar", "busybox:1", ""),
    ],
)
def test_local_references(text: str, transport: str, path: str, tag: str, digest: str) -> None:
    ref = Reference.parse(text)
    assert ref == Reference(transport, path=path, tag=tag, digest=digest)
    assert str(ref) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("oci:", "path is empty"),
        ("oci:dir:", "tag after"),
        ("oci::v1", "path is empty"),
        ("oci:dir:a//b", "not a tag"),
        ("oci:dir@sha256:abc", "64 lower-case"),
        ("./dir", "path"),
        ("/dir", "path"),
        ("http://host/a", "transport"),
        ("docker-daemon:alpine:latest", "not supported"),
        ("docker://", "repository is missing"),
        ("docker://host.example/", "repository is missing"),
        ("Alpine", "upper case"),
        ("host.example/a//b", "not a repository"),
        ("host.example/../b", "not a repository"),
        ("host.example/a:", "not a tag"),
        ("host.example/a:-x", "not a tag"),
        ("host.example/a:" + "t" * 129, "128"),
        ("ho_st.example/a", "not a host"),
        ("host.example:port/a", "not a host"),
        ("host.example/" + "a" * 250, "255"),
        ("host.example/a@sha256:" + "A" * 64, "lower-case"),
        ("host.example/a@md5:" + "a" * 32, "not supported"),
        ("host.example/a\nb", "control"),
        ("host.example/a b", "not a repository"),
    ],
)
def test_bad_references_say_what_is_wrong_and_what_is_accepted(text: str, why: str) -> None:
    with pytest.raises(ReferenceSyntaxError) as caught:
        Reference.parse(text)
    assert why in str(caught.value)
    assert "oci-archive:FILE[:TAG]" in str(caught.value)


def test_tags_can_be_replaced_and_extended() -> None:
    ref = Reference.parse(f"host.example/a:v1@{DIGEST}")
    assert str(ref.with_suffix("_accelerated")) == "docker://host.example/a:v1_accelerated"
    assert str(ref.with_tag("x")) == "docker://host.example/a:x"
    assert ref.location == "docker://host.example/a"
    assert ref.selector == DIGEST
    assert str(Reference.parse("oci:dir").with_suffix("_accelerated")) == "oci:dir:latest_accelerated"
    assert str(Reference.parse("oci:dir:h/n:1").with_suffix("_x")) == "oci:dir:h/n:1_x"
    assert Reference.parse("oci:dir:v1").location == "oci:dir"


def test_a_suffix_that_makes_the_tag_too_long_is_refused() -> None:
    assert len(Reference.parse("h.example/a:" + "t" * 116).with_suffix("_accelerated").tag) == 128
    for text in ("h.example/a:", "oci:dir:"):
        with pytest.raises(ReferenceSyntaxError, match="128 characters"):
            Reference.parse(text + "t" * 117).with_suffix("_accelerated")


def test_a_digest_alone_has_no_tag_to_extend() -> None:
    with pytest.raises(ReferenceSyntaxError, match="no tag"):
        Reference.parse(f"h.example/a@{DIGEST}").with_suffix("_accelerated")


@pytest.mark.parametrize("tag", ["", "a/b", "a b", ".a", "-a", "é", "a\n", "t" * 129])
def test_what_is_no_registry_tag(tag: str) -> None:
    with pytest.raises(ReferenceSyntaxError):
        check_tag(tag)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(max_size=40) | st.text("abAB01.:/@_-[]~ ", max_size=40) | LOCAL)
def test_any_text_is_refused_or_round_trips(text: str) -> None:
    try:
        ref = Reference.parse(text)
    except ReferenceSyntaxError:
        return
    assert Reference.parse(str(ref)) == ref
