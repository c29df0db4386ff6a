"""The configuration of the conversion service: a YAML file, with secrets from files or the environment.

In the place of any value there may be ``{file: PATH}``, the text of a file without the line end, or ``{env: NAME}``.
"""

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from accel.config import RegistryChoices, registry_options
from accel.errors import ConfigError
from accel.registry.credentials import Credential, CredentialSource, DockerConfig
from accel.registry.options import HostOptions, RegistryOptions
from accel.service.rules import check
from accel.service.settings import ServiceSettings

_MAX_BYTES = 4 << 20
_MAX_SECRET_BYTES = 64 << 10


def service_settings(path: str, environ: Mapping[str, str] | None = None) -> ServiceSettings:
    """What a configuration file says. Raises ConfigError naming the place in the file, OSError."""
    raw = Path(path).read_bytes()
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        data = yaml.load(raw, _StrictLoader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: it is no mapping of settings")
    try:
        settings = ServiceSettings.model_validate(_resolved(data, os.environ if environ is None else environ, ""))
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(map(_in_words, error.errors()[:5]))) from None
    for rule in settings.rules:
        check(rule)
    return settings


def service_registries(
    settings: ServiceSettings, environ: Mapping[str, str] | None = None
) -> RegistryOptions:
    """How the registries of ``settings`` are reached, and who we are there. Raises ConfigError, OSError."""
    usual = registry_options(RegistryChoices(), environ)
    hosts = {
        one.host: HostOptions(
            plain_http=one.plain_http,
            insecure=one.insecure_tls,
            ca_bundle=one.ca_cert,
            client_cert=one.client_cert,
            client_key=one.client_key,
            max_requests=one.max_requests,
            requests_per_s=one.requests_per_s,
        )
        for one in settings.registries
    }
    named = {one.host: DockerConfig.load(one.authfile) for one in settings.registries if one.authfile}
    return replace(usual, hosts=hosts, credentials=_ByHost(named, usual.credentials))


@dataclass(frozen=True, slots=True)
class _ByHost:
    """The credentials file that is named for a host, else the usual ones."""

    named: Mapping[str, CredentialSource]
    usual: CredentialSource

    def credential_for(self, host: str, repository: str) -> Credential | None:
        return self.named.get(host, self.usual).credential_for(host, repository)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, and aliases: they may unfold without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not understood here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key!r} is no name")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key!r} is there twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _resolved(value: Any, environ: Mapping[str, str], where: str) -> Any:
    if isinstance(value, dict):
        if set(value) == {"file"} and isinstance(value["file"], str):
            return _text_of(value["file"], where)
        if set(value) == {"env"} and isinstance(value["env"], str):
            if value["env"] not in environ:
                raise ConfigError(f"{where}: the environment has no {value['env']}")
            return environ[value["env"]]
        return {key: _resolved(one, environ, f"{where}.{key}".lstrip(".")) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one, environ, f"{where}[{i}]") for i, one in enumerate(value)]
    return value


def _text_of(path: str, where: str) -> str:
    try:
        raw = Path(path).read_bytes()
        if len(raw) > _MAX_SECRET_BYTES:
            raise ConfigError(f"{where}: {path} is too large for a secret")
        return raw.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot read {path}: {error}") from None


def _in_words(error: Any) -> str:
    where = ""
    for part in error["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "there is no such setting"
    return f"{where.lstrip('.')}: {message}" if where else message
