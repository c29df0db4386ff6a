"""A registry's answers as errors of :mod:`accel.errors`, with everything secret taken out.

::

    RegistryError
    ├── TransientError      temporary: connection broken, 408, 429, 5xx; ``retry_after_s`` if the registry named a time
    ├── MissingBlobsError   a manifest was refused because these blobs are not in the repository
    └── AuthError           401, 403
    NotFoundError           404
"""

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

from accel import oci
from accel.errors import AccelError, AuthError, FormatError, NotFoundError, RegistryError
from accel.registry.urls import redact

_MESSAGE_CHARS = 300
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class TransientError(RegistryError):
    """Trying again may help; ``retry_after_s`` (None: not said) is the wait the registry asked for."""

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, status=status, code=code, temporary=True)
        self.retry_after_s = retry_after_s


class MissingBlobsError(RegistryError):
    """MANIFEST_BLOB_UNKNOWN: upload ``digests`` (may be empty: not told) to the repository, then put again."""

    def __init__(self, what: str, *, status: int, digests: tuple[str, ...]) -> None:
        super().__init__(what, status=status, code="MANIFEST_BLOB_UNKNOWN")
        self.digests = digests


def parse_json(raw: bytes, what: str) -> Any:
    """The JSON value in ``raw``. RegistryError for anything our strict parser does not take."""
    try:
        return oci.parse_json(raw, "the answer", max_bytes=len(raw))
    except FormatError as error:
        raise RegistryError(f"{what}: {error.what}") from error


def refusal(what: str, status: int, headers: Mapping[str, str], body: bytes) -> AccelError:
    """The error for an answer that was not wanted. ``what`` says what was tried, ``body`` is its (cut) body."""
    errors = _spec_errors(body)
    code = next((e["code"] for e in errors if isinstance(e.get("code"), str)), None)
    code = redact(code)[:64] if code else None
    told = "; ".join(_told(e) for e in errors[:3]) or _plain(headers, body)
    message = f"{what}: {status}{f' {code}' if code else ''}{f': {told}' if told else ''}"
    if code == "MANIFEST_BLOB_UNKNOWN":
        return MissingBlobsError(message, status=status, digests=_missing(errors))
    if status in (401, 403):
        return AuthError(message, status=status, code=code)
    if status == 404:
        return NotFoundError(message)
    if status in _TEMPORARY:
        return TransientError(message, status=status, code=code, retry_after_s=retry_after(headers))
    return RegistryError(message, status=status, code=code)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds asked for by ``Retry-After`` (RFC 9110 §10.2.3: seconds or a date), None if there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _spec_errors(body: bytes) -> list[dict[str, Any]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    errors = value.get("errors") if isinstance(value, dict) else None
    return [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []


def _told(error: dict[str, Any]) -> str:
    message = error.get("message")
    return redact(message[:_MESSAGE_CHARS]) if isinstance(message, str) else ""


def _plain(headers: Mapping[str, str], body: bytes) -> str:
    if "html" in headers.get("Content-Type", ""):
        return "a web page, not a registry's answer"
    return redact(body[:_MESSAGE_CHARS].decode("utf-8", "replace")).strip()


def _missing(errors: list[dict[str, Any]]) -> tuple[str, ...]:
    """Digests out of ``detail``: a string, or an object with ``digest`` (distribution says either)."""
    found = []
    for error in errors:
        detail = error.get("detail")
        digest = detail.get("digest", detail.get("Digest")) if isinstance(detail, dict) else detail
        if error.get("code") == "MANIFEST_BLOB_UNKNOWN" and isinstance(digest, str) and len(digest) < 200:
            found.append(digest)
    return tuple(found)
