"""Every checkpoint of a layer is a place where inflate can resume: checked against the slices zlib gives."""

import io
import struct

import pytest

from accel_core import LayerIndex, LayerScanner, inflate_span
from accel_core.checkpoints import WINDOW_BYTES
from support.contents import contents
from support.gzip_cases import valid_streams
from support.gzips import ENCODERS, Encoder, missing
from support.tar_layers import around
from support.zlib_oracle import zlib_verdict

TAR = contents()["mixed tar"]
FAST = [encoder for encoder in ENCODERS if not encoder.slow]
HAND_MADE = {name: stream for name, stream in valid_streams().items() if "zero bytes after" not in name}


def scan(blob: bytes, placement: str, span_bytes: int, piece_bytes: int = 1 << 20) -> LayerIndex:
    scanner = LayerScanner(placement=placement, span_bytes=span_bytes)  # type: ignore[arg-type]
    for start in range(0, len(blob), piece_bytes):
        scanner.feed(blob[start : start + piece_bytes])
    return scanner.finish()


def assert_every_span_inflates(index: LayerIndex, blob: bytes, data: bytes) -> None:
    points = index.checkpoints
    assert points.uncomp_offset[0] == 0
    assert list(points.uncomp_offset) == sorted(points.uncomp_offset)
    ends = [*points.uncomp_offset[1:], len(data)]
    for i, (start, end) in enumerate(zip(points.uncomp_offset, ends, strict=True)):
        comp_start, comp_end = index.span_comp(i)
        window = points.window(i)
        # Nothing but the span's own bytes: what lies outside must not be needed.
        assert inflate_span(blob[comp_start:comp_end], points.bits[i], window, end - start) == data[start:end], i
        known = min(start, WINDOW_BYTES)
        assert bytes(window[WINDOW_BYTES - known :]) == data[start - known : start], i


@pytest.mark.parametrize("encoder", FAST, ids=lambda encoder: encoder.name)
@pytest.mark.parametrize(("placement", "span_bytes"), [("soci", 4000), ("adaptive", 60_000)])
def test_every_span_of_every_encoder_inflates_alone(encoder: Encoder, placement: str, span_bytes: int) -> None:
    blob = encoder.encode(TAR)
    index = scan(blob, placement, span_bytes)
    assert index.uncomp_size == len(TAR)
    assert_every_span_inflates(index, blob, TAR)


@pytest.mark.parametrize("name", HAND_MADE)
@pytest.mark.parametrize("piece_bytes", [1 << 20, 333, 1])
def test_every_block_of_hand_made_streams_is_a_place_to_resume(name: str, piece_bytes: int) -> None:
    blob, data = around(HAND_MADE[name], zlib_verdict(HAND_MADE[name]).data)
    assert zlib_verdict(blob).data == data
    for placement in ("soci", "adaptive"):
        assert_every_span_inflates(scan(blob, placement, 1, piece_bytes), blob, data)


@pytest.mark.parametrize("name", ["gzip -6", "pigz -6", "zlib level 6 with flushes", "igzip -1", "zlib level 0"])
def test_indexed_gzip_seeks_by_our_checkpoints(name: str) -> None:
    try:
        import indexed_gzip
    except ImportError:
        missing("Python module indexed_gzip")
    blob = next(encoder for encoder in ENCODERS if encoder.name == name).encode(TAR)
    index = scan(blob, "soci", WINDOW_BYTES)
    points = index.checkpoints
    assert len(points) > 1
    with indexed_gzip.IndexedGzipFile(fileobj=io.BytesIO(blob), index_file=None) as file:
        file.import_index(fileobj=io.BytesIO(gzidx(index)))
        # Backwards, so that nothing is read on from where the last read ended.
        for start in reversed(points.uncomp_offset):
            file.seek(start)
            assert file.read(5000) == TAR[start : start + 5000]


def gzidx(index: LayerIndex) -> bytes:
    """The checkpoints as an index file of indexed_gzip, format 1.

    Magic, version, flags; compressed size, uncompressed size, spacing, window size, count; then the points (compressed
    offset, uncompressed offset, bits, window follows or not); then the windows.
    """
    points = index.checkpoints
    out = b"GZIDX\x01\x00" + struct.pack(
        "<QQIII", index.comp_size, index.uncomp_size, index.span_bytes, WINDOW_BYTES, len(points)
    )
    for i in range(len(points)):
        out += struct.pack("<QQBB", points.comp_offset[i], points.uncomp_offset[i], points.bits[i], i > 0)
    return out + b"".join(bytes(points.window(i)) for i in range(1, len(points)))
