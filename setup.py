"""Builds the kernels: one row per kernel, directives in one place. Static metadata is in pyproject.toml.

Four builds that never share a file (generated C in ``build/<mode>/c``, objects in ``build/<mode>/o``):

* release   (default)             no run-time checks, no assertions
* checked   ``ACCEL_CHECKED=1``   bounds, wraparound and initialised checks and assertions on
* sanitize  ``ACCEL_SANITIZE=1``  the release code under AddressSanitizer and UndefinedBehaviorSanitizer
* tsan      ``ACCEL_TSAN=1``      the release code under ThreadSanitizer
"""

import os
import platform

from Cython.Build import cythonize
from setuptools import Extension, setup

# kernel: extra compiler flags beyond the common ones.
KERNELS: dict[str, list[str]] = {
    "cpu": [],
    "entries": [],
    "tar_scan": [],
    "tar_batches": [],
    "crc32": [],
    "sha256": [],
    "inflate_plain": [],
    "tokens_plain": [],
    "gzip_stream": [],
    "gzip_tokens": [],
    "member_encode": [],
    "frame_encode": [],
    "block_start": [],
    "find_joint": ["-O3"],
    "window_use": ["-O3"],
    "gzip_layer": [],
    "gzip_chunk": [],
    "layer_scan": [],
    "inflate_at": [],
    "toc_split": [],
    "toc_join": [],
    "window_runs": [],
    "byte_source": [],
    "inflate_cursor": [],
    "indexed_reader": [],
    "ztoc_encode": [],
    "ztoc_decode": [],
    "ztoc_survey": [],
    "path_survey": [],
    "crc64": [],
    "tar_split_lines": [],
    "toc_json": [],
    "json_reader": [],
    "toc_read": [],
}

# Kernels of one machine, with the CPU features they may use. Imported only where ``accel_core.cpu`` finds these;
# without them (or where the compiler does not know them) the plain kernels run.
X86_64 = {
    "inflate_bmi2": ["-mbmi", "-mbmi2", "-mtune=icelake-server"],
    "tokens_bmi2": ["-mbmi", "-mbmi2", "-mtune=icelake-server"],
    "crc32_pclmul": ["-msse4.1", "-mpclmul"],
    "crc64_pclmul": ["-msse4.1", "-mpclmul"],
    "sha256_shani": ["-mssse3", "-msse4.1", "-msha"],
    "sha256_avx512": ["-O3", "-mavx512f", "-mavx512bw"],
    "crc32_vpclmul": ["-msse4.1", "-mpclmul", "-mavx512f", "-mvpclmulqdq"],
}
ARM64 = {"crc32_armv8": ["-march=armv8-a+crc"]}
SPECIAL = {"x86_64": X86_64, "AMD64": X86_64, "aarch64": ARM64, "arm64": ARM64}.get(platform.machine(), {})

MODES = [mode for mode in ("sanitize", "tsan", "checked") if os.environ.get(f"ACCEL_{mode.upper()}") == "1"]
MODE = MODES[0] if MODES else "release"
CHECKED = MODE == "checked"

COMMON = ["-O2", "-fwrapv", "-fno-strict-aliasing", "-g" if CHECKED else "-g0"]
# -fwrapv would define signed overflow and so hide it from UBSan.
INSTRUMENTED = ["-O1", "-g", "-fno-wrapv", "-fno-strict-aliasing", "-fno-omit-frame-pointer"]
SANITIZER = {
    "sanitize": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "tsan": ["-fsanitize=thread"],
}.get(MODE, [])
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
        extra_compile_args=(INSTRUMENTED + SANITIZER if SANITIZER else COMMON) + flags,
        extra_link_args=SANITIZER[:1],
        define_macros=MACROS,
        depends=["setup.py"],
        optional=name in SPECIAL,
    )
    for name, flags in {**KERNELS, **SPECIAL}.items()
]

setup(
    ext_modules=cythonize(
        extensions, compiler_directives=DIRECTIVES, include_path=["src"], build_dir=f"build/{MODE}/c"
    ),
    options={
        "build": {"build_base": f"build/{MODE}"},
        "build_ext": {"build_temp": f"build/{MODE}/o", "parallel": int(os.environ.get("ACCEL_JOBS", "1"))},
    },
)
