"""Digests, ``algorithm:hex`` (image-spec «descriptor», «Digests»)."""

import hashlib
import re
from typing import TYPE_CHECKING

from accel.errors import FormatError, UnsupportedError

if TYPE_CHECKING:
    from hashlib import _Hash

    from typing_extensions import Buffer

# The grammar of image-spec: any algorithm; what we can compute is the table below.
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)
_HEX_CHARS = {"sha256": 64, "sha512": 128}
_LOWER_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_SHOWN_CHARS = 200  # hostile text is quoted in messages, but not whole


def digest_of(data: "Buffer") -> str:
    """The canonical digest of ``data``: ``sha256:`` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def split_digest(text: str) -> tuple[str, str]:
    """Algorithm and lower-case hex of a digest; both are safe as file names.

    Raises FormatError for text that is no digest, UnsupportedError for an algorithm other than sha256 and sha512.
    """
    if not isinstance(text, str) or len(text) > _SHOWN_CHARS or not _GRAMMAR.fullmatch(text):
        raise FormatError(f"not a digest (algorithm:hex): {str(text)[:_SHOWN_CHARS]!r}")
    algorithm, _, encoded = text.partition(":")
    if algorithm not in _HEX_CHARS:
        raise UnsupportedError(
            f"digest algorithm {algorithm!r} is not supported (sha256 and sha512 are): {text!r}"
        )
    if len(encoded) != _HEX_CHARS[algorithm] or not _LOWER_HEX.fullmatch(encoded):
        raise FormatError(f"a {algorithm} digest is {_HEX_CHARS[algorithm]} lower-case hex digits: {text!r}")
    return algorithm, encoded


def check_digest(text: str) -> str:
    """``text``, known to be a digest that we can verify. Raises like :func:`split_digest`."""
    split_digest(text)
    return text


def hasher_for(digest: str) -> "_Hash":
    """A fresh hash object of the algorithm of ``digest``."""
    algorithm, _ = split_digest(digest)
    return hashlib.new(algorithm)
