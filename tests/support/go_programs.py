"""The Go programs below ``tests/interop``, built when a test asks for them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1] / "interop"
# gpgme and libbtrfs would be needed at build time otherwise.
TAGS = "containers_image_openpgp,exclude_graphdriver_btrfs"


def cannot(reason: str) -> pytest.fail.Exception | pytest.skip.Exception:
    """To be raised: a skip, or a failure if interop is required."""
    if os.environ.get("ACCEL_REQUIRE_INTEROP") == "1":
        return pytest.fail.Exception(f"interop is required, but {reason}")
    return pytest.skip.Exception(reason)


def build_program(source: str, directory: Path, package: str = ".", *, cgo: bool = False) -> Path:
    """The program of a package in the module ``tests/interop/SOURCE``; skips where that cannot be built."""
    go = shutil.which("go")
    if go is None:
        raise cannot("there is no Go on this machine")
    program = directory / "interop"
    built = subprocess.run(
        [go, "build", "-tags", TAGS, "-o", str(program), package],
        cwd=SOURCES / source,
        capture_output=True,
        check=False,
        text=True,
        timeout=1500,
        env=os.environ | ({} if cgo else {"CGO_ENABLED": "0"}),
    )
    if built.returncode:
        raise cannot(f"{source} does not build: {built.stderr[-2000:]}")
    return program


class Refused(Exception):
    """Somebody else's code said no."""


def run(program: Path, *args: str, timeout_s: float = 120) -> bytes:
    """What the program prints. Raises ``Refused`` with its own words where it fails."""
    done = subprocess.run(
        [str(program), *args],
        capture_output=True,
        check=False,
        timeout=timeout_s,
        env=os.environ | {"TZ": "UTC"},
    )
    if done.returncode:
        raise Refused(done.stderr.decode(errors="replace") or f"exit code {done.returncode}")
    return done.stdout
