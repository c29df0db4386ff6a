"""Programs that benches run as processes: how to call each, which version it is, and what to do where it is missing."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import data
from accel.bench.peers import from_pypi, program

HERE = Path(__file__).resolve().parent
APT = {"libdeflate-gunzip": "libdeflate-tools", "igzip": "isal"}     # package of a program, where it has another name

QUESTIONS = {"gztool": ("-h",), "libdeflate-gunzip": ("-V",), "openssl": ("version",), "strace": ("-V",)}


@dataclass(frozen=True, slots=True)
class Program:
    """``version`` is None where it is not installed."""

    command: tuple[str, ...]
    version: str | None
    missing: str = ""


def accel() -> Program:
    """The command line of the accel that these benches belong to; its version is the row's commit."""
    return Program((sys.executable, "-c", "from accel.cli import main; main()"), "")


def python(package: str, text: str) -> Program:
    """A program in Python that needs a package from PyPI."""
    return Program((sys.executable, "-c", text), from_pypi(package, package).version(), f"pip install {package}")


def script(package: str) -> Program:
    """The program that a package from PyPI installs beside our Python."""
    return Program((str(Path(sys.executable).with_name(package)),), from_pypi(package, package).version(),
                   f"pip install {package}")  # fmt: skip


def installed(name: str) -> Program:
    """A program on the PATH."""
    question = QUESTIONS.get(name, ("--version",))
    return Program((name,), program(name, "", *question).version(), f"apt install {APT.get(name, name)}")


def libdeflate_gunzip() -> Program:
    """libdeflate's gunzip, the newest that is here."""
    built = newest("libdeflate-gunzip-*")
    return Program((str(built[0]),), built[1]) if built else installed("libdeflate-gunzip")


def newest_libdeflate() -> tuple[str | None, str | None]:
    """Path and version of the libdeflate that ``bench/setup.py`` built; (None, None) before that."""
    built = newest("libdeflate-*.so")
    return (str(built[0]), built[1]) if built else (None, None)


def newest(pattern: str) -> tuple[Path, str] | None:
    """The file in the cache whose name has the highest version, and that."""
    found = [(path, match[1]) for path in data.CACHE.glob(pattern) if (match := re.search(r"-(\d[\d.]*\d)", path.name))]
    return max(found, key=lambda one: [int(part) for part in one[1].split(".")], default=None)


def soci() -> Program:
    """SOCI's zTOC builder."""
    return built("soci", HERE / "soci", "soci-snapshotter")


def stargz() -> Program:
    """What ctr-remote and nerdctl convert with."""
    return built("stargz", data.ROOT / "tests" / "interop" / "stargz", "stargz-snapshotter")


def storage() -> Program:
    """What podman and skopeo compress with."""
    return built("storage", data.ROOT / "tests" / "interop" / "storage", "go.podman.io/storage")


def built(name: str, source: Path, module: str) -> Program:
    """A Go program as ``bench/setup.py`` builds it; its version is that of ``module``."""
    binary = data.CACHE / name
    pinned = re.search(rf"{module} (v\S+)", (source / "go.mod").read_text())
    assert pinned is not None
    return Program((str(binary),), pinned[1] if binary.exists() else None, "python bench/setup.py builds it")
