"""Cycles: counted where the system lets us read the CPU's counter, else estimated from its nominal frequency.

The counter is Linux' ``perf_event_open`` (linux/perf_event.h), called without a wrapper: the C library has none. It
counts the calling thread in user mode, which needs ``kernel.perf_event_paranoid`` <= 2. Virtual machines mostly have no
such counter, containers mostly forbid the call.
"""

import ctypes
import os
import platform
import re
import struct
from pathlib import Path

HARDWARE_CYCLES = (0, 0)  # PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES
SOFTWARE_TASK_CLOCK = (
    1,
    1,
)  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK: nanoseconds, there on every machine

_SYSCALL = {"x86_64": 298, "aarch64": 241}  # of perf_event_open
_ATTR_BYTES = 64  # PERF_ATTR_SIZE_VER0
_EXCLUDE_KERNEL_AND_HYPERVISOR = 1 << 5 | 1 << 6


class Counter:
    """One event of the calling thread, counting from its creation. Raises OSError where that is not possible."""

    def __init__(self, event: tuple[int, int] = HARDWARE_CYCLES) -> None:
        self._fd = -1
        number = _SYSCALL.get(platform.machine())
        if number is None or platform.system() != "Linux":
            raise OSError(f"no event counters on {platform.system()} {platform.machine()}")
        kind, config = event
        # type u32, size u32, config u64, sample_period u64, sample_type u64, read_format u64, flags u64; zeros
        attr = struct.pack("=IIQQQQQ", kind, _ATTR_BYTES, config, 0, 0, 0, _EXCLUDE_KERNEL_AND_HYPERVISOR)
        buffer = ctypes.create_string_buffer(attr, _ATTR_BYTES)
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        this_thread, any_cpu, no_group, flags = 0, -1, -1, 0
        arguments = map(ctypes.c_long, (this_thread, any_cpu, no_group, flags))
        self._fd = syscall(ctypes.c_long(number), buffer, *arguments)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def read(self) -> int:
        """The count so far."""
        return int.from_bytes(os.read(self._fd, 8), "little")

    def close(self) -> None:
        """Stop counting. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def cycle_counter() -> Counter | None:
    """A counter of CPU cycles; None where there is none."""
    try:
        counter = Counter()
    except OSError:
        return None
    if counter.read() == 0:  # some virtual machines take the call and never count
        counter.close()
        return None
    return counter


def nominal_ghz() -> float | None:
    """The frequency the CPU is sold with, which is that of its time stamp counter; None if nothing says it.

    Turbo makes the real one higher, saving power lower: cycles estimated with it are comparable on one machine only.
    """
    for path, per_ghz in (("cpufreq/base_frequency", 1e6), ("acpi_cppc/nominal_freq", 1e3)):
        text = _text(f"/sys/devices/system/cpu/cpu0/{path}").strip()
        if text.isdecimal() and int(text):
            return int(text) / per_ghz
    info = _text("/proc/cpuinfo")
    if found := re.search(r"^model name.*@ ([\d.]+)GHz", info, re.MULTILINE):
        return float(found[1])
    # The frequency of the moment; in virtual machines, mostly the nominal one.
    found = re.search(r"^cpu MHz\s*: ([\d.]+)", info, re.MULTILINE)
    return float(found[1]) / 1000 if found else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
