"""Other people's gzip decoders and index builders, each as a call over a layer. What is not installed is left out."""

import ctypes
import ctypes.util
import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

PIECE_BYTES = 1 << 18       # input of the streaming decoders; what comes out is about three times as much
SPACING = 4 << 20           # distance of checkpoints

Call = Callable[[], object]


def module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class Libdeflate:
    """libdeflate over ctypes: no copies, and an output buffer whose pages exist already.

    That is the strongest form of it, and more than a program can have that does not know the size beforehand.
    ``ACCEL_BENCH_LIBDEFLATE`` names a library to take instead of the installed one, which may be old.
    """

    def __init__(self) -> None:
        path = os.environ.get("ACCEL_BENCH_LIBDEFLATE") or ctypes.util.find_library("deflate")
        if path is None:
            raise ImportError("libdeflate is not installed")
        self.lib = ctypes.CDLL(path)
        self.lib.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        self.lib.libdeflate_gzip_decompress.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
            ctypes.POINTER(ctypes.c_size_t),
        ]  # fmt: skip
        self.lib.libdeflate_crc32.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t]
        self.lib.libdeflate_crc32.restype = ctypes.c_uint32
        self.state = self.lib.libdeflate_alloc_decompressor()

    def inflater(self, blob: bytes, n_out: int) -> Call:
        out = ctypes.create_string_buffer(n_out + 1)
        ctypes.memset(out, 1, n_out + 1)
        got = ctypes.c_size_t()

        def call() -> None:
            status = self.lib.libdeflate_gzip_decompress(self.state, blob, len(blob), out, n_out + 1, ctypes.byref(got))
            assert status == 0 and got.value == n_out, (status, got.value)

        return call


def decoders(blob: bytes, n_out: int) -> dict[str, Call]:
    """Inflate and check the CRC; nothing is kept."""
    calls: dict[str, Call] = {}
    try:
        calls["libdeflate"] = Libdeflate().inflater(blob, n_out)
    except ImportError:
        pass
    if deflate := module("deflate"):
        calls["libdeflate (PyPI, allocates)"] = partial(deflate.gzip_decompress, blob, originalsize=n_out)
    for name, import_name in (("isal_zlib", "isal.isal_zlib"), ("zlib-ng", "zlib_ng.zlib_ng"), ("zlib", "zlib")):
        if peer := module(import_name):
            calls[name] = streaming(peer, blob, n_out)
    return calls


def streaming(module: ModuleType, blob: bytes, n_out: int) -> Call:
    """A decoder with zlib's interface, fed as a program reads a file: a piece in, whatever comes of it out."""
    pieces = [blob[i : i + PIECE_BYTES] for i in range(0, len(blob), PIECE_BYTES)]

    def call() -> None:
        decoder = module.decompressobj(31)
        done = sum(len(decoder.decompress(piece)) for piece in pieces)
        assert done == n_out, done

    return call


def index_builders(path: Path) -> dict[str, Call]:
    """Inflate and keep checkpoints with their windows."""
    calls: dict[str, Call] = {}
    if indexed_gzip := module("indexed_gzip"):

        def build() -> None:
            with indexed_gzip.IndexedGzipFile(str(path), spacing=SPACING) as file:
                file.build_full_index()

        calls["indexed_gzip"] = build
    if rapidgzip := module("rapidgzip"):

        def find_blocks() -> None:
            with rapidgzip.open(str(path), parallelization=1) as file:
                file.block_offsets()        # builds the whole index

        calls["rapidgzip -P1"] = find_blocks
    return calls
