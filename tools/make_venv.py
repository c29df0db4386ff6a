"""Makes the virtual environment that the Makefile builds in: ``make_venv.py DIR``.

Needs nothing but the Python that runs it. Debian splits ``ensurepip`` off into python3-venv; without it pip comes
from the system's own pip or else from PyPI, checked against the SHA-256 that PyPI states.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
import venv
from pathlib import Path

OLDEST = (3, 11)
PYPI_PIP = "https://pypi.org/pypi/pip/json"


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


def pip_from_pypi(directory: Path) -> None:
    """Install pip into ``directory`` with PyPI's newest pip wheel, which can run from inside its own file."""
    with urllib.request.urlopen(PYPI_PIP, timeout=60) as answer:
        wheel = next(f for f in json.load(answer)["urls"] if f["packagetype"] == "bdist_wheel")
    with urllib.request.urlopen(wheel["url"], timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        raise OSError(f"{wheel['url']} is not the file that PyPI describes")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, wheel["filename"])
        file.write_bytes(data)
        subprocess.run([directory / "bin" / "python", f"{file}/pip", "install", "-q", str(file)], check=True)


def create(directory: Path) -> None:
    """Make the environment, with pip from wherever this machine has it."""
    with_pip = importlib.util.find_spec("ensurepip") is not None
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=with_pip).create(directory)
    if with_pip:
        return
    python = str(directory / "bin" / "python")
    system_pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "pip"]
    if importlib.util.find_spec("pip") and subprocess.run(system_pip).returncode == 0:
        return
    try:
        pip_from_pypi(directory)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"make_venv: this Python has no ensurepip (Debian: apt-get install python3-venv), and pip: {error}")


def main() -> None:
    directory = Path(sys.argv[1])
    if lacks := missing():
        sys.exit("\n".join(["make_venv: this machine lacks"] + [f"  - {what}" for what in lacks]))
    if not works(directory):
        create(directory)


if __name__ == "__main__":
    main()
