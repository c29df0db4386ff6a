"""Typed access to the fields of parsed JSON objects; errors name the path of the field (``manifests[3].size``).

Absent and ``null`` are the same, as in Go.
"""

from typing import Any

from accel.errors import FormatError

MAX_INT64 = (1 << 63) - 1
_NAMES = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}

JsonObject = dict[str, Any]


def json_object(value: Any, where: str) -> JsonObject:
    """``value``, known to be an object."""
    typed: JsonObject = _typed(value, dict, where)
    return typed


def get_object(parent: JsonObject, key: str, where: str) -> JsonObject | None:
    value = parent.get(key)
    return None if value is None else json_object(value, f"{where}.{key}")


def get_text(parent: JsonObject, key: str, where: str) -> str:
    """The string, or "" where there is none."""
    value = parent.get(key)
    text: str = "" if value is None else _typed(value, str, f"{where}.{key}")
    return text


def need_text(parent: JsonObject, key: str, where: str) -> str:
    """The string; missing or empty is an error."""
    value = get_text(parent, key, where)
    if not value:
        raise FormatError(f"{where}.{key} is missing or empty")
    return value


def need_size(parent: JsonObject, key: str, where: str) -> int:
    """A whole number from 0 to 2**63 - 1."""
    if parent.get(key) is None:
        raise FormatError(f"{where}.{key} is missing")
    value: int = _typed(parent[key], int, f"{where}.{key}")
    if not 0 <= value <= MAX_INT64:
        raise FormatError(f"{where}.{key} is not between 0 and 2**63 - 1")
    return value


def get_list(parent: JsonObject, key: str, where: str) -> list[Any]:
    """The list, empty where there is none."""
    value = parent.get(key)
    items: list[Any] = [] if value is None else _typed(value, list, f"{where}.{key}")
    return items


def get_texts(parent: JsonObject, key: str, where: str) -> tuple[str, ...]:
    """A list of strings, empty where there is none."""
    return tuple(
        _typed(item, str, f"{where}.{key}[{i}]") for i, item in enumerate(get_list(parent, key, where))
    )


def get_text_map(parent: JsonObject, key: str, where: str) -> dict[str, str]:
    """An object whose values are all strings (annotations), empty where there is none."""
    values = get_object(parent, key, where) or {}
    for name, value in values.items():
        _typed(value, str, f"{where}.{key}[{name[:100]!r}]")
    return values


def _typed(value: Any, kind: type, where: str) -> Any:
    # bool is an int to Python, but not to JSON.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(f"{where} is not {_NAMES[kind]}")
    return value
