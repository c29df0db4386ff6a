"""CRC-64 of ISO 3309 as tar-split has it: reflected, begun and ended with all ones; "123456789" is b90956c775a41001.

``plain`` looks sixteen bytes up at a time and runs anywhere. A faster kernel lives in a module of its own, compiled for
the CPU features it needs and imported only where ``cpu.features()`` has them: the accumulator it folds n bytes into is
16 bytes that ``plain`` goes on from.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uint64_t

from importlib import import_module

from accel_core.cpu import features
from accel_core.crc64_poly cimport multiply, times_x, x_power

# Folds n bytes, a multiple of 16, at p into ``out``: 16 bytes that have the same remainder when begun with 0.
ctypedef void (*Folder)(uint64_t remainder, const uint8_t *p, Py_ssize_t n, uint8_t *out) noexcept nogil

cdef enum:
    BLOCK = 16
    SHORT = 64          # below this the plain loop is as fast

_CANDIDATES = (("pclmul", {"pclmul", "sse4.1"}),)

cdef uint64_t[BLOCK][256] TABLE     # TABLE[k][b]: remainder of byte b followed by k zero bytes
cdef Folder FOLDER = NULL
_NAMES = []


cdef void fill_table() noexcept nogil:
    cdef uint64_t remainder
    cdef int byte, k, _bit
    for byte in range(256):
        remainder = <uint64_t>byte
        for _bit in range(8):
            remainder = times_x(remainder)
        TABLE[0][byte] = remainder
    for k in range(1, BLOCK):
        for byte in range(256):
            remainder = TABLE[k - 1][byte]
            TABLE[k][byte] = (remainder >> 8) ^ TABLE[0][remainder & 0xFF]


cdef inline uint64_t load(const uint8_t *p) noexcept nogil:
    """Eight bytes, the first one lowest."""
    return (
        p[0] | <uint64_t>p[1] << 8 | <uint64_t>p[2] << 16 | <uint64_t>p[3] << 24
        | <uint64_t>p[4] << 32 | <uint64_t>p[5] << 40 | <uint64_t>p[6] << 48 | <uint64_t>p[7] << 56
    )


cdef uint64_t plain(uint64_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Remainder after ``n`` more bytes, any ``n``."""
    cdef const uint8_t *end = p + n
    cdef uint64_t a, b
    while end - p >= BLOCK:
        a = remainder ^ load(p)
        b = load(p + 8)
        remainder = (
            TABLE[15][a & 0xFF] ^ TABLE[14][a >> 8 & 0xFF] ^ TABLE[13][a >> 16 & 0xFF] ^ TABLE[12][a >> 24 & 0xFF]
            ^ TABLE[11][a >> 32 & 0xFF] ^ TABLE[10][a >> 40 & 0xFF] ^ TABLE[9][a >> 48 & 0xFF] ^ TABLE[8][a >> 56]
            ^ TABLE[7][b & 0xFF] ^ TABLE[6][b >> 8 & 0xFF] ^ TABLE[5][b >> 16 & 0xFF] ^ TABLE[4][b >> 24 & 0xFF]
            ^ TABLE[3][b >> 32 & 0xFF] ^ TABLE[2][b >> 40 & 0xFF] ^ TABLE[1][b >> 48 & 0xFF] ^ TABLE[0][b >> 56]
        )
        p += BLOCK
    while p < end:
        remainder = (remainder >> 8) ^ TABLE[0][(remainder ^ p[0]) & 0xFF]
        p += 1
    return remainder


cdef uint64_t crc64_by(Folder folder, uint64_t crc, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t remainder = ~crc
    cdef Py_ssize_t whole
    cdef uint8_t[BLOCK] folded
    if folder is not NULL and n >= SHORT:
        whole = n & ~<Py_ssize_t>(BLOCK - 1)
        folder(remainder, p, whole, folded)
        remainder = plain(0, folded, BLOCK)
        p += whole
        n -= whole
    return ~plain(remainder, p, n)


cdef uint64_t crc64(uint64_t crc, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    return crc64_by(FOLDER, crc, p, n)


cdef load_kernels():
    global FOLDER
    allowed = features()
    for name, needed in _CANDIDATES:
        if not needed <= allowed:
            continue
        try:
            module = import_module(f"accel_core.crc64_{name}")
        except ImportError:     # the compiler that built the wheel did not know these instructions
            continue
        FOLDER = <Folder>PyCapsule_GetPointer(module.kernel(), b"accel_core.crc64")
        _NAMES.append(name)
        break
    _NAMES.append("plain")


def implementations():
    """Names of the implementations this process may use, the one in use first, ``plain`` last."""
    return tuple(_NAMES)


cdef Folder folder_of(implementation) except? NULL:
    if implementation is None:
        return FOLDER
    if implementation not in _NAMES:
        raise KeyError(implementation)
    return NULL if implementation == "plain" else FOLDER


def _crc64(const uint8_t[::1] data not None, uint64_t value=0, implementation=None):
    """CRC-64 of what ``value`` covers followed by ``data``.

    ``implementation`` picks one of ``implementations()`` by name; KeyError if it is not among them.
    """
    cdef Folder folder = folder_of(implementation)
    cdef Py_ssize_t n = data.shape[0]
    cdef const uint8_t *p = &data[0] if n else NULL
    with nogil:
        value = crc64_by(folder, value, p, n)
    return value


def crc64_ranges(
    const uint8_t[::1] data not None, const int64_t[::1] starts not None, const int64_t[::1] ends not None
):
    """CRC-64 of each range ``[starts[i], ends[i])`` of ``data``: 8 bytes each, big endian, as tar-split writes them.

    ValueError for ranges outside of ``data``.
    """
    cdef Py_ssize_t n = starts.shape[0], n_data = data.shape[0], i
    cdef const uint8_t *p = &data[0] if n_data else NULL
    cdef bytes out
    cdef uint8_t *to
    cdef uint64_t crc
    cdef int k
    if ends.shape[0] != n:
        raise ValueError(f"{n} starts and {ends.shape[0]} ends")
    for i in range(n):
        if not 0 <= starts[i] <= ends[i] <= n_data:
            raise ValueError(f"range [{starts[i]}, {ends[i]}) of {n_data} bytes")
    out = PyBytes_FromStringAndSize(NULL, 8 * n)
    to = <uint8_t *>PyBytes_AS_STRING(out)
    with nogil:
        for i in range(n):
            crc = crc64(0, p + starts[i], <Py_ssize_t>(ends[i] - starts[i]))
            for k in range(8):
                to[8 * i + k] = <uint8_t>(crc >> (56 - 8 * k))
    return out


def combine(uint64_t first, uint64_t second, int64_t n_second):
    """CRC-64 of A + B from those of A and B; ``n_second`` is the length of B in bytes, ValueError if negative."""
    if n_second < 0:
        raise ValueError("length must not be negative")
    # Appending n bytes multiplies the remainder of what came before by x^(8n); the inversions cancel out.
    return multiply(first, x_power(8 * <uint64_t>n_second)) ^ second


fill_table()
load_kernels()
_crc64.__name__ = "crc64"           # in this file the name belongs to the C function
globals()["crc64"] = _crc64
