"""Who accel is compared with: what is installed here, in which version, and how to get the rest.

Nothing is ever installed. A peer without a version is not there.
"""

import importlib
import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody else's library or program. ``version()`` is None where it is not installed."""

    name: str
    get: str
    version: Callable[[], str | None]


def module(name: str) -> ModuleType | None:
    """The Python module ``name``, None where it is not installed (or cannot be loaded)."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def from_pypi(package: str, import_name: str) -> Peer:
    """A Python package with a module."""
    return Peer(package, f"pip install {package}", lambda: _module_version(package, import_name))


def _module_version(package: str, import_name: str) -> str | None:
    if module(import_name) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # put there by other means than pip
        return "unknown version"


def program(name: str, get: str, *ask: str) -> Peer:
    """A program on the PATH. ``ask`` are the arguments that make it say its version, somewhere in its output."""
    return Peer(name, get, lambda: _program_version(name, ask))


def _program_version(name: str, ask: tuple[str, ...]) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    if ask:
        try:
            done = subprocess.run([path, *ask], capture_output=True, text=True, errors="replace", timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown version"
        if found := re.search(r"\bv?(\d+(?:\.\d+)+)", done.stdout + done.stderr):
            return found[1]
    return "unknown version"


@cache
def package_version(path: str) -> str | None:
    """Version of the system package that the file belongs to, by dpkg or rpm; None if neither knows."""
    for command in (
        ["rpm", "-qf", "--queryformat", "%{VERSION}", path],
        ["dpkg-query", "-S", path],
    ):
        if not (answer := _said(*command)):
            continue
        if command[0] == "rpm":
            return answer
        package = answer.partition(": ")[0]  # "libdeflate0:amd64: /usr/lib/…"
        return _said("dpkg-query", "-W", "-f", "${Version}", package)
    return None


def _said(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.stdout.strip() if done.returncode == 0 else None
