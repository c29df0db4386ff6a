"""Builds the kernels: one row per kernel, directives in one place. Static metadata is in pyproject.toml.

Three builds that never share a file (generated C in ``build/<mode>/c``, objects in ``build/<mode>/o``):

* release   (default)            no run-time checks, no assertions
* checked   ``ACCEL_CHECKED=1``  bounds, wraparound and initialised checks and assertions on
* sanitize  ``ACCEL_SANITIZE=1`` the release code under AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
import sysconfig

from Cython.Build import cythonize
from setuptools import Extension, setup

# kernel: extra compiler flags on x86-64 (elsewhere every kernel is plain C; dispatch happens at import).
KERNELS: dict[str, list[str]] = {
    "entries": [],
    "tar_scan": [],
    "crc32": [],
    "inflate_plain": [],
    "inflate_bmi2": ["-mbmi", "-mbmi2"],
    "layer_scan": [],
    "inflate_at": [],
    "ztoc": [],
}

CHECKED = os.environ.get("ACCEL_CHECKED") == "1"
SANITIZE = os.environ.get("ACCEL_SANITIZE") == "1"
MODE = "sanitize" if SANITIZE else "checked" if CHECKED else "release"
X86_64 = sysconfig.get_platform().endswith(("x86_64", "amd64"))

COMMON = ["-O2", "-fwrapv", "-fno-strict-aliasing"]
# -fwrapv would define signed overflow and so hide it from UBSan.
SANITIZER = [
    "-O1", "-g", "-fno-wrapv", "-fno-strict-aliasing", "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
]  # fmt: skip
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
        extra_compile_args=(SANITIZER if SANITIZE else COMMON) + (flags if X86_64 else []),
        extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
        define_macros=MACROS,
        depends=["setup.py"],
    )
    for name, flags in KERNELS.items()
    if os.path.exists(f"src/accel_core/{name}.pyx")
]

setup(
    ext_modules=cythonize(
        extensions, compiler_directives=DIRECTIVES, include_path=["src"], build_dir=f"build/{MODE}/c"
    ),
    options={"build": {"build_base": f"build/{MODE}"}, "build_ext": {"build_temp": f"build/{MODE}/o"}},
)
