"""Single layers to eStargz and zstd:chunked, judged by zlib, zstandard, tarfile and hashlib."""

import bz2
import gzip
import hashlib
import lzma
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import zstandard

from accel.blobs import MemoryBlob
from accel.convert.full.layer import Made, Recipe, Workers, make_layer
from accel.convert.full.tar_source import TarSource
from accel.convert.full.writers import Written
from accel.convert.options import ESTARGZ, ZSTD_CHUNKED
from accel.errors import DigestMismatch, FormatError, LimitError, TruncatedError, UnsupportedError
from accel.formats.stargz import EMPTY_MEMBER, lazy_readers
from accel.oci import Descriptor, digest_of
from accel.stores import SpooledBlob
from support import tar_cases
from support.images import directory, file, hardlink, random_tar, symlink, tar_of, whiteout
from support.lazy_layers import check_estargz, check_zstd, files_of, gunzip, toc_of, unzstd

BOTH = Recipe((ESTARGZ, ZSTD_CHUNKED), None, 3)
MIB = 1 << 20


def two_member_gzip(tar: bytes) -> bytes:
    half = len(tar) // 2
    return gzip.compress(tar[:half], mtime=0) + gzip.compress(tar[half:], mtime=0)


def many_frames(tar: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    skippable = bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"hello"
    return skippable.join(pack(tar[at : at + 10_000]) for at in range(0, len(tar), 10_000)) + skippable


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda tar: tar,
    "gzip": lambda tar: gzip.compress(tar, mtime=0),
    "gzip of two members": two_member_gzip,
    "gzip and garbage": lambda tar: gzip.compress(tar, mtime=0) + b"garbage",
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd of many frames": many_frames,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


class Staged:
    """Blobs in memory, and what became of them."""

    def __init__(self) -> None:
        self.open: list[SpooledBlob] = []

    def stage(self) -> SpooledBlob:
        staged = SpooledBlob(lambda desc, chunks: None)
        self.open.append(staged)
        return staged

    @property
    def all_closed(self) -> bool:
        return all(staged._file.closed for staged in self.open)


def convert(
    data: bytes,
    recipe: Recipe = BOTH,
    *,
    threads: int = 2,
    max_bytes: int = 1 << 30,
    descriptor: Descriptor | None = None,
) -> tuple[Made, dict[str, bytes]]:
    """What became of a layer, and the blobs written."""
    staged = Staged()
    layer = descriptor or Descriptor("any", digest_of(data), len(data))
    try:
        with ThreadPoolExecutor(threads) as pool:
            source = TarSource(MemoryBlob(data), layer, lambda n_bytes: None, max_uncomp_bytes=max_bytes)
            workers = Workers(pool, threads)
            made = make_layer(source, recipe, workers, staged.stage)
            free = 0
            while workers.slots.acquire(blocking=False):
                free += 1
            assert free == min(2 * threads + 2, 8)
    except BaseException:
        assert staged.all_closed
        raise
    blobs: dict[str, bytes] = {}
    for format, one in made.staged.items():
        kept: list[bytes] = []
        one._put = lambda desc, chunks, kept=kept: kept.extend(chunks)  # type: ignore[attr-defined,misc]
        one.publish(made.written[format].descriptor)
        blobs[format] = b"".join(kept)
        written = made.written[format].descriptor
        assert (written.digest, written.size) == (digest_of(blobs[format]), len(blobs[format]))
    assert staged.all_closed
    return made, blobs


def usual_tar() -> bytes:
    rng = random.Random(7)
    return tar_of(
        directory("usr"), directory("usr/bin"),
        file("usr/bin/tool", rng.randbytes(70_000), 0o4755, mtime=1_600_000_000),
        file("usr/empty"), symlink("usr/bin/t", "tool"), hardlink("usr/bin/link", "usr/bin/tool"),
        whiteout("etc/gone"), file("usr/attr", b"x", pax_headers={"SCHILY.xattr.user.k": "v"}),
        file("usr/" + "long" * 40, b"text\n" * 5000, uid=1000, gid=7),
    )  # fmt: skip


def big_tar() -> bytes:
    rng = random.Random(8)
    words = [rng.randbytes(rng.randint(3, 12)) for _ in range(300)]
    text = b"".join(rng.choices(words, k=1_300_000))
    return tar_of(
        file("chunk", text[: 4 * MIB]), file("chunks", text[: 8 * MIB]), file("more", text[: 9 * MIB + 1]),
        *(file(f"small/{i}", text[i : i + i * 31]) for i in range(500)), file("end", text[: 5 * MIB]),
    )  # fmt: skip


USUAL, BIG = usual_tar(), big_tar()


def readers_of(written: Written) -> tuple[str, ...]:
    return lazy_readers(written.descriptor.annotations)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", ["usual", "big"])
def test_every_compression_becomes_both_formats(name: str, compression: str) -> None:
    tar = {"usual": USUAL, "big": BIG}[name]
    if name == "big" and compression in ("xz", "bzip2"):
        tar = tar[: 2 * MIB // 512 * 512]
        tar = tar_of(file("big", tar))
    made, blobs = convert(COMPRESSIONS[compression](tar))
    assert made.uncomp_size == len(tar) and made.n_entries == len(files_of(tar))
    estargz, zstd = made.written[ESTARGZ], made.written[ZSTD_CHUNKED]
    diff_id = check_estargz(blobs[ESTARGZ], dict(estargz.descriptor.annotations), tar)
    assert (estargz.diff_id, readers_of(estargz), estargz.reason) == (diff_id, ("stargz-snapshotter",), "")
    check_zstd(blobs[ZSTD_CHUNKED], dict(zstd.descriptor.annotations), tar)
    assert (zstd.diff_id, readers_of(zstd), zstd.reason) == (digest_of(tar), ("podman",), "")


def digests(data: bytes, recipe: Recipe, threads: int) -> tuple[tuple[str, str], ...]:
    _, blobs = convert(data, recipe, threads=threads)
    return tuple(sorted((format, digest_of(blob)) for format, blob in blobs.items()))


def test_at_a_level_the_bytes_depend_on_neither_threads_nor_compression() -> None:
    recipe = replace(BOTH, gzip_level=6)
    found = {
        digests(COMPRESSIONS[pack](BIG), recipe, threads)
        for threads in (1, 5)
        for pack in ("gzip", "tar", "zstd of many frames")
    }
    assert len(found) == 1


@pytest.mark.parametrize("prefetch", [(), (b"/end", b"/small/9")])
def test_with_the_sources_matches_the_bytes_do_not_depend_on_threads(prefetch: tuple[bytes, ...]) -> None:
    recipe = replace(BOTH, prefetch=prefetch)
    assert len({digests(COMPRESSIONS["gzip"](BIG), recipe, threads) for threads in (1, 2, 5)}) == 1


def test_the_sources_matches_are_used_again() -> None:
    data = gzip.compress(BIG, 9, mtime=0)
    for prefetch in ((), (b"/end",)):
        _, again = convert(data, replace(BOTH, prefetch=prefetch))
        _, fresh = convert(data, replace(BOTH, prefetch=prefetch, gzip_level=1))
        assert len(again[ESTARGZ]) < len(fresh[ESTARGZ]) - 100_000


def test_each_format_alone_is_the_same_as_both() -> None:
    _, both = convert(USUAL)
    for format in BOTH.formats:
        assert convert(USUAL, replace(BOTH, formats=(format,)))[1] == {format: both[format]}


def test_for_containerd_the_annotations_are_the_other_ones() -> None:
    made, blobs = convert(USUAL, Recipe((ZSTD_CHUNKED,), None, 3, for_stargz=True))
    zstd = made.written[ZSTD_CHUNKED]
    check_zstd(blobs[ZSTD_CHUNKED], dict(zstd.descriptor.annotations), USUAL, containerd=True)
    assert readers_of(zstd) == ("stargz-snapshotter",)


def test_levels_count() -> None:
    sizes = [
        {format: len(blob) for format, blob in convert(BIG, Recipe(BOTH.formats, gzip_level, zstd_level))[1].items()}
        for gzip_level, zstd_level in ((1, 1), (9, 12))
    ]
    assert sizes[1][ESTARGZ] < sizes[0][ESTARGZ] and sizes[1][ZSTD_CHUNKED] < sizes[0][ZSTD_CHUNKED]


@pytest.mark.parametrize("name", tar_cases.LEGAL)
def test_odd_archives_keep_their_content_lazy_or_not(name: str) -> None:
    tar = tar_cases.LEGAL[name]
    made, blobs = convert(tar)
    assert unzstd(blobs[ZSTD_CHUNKED]) == tar
    zstd, estargz = made.written[ZSTD_CHUNKED], made.written[ESTARGZ]
    assert zstd.diff_id == digest_of(tar)
    for written in (zstd, estargz):
        assert bool(readers_of(written)) != bool(written.reason)
        assert bool(written.descriptor.annotations) == bool(readers_of(written))
    whole = gunzip(blobs[ESTARGZ])
    assert estargz.diff_id == digest_of(whole)
    if not readers_of(estargz):
        assert whole == tar


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((file("a", b"1"), hardlink("b", "elsewhere")), "hard link"),
        ((file("a", b"1"), file("a/b", b"2")), "no directory"),
    ],
)
@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz"])
def test_what_readers_refuse_becomes_a_plain_layer(entries: tuple, why: str, compression: str) -> None:
    tar = tar_of(*entries)
    made, blobs = convert(COMPRESSIONS[compression](tar))
    reasons = {format: written.reason for format, written in made.written.items()} | made.refused
    assert all(why in reason for reason in reasons.values()) and len(reasons) == 2
    # A source of the right compression is the plain layer already.
    assert set(made.refused) == {"gzip": {ESTARGZ}, "zstd": {ZSTD_CHUNKED}, "xz": set()}[compression]
    for format, blob in blobs.items():
        assert made.written[format].descriptor.annotations == {}
        assert {ESTARGZ: gunzip, ZSTD_CHUNKED: unzstd}[format](blob) == tar
        assert made.written[format].diff_id == digest_of(tar)


