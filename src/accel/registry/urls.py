"""Where a URL points, where a ``Location`` leads, and how URLs are shown: no I/O.

A registry's answers name further URLs (redirects, upload locations, token realms). They are input: parsed here,
checked in :mod:`accel.registry.transport` and :mod:`accel.registry.auth`.
"""

import ipaddress
import re
import socket
from typing import NamedTuple, Self
from urllib.parse import urljoin, urlsplit, urlunsplit

from accel.errors import RegistryError

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 16384  # signed URLs of object stores are 1-2 KiB
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\uffff\\]")
_URL = re.compile(r"\b(https?://)(?:[^\s/@\"']*@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?", re.IGNORECASE)
_SECRET = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]{5,}\.[\w-]*\.?[\w-]*")
_FIELD = re.compile(
    r"((?:access_|refresh_|identity)?token|password|secret|signature|x-amz-[a-z-]+|sig)(\"?\s*[=:]\s*\"?)[^\s&\",;]+",
    re.IGNORECASE,
)


class Origin(NamedTuple):
    """Scheme, host and port: what credentials belong to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """The origin of an absolute http(s) URL. RegistryError for anything else."""
        if len(url) > _MAX_URL or _UNSAFE.search(url):
            raise RegistryError("a URL that is too long or holds illegal characters")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise RegistryError(f"not a URL: {redact(url)}") from error
        if parts.scheme not in _PORTS or not host or parts.username is not None or port == 0:
            raise RegistryError(f"not an http(s) URL of a plain host: {redact(url)}")
        return cls(parts.scheme, host.rstrip("."), port or _PORTS[parts.scheme])

    @property
    def name(self) -> str:
        """As a reference names it: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"


def join(base: str, location: str) -> str:
    """``location`` (absolute, or relative to ``base``) as an absolute URL without fragment; its query is kept."""
    if _UNSAFE.search(location):
        raise RegistryError("a Location with illegal characters")
    try:
        parts = urlsplit(urljoin(base, location))
    except ValueError as error:
        raise RegistryError(f"not a URL: {redact(location)}") from error
    url = urlunsplit(parts._replace(fragment=""))
    Origin.of(url)
    return url


def with_query(url: str, query: str) -> str:
    """``url`` with ``query`` appended to the query it may already have."""
    return f"{url}{'&' if '?' in url else '?'}{query}"


def request_target(url: str) -> str:
    """Path and query, as they go on the request line."""
    parts = urlsplit(url)
    return urlunsplit(("", "", parts.path or "/", parts.query, ""))


def is_private(host: str) -> bool:
    """Whether ``host`` is literally loopback, link-local, private or otherwise not a public address.

    Names are not resolved: a name that points into the user's own network is taken to be meant.
    """
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:  # "127.1", "0x7f000001", "2130706433": what the C library would connect to
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def redact(text: str) -> str:
    """``text`` fit for a message: no query strings, user info, tokens or passwords, no control characters."""
    text = _URL.sub(lambda m: f"{m[1]}{m[2]}{'?…' if m[3] else ''}", text)
    text = _JWT.sub("…", _SECRET.sub(r"\1 …", text))
    text = _FIELD.sub(r"\1\2…", text)
    return "".join(c if c.isprintable() else " " for c in text)
