"""Starts the real containerd (Debian packages containerd and runc) with a root, a state and a socket of its own.

with Containerd() as daemon:
    daemon.ctr("images", "pull", "--plain-http", reference)
    daemon.run(reference, "/bin/true")

With ``snapshotter`` also stargz-snapshotter, which it then asks by the name "stargz". Root only. What it leaves running
or mounted below its folder is ended when it is closed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from support.go_programs import Refused, cannot

_START_S = 30.0
_RUN_S = 120.0
_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{folder}/c.sock"
[debug]
  level = "warn"
[ttrpc]
  address = "{folder}/t.sock"
[proxy_plugins.stargz]
  type = "snapshot"
  address = "{folder}/s.sock"
"""


class Containerd:
    """One daemon. ``snapshotter`` is the program of that name, ``host`` the registry that it fetches from."""

    def __init__(self, snapshotter: Path | None = None, host: str = "") -> None:
        self._programs = {name: _installed(name) for name in ("containerd", "ctr", "runc")}
        self._folder = Path(
            tempfile.mkdtemp(prefix="ctd")
        )  # not below a test's folder: paths of sockets are short
        self._snapshotter, self._host = snapshotter, host
        self._running: list[subprocess.Popen[bytes]] = []
        self._n_runs = 0

    def __enter__(self) -> Self:
        try:
            if self._snapshotter is not None:
                command = [
                    self._snapshotter,
                    "serve",
                    self._folder / "s.sock",
                    self._folder / "s",
                    self._host,
                ]
                self._start([str(word) for word in command], self._folder / "s.sock")
            config = self._folder / "config.toml"
            config.write_text(_CONFIG.format(folder=self._folder))
            self._start([self._programs["containerd"], "-c", str(config)], self._folder / "c.sock")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def ctr(self, *arguments: str) -> str:
        """What ``ctr`` prints. Raises ``Refused`` with what it says and what the daemons log."""
        return self._ask([self._programs["ctr"], "-a", str(self._folder / "c.sock"), *arguments])

    def pull(self, reference: str, snapshotter: str = "overlayfs") -> None:
        if snapshotter == "stargz":
            self._ask([str(self._snapshotter), "pull", str(self._folder / "c.sock"), reference])
        else:
            self.ctr("images", "pull", "--plain-http", "--snapshotter", snapshotter, reference)

    def run(self, reference: str, *command: str, snapshotter: str = "overlayfs") -> str:
        """What a command prints that runc runs in the image."""
        self._n_runs += 1
        runc = str(self._folder / "runc")
        options = ["--rm", "--snapshotter", snapshotter, "--runc-root", runc]
        return self.ctr("run", *options, reference, f"run-{self._n_runs}-{os.getpid()}", *command)

    def lazy_mounts(self) -> list[Path]:
        """Where stargz-snapshotter has mounted layers, the one mounted last first."""
        return [Path(mount) for mount in _mounts_below(self._folder / "s")]

    def _ask(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_RUN_S)
        if done.returncode:
            raise Refused(f"{done.stdout[-1000:]}{done.stderr[-2000:]}{self.logged()[-4000:]}")
        return done.stdout

    def logged(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))

    def _start(self, command: list[str], socket: Path) -> None:
        with (self._folder / f"{socket.stem}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._running.append(process)
        deadline = time.monotonic() + _START_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {self.logged()[-2000:]}")
            time.sleep(0.05)

    def _stop(self) -> None:
        for shim in _children_named(self._folder.name):
            os.kill(shim, signal.SIGKILL)
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        unmount_below(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)


def _installed(name: str) -> str:
    """The path of a program that is found and may be used; skips otherwise."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/bin")
    if path is None:
        raise cannot(f"{name} is not installed (Debian packages containerd, runc)")
    if os.geteuid():
        raise cannot(f"{name} takes root")
    return path


def _children_named(word: str) -> list[int]:
    """Processes whose command line has ``word``, which is the name of our folder: containerd's shims."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if word.encode() in words and b"containerd-shim" in words:
            found.append(int(path.parent.name))
    return found


def unmount_below(folder: Path) -> None:
    for mount in _mounts_below(folder):
        subprocess.run(["umount", "-l", mount], check=False)


def _mounts_below(folder: Path) -> list[str]:
    """Mount points below ``folder``, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split()[4] for line in lines]
    return sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True)