def test_of_a_path_that_comes_twice_estargz_has_the_last() -> None:
    tar = tar_of(file("a", b"old" * 1000), file("b", b"2"), file("a", b"new"), file("c", b"3"))
    made, blobs = convert(gzip.compress(tar))
    check_estargz(blobs[ESTARGZ], dict(made.written[ESTARGZ].descriptor.annotations), tar)
    assert b"oldold" not in gunzip(blobs[ESTARGZ])
    assert not readers_of(made.written[ZSTD_CHUNKED]) and unzstd(blobs[ZSTD_CHUNKED]) == tar


def test_an_old_landmark_and_toc_are_replaced() -> None:
    tar = tar_of(file("x", b"1"))
    _, first = convert(tar)
    made, blobs = convert(first[ESTARGZ])
    check_estargz(blobs[ESTARGZ], dict(made.written[ESTARGZ].descriptor.annotations), tar)
    assert names_in(blobs[ESTARGZ]) == [".no.prefetch.landmark", "x"]
    assert made.written[ZSTD_CHUNKED].diff_id == digest_of(gunzip(first[ESTARGZ]))


def names_in(blob: bytes) -> list[str]:
    return [name for name in files_of(gunzip(blob)) if name != "stargz.index.json"]


@pytest.mark.parametrize("compression", ["tar", "gzip", "zstd"])
def test_prefetched_files_are_in_front(compression: str) -> None:
    recipe = replace(BOTH, prefetch=(b"/small/7", b"usr/none", b"/end", b"more"))
    made, blobs = convert(COMPRESSIONS[compression](BIG), recipe)
    check_estargz(blobs[ESTARGZ], dict(made.written[ESTARGZ].descriptor.annotations), BIG)
    assert names_in(blobs[ESTARGZ])[:5] == ["small/7", "end", "more", ".prefetch.landmark", "chunk"]
    check_zstd(blobs[ZSTD_CHUNKED], dict(made.written[ZSTD_CHUNKED].descriptor.annotations), BIG)


