"""Sparse windows as the runs of bytes that they keep, and back.

A window is a sequence of runs, each ``gap`` zeros and then ``length`` bytes, that ends with its last byte; a gap at the
end has a run of length 0. Less than four zeros (MIN_GAP) inside a run stay there: a run of its own would cost more.

``runs`` holds the windows' runs one after the other as four planes of one byte a run: low bytes of all gaps, high bytes
of all gaps, low bytes of all lengths, high bytes of all lengths. ``kept`` holds the bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from accel_core.status cimport CORRUPT, OK, Status
from accel_core.window_pack cimport end_of_run, next_used

from accel_core.errors import FormatError

cdef enum:
    WINDOW_BYTES = 32768
    MAX_RUNS = 6555         # of a window: one without a gap, 6553 of MIN_GAP zeros and a byte, one without bytes
    RUN_BYTES = 4


cdef struct Runs:
    uint16_t *gaps
    uint16_t *lengths
    Py_ssize_t n
    uint8_t *kept
    Py_ssize_t n_kept


cdef void add_window(const uint8_t *window, Runs *out) noexcept nogil:
    cdef Py_ssize_t at = 0, start, end
    while at < WINDOW_BYTES:
        start = next_used(window, at)
        end = end_of_run(window, start)
        out.gaps[out.n] = <uint16_t>(start - at)
        out.lengths[out.n] = <uint16_t>(end - start)
        out.n += 1
        memcpy(out.kept + out.n_kept, window + start, end - start)
        out.n_kept += end - start
        at = end


cdef void put_planes(const Runs *runs, uint8_t *out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(runs.n):
        out[i] = <uint8_t>runs.gaps[i]
        out[runs.n + i] = <uint8_t>(runs.gaps[i] >> 8)
        out[2 * runs.n + i] = <uint8_t>runs.lengths[i]
        out[3 * runs.n + i] = <uint8_t>(runs.lengths[i] >> 8)


cdef Status unpack_all(
    const uint8_t *runs, Py_ssize_t n_runs, const uint8_t *kept, Py_ssize_t n_kept, uint8_t *out, Py_ssize_t n_windows
) noexcept nogil:
    """Fills ``out``, which is all zeros; CORRUPT if runs and bytes are not those of so many windows."""
    cdef Py_ssize_t i = 0, at, gap, length, _w
    for _w in range(n_windows):
        at = 0
        while at < WINDOW_BYTES:
            if i == n_runs:
                return CORRUPT
            gap = runs[i] | <Py_ssize_t>runs[n_runs + i] << 8
            length = runs[2 * n_runs + i] | <Py_ssize_t>runs[3 * n_runs + i] << 8
            if gap + length > WINDOW_BYTES - at or length > n_kept:
                return CORRUPT
            if length:
                memcpy(out + at + gap, kept, length)
            kept += length
            n_kept -= length
            at += gap + length
            i += 1
        out += WINDOW_BYTES
    return OK if i == n_runs and n_kept == 0 else CORRUPT


def pack(const uint8_t[::1] windows not None):
    """``(runs, kept)`` of windows that lie one behind the other."""
    cdef Py_ssize_t n = windows.shape[0] // WINDOW_BYTES, w
    if windows.shape[0] != n * WINDOW_BYTES:
        raise ValueError(f"{windows.shape[0]} bytes are no windows of {WINDOW_BYTES}")
    if n == 0:
        return b"", b""
    cdef Runs runs
    memset(&runs, 0, sizeof(runs))
    cdef uint8_t *room = <uint8_t *>malloc(<size_t>n * (WINDOW_BYTES + RUN_BYTES * MAX_RUNS))
    if room is NULL:
        raise MemoryError
    runs.gaps = <uint16_t *>room
    runs.lengths = runs.gaps + n * MAX_RUNS
    runs.kept = <uint8_t *>(runs.lengths + n * MAX_RUNS)
    cdef bytes planes, kept
    try:
        with nogil:
            for w in range(n):
                add_window(&windows[w * WINDOW_BYTES], &runs)
        planes = PyBytes_FromStringAndSize(NULL, RUN_BYTES * runs.n)
        put_planes(&runs, <uint8_t *>PyBytes_AS_STRING(planes))
        kept = PyBytes_FromStringAndSize(<const char *>runs.kept, runs.n_kept)
    finally:
        free(room)
    return planes, kept


def unpack(const uint8_t[::1] runs not None, const uint8_t[::1] kept not None, Py_ssize_t n_windows):
    """The ``n_windows`` windows, one behind the other. FormatError if runs and bytes are not those of so many."""
    cdef Py_ssize_t n_runs = runs.shape[0] // RUN_BYTES
    cdef bytes windows
    cdef uint8_t *out
    cdef const uint8_t *p = &kept[0] if kept.shape[0] else NULL
    cdef Status status
    # No window without a run: bounds what is allocated.
    if n_windows < 1 or n_windows > n_runs or runs.shape[0] != n_runs * RUN_BYTES:
        raise FormatError(f"{runs.shape[0]} bytes are not the runs of {n_windows} windows")
    windows = PyBytes_FromStringAndSize(NULL, n_windows * WINDOW_BYTES)
    out = <uint8_t *>PyBytes_AS_STRING(windows)
    with nogil:
        memset(out, 0, n_windows * WINDOW_BYTES)
        status = unpack_all(&runs[0], n_runs, p, kept.shape[0], out, n_windows)
    if status != OK:
        raise FormatError(f"runs and bytes are not those of {n_windows} windows")
    return windows
