"""Signed events out: the headers of Standard Webhooks."""

from collections.abc import Iterable

from pydantic import SecretStr

from accel.service.standard_webhooks import signature


def sign(secrets: Iterable[SecretStr], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers for ``body``: a signature for each secret, so that receivers may change theirs one by one."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    signatures = [signature(secret, message_id, str(timestamp), body) for secret in secrets]
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})