def test_prefetching_takes_parents_and_link_targets_along() -> None:
    made, blobs = convert(gzip.compress(USUAL), replace(BOTH, prefetch=(b"/usr/bin/link",)))
    check_estargz(blobs[ESTARGZ], dict(made.written[ESTARGZ].descriptor.annotations), USUAL)
    front = names_in(blobs[ESTARGZ])
    assert front[: front.index(".prefetch.landmark")] == ["usr", "usr/bin", "usr/bin/tool", "usr/bin/link"]


def test_a_layer_without_the_prefetched_files_is_as_without_a_list() -> None:
    assert convert(USUAL, replace(BOTH, prefetch=(b"/none",)))[1] == convert(USUAL)[1]


APART = replace(BOTH, min_chunk_bytes=0)
SHARED = replace(BOTH, min_chunk_bytes=64 << 10)


@pytest.mark.parametrize("prefetch", [(), (b"/small/7", b"/end")])
@pytest.mark.parametrize("compression", ["tar", "gzip"])
def test_small_files_may_share_members(compression: str, prefetch: tuple[bytes, ...]) -> None:
    data = COMPRESSIONS[compression](BIG)
    made, blobs = convert(data, replace(SHARED, prefetch=prefetch))
    written = made.written[ESTARGZ]
    assert written.diff_id == check_estargz(blobs[ESTARGZ], dict(written.descriptor.annotations), BIG)
    _, apart = convert(data, replace(APART, prefetch=prefetch))
    assert blobs[ZSTD_CHUNKED] == apart[ZSTD_CHUNKED]
    assert len(blobs[ESTARGZ]) < len(apart[ESTARGZ]) - 30_000
    files = [entry for entry in toc_of(blobs[ESTARGZ]) if "chunkDigest" in entry]
    # Where a member's first chunk is, readers see the end of the member before.
    firsts = [entry["offset"] for entry in files if not entry.get("innerOffset")]
    assert len(firsts) < len(files) // 4
    for entry in files:
        if entry.get("innerOffset"):  # a member of nothing before it for every chunk before the last
            assert blobs[ESTARGZ][entry["offset"] - 20 :].startswith(EMPTY_MEMBER)
    [landmark] = [entry for entry in files if entry["name"] in (".prefetch.landmark", ".no.prefetch.landmark")]
    assert not landmark.get("innerOffset") and landmark["offset"] > 0


