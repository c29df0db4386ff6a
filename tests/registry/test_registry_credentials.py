"""docker's config.json and credential helpers."""

import base64
import json
from pathlib import Path

import pytest

from accel.errors import AuthError, ConfigError
from accel.registry import Chained, Credential, DockerConfig, Given, environment_proxies, standard_paths


def auth(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_passwords_may_hold_colons():
    config = DockerConfig.parse({"auths": {"r.io": auth("ada", "a:b:c")}})
    assert config.credential_for("r.io", "x") == Credential("ada", "a:b:c")


@pytest.mark.parametrize("key", ["r.io", "https://r.io", "http://r.io/", "https://r.io/v1/", "r.io/v2/"])
def test_keys_are_hosts_in_any_spelling_docker_uses(key):
    config = DockerConfig.parse({"auths": {key: auth("ada", "pw")}})
    assert config.credential_for("r.io", "x/y") == Credential("ada", "pw")
    assert config.credential_for("r.io:5000", "x/y") is None
    assert config.credential_for("evil-r.io", "x/y") is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
)
def test_docker_hub_has_many_names(key):
    config = DockerConfig.parse({"auths": {key: auth("ada", "pw")}})
    assert config.credential_for("docker.io", "library/x") == Credential("ada", "pw")


def test_the_longest_repository_prefix_wins():
    config = DockerConfig.parse(
        {"auths": {"r.io": auth("host", "1"), "r.io/a": auth("a", "2"), "r.io/a/b": auth("b", "3")}}
    )
    users = [config.credential_for("r.io", name).username for name in ("a/b/c", "a/b", "a/bc", "a", "z", "")]
    assert users == ["b", "b", "a", "a", "host", "host"]


def test_plain_fields_and_tokens_are_read():
    entry = {"username": "u", "password": "p", "identitytoken": "id", "registrytoken": "reg"}
    assert DockerConfig.parse({"auths": {"r": entry}}).credential_for("r", "") == Credential(
        "u", "p", "id", "reg"
    )


def test_an_empty_entry_is_no_credential():
    # what docker leaves behind when a helper holds the secret
    assert DockerConfig.parse({"auths": {"r": {}}}).credential_for("r", "") is None


@pytest.mark.parametrize(
    "value",
    [
        {"auths": [1]}, {"auths": {"r": 1}}, {"auths": {"r": {"auth": "###"}}}, {"auths": {"r": {"auth": "YWRh"}}},
        {"credsStore": 3}, {"credsStore": "../x"}, {"credHelpers": {"r": "a/b"}}, {"credHelpers": {"r": None}},
        {"credHelpers": "x"},
    ],
)  # fmt: skip
def test_broken_configurations_are_refused(value):
    with pytest.raises(ConfigError):
        DockerConfig.parse(value)


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"[" * 100000, b"\xff"])
def test_broken_files_are_refused_without_quoting_them(tmp_path, raw):
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match="config.json"):
        DockerConfig.load(path)
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        DockerConfig.load(tmp_path / "none.json")


def test_secrets_are_not_in_representations(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"r": auth("ada", "hush") | {"identitytoken": "hush"}}}))
    assert "hush" not in repr(DockerConfig.load(path))
    with pytest.raises(ConfigError) as raised:
        DockerConfig.parse({"auths": {"r": {"auth": "hush"}}})
    assert "hush" not in str(raised.value)


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Makes ``docker-credential-NAME`` programs from shell text."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def make(name: str, script: str) -> Path:
        path = tmp_path / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def test_helpers_are_asked_for_the_host(helper, tmp_path):
    helper(
        "one",
        f'cat > {tmp_path}/asked; echo "$1" >> {tmp_path}/asked; echo \'{{"Username":"u","Secret":"s"}}\'',
    )
    config = DockerConfig.parse(
        {"credHelpers": {"r.io:5000": "one"}, "auths": {"r.io:5000": auth("wrong", "wrong")}}
    )
    assert config.credential_for("r.io:5000", "x") == Credential("u", "s")
    assert (tmp_path / "asked").read_text() == "r.io:5000get\n"


def test_the_hub_is_filed_under_its_old_url(helper, tmp_path):
    helper("store", f'cat > {tmp_path}/asked; echo \'{{"Username":"<token>","Secret":"refresh"}}\'')
    config = DockerConfig.parse({"credsStore": "store"})
    assert config.credential_for("docker.io", "library/x") == Credential(identity_token="refresh")
    assert (tmp_path / "asked").read_text() == "https://index.docker.io/v1/"


def test_what_the_store_does_not_know_is_looked_up_in_auths(helper):
    helper("store", "echo 'credentials not found in native keychain'; exit 1")
    config = DockerConfig.parse({"credsStore": "store", "auths": {"r": auth("ada", "pw")}})
    assert config.credential_for("r", "") == Credential("ada", "pw")
    assert config.credential_for("other", "") is None


@pytest.mark.parametrize(
    "script",
    [
        "echo hush; exit 3",
        "echo hush",
        'echo \'{"Username":"hush"}\'',
        'echo \'{"Username":1,"Secret":"hush"}\'',
    ],
)
def test_failing_helpers_are_named_and_not_quoted(helper, script):
    helper("bad", script)
    with pytest.raises(AuthError, match="docker-credential-bad") as raised:
        DockerConfig.parse({"credsStore": "bad"}).credential_for("r", "")
    assert "hush" not in str(raised.value) and raised.value.__cause__ is None


def test_a_missing_helper_is_an_error():
    with pytest.raises(AuthError, match="docker-credential-not-there"):
        DockerConfig.parse({"credHelpers": {"r": "not-there"}}).credential_for("r", "")


def test_given_credentials_go_before_others():
    config = DockerConfig.parse({"auths": {"a": auth("file", "1"), "b": auth("file", "2")}})
    given = Given({"a": Credential("given", "3")}, config)
    assert [given.credential_for(h, "").username for h in "ab"] == ["given", "file"]
    assert given.credential_for("c", "") is None


def test_chained_sources_are_asked_in_turn():
    one, two = Given({"a": Credential("one")}), Given({"a": Credential("two"), "b": Credential("two")})
    chain = Chained([one, two])
    assert [chain.credential_for(h, "") for h in "abc"] == [Credential("one"), Credential("two"), None]


@pytest.mark.parametrize(
    ("environment", "paths"),
    [
        ({}, ["/h/.docker/config.json", "/h/.config/containers/auth.json"]),
        ({"DOCKER_CONFIG": "/d", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c"},
         ["/d/config.json", "/r/containers/auth.json", "/c/containers/auth.json"]),
        ({"REGISTRY_AUTH_FILE": "/x.json", "DOCKER_CONFIG": "/d"}, ["/x.json"]),
    ],
)  # fmt: skip
def test_the_usual_places_of_credentials(environment, paths):
    assert list(map(str, standard_paths(environment, Path("/h")))) == paths


def test_proxies_of_the_environment():
    environment = {
        "HTTPS_PROXY": "http://big:1",
        "https_proxy": "http://small:1",
        "NO_PROXY": "a.io, .corp ,,",
    }
    assert environment_proxies(environment) == ({"https": "http://small:1"}, ("a.io", ".corp"))
    assert environment_proxies({"all_proxy": "http://p"})[0] == {"http": "http://p", "https": "http://p"}
    assert environment_proxies({}) == ({}, ())
