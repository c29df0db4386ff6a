"""Option values from the environment and from files: the only package that reads either. ``service`` is about servers.

REGISTRY_AUTH_FILE            credentials file, before all others
DOCKER_CONFIG                 directory of docker's config.json (else ~/.docker)
XDG_RUNTIME_DIR               its containers/auth.json, where podman, buildah and skopeo log in
HTTPS_PROXY HTTP_PROXY NO_PROXY (also in lower case; HTTP_PROXY only in lower case where CGI could set it)
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accel.errors import ConfigError
from accel.registry.credentials import Anonymous, Credential, CredentialSource, DockerConfig
from accel.registry.options import HostOptions, RegistryOptions


@dataclass(frozen=True, slots=True)
class RegistryChoices:
    """What a user said about registries, host by host. Pairs are (host, file)."""

    plain_http: Sequence[str] = ()
    insecure_tls: Sequence[str] = ()
    ca_certs: Sequence[tuple[str, str]] = ()
    client_certs: Sequence[tuple[str, str]] = ()
    client_keys: Sequence[tuple[str, str]] = ()
    authfile: str | None = None


def registry_options(choices: RegistryChoices, environ: Mapping[str, str] | None = None) -> RegistryOptions:
    """Everything the registry client needs to know. Raises ``ConfigError``.

    A credentials file that was named must be readable; the usual places may be empty.
    """
    env = os.environ if environ is None else environ
    proxies = {scheme: url for scheme in ("http", "https") if (url := _proxy(env, scheme))}
    no_proxy = env.get("no_proxy") or env.get("NO_PROXY") or ""
    return RegistryOptions(
        hosts=_hosts(choices),
        credentials=credentials(choices.authfile, env),
        proxies=proxies,
        no_proxy=tuple(part.strip() for part in no_proxy.split(",") if part.strip()),
    )


def credentials(authfile: str | None, environ: Mapping[str, str]) -> CredentialSource:
    """Who we are, from ``authfile`` or the first of the usual files that exists."""
    named = authfile or environ.get("REGISTRY_AUTH_FILE")
    if named:
        return DockerConfig.load(named)
    found = [DockerConfig.load(path) for path in _usual_files(environ) if path.is_file()]
    return _FirstOf(found) if found else Anonymous()


def prefetch_list(path: str) -> tuple[bytes, ...]:
    """The paths in a file, one a line; empty lines and those that begin with # do not count.

    Raises ``ConfigError`` for a line that is no absolute path, ``OSError``.
    """
    found = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
        name = line.rstrip(b"\r")
        if not name.strip() or name.startswith(b"#"):
            continue
        if not name.startswith(b"/"):
            shown = name[:200].decode("utf-8", "backslashreplace")
            raise ConfigError(f"{path}, line {number}: {shown!r} is no absolute path")
        found.append(name)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _FirstOf:
    """Asks one source after the other."""

    sources: Sequence[CredentialSource]

    def credential_for(self, host: str, repository: str) -> Credential | None:
        return next(filter(None, (source.credential_for(host, repository) for source in self.sources)), None)


def _usual_files(environ: Mapping[str, str]) -> list[Path]:
    files = []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime, "containers", "auth.json"))
    home = environ.get("HOME")
    if directory := environ.get("DOCKER_CONFIG") or (home and str(Path(home, ".docker"))):
        files.append(Path(directory, "config.json"))
    return files


def _proxy(environ: Mapping[str, str], scheme: str) -> str | None:
    lower = environ.get(f"{scheme}_proxy")
    if lower is None and scheme == "http" and "REQUEST_METHOD" in environ:
        return None  # HTTP_PROXY may be the request header Proxy: of a CGI client
    return lower or environ.get(f"{scheme.upper()}_PROXY") or None


def _hosts(choices: RegistryChoices) -> dict[str, HostOptions]:
    files = {
        name: dict(pairs)
        for name, pairs in (
            ("ca_bundle", choices.ca_certs),
            ("client_cert", choices.client_certs),
            ("client_key", choices.client_keys),
        )
    }
    for pairs in files.values():
        for path in pairs.values():
            if not os.access(path, os.R_OK):
                raise ConfigError(f"cannot read {path}")
    named = {*choices.plain_http, *choices.insecure_tls}.union(*files.values())
    return {
        host: HostOptions(
            plain_http=host in choices.plain_http,
            insecure=host in choices.insecure_tls,
            ca_bundle=files["ca_bundle"].get(host),
            client_cert=files["client_cert"].get(host),
            client_key=files["client_key"].get(host),
        )
        for host in sorted(named)
    }