def test_a_chunk_that_is_not_small_begins_a_member() -> None:
    tar = tar_of(*(file(str(i), bytes(n)) for i, n in enumerate((1, 99, 4096, 1, 5 << 20, 1, 1))))
    _, blobs = convert(tar, replace(BOTH, min_chunk_bytes=4096))
    inners = [entry.get("innerOffset", 0) for entry in toc_of(blobs[ESTARGZ]) if "chunkDigest" in entry]
    #         landmark, 1, 99, 4096, 1, two chunks, 1, 1
    assert [bool(inner) for inner in inners] == [False, False, True, False, False, False, False, False, True]


def test_without_sharing_every_chunk_has_a_member() -> None:
    _, blobs = convert(BIG, APART)
    assert not any("innerOffset" in entry for entry in toc_of(blobs[ESTARGZ]))
    assert EMPTY_MEMBER not in blobs[ESTARGZ]


def test_shared_members_do_not_depend_on_threads() -> None:
    for prefetch in ((), (b"/end", b"/small/9")):
        recipe = replace(SHARED, prefetch=prefetch)
        assert len({digests(COMPRESSIONS["gzip"](BIG), recipe, threads) for threads in (1, 2, 5)}) == 1


def test_the_index_of_the_source_comes_along() -> None:
    data = gzip.compress(BIG, mtime=0)
    made, blobs = convert(data, replace(BOTH, index_span_bytes=4 * MIB))
    assert made.index is not None and made.index.comp_size == len(data) and made.index.uncomp_size == len(BIG)
    span = made.index.span_comp(0)
    assert made.index.span_digests[0] == "sha256:" + hashlib.sha256(data[span[0] : span[1]]).hexdigest()
    assert blobs == convert(data)[1]


