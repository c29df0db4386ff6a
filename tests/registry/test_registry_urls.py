"""URLs that strangers send us, and what is shown of them."""

import pytest

from accel.errors import RegistryError
from accel.registry.errors import refusal, retry_after
from accel.registry.urls import Origin, is_private, join, redact, request_target, with_query


@pytest.mark.parametrize(
    ("url", "origin", "name"),
    [
        ("https://example.com/x", ("https", "example.com", 443), "example.com"),
        ("HTTPS://Example.com:443", ("https", "example.com", 443), "example.com"),
        ("http://a.b:5000/", ("http", "a.b", 5000), "a.b:5000"),
        ("https://a.:443/", ("https", "a", 443), "a"),
        ("http://[::1]:5000/v2/", ("http", "::1", 5000), "[::1]:5000"),
    ],
)
def test_origins(url, origin, name):
    assert Origin.of(url) == origin
    assert Origin.of(url).name == name


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/", "file:///etc/passwd", "//a/b", "a/b", "", "http://", "http://u:p@a/", "http://a:99999/", "http://a:x/",
        "http://a:0/", "http://a/\r\nX: y", "http://a/ b", "http://a\\@b/", "http://ä.de/", "https://[::1", "h" * 20000,
    ],
)  # fmt: skip
def test_other_urls_are_refused(url):
    with pytest.raises(RegistryError):
        Origin.of(url)


@pytest.mark.parametrize(
    ("location", "joined"),
    [
        ("/v2/x?a=1&b=%2F", "https://r/v2/x?a=1&b=%2F"),
        ("y?c", "https://r/v2/y?c"),
        ("https://other/z#frag", "https://other/z"),
        ("//other/z", "https://other/z"),
        ("?q", "https://r/v2/x?q"),
    ],
)
def test_locations_are_joined(location, joined):
    assert join("https://r/v2/x", location) == joined


@pytest.mark.parametrize("location", ["javascript:alert(1)", "http://u@h/", "/a\nb", "gopher://x"])
def test_bad_locations_are_refused(location):
    with pytest.raises(RegistryError):
        join("https://r/v2/x", location)


def test_queries_are_added_to_and_kept():
    assert with_query("https://r/x?a=1", "digest=sha256:0") == "https://r/x?a=1&digest=sha256:0"
    assert with_query("https://r/x", "digest=0") == "https://r/x?digest=0"
    assert request_target("https://r?a=1") == "/?a=1"
    assert request_target("https://r/x/y%2Fz?a=/") == "/x/y%2Fz?a=/"


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
        "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses_are_known_in_all_spellings(host):
    assert is_private(host)


@pytest.mark.parametrize(
    "host", ["example.com", "8.8.8.8", "2606:4700::1111", "10.example.com", "registry", "localhost.io"]
)
def test_public_names_and_addresses_are_not_private(host):
    assert not is_private(host)


@pytest.mark.parametrize(
    "text",
    [
        "see https://s3/x?X-Amz-Signature=hush&y for more",
        "https://user:hush@host/x",
        "Authorization: Bearer hushhush",
        "Authorization: Basic aHVzaDpodXNo-hush",
        '{"password": "hush", "x": 1}',
        "access_token=hush&x=1",
        "eyJhbGciOiJIUzI1NiJ9.hush.hush",
        '{"token":"hush"}',
    ],
)
def test_secrets_are_redacted(text):
    assert "hush" not in redact(text)


def test_control_characters_do_not_reach_the_terminal():
    assert "\x1b" not in redact("a\x1b[31mred\nb")


def test_refusals_carry_status_code_and_words_but_no_secrets():
    body = b'{"errors":[{"code":"DENIED","message":"no: https://a/b?sig=hush","detail":{"x":1}}]}'
    error = refusal("blob x", 403, {}, body)
    assert (error.status, error.code, error.temporary) == (403, "DENIED", False)
    assert "blob x: 403 DENIED: no: https://a/b" in str(error) and "hush" not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"errors":{}}',
        b'{"errors":[1,{}]}',
        b"\xff" * 999,
        b"[" * 50000,
        b'{"errors":[{"code":[]}]}',
    ],
)
def test_any_error_body_becomes_an_error(body):
    assert refusal("x", 500, {"Content-Type": "text/plain"}, body).temporary
    assert len(str(refusal("x", 500, {}, body))) < 1000


def test_retry_after_is_seconds_or_a_date():
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert 3.0e7 < retry_after({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"})
    for value in ("", "soon", "-3", "1e9", "Wed, 99 Foo"):
        assert retry_after({"Retry-After": value}) is None
