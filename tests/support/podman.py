"""Debian's podman (with runc) on stores of its own. Root only.

It is told all that it would otherwise learn from a machine that was set up for it: no network, cgroups without systemd,
limits that a container within a container may have.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from support.containerd import unmount_below
from support.go_programs import Refused, cannot
from support.registry_docker import require_program

_OPTIONS = ("--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc")
_RUN_OPTIONS = (
    "--network",
    "none",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1024:1024",
    "--pull",
    "never",
)


class Podman:
    """``driver`` is that of its store, overlay or vfs."""

    def __init__(self, driver: str) -> None:
        self._program = require_program("podman", "podman", "ACCEL_REQUIRE_INTEROP")
        if os.geteuid():
            raise cannot("podman takes root here")
        self._driver = driver
        self._folder = Path(tempfile.mkdtemp(prefix="pod"))  # it allows 50 characters

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ask("unmount", "--all")
        unmount_below(self._folder)
        shutil.rmtree(self._folder)

    def pull(self, reference: str) -> None:
        self._ask("pull", "-q", "--tls-verify=false", reference)

    def run(self, reference: str, *command: str) -> str:
        """What a command prints that runc runs in the image."""
        return self._ask("run", "--rm", *_RUN_OPTIONS, reference, *command)

    def _ask(self, *arguments: str) -> str:
        stores = [f"--{name}={self._folder}/{name}" for name in ("root", "runroot", "tmpdir")]
        command = [self._program, *stores, "--storage-driver", self._driver, *_OPTIONS, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
        if done.returncode:
            raise Refused(done.stderr[-4000:])
        return done.stdout
