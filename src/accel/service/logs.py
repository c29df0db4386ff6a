"""Log lines of the service: JSON for machines, plain text for a terminal, and without secrets in either.

::

    {"time": "2026-01-02T03:04:05.678Z", "level": "info", "logger": "accel.service.jobs", "message": "layer done",
     "job": "…", "digest": "sha256:…", "layer": "sha256:…", "registry": "…", "repository": "…", "worker": "…"}

What a line is about comes from :func:`log_context` around the work, not from each call; ``exception`` holds a
traceback. Modules log by ``getLogger(__name__)`` as anywhere else; the process that runs them calls :func:`logging_to`.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from accel.registry.urls import redact

FIELDS = ("job", "digest", "layer", "registry", "repository", "worker")

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))
_SHORTEST_SECRET = 4  # a shorter one would blank out pieces of ordinary words
_HEADER = re.compile(r"(authorization[\"']?\s*[:=]\s*)(?:[^\s,;\"'}]+[ \t]+)?(\"[^\"]*\"|'[^']*'|[^\s,;\"'}]+)", re.I)
_USERINFO = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@\"']*@", re.I)  # redact() knows it of http URLs only


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Adds ``fields`` (of :data:`FIELDS`) to every line logged inside, in this thread or task.

    A thread started inside begins without them.
    """
    unknown = fields.keys() - set(FIELDS)
    if unknown:
        raise TypeError(f"no log field {sorted(unknown)[0]!r} (there are {', '.join(FIELDS)})")
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def context_of(record: logging.LogRecord) -> dict[str, str]:
    """What ``record`` is about: the context here, and what the call itself named by ``extra=``."""
    context = _context.get()
    found = {name: getattr(record, name, None) or context.get(name) for name in FIELDS}
    return {name: str(value) for name, value in found.items() if value is not None}


class Redactor:
    """Text without secrets: credentials of any form that can be told by its look, and the ``secrets`` themselves."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
        known = sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub("…", text)
        text = _USERINFO.sub(r"\1", _HEADER.sub(r"\1…", text))
        return "\n".join(redact(line) for line in text.splitlines())

    def message(self, record: logging.LogRecord) -> str:
        """The message of ``record``, on one line; one that cannot be formatted is given as it was written."""
        try:
            text = record.getMessage()
        except Exception:  # a wrong call must not lose the line
            text = f"{record.msg} {record.args}"
        return self(text).replace("\n", " ")

    def exception(self, record: logging.LogRecord) -> str | None:
        """The traceback of ``record``, where it has one."""
        if record.exc_info and record.exc_info[0] is not None:
            return self("".join(traceback.format_exception(*record.exc_info)))
        return self(record.exc_text) if record.exc_text else None


def secrets_of(settings: BaseModel) -> set[str]:
    """Every secret of the settings; of a URL the password too."""
    found: set[str] = set()
    pending: list[Any] = [settings]
    while pending:
        match pending.pop():
            case SecretStr() as secret:
                text = secret.get_secret_value()
                password = urlsplit(text).password if "://" in text else None
                found |= {text} | ({password, unquote(password)} if password else set())
            case BaseModel() as part:
                pending += [getattr(part, name) for name in type(part).model_fields]
            case tuple() as parts:
                pending += parts
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.message(record),
            **{name: self._redactor(value) for name, value in context_of(record).items()},
        }
        if exception := self._redactor.exception(record):
            line["exception"] = exception
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, message, then the context, and a traceback below."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        context = "".join(f" {name}={self._redactor(value)}" for name, value in context_of(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {self._redactor.message(record)}{context}"
        exception = self._redactor.exception(record)
        return f"{line}\n{exception}" if exception else line


@contextmanager
def logging_to(
    stream: TextIO | None = None,
    *,
    redactor: Redactor,
    level: int = logging.INFO,
    extra: Iterable[logging.Handler] = (),
) -> Iterator[None]:
    """Sends what is logged inside to ``stream`` (standard error) and to the ``extra`` handlers.

    Text where the stream is a terminal, else JSON. The handlers are closed at the end, the root's level put back.
    """
    stream = stream or sys.stderr
    root = logging.getLogger()
    main = logging.StreamHandler(stream)
    main.setFormatter(TextFormatter(redactor) if stream.isatty() else JsonFormatter(redactor))
    handlers, before = [main, *extra], root.level
    root.setLevel(level)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
