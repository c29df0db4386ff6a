"""Builds the kernels: one row per kernel, directives in one place. Static metadata is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

# kernel: extra compiler flags beyond the common ones (x86-64 only; other machines build the plain C).
KERNELS: dict[str, list[str]] = {
    "entries": [],
    "tar_scan": [],
    "crc32": [],
    "inflate_plain": [],
    "inflate_bmi2": [],
    "layer_scan": [],
    "inflate_at": [],
    "ztoc_encode": [],
    "ztoc_decode": [],
}

CHECKED = os.environ.get("ACCEL_CHECKED") == "1"
COMMON = ["-O2", "-fwrapv", "-fno-strict-aliasing"]
DIRECTIVES = {
    "language_level": 3,
    "freethreading_compatible": False,
    "boundscheck": CHECKED,
    "wraparound": CHECKED,
    "initializedcheck": CHECKED,
    "cdivision": not CHECKED,
    "embedsignature": True,
}
MACROS = [] if CHECKED else [("CYTHON_WITHOUT_ASSERTIONS", "1")]

extensions = [
    Extension(
        f"accel_core.{name}",
        [f"src/accel_core/{name}.pyx"],
        extra_compile_args=COMMON + flags,
        define_macros=MACROS,
    )
    for name, flags in KERNELS.items()
    if os.path.exists(f"src/accel_core/{name}.pyx")
]

setup(ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, include_path=["src"]))
