"""Makes the virtual environment that the Makefile builds in: ``make_venv.py DIR``.

Needs nothing but the Python that runs it. Debian splits ``ensurepip`` off into python3-venv; without that package the
system's own pip does its work, and without either the message says what to install.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

OLDEST = (3, 11)


def missing() -> list[str]:
    """What this machine lacks to build the kernels, one sentence each."""
    lacks = []
    if sys.version_info < OLDEST:
        have = ".".join(map(str, sys.version_info[:3]))
        lacks.append(f"Python {OLDEST[0]}.{OLDEST[1]} or newer; {sys.executable} is {have} (set PYTHON=…).")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        lacks.append("Python's C headers (Debian: apt-get install python3-dev).")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        lacks.append("a C compiler (Debian: apt-get install gcc libc6-dev).")
    return lacks


def works(directory: Path) -> bool:
    """True if ``directory`` already is an environment of this very Python version, with a pip that runs."""
    python = directory / "bin" / "python"
    want = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    return python.exists() and subprocess.run([python, "-c", want], stderr=subprocess.DEVNULL).returncode == 0


def create(directory: Path) -> None:
    """Make the environment, with pip from ensurepip or else from the system's own pip."""
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if not with_pip and importlib.util.find_spec("pip") is None:
        sys.exit("make_venv: this Python has neither ensurepip nor pip (Debian: apt-get install python3-venv).")
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=with_pip).create(directory)
    if not with_pip:
        python = str(directory / "bin" / "python")
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "pip"], check=True)


def main() -> None:
    directory = Path(sys.argv[1])
    if lacks := missing():
        sys.exit("\n".join(["make_venv: this machine lacks"] + [f"  - {what}" for what in lacks]))
    if not works(directory):
        create(directory)


if __name__ == "__main__":
    main()
