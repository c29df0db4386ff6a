"""CRC-32 of gzip (RFC 1952 §8).

``plain`` looks sixteen bytes up at a time and runs anywhere. Faster kernels live in modules of their own, each
compiled for the CPU features it needs and imported only where ``cpu.features()`` has them all. They share one
signature: the raw remainder (not inverted) after n more bytes, n a positive multiple of 16; ``plain`` does the rest.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uint32_t

from importlib import import_module

from accel_core.cpu import features
from accel_core.crc32_poly cimport POLYNOMIAL, multiply, x_power

ctypedef uint32_t (*Kernel)(uint32_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil

cdef enum:
    BLOCK = 16
    SHORT = 64          # below this the plain loop is as fast as starting a vector kernel
    MAX_KERNELS = 4

# Module: what the CPU must have. Best first.
_CANDIDATES = (
    ("vpclmul", {"vpclmulqdq", "avx512f", "pclmul", "sse4.1"}),
    ("pclmul", {"pclmul", "sse4.1"}),
    ("armv8", {"crc32"}),
)

cdef uint32_t[BLOCK][256] TABLE     # TABLE[k][b]: remainder of byte b followed by k zero bytes
cdef Kernel[MAX_KERNELS] KERNELS
_NAMES = []


cdef void fill_table() noexcept nogil:
    cdef uint32_t remainder
    cdef int byte, k, _bit
    for byte in range(256):
        remainder = <uint32_t>byte
        for _bit in range(8):
            remainder = (remainder >> 1) ^ (<uint32_t>POLYNOMIAL & (0 - (remainder & 1)))
        TABLE[0][byte] = remainder
    for k in range(1, BLOCK):
        for byte in range(256):
            remainder = TABLE[k - 1][byte]
            TABLE[k][byte] = (remainder >> 8) ^ TABLE[0][remainder & 0xFF]


cdef uint32_t plain(uint32_t remainder, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    """Remainder after ``n`` more bytes, any ``n``."""
    cdef const uint8_t *end = p + n
    while end - p >= BLOCK:
        remainder ^= p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24
        remainder = (
            TABLE[15][remainder & 0xFF]
            ^ TABLE[14][remainder >> 8 & 0xFF]
            ^ TABLE[13][remainder >> 16 & 0xFF]
            ^ TABLE[12][remainder >> 24]
            ^ TABLE[11][p[4]] ^ TABLE[10][p[5]] ^ TABLE[9][p[6]] ^ TABLE[8][p[7]]
            ^ TABLE[7][p[8]] ^ TABLE[6][p[9]] ^ TABLE[5][p[10]] ^ TABLE[4][p[11]]
            ^ TABLE[3][p[12]] ^ TABLE[2][p[13]] ^ TABLE[1][p[14]] ^ TABLE[0][p[15]]
        )
        p += BLOCK
    while p < end:
        remainder = (remainder >> 8) ^ TABLE[0][(remainder ^ p[0]) & 0xFF]
        p += 1
    return remainder


cdef uint32_t crc32_by(Kernel kernel, uint32_t crc, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    cdef uint32_t remainder = ~crc
    cdef Py_ssize_t whole
    if n >= SHORT:
        whole = n & ~<Py_ssize_t>(BLOCK - 1)
        remainder = kernel(remainder, p, whole)
        p += whole
        n -= whole
    return ~plain(remainder, p, n)


cdef uint32_t crc32(uint32_t crc, const uint8_t *p, Py_ssize_t n) noexcept nogil:
    return crc32_by(KERNELS[0], crc, p, n)


cdef uint32_t crc32_combine(uint32_t first, uint32_t second, int64_t n_second) noexcept nogil:
    # Appending n bytes multiplies the remainder of what came before by x^(8n); the inversions cancel out.
    return multiply(first, x_power(8 * <uint32_t>1 * n_second)) ^ second


cdef load_kernels():
    allowed = features()
    for name, needed in _CANDIDATES:
        if not needed <= allowed:
            continue
        try:
            module = import_module(f"accel_core.crc32_{name}")
        except ImportError:     # the compiler that built the wheel did not know these instructions
            continue
        KERNELS[len(_NAMES)] = <Kernel>PyCapsule_GetPointer(module.kernel(), b"accel_core.crc32")
        _NAMES.append(name)
    KERNELS[len(_NAMES)] = plain
    _NAMES.append("plain")


def implementations():
    """Names of the implementations this process may use, the one in use first, ``plain`` last."""
    return tuple(_NAMES)


def _crc32(const uint8_t[::1] data not None, uint32_t value=0, implementation=None):
    """CRC-32 of what ``value`` covers followed by ``data``, as ``zlib.crc32``.

    ``implementation`` picks one of ``implementations()`` by name; KeyError if it is not among them.
    """
    cdef Kernel kernel = KERNELS[0]
    cdef Py_ssize_t n = data.shape[0]
    cdef const uint8_t *p = &data[0] if n else NULL
    if implementation is not None:
        if implementation not in _NAMES:
            raise KeyError(implementation)
        kernel = KERNELS[<int>_NAMES.index(implementation)]
    with nogil:
        value = crc32_by(kernel, value, p, n)
    return value


def combine(uint32_t first, uint32_t second, int64_t n_second):
    """CRC-32 of A + B from those of A and B; ``n_second`` is the length of B in bytes, ValueError if negative."""
    if n_second < 0:
        raise ValueError("length must not be negative")
    return crc32_combine(first, second, n_second)


fill_table()
load_kernels()
_crc32.__name__ = "crc32"           # in this file the name belongs to the C function
globals()["crc32"] = _crc32
