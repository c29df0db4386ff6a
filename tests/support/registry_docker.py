"""Starts the real ``docker-registry`` (distribution 2.8, Debian package docker-registry) on loopback.

with DockerRegistry(tmp_path) as registry:  # or with users={...}, tokens=TokenServer(...), notify={"url": ...}
    RegistryStore(f"{registry.host}/app:v1", registry.options())
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from accel.registry import Anonymous, CredentialSource, HostOptions, RegistryOptions, RegistryStore
from support.images import Built, put
from support.registry_tokens import TokenServer

USERS = {"ada": "love:lace 1", "grace": "hopper"}
_START_S = 30.0


def require_program(name: str, package: str, variable: str) -> str:
    """The path of a program; without it the test is skipped, or fails if the environment variable is "1"."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/bin")
    if path is None:
        missing = f"{name} is not installed (Debian package {package})"
        if os.environ.get(variable) == "1":
            pytest.fail(f"{missing}, but {variable}=1")
        pytest.skip(missing)
    return path


class DockerRegistry:
    """One registry process with its storage below ``folder``: open, with htpasswd ``users``, or with ``tokens``."""

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        tokens: TokenServer | None = None,
        notify: Mapping[str, Any] | None = None,
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        self._program = require_program("docker-registry", "docker-registry", "ACCEL_REQUIRE_REGISTRY")
        self._folder = folder
        self._log = folder / "registry.log"
        self._tokens = tokens
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "text"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"{address}:{port}", "secret": "only for this test"},
        }
        if notify is not None:  # an endpoint of the registry's notifications: url, headers, …
            self._notify(config, notify)
        if users is not None:
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(_htpasswd(folder, users))}}
        if tokens is not None:
            roots = folder / "roots.pem"
            roots.write_bytes(tokens.root_pem)
            config["auth"] = {
                "token": {
                    "realm": tokens.url,
                    "service": tokens.service,
                    "issuer": tokens.issuer,
                    "rootcertbundle": str(roots),
                }
            }
        self._config = folder / "config.yml"
        self._config.write_text(json.dumps(config))  # JSON is YAML

    @staticmethod
    def _notify(config: dict[str, Any], endpoint: Mapping[str, Any]) -> None:
        usual = {"name": "accel", "timeout": "1s", "threshold": 3, "backoff": "1s"}
        config["notifications"] = {"endpoints": [{**usual, **endpoint}]}

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "serve", str(self._config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while True:
            text = self._log.read_text(errors="replace")
            if match := re.search(r"listening on ([0-9.]+:\d+)", text):
                self.host = match[1]
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise RuntimeError(f"docker-registry did not start: {text[-2000:]}")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def collect_garbage(self) -> None:
        """Stop it, have it remove every blob that no manifest lists, and start it again."""
        self._stop()
        subprocess.run(
            [self._program, "garbage-collect", str(self._config)], check=True, capture_output=True, timeout=60
        )
        self._start_again()

    def restart(self) -> None:
        """kill -9, and a new process on the same storage and port, which knows nothing of undelivered events."""
        self._stop()
        self._start_again()

    def _start_again(self) -> None:
        config = json.loads(self._config.read_text())
        config["http"]["addr"] = self.host
        self._config.write_text(json.dumps(config))
        self.__enter__()

    def fetched(self, repository: str, digest: str) -> list[tuple[int, int]]:
        """Status and number of bytes of every GET of that blob."""
        pattern = rf'"GET /v2/{repository}/blobs/{digest} HTTP/1\.1" (\d+) (\d+)'
        return [(int(code), int(n)) for code, n in re.findall(pattern, self._log.read_text(errors="replace"))]

    def options(self, credentials: CredentialSource | None = None, **changes: Any) -> RegistryOptions:
        """Options that reach it."""
        hosts = {self.host: HostOptions(plain_http=True)} | changes.pop("hosts", {})
        return RegistryOptions(hosts=hosts, credentials=credentials or Anonymous(), **changes)


def pushed(registry: DockerRegistry, built: Built, name: str) -> str:
    """The reference of an image that is there now; ``name`` has the tag."""
    reference = f"{registry.host}/{name}"
    store = RegistryStore(reference, registry.options())
    try:
        put(store, built, tag=name.rpartition(":")[2])
    finally:
        store.close()
    return reference


def _htpasswd(folder: Path, users: Mapping[str, str]) -> Path:
    import bcrypt

    path = folder / "htpasswd"
    lines = [
        f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for user, word in users.items()
    ]
    path.write_text("".join(lines))
    return path
