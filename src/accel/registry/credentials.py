"""Where user names, passwords and tokens come from: given ones, and docker's ``config.json`` with its helpers.

Format: docker/cli ``config.json`` (``auths``, ``credsStore``, ``credHelpers``) and containers' ``auth.json`` (the
same, but keys may name a repository prefix: the longest match wins). Helpers speak the docker-credential-helpers
protocol: the host on stdin, JSON on stdout.
"""

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self

from accel.errors import AuthError, ConfigError

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_TIMEOUT_S = 60
_CONFIG_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Credential:
    """Who we are to one registry: name and password, or an OAuth2 refresh token, or a ready registry token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


class CredentialSource(Protocol):
    """Called for each token or challenge, so that a source may hand out short-lived credentials."""

    def credential_for(self, host: str, repository: str) -> Credential | None:
        """What to show ``host`` ("host" or "host:port"), None to stay anonymous."""


class Anonymous:
    """No credentials at all."""

    def credential_for(self, host: str, repository: str) -> Credential | None:
        return None


@dataclass(frozen=True, slots=True)
class Given:
    """Credentials by host; ``other`` answers for the rest."""

    by_host: Mapping[str, Credential]
    other: CredentialSource = field(default_factory=Anonymous)

    def credential_for(self, host: str, repository: str) -> Credential | None:
        found = self.by_host.get(host)
        return found if found is not None else self.other.credential_for(host, repository)


@dataclass(frozen=True, slots=True)
class Chained:
    """Several sources: the first that knows the host answers."""

    sources: Sequence[CredentialSource]

    def credential_for(self, host: str, repository: str) -> Credential | None:
        for source in self.sources:
            if (found := source.credential_for(host, repository)) is not None:
                return found
        return None


def standard_paths(environment: Mapping[str, str], home: Path) -> list[Path]:
    """Where docker, podman and skopeo keep credentials, the more particular first; they need not exist."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return [Path(named)]
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    runtime = environment.get("XDG_RUNTIME_DIR")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    containers = [Path(runtime) / "containers" / "auth.json"] if runtime else []
    return [docker, *containers, config / "containers" / "auth.json"]


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """A read ``config.json``. Helpers are programs ``docker-credential-NAME`` found on PATH, run when asked."""

    auths: Mapping[str, Credential]
    creds_store: str | None = None
    cred_helpers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """The configuration in the file at ``path``. ConfigError if it cannot be read or understood."""
        try:
            with Path(path).open("rb") as file:
                raw = file.read(_CONFIG_BYTES + 1)
            value = json.loads(raw) if len(raw) <= _CONFIG_BYTES else None
        except (OSError, ValueError, RecursionError) as error:
            # not the parser's own text: it may quote the file
            raise ConfigError(f"cannot read the credentials file {path}: {type(error).__name__}") from None
        if not isinstance(value, dict):
            raise ConfigError(f"the credentials file {path} is not a JSON object")
        return cls.parse(value, str(path))

    @classmethod
    def parse(cls, value: Mapping[str, Any], name: str = "config.json") -> Self:
        """The configuration in a decoded ``config.json``; ``name`` is for messages."""
        auths = value.get("auths") or {}
        helpers = value.get("credHelpers") or {}
        store = value.get("credsStore") or None
        if not isinstance(auths, dict) or not isinstance(helpers, dict) or not isinstance(store, str | None):
            raise ConfigError(f"{name}: auths and credHelpers must be objects, credsStore a name")
        parsed = {
            _plain_key(key): _entry(entry, f"{name}: {_plain_key(key)}") for key, entry in auths.items()
        }
        for helper in (*helpers.values(), *([store] if store else [])):
            if not isinstance(helper, str) or not _HELPER_NAME.fullmatch(helper):
                raise ConfigError(f"{name}: not the name of a credential helper: {helper!r}")
        return cls(parsed, store, {_plain_key(key): helper for key, helper in helpers.items()})

    def credential_for(self, host: str, repository: str) -> Credential | None:
        host = "docker.io" if host in _HUB_HOSTS else host
        for key in _keys(host, repository):
            if helper := self.cred_helpers.get(key):
                return _from_helper(helper, _HUB_KEY if key == "docker.io" else key)
        if self.creds_store and (
            found := _from_helper(self.creds_store, _HUB_KEY if host == "docker.io" else host)
        ):
            return found
        for key in _keys(host, repository):
            if (known := self.auths.get(key)) is not None and known != Credential():
                return known
        return None


def _keys(host: str, repository: str) -> Iterator[str]:
    """``host/a/b``, ``host/a``, ``host``."""
    parts = repository.split("/") if repository else []
    for n in range(len(parts), -1, -1):
        yield "/".join([host, *parts[:n]])


def _plain_key(key: str) -> str:
    """The host (and repository prefix) a key of ``auths`` means: docker also writes URLs and API versions there."""
    _, _, rest = key.rpartition("://")
    rest = rest.rstrip("/")
    for suffix in ("/v1", "/v2"):
        rest = rest.removesuffix(suffix)
    host, slash, prefix = rest.partition("/")
    return ("docker.io" if host in _HUB_HOSTS else host) + slash + prefix


def _entry(value: Any, name: str) -> Credential:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: not an object")
    fields = {k: v for k, v in value.items() if isinstance(v, str)}
    username, password = fields.get("username", ""), fields.get("password", "")
    if fields.get("auth"):
        try:
            pair = base64.b64decode(fields["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError(f"{name}: auth is not base64 of user:password") from None
        username, colon, password = pair.partition(":")  # a password may hold ":", a user name not
        if not colon:
            raise ConfigError(f"{name}: auth is not base64 of user:password")
        password = password.rstrip("\x00")  # old versions of docker padded it
    return Credential(username, password, fields.get("identitytoken", ""), fields.get("registrytoken", ""))


def _from_helper(helper: str, key: str) -> Credential | None:
    """What ``docker-credential-<helper>`` knows of ``key``; None if it knows nothing. AuthError if it fails."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AuthError(f"cannot run {program} for {key}: {type(error).__name__}") from None
    if done.returncode != 0:
        # the protocol has no code for "nothing known", only this text (docker-credential-helpers credentials/error.go)
        if b"credentials not found" in done.stdout:
            return None
        raise AuthError(f"{program} failed for {key} (exit code {done.returncode})")
    try:
        value = json.loads(done.stdout)
        username, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AuthError(f"{program} gave no valid answer for {key}") from None  # the answer holds the secret
    if not isinstance(username, str) or not isinstance(secret, str):
        raise AuthError(f"{program} gave no valid answer for {key}")
    if username == "<token>":
        return Credential(identity_token=secret)
    return Credential(username, secret) if username or secret else None
