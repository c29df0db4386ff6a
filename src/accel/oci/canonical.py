"""JSON bytes as Go's ``encoding/json`` writes them, which is what image tools compare digests of.

The order of keys is the caller's: a dict stands for a Go struct and is written as it is, so build it in field order
(``Descriptor.to_json`` and its kin do). What is a Go map, such as annotations, goes through :func:`sorted_map` first.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, TypeVar

_Value = TypeVar("_Value")

# Go escapes these three for HTML, and the two line separators for JavaScript. A lone surrogate stands for bytes that
# are not UTF-8 (``surrogateescape``); Go writes the escape, not the character, for each such byte.
_GO_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"} | {
    code: "\\ufffd" for code in range(0xD800, 0xE000)
}


def canonical_json(value: Any) -> bytes:
    """``value`` as UTF-8 JSON: no white space, no newline at the end, strings and numbers as Go writes them.

    Takes None, bool, int, finite float, str, list, tuple and dicts with str keys; TypeError or ValueError for others.
    """
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("utf-8")


def sorted_map(values: Mapping[str, _Value]) -> dict[str, _Value]:
    """The same entries ordered by the bytes of their keys, as Go orders maps (for UTF-8 that is code point order)."""
    return dict(sorted(values.items()))


def _write(value: Any, parts: list[str]) -> None:
    if value is None:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, str):
        parts.append(_text(value))
    elif isinstance(value, int):
        parts.append(str(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, dict):
        _write_object(value, parts)
    elif isinstance(value, (list, tuple)):
        _write_array(value, parts)
    else:
        raise TypeError(f"{type(value).__name__} has no JSON form")


def _write_object(value: dict[str, Any], parts: list[str]) -> None:
    separator = "{"
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"a JSON key is a string, not {type(key).__name__}")
        parts.append(separator + _text(key) + ":")
        _write(item, parts)
        separator = ","
    parts.append("}" if value else "{}")


def _write_array(value: list[Any] | tuple[Any, ...], parts: list[str]) -> None:
    separator = "["
    for item in value:
        parts.append(separator)
        _write(item, parts)
        separator = ","
    parts.append("]" if value else "[]")


def _text(value: str) -> str:
    # encode_basestring does quotes, backslashes and control characters, with the same short forms as Go.
    return encode_basestring(value).translate(_GO_ESCAPES)


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("JSON has no infinite numbers and no NaN")
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(repr(value)), "f")
        return text.removesuffix(".0")
    return repr(value).replace("e-0", "e-")
