"""Other people's gzip decoders in this process, as calls that inflate a layer, check its CRC and keep nothing."""

import ctypes
import ctypes.util
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from accel.bench.peers import Peer, from_pypi, module, package_version
from accel.bench.timing import Call
from accel.errors import FormatError

PIECE_BYTES = 1 << 18  # input of the streaming decoders; what comes out is about three times as much

Bytes = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Decoder:
    """``prepare(blob, n_out)`` gives the call. ``whole``: it needs memory for all of the output."""

    peer: Peer
    label: str
    prepare: Callable[[Bytes, int], Call]
    whole: bool = False
    one_member: bool = False  # stops after the first member of a stream


def known_decoders(libdeflate: str | None = None) -> tuple[Decoder, ...]:
    """Installed or not; ``libdeflate`` names a shared library to take instead of the system's."""
    return (
        Decoder(
            Peer(
                "libdeflate",
                "apt install libdeflate0 (Debian), dnf install libdeflate (Fedora)",
                lambda: _libdeflate_version(libdeflate),
            ),
            "libdeflate",
            lambda blob, n_out: Libdeflate(libdeflate).inflater(blob, n_out),
            whole=True,
        ),
        Decoder(
            from_pypi("deflate", "deflate"),
            "libdeflate (PyPI, allocates)",
            _pypi_deflate,
            whole=True,
            one_member=True,
        ),
        Decoder(from_pypi("isal", "isal.isal_zlib"), "isal_zlib", _streaming("isal.isal_zlib")),
        Decoder(from_pypi("zlib-ng", "zlib_ng.zlib_ng"), "zlib-ng", _streaming("zlib_ng.zlib_ng")),
        Decoder(
            Peer("zlib", "it comes with Python", lambda: zlib.ZLIB_RUNTIME_VERSION),
            "zlib",
            _streaming("zlib"),
        ),
    )


def decoders(blob: Bytes, n_out: int, libdeflate: str | None = None) -> dict[str, Call]:
    """Those installed, by label."""
    return {
        decoder.label: decoder.prepare(blob, n_out)
        for decoder in known_decoders(libdeflate)
        if decoder.peer.version() is not None
    }


class Libdeflate:
    """libdeflate over ctypes: no copies, and an output buffer whose pages exist already.

    That is the strongest form of it, and more than a program can have that does not know the size beforehand. Raises
    ``ImportError`` where the library is not installed.
    """

    def __init__(self, path: str | None = None) -> None:
        path = path or ctypes.util.find_library("deflate")
        if path is None:
            raise ImportError("libdeflate is not installed")
        try:
            self.lib = ctypes.CDLL(path)
        except OSError as error:
            raise ImportError(f"{path} cannot be loaded: {error}") from error
        self.lib.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        self.lib.libdeflate_gzip_decompress_ex.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
            ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t),
        ]  # fmt: skip
        self.lib.libdeflate_crc32.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t]
        self.lib.libdeflate_crc32.restype = ctypes.c_uint32
        self.state = self.lib.libdeflate_alloc_decompressor()

    def inflater(self, blob: Bytes, n_out: int) -> Call:
        """A call that inflates all members of ``blob`` to ``n_out`` bytes."""
        out = ctypes.create_string_buffer(n_out + 1)
        ctypes.memset(out, 1, n_out + 1)
        begin, out_begin = _address(blob), ctypes.addressof(out)
        used, got = ctypes.c_size_t(), ctypes.c_size_t()

        def call() -> None:
            start = done = 0
            while True:
                status = self.lib.libdeflate_gzip_decompress_ex(
                    self.state, begin + start, len(blob) - start, out_begin + done, n_out + 1 - done,
                    ctypes.byref(used), ctypes.byref(got),
                )  # fmt: skip
                start, done = start + used.value, done + got.value
                if status != 0 or done >= n_out:
                    break
            if status != 0 or done != n_out:
                raise unlike(done, n_out)

        # The addresses are of no use without their owners.
        call.keep = (blob, out)  # type: ignore[attr-defined]
        return call


def _address(blob: Bytes) -> int:
    if isinstance(blob, bytes):
        return ctypes.cast(ctypes.c_char_p(blob), ctypes.c_void_p).value or 0
    return ctypes.addressof(ctypes.c_char.from_buffer(blob))


def _libdeflate_version(path: str | None) -> str | None:
    try:
        library = Libdeflate(path).lib
    except (ImportError, AttributeError):
        return None
    return package_version(_file_of(library)) or "unknown version"


def _file_of(library: ctypes.CDLL) -> str:
    """The file a library was loaded from; its name if the system does not list it."""
    name = os.path.basename(library._name)
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if name in line}
    except OSError:
        paths = set()
    return next((path for path in sorted(paths) if os.path.basename(path).startswith(name)), library._name)


def _pypi_deflate(blob: Bytes, n_out: int) -> Call:
    deflate: Any = module("deflate")
    return partial(deflate.gzip_decompress, blob, originalsize=n_out)


def _streaming(import_name: str) -> Callable[[Bytes, int], Call]:
    def prepare(blob: Bytes, n_out: int) -> Call:
        found = module(import_name)
        assert found is not None, import_name
        return streaming(found, blob, n_out)

    return prepare


def streaming(codec: ModuleType, blob: Bytes, n_out: int) -> Call:
    """A decoder with zlib's interface, fed as a program reads a file: a piece in, whatever comes of it out."""
    view = memoryview(blob)
    pieces = [view[i : i + PIECE_BYTES] for i in range(0, len(view), PIECE_BYTES)]

    def call() -> None:
        decoder: Any = codec.decompressobj(31)
        done = 0
        for piece in pieces:
            rest: Bytes = piece
            while rest:
                done += len(decoder.decompress(rest))
                if not decoder.eof:
                    break
                if done == n_out:  # what follows the last member is not the decoder's business
                    return
                rest, decoder = decoder.unused_data, codec.decompressobj(31)
        raise unlike(done, n_out)

    return call


def unlike(done: int, n_out: int) -> FormatError:
    """What to raise when a decoder's output is not the layer's."""
    return FormatError(
        f"the decoder gave {done} bytes and stopped; the layer has {n_out}", uncomp_offset=done
    )
