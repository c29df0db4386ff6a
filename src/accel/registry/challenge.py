"""``WWW-Authenticate`` headers and token scopes as values (RFC 9110 §11.6.1; distribution «token scope»)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from accel.errors import RegistryError

_MAX_HEADER = 8192
_MAX_SCOPES = 16
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SPACE = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: ``scheme`` in lower case ("basic", "bearer"), parameter names in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """All challenges of all headers; one header may hold several, and quoted values may hold commas.

    What cannot be understood ends the reading of its header, not of the others.
    """
    found: list[Challenge] = []
    for header in headers:
        if len(header) <= _MAX_HEADER:
            found.extend(_challenges(header))
    return found


def _challenges(header: str) -> Iterator[Challenge]:
    position = _skip(header, 0)
    while scheme := _TOKEN.match(header, position):
        position = _skip_blank(header, scheme.end())
        parameters: dict[str, str] = {}
        if not _looks_like_parameter(header, position) and (token68 := _TOKEN68.match(header, position)):
            # credentials in one piece (Negotiate), or the next scheme's name: only a blank before it tells
            if header[scheme.end() : position]:
                position = token68.end()
        else:
            while (parameter := _parameter(header, position)) is not None:
                name, value, position = parameter
                parameters.setdefault(name, value)
        yield Challenge(scheme[0].lower(), parameters)
        position = _skip(header, position)


def _looks_like_parameter(header: str, position: int) -> bool:
    return _parameter(header, position) is not None


def _parameter(header: str, position: int) -> tuple[str, str, int] | None:
    """Name, value and end of ``name = value`` at ``position``; None if something else stands there."""
    position = _skip(header, position)
    name = _TOKEN.match(header, position)
    if name is None:
        return None
    position = _skip_blank(header, name.end())
    if header[position : position + 1] != "=":
        return None
    position = _skip_blank(header, position + 1)
    if quoted := _QUOTED.match(header, position):
        return name[0].lower(), re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    if plain := _TOKEN.match(header, position):
        return name[0].lower(), plain[0], plain.end()
    return None


def _skip(header: str, position: int) -> int:
    match = _SPACE.match(header, position)
    return match.end() if match else position


def _skip_blank(header: str, position: int) -> int:
    while header[position : position + 1] in (" ", "\t"):
        position += 1
    return position


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is for: ``type:name:action,action``."""

    type: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """From its text. The name may hold colons (a host with a port). RegistryError for anything else."""
        kind, _, rest = text.partition(":")
        name, colon, actions = rest.rpartition(":")
        if not colon or not kind or not name:
            raise RegistryError("the registry asks for a malformed token scope")
        return cls(kind, name, frozenset(a for a in actions.split(",") if a))

    @classmethod
    def repository(cls, name: str, *actions: str) -> Self:
        return cls("repository", name, frozenset(actions))

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"


Scopes = tuple[Scope, ...]


def parse_scopes(text: str) -> Scopes:
    """The scopes of a challenge, separated by blanks."""
    words = text.split()
    if len(words) > _MAX_SCOPES:
        raise RegistryError("the registry asks for too many token scopes")
    return tuple(Scope.parse(word) for word in words)


def merge(first: Scopes, more: Scopes) -> Scopes:
    """All of ``first``, then of ``more``, one per resource. Some token servers look at the first one only."""
    merged: dict[tuple[str, str], frozenset[str]] = {}
    for scope in (*first, *more):
        key = (scope.type, scope.name)
        merged[key] = merged.get(key, frozenset()) | scope.actions
    return tuple(Scope(kind, name, actions) for (kind, name), actions in merged.items())


def covers(have: Scopes, wanted: Scopes) -> bool:
    """Whether a token for ``have`` serves ``wanted``."""
    by_resource = {(scope.type, scope.name): scope.actions for scope in have}
    return all(
        scope.actions <= actions or "*" in actions
        for scope in wanted
        for actions in [by_resource.get((scope.type, scope.name), frozenset())]
    )
