"""Sparse windows hold all that is needed: whatever stands for what is gone, every span inflates to what zlib says."""

import pytest

from accel_core.window_use import WINDOW_USE_BYTES, WindowUse
from support.contents import contents
from support.deflate_bits import Bits
from support.gzip_cases import valid_streams
from support.gzips import ENCODERS, Encoder
from support.tar_layers import around
from support.windows import window_fault
from support.zlib_oracle import zlib_verdict

TAR = contents()["mixed tar"]
NAMES = {
    "zlib level 0", "zlib level 1", "zlib level 6", "zlib strategy fixed", "zlib strategy rle", "zlib memLevel 1",
    "zlib with dense flushes", "members of 1000", "gzip -9", "gzip --rsyncable", "pigz -6", "pigz -i", "igzip -0",
    "igzip -1", "igzip -3", "libdeflate -1", "libdeflate -9", "bgzip -l 6", "Go level 1", "Go level 6", "Go with Flush",
}  # fmt: skip
DIFFERENT = [encoder for encoder in ENCODERS if encoder.name in NAMES]
HAND_MADE = {name: stream for name, stream in valid_streams().items() if "zero bytes after" not in name}


@pytest.mark.parametrize("encoder", DIFFERENT, ids=lambda encoder: encoder.name)
def test_sparse_windows_suffice_for_every_encoder(encoder: Encoder) -> None:
    blob = encoder.encode(TAR)
    assert zlib_verdict(blob).data == TAR
    assert window_fault(blob, TAR, 20_000, "soci") is None
    assert window_fault(blob, TAR, 60_000, "adaptive") is None


@pytest.mark.parametrize("name", HAND_MADE)
def test_sparse_windows_suffice_in_front_of_every_block(name: str) -> None:
    blob, data = around(HAND_MADE[name], zlib_verdict(HAND_MADE[name]).data)
    assert window_fault(blob, data, 1, "soci") is None


def test_a_window_stays_whole_when_its_use_is_not_seen_to_the_end() -> None:
    """A final block that crosses the end of what is looked at, where zeros would read as its end."""
    bits = Bits()
    for _ in range((WINDOW_USE_BYTES - 6) // 5):
        bits.stored(b"")
    # Three bits of header and five codes of nine end exactly at the limit; then comes what needs the window.
    bits.fixed([200, 201, 202, 203, 204, (258, 32768), (258, 32768)], final=True)
    data = bits.done()
    assert len(data) > WINDOW_USE_BYTES
    window = bytearray(b"x" * 32768)
    assert WindowUse().sparsify(data[:WINDOW_USE_BYTES], 0, window)
    assert window == b"x" * 32768
    assert WindowUse().sparsify(data[5 * 4000 :], 0, window)
    assert 0 < window.count(b"x") < 1000
