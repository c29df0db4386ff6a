"""Shows the conversion service end to end on this machine: ``service.py [--seconds N]``.

Starts Debian's ``docker-registry`` with notifications to ``accel serve``, pushes an image with skopeo, watches its job,
and shows the accelerated tag and the event that goes out. ``--seconds`` keeps everything running for the page to be
looked at. Exits 1 if something did not come about.
"""

import argparse
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3
from build_image import TAG, WORK, build
from rich.console import Console

ACCEL = str(Path(sys.executable).with_name("accel"))
WAIT_S = 120.0
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, true: Callable[[], Any]) -> Any:
    """What ``true`` gives once it is true."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if found := true():
                console.print(f"  [green]ok[/]  {what}")
                return found
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.2)
    sys.exit(f"{what}: it did not come about")


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended in the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def receiver(came: list[dict[str, Any]]) -> Iterator[str]:
    """The URL of somebody who is told of results."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/events"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def registry_config(folder: Path, port: int, hook: str, secret: str) -> dict[str, Any]:
    return {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "notifications": {
            "endpoints": [
                {
                    "name": "accel",
                    "url": hook,
                    "headers": {"Authorization": [f"Bearer {secret}"]},
                    "timeout": "1s",
                    "threshold": 5,
                    "backoff": "1s",
                    "ignore": {"mediatypes": ["application/octet-stream"], "actions": ["pull"]},
                }
            ]
        },
    }


def service_config(folder: Path, port: int, host: str, events: str, secret: str, token: str) -> dict[str, Any]:
    return {
        "store": {"path": str(folder / "store")},
        "api": {
            "listen": f"127.0.0.1:{port}",
            "tokens": [{"name": "demo", "token": token, "scope": "admin"}],
        },
        "registries": [{"host": host, "plain_http": True}],
        "sources": [
            {"name": "registry", "kind": "distribution", "registry": host, "auth": {"bearer": [secret]}}
        ],
        "rules": [{"name": "all", "mode": "index-only", "min_layer": "1KiB"}],
        "endpoints": [{"name": "demo", "url": events, "types": ["done"], "tag": "_accelerated$"}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.0, help="keep it running so long in the end")
    chosen = parser.parse_args()
    for program in ("docker-registry", "skopeo"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed (Debian package {program})")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accel-demo-")))
        show(folder, stack)
        if chosen.seconds:
            time.sleep(chosen.seconds)


def show(folder: Path, stack: ExitStack) -> None:
    came: list[dict[str, Any]] = []
    events = stack.enter_context(receiver(came))
    port, registry_port = free_port(), free_port()
    host, secret, token = f"127.0.0.1:{registry_port}", secrets.token_hex(16), secrets.token_hex(16)
    url = f"http://127.0.0.1:{port}"
    for name, config in (
        ("registry.json", registry_config(folder, registry_port, f"{url}/hooks/registry", secret)),
        ("accel.json", service_config(folder, port, host, events, secret, token)),
    ):
        (folder / name).write_text(json.dumps(config))  # JSON is YAML
    console.print("[bold]Starting a registry and the service[/]")
    stack.enter_context(
        running(["docker-registry", "serve", str(folder / "registry.json")], folder / "registry.log")
    )
    stack.enter_context(running([ACCEL, "serve", "--config", str(folder / "accel.json")], folder / "accel.log"))
    http = urllib3.PoolManager(retries=False)
    stack.callback(http.clear)
    wait_for(f"the service answers at {url}", lambda: http.request("GET", f"{url}/readyz").status == 200)
    wait_for("the registry answers", lambda: http.request("GET", f"http://{host}/v2/").status == 200)

    console.print("[bold]Pushing an image[/], nothing else")
    build()
    target = f"docker://{host}/demo/app:1.0"
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{WORK / 'image'}:{TAG}", target], check=True
    )
    ask = [ACCEL, "jobs", "list", "--server", url, "--json"]
    env = {"ACCEL_TOKEN": token, "PATH": "/usr/bin:/bin"}

    def jobs(state: str) -> list[dict[str, Any]]:
        done = subprocess.run([*ask, "--state", state], env=env, capture_output=True, check=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)["jobs"]
        return found

    (job,) = wait_for("a job was made and has ended", lambda: jobs("done"))
    subprocess.run([ACCEL, "jobs", "show", job["id"], "--server", url], env=env, check=True)
    accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
    result = f"http://{host}/v2/demo/app/manifests/1.0_accelerated"
    wait_for("demo/app:1.0_accelerated is there", lambda: http.request("HEAD", result, headers=accept).status == 200)
    wait_for("the event went out", lambda: came)
    console.print_json(data=came[0])
    subprocess.run(
        [ACCEL, "verify", f"docker://{host}/demo/app:1.0_accelerated", "--plain-http", host], check=True
    )
    console.print(f"[bold]PASS[/]  the page was at {url}/ (token {token})")


if __name__ == "__main__":
    main()
