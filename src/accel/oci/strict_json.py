"""JSON from strangers: bounded, without duplicate keys, and only what can be written again."""

import json
import math
from typing import Any

from accel.errors import FormatError, LimitError

MAX_MANIFEST_BYTES = 4 << 20  # what registries must accept (distribution-spec «Pushing Manifests»)
MAX_DEPTH = 64  # a manifest needs 5: object, manifests, descriptor, platform, os.features


def parse_json(raw: bytes, what: str, *, max_bytes: int = MAX_MANIFEST_BYTES) -> Any:
    """The value of a JSON text, objects as dicts in their order.

    ``what`` names the document in errors. Raises LimitError past ``max_bytes``; FormatError for bytes that are not
    UTF-8 or not JSON, duplicate keys (readers disagree which one counts), NaN and infinite numbers, lone surrogates
    and nesting past 64 levels.
    """
    if len(raw) > max_bytes:
        raise LimitError(f"{what} has {len(raw)} bytes", limit=max_bytes)
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
        _check_tree(value)
    except RecursionError:
        raise FormatError(f"{what} is nested too deeply") from None
    except UnicodeDecodeError as e:
        raise FormatError(f"{what} is not UTF-8 at byte {e.start}") from e
    except ValueError as e:
        raise FormatError(f"{what} is not valid JSON: {str(e)[:200]}") from e
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {key[:100]!r}")
            seen.add(key)
    return result


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


# Made once: json.loads makes one for each call, which takes as long as to read a small document.
_DECODER = json.JSONDecoder(object_pairs_hook=_object_without_duplicates, parse_constant=_reject_constant)


def _check_tree(root: Any) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("a number is too large")
        level = below


def _check_text(text: str) -> None:
    # "\ud800" is legal JSON and becomes a lone surrogate, which no output could be encoded from later.
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a string holds half of a surrogate pair") from None
