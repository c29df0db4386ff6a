"""Whether a rule is about an image.

A pattern between slashes (``/v[0-9]+/``) is a regular expression that must match the whole name. Any other is a glob:
``*`` and ``?`` stand for anything but a slash, ``**`` for anything, ``[abc]`` for one of these. Both are RE2's: rules
can be added over the network, and the time that RE2 takes grows with the name only, whatever the pattern.
"""

import re
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]  # google-re2

from accel.errors import ConfigError
from accel.service.settings import Pattern, RuleSettings

_MAX_PATTERN = 500
_MAX_NAME = 255  # registries allow no longer ones; a bound on what an expression has to work on
_FIELDS = ("registry", "namespace", "repository", "tag", "pusher")
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # they are raised
_GLOB = re.compile(r"\*\*|\*|\?|\[!?[^\]/]+\]|.", re.DOTALL)


def matches(rule: RuleSettings, *, registry: str, repository: str, tag: str, pusher: str | None) -> bool:
    """Whether the rule, were it enabled, covers an image. Nobody known pushed it: a rule about pushers does not."""
    return not why_not(rule, registry=registry, repository=repository, tag=tag, pusher=pusher)


def why_not(rule: RuleSettings, *, registry: str, repository: str, tag: str, pusher: str | None) -> str:
    """Why the rule does not cover the image, in a few words; "" if it does."""
    values = (registry, repository.rpartition("/")[0], repository, tag, pusher)
    for name, value in zip(_FIELDS, values, strict=True):
        pattern: Pattern = getattr(rule, name)
        if value is None:
            if pattern.include or pattern.exclude:
                return f"{name}: not known who pushed it"
            continue
        if pattern.include and not any(covers(text, value) for text in pattern.include):
            return f"{name}: {value!r} is not included"
        excluded = next((text for text in pattern.exclude if covers(text, value)), None)
        if excluded is not None:
            return f"{name}: {value!r} is excluded by {excluded!r}"
    return ""


def check_patterns(rule: RuleSettings) -> None:
    """Raises ConfigError for a pattern that is none."""
    for name in _FIELDS:
        pattern: Pattern = getattr(rule, name)
        for text in (*pattern.include, *pattern.exclude):
            try:
                _compiled(text)
            except ConfigError as error:
                raise ConfigError(f"rule {rule.name!r}, {name}: {error}") from None


def is_glob(text: str) -> bool:
    """Whether a pattern may stand for several names."""
    return any(one in text for one in "*?[") or _is_expression(text)


def covers(text: str, value: str) -> bool:
    """Whether a pattern covers a name. Raises ConfigError for a pattern that is none."""
    return len(value) <= _MAX_NAME and _compiled(text).fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Any:
    """Raises ConfigError."""
    if len(text) > _MAX_PATTERN:
        raise ConfigError(f"{text[:100]!r} is longer than {_MAX_PATTERN} characters")
    expression = text[1:-1] if _is_expression(text) else "".join(map(_part, _GLOB.findall(text)))
    try:
        return re2.compile(expression, _OPTIONS)
    except UnicodeError:
        raise ConfigError(f"{text[:100]!r} is no text") from None
    except re2.error as error:
        words = error.args[0] if error.args else ""
        raise ConfigError(f"{text[:100]!r}: {words.decode() if isinstance(words, bytes) else words}") from None


def _is_expression(text: str) -> bool:
    return len(text) > 1 and text.startswith("/") and text.endswith("/")


def _part(part: str) -> str:
    if part == "**":
        return ".*"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if len(part) > 2 and part.startswith("["):
        inside = part[1:-1].replace("\\", r"\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(part)
