"""Starts ``accel serve`` and ``accel worker`` as processes of their own, with a configuration made here.

with RunningService(tmp_path, [registry_settings], rules=[…]) as service:
    service.api("GET", "/jobs")
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

TOKEN = "a token for tests only"
HOOK_SECRET = "a secret for tests only"
_START_S = 60.0


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(true: Callable[[], Any], what: str, timeout_s: float = 60.0, *, every_s: float = 0.05) -> Any:
    """What ``true`` gives once it is true; it is asked every ``every_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(every_s)


class RunningService:
    """A server and any number of workers on one store."""

    def __init__(
        self, folder: Path, *, registries: Sequence[Mapping[str, Any]], port: int | None = None, **settings: Any
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        first = registries[0]["host"]
        config = {
            "store": {"path": str(folder / "store")},
            "api": {
                "listen": f"127.0.0.1:{self.port}",
                "tokens": [{"name": "test", "token": TOKEN, "scope": "admin"}],
            },
            "registries": list(registries),
            "sources": [
                {
                    "name": "main",
                    "kind": "distribution",
                    "registry": first,
                    "auth": {"bearer": [HOOK_SECRET]},
                }
            ],
            "rules": [{"name": "all", "min_layer": 0}],
            "limits": {"backoff": "200ms"},
        } | settings
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "accel.yaml"
        self.config.write_text(json.dumps(config))  # JSON is YAML
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment: dict[str, str] = {}
        self._http = urllib3.PoolManager(retries=False)

    @property
    def notify(self) -> dict[str, Any]:
        """The endpoint that a registry is to send its events to."""
        return {"url": f"{self.url}/hooks/main", "headers": {"Authorization": [f"Bearer {HOOK_SECRET}"]}}

    def with_environment(self, **variables: str) -> Self:
        """This, with variables of the environment for its processes."""
        self._environment |= variables
        return self

    def __enter__(self) -> Self:
        self.start("serve")
        self.ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, command: str, name: str = "", prefix: Sequence[str] = ()) -> None:
        """Start ``accel COMMAND`` under a name; ``prefix`` is what it runs in."""
        name = name or command
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*prefix, sys.executable, "-m", "accel", command, "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self._environment},
            )

    def ready(self) -> None:
        """Wait until the server answers."""

        def answers() -> bool:
            if self.processes["serve"].poll() is not None:
                raise AssertionError(f"the server ended: {self.log('serve')[-3000:]}")
            try:
                return self._http.request("GET", f"{self.url}/readyz", timeout=5).status == 200
            except urllib3.exceptions.HTTPError:
                return False

        wait_for(answers, f"{self.url} ready", _START_S)

    def kill(self, name: str = "serve") -> None:
        """kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ask all to end, and see that they do."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"{name} did not end: {self.log(name)[-3000:]}") from None
        self.processes.clear()
        self._http.clear()

    def cpu_seconds(self) -> float:
        """What all processes took so far."""
        tick = os.sysconf("SC_CLK_TCK")
        stats = [Path(f"/proc/{process.pid}/stat").read_text() for process in self.processes.values()]
        return sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats) / tick

    def log(self, name: str = "serve") -> str:
        """What a process said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that ``/api/v1PATH`` answers; AssertionError unless it is a success."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode() if body is not None else None
        answer = self._http.request(
            method, f"{self.url}/api/v1{path}", body=data, headers=headers, timeout=30
        )
        assert answer.status < 300, (answer.status, answer.data[:1000])
        return json.loads(answer.data) if answer.data else None
