"""Installs what the benches compare with, at the versions pinned here, and prints the versions that are there.

    python bench/setup.py       # with the Python that will run the benches

From PyPI what ``peers.txt`` pins, into this Python. From Debian PACKAGES, as root; otherwise the command for it is
printed. Built into the cache, for what no package has: SOCI's zTOC builder (``bench/soci``; Go, a C compiler, zlib's
headers), the reference writers of eStargz and zstd:chunked (``tests/interop``; Go), and the newest libdeflate as
library and program (``bench/libdeflate`` pins it, cargo fetches the source, a C compiler makes it with the flags of its
own build). What cannot be had here is said and left out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import programs

import data
from accel.bench.peers import from_pypi

HERE = Path(__file__).resolve().parent
PACKAGES = ("debootstrap", "gcc", "gztool", "isal", "libc6-dev", "libdeflate-tools", "libdeflate0", "openssl", "pigz",
            "strace", "zlib1g-dev")  # fmt: skip


def main() -> int:
    failures = 0
    for step in (install_pypi, install_debian, build_go, build_libdeflate):
        try:
            step()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{step.__name__}: {error}", file=sys.stderr)
            failures += 1
    for name, version in versions():
        print(f"{name:24} {version or 'missing'}")
    return 1 if failures else 0


def versions() -> list[tuple[str, str | None]]:
    """Every peer with its version, None where it is missing."""
    packages = [line.partition("==")[0] for line in pins()]
    names = ("gzip", "gztool", "igzip", "openssl", "pigz", "strace")
    return [
        *((name, from_pypi(name, name.replace("-", "_")).version()) for name in packages),
        *((name, programs.installed(name).version) for name in names),
        ("libdeflate-gunzip", programs.libdeflate_gunzip().version),
        ("libdeflate, library", programs.newest_libdeflate()[1]),
        ("SOCI's builder", programs.soci().version),
        ("stargz-snapshotter", programs.stargz().version),
        ("containers/storage", programs.storage().version),
    ]


def pins() -> list[str]:
    lines = (HERE / "peers.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def install_pypi() -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *pins()], check=True)


def install_debian() -> None:
    missing = [name for name in PACKAGES if not is_installed(name)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    if os.geteuid() or shutil.which("apt-get") is None:
        print(f"missing packages: {shlex.join(command)}", file=sys.stderr)
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)


def is_installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return "ok installed" in asked.stdout


def build_go() -> None:
    interop = data.ROOT / "tests" / "interop"
    data.go_program("soci", HERE / "soci", cgo=True)
    for name in ("stargz", "storage"):
        data.go_program(name, interop / name)


def build_libdeflate() -> None:
    """``libdeflate-VERSION.so`` and ``libdeflate-gunzip-VERSION`` in the cache."""
    source = libdeflate_source()
    found = re.search(r'LIBDEFLATE_VERSION_STRING\s+"([^"]+)"', (source / "libdeflate.h").read_text())
    assert found is not None
    library = [str(path) for path in sorted(source.glob("lib/**/*.c"))]
    program = [str(source / "programs" / name) for name in ("gzip.c", "prog_util.c", "tgetopt.c")]
    common = ["cc", "-O2", "-DNDEBUG", "-D_FILE_OFFSET_BITS=64", "-D_POSIX_C_SOURCE=200809L", f"-I{source}"]
    shared = [*common, "-shared", "-fPIC", "-fvisibility=hidden", *library]
    for name, command in (
        (f"libdeflate-{found[1]}.so", shared),
        (f"libdeflate-gunzip-{found[1]}", [*common, *program, *library]),
    ):
        with data.publish(data.CACHE / name) as temporary:
            subprocess.run([*command, "-o", str(temporary)], check=True)
            temporary.chmod(0o755)


def libdeflate_source() -> Path:
    """libdeflate's source, from the archive of the crate that holds it."""
    manifest = str(HERE / "libdeflate" / "Cargo.toml")
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", manifest]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    crate = next(package for package in said["packages"] if package["name"] == "libdeflate-sys")
    return Path(crate["manifest_path"]).parent / "libdeflate"


if __name__ == "__main__":
    sys.exit(main())
