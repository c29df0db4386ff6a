"""The scan's claims against zlib, hashlib and the bytes themselves."""

import gzip
import hashlib
import io
import random
import tarfile

import pytest

import accel_core
from accel_core import LayerScanner, LimitError, TruncatedError, UnsupportedError, inflate_span
from accel_core.gzip_stream import implementations, use_implementation
from accel_core.layer_index import LayerIndex


def layer_of(n_files: int, *, seed: int = 7) -> bytes:
    """A tar of files of mixed size and compressibility."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randrange(2, 12)).hex().encode() for _ in range(500)]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for i in range(n_files):
            size = rng.choice([0, 10, 700, 5000, 60_000, 300_000])
            body = rng.randbytes(size) if rng.random() < 0.2 else b" ".join(rng.choices(words, k=size // 12 + 1))
            info = tarfile.TarInfo(f"dir/file{i}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


TAR = layer_of(60)
GZ = gzip.compress(TAR, 6, mtime=0)
SMALL = gzip.compress(layer_of(10, seed=0), 6, mtime=0)


def scan(blob: bytes, piece: int = 1 << 20, /, **options: object) -> LayerIndex:
    return accel_core.index((blob[i : i + piece] for i in range(0, len(blob), piece)), **options)  # type: ignore[arg-type]


def check_claims(index: LayerIndex, blob: bytes, tar: bytes) -> None:
    """Every claim of an index, from the bytes."""
    assert index.digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert (index.comp_size, index.uncomp_size) == (len(blob), len(tar))
    for i in range(index.n_spans):
        start, end = index.span_comp(i)
        first, last = index.span_uncomp(i)
        assert index.span_digests[i] == "sha256:" + hashlib.sha256(blob[start:end]).hexdigest()
        if index.compression == "gzip":
            window = index.checkpoints.window(i)
            assert bytes(window) == tar[:first][-32768:].rjust(32768, b"\0")
            assert inflate_span(blob[start:end], index.checkpoints.bits[i], window, last - first) == tar[first:last]
    assert index.span_uncomp(index.n_spans - 1)[1] in (index.archive_size, index.comp_size)


@pytest.mark.parametrize("implementation", implementations())
@pytest.mark.parametrize("placement", ["adaptive", "soci"])
@pytest.mark.parametrize("span_bytes", [1, 30_000, 200_000, 4 << 20])
def test_every_claim_of_an_index_holds(implementation: str, placement: str, span_bytes: int) -> None:
    use_implementation(implementation)
    try:
        index = scan(GZ, placement=placement, span_bytes=span_bytes, diff_id=True)
    finally:
        use_implementation(implementations()[0])
    check_claims(index, GZ, TAR)
    assert index.diff_id == "sha256:" + hashlib.sha256(TAR).hexdigest()
    assert index.n_spans > 1 or span_bytes > len(TAR) // 2


@pytest.mark.parametrize("placement", ["adaptive", "soci"])
def test_pieces_do_not_change_the_index(placement: str) -> None:
    for blob, piece in ((SMALL, 1), (SMALL, 3), (GZ, 997), (GZ, 65536)):
        whole = scan(blob, placement=placement, span_bytes=50_000)
        other = scan(blob, piece, placement=placement, span_bytes=50_000)
        assert whole.n_spans > 5, "too few for pieces to matter"
        assert other.span_digests == whole.span_digests
        assert other.checkpoints.comp_offset == whole.checkpoints.comp_offset
        assert other.checkpoints.bits == whole.checkpoints.bits
        assert bytes(other.checkpoints.windows) == bytes(whole.checkpoints.windows)
        assert list(other.entries) == list(whole.entries)


def test_soci_placement_is_the_first_boundary_more_than_a_span_later() -> None:
    every = scan(GZ, placement="soci", span_bytes=1).checkpoints      # every boundary
    chosen = scan(GZ, placement="soci", span_bytes=100_000).checkpoints
    last, expected = 0, [0]
    for position in every.uncomp_offset[1:]:
        if position - last > 100_000:
            expected.append(position)
            last = position
    assert list(chosen.uncomp_offset) == expected


def test_adaptive_spans_have_about_equal_compressed_size() -> None:
    index = scan(gzip.compress(layer_of(200), 6), span_bytes=1 << 20)
    grid = (1 << 20) * 7 // 20
    sizes = [end - start for start, end in map(index.span_comp, range(index.n_spans))]
    assert all(grid // 4 - 65536 <= size <= grid * 7 // 4 + 65536 for size in sizes[:-1])


def test_adaptive_spans_bound_the_output_of_a_span() -> None:
    tar = layer_of(3) + bytes(40 << 20)
    index = scan(gzip.compress(tar, 6), span_bytes=1 << 20)
    assert all(end - start <= 6 << 20 for start, end in map(index.span_uncomp, range(index.n_spans - 1)))
    starts = [index.span_uncomp(i)[0] for i in range(index.n_spans)]
    assert len(tar) - starts[-1] <= 6 << 20


def test_spans_run_across_gzip_members_and_to_the_end_of_the_blob() -> None:
    half = len(TAR) // 2
    blob = gzip.compress(TAR[:half]) + gzip.compress(b"") + gzip.compress(TAR[half:], 1) + bytes(1000)
    for span_bytes in (20_000, 1 << 30):
        index = scan(blob, span_bytes=span_bytes)
        check_claims(index, blob, TAR)
        assert (index.members, index.trailing_bytes) == (3, 1000)


def test_a_plain_tar_has_fixed_spans() -> None:
    index = scan(TAR, span_bytes=100_000)
    check_claims(index, TAR, TAR)
    assert (index.compression, len(index.checkpoints)) == ("tar", 0)
    assert index.n_spans == -(-len(TAR) // 100_000)


def test_entries_are_those_of_tarfile() -> None:
    ours = [(e.name.decode(), e.size, e.data_offset) for e in scan(GZ).entries]
    with tarfile.open(fileobj=io.BytesIO(TAR)) as tar:
        assert ours == [(m.name, m.size, m.offset_data) for m in tar]


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9"])
def test_other_compressions_are_unsupported_by_name(magic: bytes) -> None:
    with pytest.raises(UnsupportedError, match="zstd|xz|bzip2"):
        scan(magic + bytes(100))


def test_a_bomb_stops_at_the_limit() -> None:
    with pytest.raises(LimitError) as error:
        scan(gzip.compress(bytes(50 << 20)), max_uncomp_bytes=1 << 20)
    assert error.value.limit == 1 << 20


@pytest.mark.parametrize("blob", [b"", b"\x1f", b"\x1f\x8b", GZ[:12], GZ[:-1], GZ[: len(GZ) // 2]])
def test_a_cut_blob_is_truncated(blob: bytes) -> None:
    with pytest.raises((TruncatedError, accel_core.FormatError)):
        scan(blob)


def test_errors_name_the_blob_and_the_offset() -> None:
    bad = bytearray(GZ)
    bad[-8] ^= 1
    with pytest.raises(accel_core.FormatError, match="CRC-32 differs") as error:
        scan(bytes(bad), blob="sha256:abc")
    assert (error.value.blob, error.value.comp_offset) == ("sha256:abc", len(GZ) - 8)


def test_what_a_sink_raises_comes_out() -> None:
    def sink(_: memoryview) -> None:
        raise KeyError("mine")

    scanner = LayerScanner(sink=sink)
    with pytest.raises(KeyError, match="mine"):
        scanner.feed(GZ)
        scanner.finish()


def test_a_span_that_claims_too_much_is_an_error() -> None:
    index = scan(GZ, span_bytes=100_000)
    start, end = index.span_comp(0)
    first, last = index.span_uncomp(0)
    window = index.checkpoints.window(0)
    with pytest.raises(TruncatedError):
        inflate_span(GZ[start : end - 5], 0, window, last - first)
    with pytest.raises(accel_core.FormatError):
        inflate_span(GZ[start:end], 0, window, 1 << 50)
    with pytest.raises(accel_core.FormatError):
        inflate_span(GZ[start:end], 0, window, last - first + 100_000)
    with pytest.raises(accel_core.FormatError):
        inflate_span(GZ[start:end], 0, b"", 1 << 21)
