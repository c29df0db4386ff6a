"""Layers of other people's encoders, scanned in chunks."""

import pytest

from support.gzips import ENCODERS, Encoder
from support.hostile_layers import CHUNK_BYTES, files
from support.scans import planned_joints, said_by_one_scan, said_by_threads
from support.tars import END

TAR = files(21, 120, [0, 100, 3000, 40_000], 0.6) + END
NAMES = {
    "gzip -1", "gzip -6", "gzip --rsyncable", "pigz -6", "pigz -i", "pigz -p4 -b128", "igzip -0", "igzip -1",
    "igzip -3", "libdeflate -1", "libdeflate -9", "bgzip -l 6", "zstd --format=gzip", "Go level 1", "Go level 6",
    "Go with Flush", "Go with members and names", "zlib strategy huffman", "zlib strategy rle",
    "zlib with dense flushes", "members of 50000",
}  # fmt: skip
DIFFERENT = [encoder for encoder in ENCODERS if encoder.name in NAMES]
SPAN = 16 << 10


@pytest.mark.parametrize("encoder", DIFFERENT, ids=lambda encoder: encoder.name)
def test_chunks_of_every_encoder_say_what_one_scan_says(encoder: Encoder) -> None:
    blob = encoder.encode(TAR)
    wanted = said_by_one_scan(blob, span_bytes=SPAN)
    assert len(wanted) > 2
    for n_chunks in (2, 3, 5, 8):
        said = said_by_threads(blob, n_chunks, span_bytes=SPAN, min_chunk_bytes=CHUNK_BYTES, in_order=True)
        assert said == wanted, n_chunks


def test_the_encoders_of_most_layers_leave_joints() -> None:
    for encoder in DIFFERENT:
        if encoder.name in ("gzip -6", "pigz -6", "Go level 6"):
            assert planned_joints(encoder.encode(TAR), 3, CHUNK_BYTES), encoder.name
