"""Signatures by the Standard Webhooks scheme (standardwebhooks.com, spec «Signature scheme»)."""

import base64
import binascii
import hashlib
import hmac

from pydantic import SecretStr

_PREFIX = "whsec_"


def signature(secret: SecretStr, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a message by one secret, with its version: ``v1,…``."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def _key(secret: SecretStr) -> bytes:
    """The bytes after ``whsec_`` are base64; a secret without it is taken as it is."""
    text = secret.get_secret_value()
    if text.startswith(_PREFIX):
        try:
            return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return text.encode()
