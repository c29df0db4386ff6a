"""Whether a request may tell us anything. Secrets are compared in constant time."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from accel.service.settings import HmacAuth, SourceAuth
from accel.service.standard_webhooks import signature

_WINDOW_S = 300.0  # Standard Webhooks: an older (or younger) message may be a replay


def authorised(
    auth: SourceAuth, headers: Mapping[str, str], query: Mapping[str, str], body: bytes, now: float
) -> bool:
    """Whether a request proves what ``auth`` asks for. ``headers`` have lower-case names; ``now`` in seconds."""
    if auth.none:
        return True
    if auth.bearer:
        given = headers.get("authorization", "")
        # Harbor sends its header as it was typed: with or without the word.
        return _is_one_of(_after("bearer", given) or given, auth.bearer)
    if auth.basic is not None:
        wanted = f"{auth.basic.user}:{auth.basic.password.get_secret_value()}".encode()
        return _same(_after("basic", headers.get("authorization", "")), base64.b64encode(wanted).decode())
    if auth.url_secret:
        return _is_one_of(query.get("secret", ""), auth.url_secret)
    assert auth.hmac is not None
    return _signed(auth.hmac, headers, body, now)


def _signed(auth: HmacAuth, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    if auth.style == "body":
        given = headers.get(auth.header.lower(), "").lower().removeprefix("sha256=")
        return _any(
            _same(given, hmac.new(_raw(secret), body, hashlib.sha256).hexdigest()) for secret in auth.secrets
        )
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or len(timestamp) > 12 or abs(now - int(timestamp)) > _WINDOW_S:
        return False
    said = headers.get("webhook-signature", "").split(" ")[:10]
    return _any(
        _same(one, signature(secret, message_id, timestamp, body)) for secret in auth.secrets for one in said
    )


def _after(scheme: str, header: str) -> str:
    """What follows the scheme, whose case does not matter (RFC 9110, 11.1); "" if it is another."""
    word, _, rest = header.partition(" ")
    return rest.strip() if word.lower() == scheme else ""


def _raw(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode()


def _is_one_of(given: str, secrets: Iterable[SecretStr]) -> bool:
    return given != "" and _any(_same(given, secret.get_secret_value()) for secret in secrets)


def _any(results: Iterable[bool]) -> bool:
    """As any(), without stopping at the first: which secret it was is nobody's business."""
    return sum(results) > 0


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())