HOSTILE: list[tuple[bytes, type[Exception]]] = [
    (gzip.compress(USUAL)[:-9], TruncatedError),
    (gzip.compress(USUAL[:5000]), TruncatedError),
    (gzip.compress(USUAL)[:100] + b"junk" + gzip.compress(USUAL)[104:], FormatError),
    (zstandard.compress(USUAL)[:-9000], FormatError),
    (b"\x04\x22\x4d\x18" + bytes(600), UnsupportedError),
    (b"neither" * 100, UnsupportedError),
    (lzma.compress(USUAL)[:-40], FormatError),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_bad_layer_is_an_error_and_leaves_nothing(number: int) -> None:
    data, error = HOSTILE[number]
    with pytest.raises(error):
        convert(data)


def test_a_corrupt_tar_in_a_sound_blob_names_the_blob() -> None:
    data = gzip.compress(tar_cases.CORRUPT[next(iter(tar_cases.CORRUPT))])
    with pytest.raises(FormatError) as caught:
        convert(data)
    assert caught.value.blob == digest_of(data) and caught.value.uncomp_offset is not None


def test_other_bytes_than_the_digest_says_are_told_in_the_end() -> None:
    data = gzip.compress(USUAL)
    with pytest.raises(DigestMismatch):
        convert(data, descriptor=Descriptor("any", digest_of(b"other"), len(data)))


def test_a_layer_that_inflates_to_too_much_is_refused() -> None:
    for pack in ("gzip", "zstd", "tar"):
        with pytest.raises(LimitError):
            convert(COMPRESSIONS[pack](BIG), max_bytes=MIB)


def test_a_failing_disk_stops_the_work() -> None:
    class Full(SpooledBlob):
        def write(self, data: bytes | memoryview) -> None:
            raise OSError(28, "no space")

    opened: list[Full] = []

    def stage() -> Full:
        opened.append(Full(lambda desc, chunks: None))
        return opened[-1]

    data = gzip.compress(BIG)
    with ThreadPoolExecutor(2) as pool, pytest.raises(OSError, match="no space"):
        source = TarSource(
            MemoryBlob(data), Descriptor("any", digest_of(data), len(data)), lambda n: None, max_uncomp_bytes=1 << 30
        )
        make_layer(source, replace(BOTH, formats=(ZSTD_CHUNKED,)), Workers(pool, 2), stage)
    assert all(staged._file.closed for staged in opened)


def test_a_bomb_of_zeros_is_cut_into_batches_too() -> None:
    tar = tar_of(file("a", b"x")) + bytes(50 * MIB)
    made, blobs = convert(gzip.compress(tar, 1))
    check_zstd(blobs[ZSTD_CHUNKED], dict(made.written[ZSTD_CHUNKED].descriptor.annotations), tar)
    assert len(gunzip(blobs[ESTARGZ])) < 10_000


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    for thread in threading.enumerate():
        if thread.name == "accel-read":
            thread.join(5)
    assert threading.active_count() <= before


def test_random_layers() -> None:
    for seed in range(5):
        tar = random_tar(seed, 60, 9000)
        made, blobs = convert(gzip.compress(tar))
        check_estargz(blobs[ESTARGZ], dict(made.written[ESTARGZ].descriptor.annotations), tar)
        check_zstd(blobs[ZSTD_CHUNKED], dict(made.written[ZSTD_CHUNKED].descriptor.annotations), tar)
