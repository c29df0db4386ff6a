"""The service's configuration file: what is wrong is said with its place, and secrets are never told."""

import base64
import json
from pathlib import Path

import pytest

from accel.config.service import service_registries, service_settings
from accel.errors import ConfigError

SECRET = "very-secret-text-0123456789"
FINE = "api: {auth: none}\nregistries: [{host: r.example}]\n"


def written(folder: Path, text: str) -> str:
    path = folder / "accel.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FINE + "colour: red", "colour: there is no such setting"),
        (FINE + "limits: {jbos: 3}", r"limits\.jbos: there is no such setting"),
        (FINE + "rules: [{name: a}, {name: b, mod: full}]", r"rules\[1\]\.mod: there is no such setting"),
        (FINE + "api: {auth: none}", "'api' is there twice"),
        (FINE + "limits: {jobs: 1, jobs: 2}", "line 3: 'jobs' is there twice"),
        (FINE + "1: x", "is no name"),
        (FINE + "x: &a [1]\ny: *a", "aliases are not understood"),
        (FINE + "limits: {memory: lots}", "limits.memory"),
        (FINE + "limits: {memory: -1}", "limits.memory"),
        (FINE + "limits: {backoff: soon}", "limits.backoff"),
        (FINE + "limits: {jobs: 0}", "limits.jobs"),
        (FINE + "limits: {layers: 0}", "nobody would work"),
        (FINE + "endpoints: [{name: a, url: 'http://x', tag: '('}]", "no regular expression"),
        (FINE + "rules: [{name: a, tag: '/(/'}]", "rule 'a', tag"),
        (FINE + "rules: [{name: a, mode: sideways}]", "rule 'a'"),
        (FINE + "limits: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("api: {auth: none}", "registries"),
        ("registries: [{host: r.example}]\napi: {}", "nobody could use the API"),
        ("- 1", "no mapping"),
        ("", "no mapping"),
        ("a: [", "expected"),
        ("[" * 5000, "accel.yaml: "),
        ("api: {env: NOT_SET}", "api: the environment has no NOT_SET"),
        ("api: {tokens: [{name: a, token: {file: /none}}]}", r"api\.tokens\[0\]\.token: cannot read /none"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        service_settings(written(tmp_path, text), {})


def test_sizes_and_times_have_units(tmp_path: Path) -> None:
    text = FINE + "limits: {memory: 1GiB, backoff: 2m}"
    limits = service_settings(written(tmp_path, text), {}).limits
    assert (limits.memory, limits.backoff_s) == (1 << 30, 120)


def test_secrets_come_from_files_and_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET + "\n")
    text = f"""
registries: [{{host: r.example}}]
api: {{tokens: [{{name: a, token: {{file: {tmp_path}/token}}}}, {{name: b, token: {{env: TOKEN}}}}]}}
"""
    settings = service_settings(written(tmp_path, text), {"TOKEN": "x" * 16})
    assert [one.token.get_secret_value() for one in settings.api.tokens] == [SECRET, "x" * 16]
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    "text",
    [
        "api: {tokens: [{name: a, token: {env: S}, scope: all}]}",
        "api: {tokens: [{name: a, token: [{env: S}]}]}",
        "api: {tokens: {env: S}}",
        "api: {auth: none}\nstore: {url: {env: S}}",
        "api: {auth: none}\nlimits: {memory: {env: S}}",
        "api: {auth: none}\nlimits: {backoff: {env: S}}",
    ],
)
def test_no_error_tells_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        service_settings(written(tmp_path, text + "\nregistries: [{host: r.example}]"), {"S": SECRET})
    assert SECRET not in str(caught.value)


def test_each_registry_has_the_credentials_named_for_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        auth = base64.b64encode(f"{name}:pw".encode()).decode()
        both = {f"{host}.example": {"auth": auth} for host in ("a", "b")}
        (tmp_path / name).write_text(json.dumps({"auths": both}))
    text = f"""
api: {{auth: none}}
registries:
- {{host: a.example, authfile: {tmp_path}/a, plain_http: true}}
- {{host: b.example}}
"""
    settings = service_settings(written(tmp_path, text), {})
    options = service_registries(settings, {"REGISTRY_AUTH_FILE": str(tmp_path / "b")})
    found = {host: options.credentials.credential_for(host, "app") for host in ("a.example", "b.example")}
    assert [one and one.username for one in found.values()] == ["a", "b"]
    assert options.hosts["a.example"].plain_http
    assert not options.hosts["b.example"].plain_http
