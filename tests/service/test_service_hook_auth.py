"""Who may tell the service of events: right, wrong, missing and rotated secrets, for every way to prove oneself."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from accel.service.incoming import authorised
from accel.service.settings import SourceAuth
from accel.service.standard_webhooks import signature

NOW = 1_700_000_000.0
BODY = b'{"events": []}'
KEY = base64.b64encode(b"k" * 24).decode()
WHSEC = f"whsec_{KEY}"


def auth(**way: Any) -> SourceAuth:
    return SourceAuth.model_validate(way)


def may(
    who: SourceAuth,
    headers: Mapping[str, str] = {},
    query: Mapping[str, str] = {},
    body: bytes = BODY,
    now: float = NOW,
) -> bool:
    return authorised(who, headers, query, body, now)


BEARER = auth(bearer=["new-secret", "old-secret"])
BASIC = auth(basic={"user": "zot", "password": "pass:word"})
URL = auth(url_secret=["new-secret", "old-secret"])


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("Bearer new-secret", True),
        ("Bearer old-secret", True),
        ("bearer new-secret", True),
        ("new-secret", True),  # Harbor sends what was typed
        ("Bearer wrong", False),
        ("Bearer new-secre", False),
        ("Bearer new-secret2", False),
        ("Bearer NEW-SECRET", False),
        ("Bearer ", False),
        ("Bearer", False),
        ("", False),
        ("Basic new-secret", False),
        ("Bearer new-secret old-secret", False),
        ("Bearer \u00e9\u00ff", False),
    ],
)
def test_a_bearer_token_is_one_of_those_configured(header: str, wanted: bool) -> None:
    assert may(BEARER, {"authorization": header}) is wanted


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (f"Basic {basic('zot:pass:word')}", True),
        (f"basic {basic('zot:pass:word')}", True),
        (f"Basic {basic('zot:wrong')}", False),
        (f"Basic {basic('other:pass:word')}", False),
        (f"Basic {basic('zot')}", False),
        (f"Bearer {basic('zot:pass:word')}", False),
        ("Basic zot:pass:word", False),
        ("Basic", False),
        ("", False),
    ],
)
def test_user_and_password_must_both_be_right(header: str, wanted: bool) -> None:
    assert may(BASIC, {"authorization": header}) is wanted


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"secret": "new-secret"}, True),
        ({"secret": "old-secret"}, True),
        ({"secret": "wrong"}, False),
        ({"secret": ""}, False),
        ({"Secret": "new-secret"}, False),
        ({}, False),
    ],
)
def test_a_secret_of_the_url_is_one_of_those_configured(query: dict[str, str], wanted: bool) -> None:
    assert may(URL, query=query) is wanted


def test_no_header_stands_for_a_secret_of_the_url() -> None:
    assert not may(URL, {"authorization": "Bearer new-secret"})
    assert not may(BEARER, query={"secret": "new-secret"})


def test_none_lets_everybody_in() -> None:
    assert may(auth(none=True))


@pytest.mark.parametrize("way", [BEARER, BASIC, URL, auth(hmac={"secrets": [WHSEC]})])
def test_nothing_said_proves_nothing(way: SourceAuth) -> None:
    assert not may(way)


# --- Standard Webhooks ------------------------------------------------------------------------------------------------

SIGNED = auth(hmac={"secrets": [WHSEC, "an older secret"]})


def outside_signature(key: bytes, message_id: str, at: int, body: bytes) -> str:
    """Made as the specification says, by nothing of ours."""
    return "v1," + base64.b64encode(hmac.digest(key, f"{message_id}.{at}.".encode() + body, "sha256")).decode()


def signed(at: int = int(NOW), message_id: str = "msg_1", key: bytes = b"k" * 24, body: bytes = BODY) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": outside_signature(key, message_id, at, body),
    }


def test_the_specifications_example_has_the_signature_it_says() -> None:
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("age", [0, 299, 300, -299, -300])
def test_a_signed_message_within_five_minutes_is_taken(age: int) -> None:
    assert may(SIGNED, signed(int(NOW) - age))


@pytest.mark.parametrize("age", [301, -301, 86_400, 10**9])
def test_a_signed_message_outside_five_minutes_is_not(age: int) -> None:
    assert not may(SIGNED, signed(int(NOW) - age))


def test_a_secret_without_the_prefix_is_taken_as_it_is() -> None:
    assert may(SIGNED, signed(key=b"an older secret"))


def test_one_right_signature_among_several_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1a,unknown v1,AAAA {headers['webhook-signature']}"
    assert may(SIGNED, headers)


def test_no_more_than_ten_signatures_are_looked_at() -> None:
    headers = signed()
    headers["webhook-signature"] = "v1,AAAA " * 10 + headers["webhook-signature"]
    assert not may(SIGNED, headers)


@pytest.mark.parametrize("changed", ["body", "id", "timestamp", "key"])
def test_what_was_signed_may_not_change(changed: str) -> None:
    headers = signed(key=b"x" * 24) if changed == "key" else signed()
    if changed == "id":
        headers["webhook-id"] = "msg_2"
    if changed == "timestamp":
        headers["webhook-timestamp"] = str(int(NOW) + 1)
    assert not may(SIGNED, headers, body=BODY + b" " if changed == "body" else BODY)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_of_the_three_headers_is_needed(missing: str) -> None:
    headers = signed()
    del headers[missing]
    assert not may(SIGNED, headers)


@pytest.mark.parametrize("timestamp", ["", "-1", "1e9", "1700000000.0", "+1700000000", " 1700000000", "9" * 5000, "²"])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    headers = signed()
    headers["webhook-timestamp"] = timestamp
    assert not may(SIGNED, headers)


# --- HMAC of the body -------------------------------------------------------------------------------------------------

GITHUB = auth(hmac={"secrets": ["new", "old"], "style": "body"})


def test_githubs_own_example_is_taken() -> None:
    """docs.github.com «Validating webhook deliveries», «Testing the webhook payload validation»."""
    example = auth(hmac={"secrets": ["It's a Secret to Everybody"], "style": "body"})
    said = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert may(example, {"x-hub-signature-256": said}, body=b"Hello, World!")


def hexed(secret: str, body: bytes = BODY) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (f"sha256={hexed('new')}", True),
        (f"sha256={hexed('old')}", True),
        (hexed("new"), True),
        (hexed("new").upper(), True),
        (f"sha256={hexed('wrong')}", False),
        (f"sha256={hexed('new', BODY + b'x')}", False),
        (f"sha1={hexed('new')}", False),
        ("sha256=", False),
        ("", False),
    ],
)
def test_the_bodys_hmac_is_by_one_of_the_secrets(header: str, wanted: bool) -> None:
    assert may(GITHUB, {"x-hub-signature-256": header}) is wanted


def test_the_header_may_be_another() -> None:
    other = auth(hmac={"secrets": ["new"], "style": "body", "header": "X-Signature"})
    assert may(other, {"x-signature": hexed("new")})
    assert not may(other, {"x-hub-signature-256": hexed("new")})


# --- configuration, and anything at all -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        {"bearer": [""]},
        {"bearer": ["right", ""]},
        {"url_secret": [""]},
        {"basic": {"user": "a", "password": ""}},
        {"hmac": {"secrets": [""]}},
        {"hmac": {"secrets": []}},
        {"bearer": ["a"], "none": True},
        {},
    ],
)
def test_a_way_that_would_let_everybody_in_is_no_configuration(way: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        auth(**way)


@given(
    headers=st.dictionaries(
        st.sampled_from([*signed(), "authorization", "x-hub-signature-256"]),
        st.text(st.characters(max_codepoint=255), max_size=40),
    ),
    query=st.dictionaries(st.just("secret"), st.text(max_size=20)),
    body=st.binary(max_size=50),
)
def test_nobody_gets_in_by_chance_and_nothing_breaks(
    headers: dict[str, str], query: dict[str, str], body: bytes
) -> None:
    for way in (BEARER, BASIC, URL, SIGNED, GITHUB):
        assert not may(way, headers, query, body)
