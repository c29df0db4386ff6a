"""verify: good images pass, and every single claim that is changed is found."""

import gzip
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import accel
from accel.blobs import MemoryBlob
from accel.convert import ConvertOptions, convert
from accel.layout import LayoutStore
from accel.oci import Descriptor, Index, MediaType, canonical_json, digest_of
from accel.progress import NoProgress
from accel.verify.layer import LayerCheck
from accel.verify.report import VerifyReport
from accel.verify.streams import RangeHasher, SpanCutter
from accel_core import Checkpoints, LayerScanner
from accel_core.entries import EntryTable
from accel_core.entry import Entry
from accel_core.layer_index import LayerIndex
from support.images import (
    directory,
    file,
    gzip_layer,
    hardlink,
    image,
    layer_of,
    plain_layer,
    put,
    random_tar,
    symlink,
    tar_of,
)

# Letters of few kinds: deflate makes many blocks with long matches of them, so that every window is needed.
NOISE = bytes(random.Random(5).choices(b"abcdefgh", k=60_000))
TAR = tar_of(
    directory("d", mode=0o750, mtime=1_700_000_000.5),
    *(file(f"d/f{i}", NOISE[: i * 3001], uid=i, gid=2 * i, mtime=i) for i in range(20)),
    file("d/x", b"data", pax_headers={"SCHILY.xattr.user.k": "v"}),
    symlink("d/s", "f3"),
    hardlink("d/h", "d/f4"),
    file("long/" + "n" * 200, b"long"),
)


def index_of(data: bytes, **options: object) -> LayerIndex:
    scanner = LayerScanner(span_bytes=8 << 10, **options)  # type: ignore[arg-type]
    scanner.feed(data)
    return scanner.finish()


def checked(data: bytes, index: LayerIndex | None, tar: bytes = TAR, **wrong: object) -> list[str]:
    layer = replace(Descriptor.of(data, MediaType.OCI_LAYER_GZIP), **wrong)  # type: ignore[arg-type]
    report = VerifyReport("test", layer.digest)
    LayerCheck(MemoryBlob(data), layer, digest_of(tar), index, report, NoProgress()).run()
    return [mismatch.what for mismatch in report.mismatches]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(gzip.compress(TAR, 6), id="gzip"),
        pytest.param(gzip.compress(TAR[:9000]) + gzip.compress(TAR[9000:]), id="two members"),
        pytest.param(gzip.compress(TAR) + bytes(100), id="padded"),
        pytest.param(TAR, id="tar"),
    ],
)
@pytest.mark.parametrize("placement", ["adaptive", "soci"])
def test_good_layers_pass(data: bytes, placement: str) -> None:
    assert checked(data, index_of(data, placement=placement)) == []


def edited(index: LayerIndex, number: int, **changes: object) -> LayerIndex:
    table = EntryTable()
    for entry in index.entries:
        row = {name: getattr(entry, name) for name in Entry.__slots__ if name != "index"}
        table.append(**(row | (changes if entry.index == number else {})))
    return replace(index, entries=table)


def without(index: LayerIndex, number: int) -> LayerIndex:
    table = EntryTable()
    for entry in index.entries:
        if entry.index != number:
            table.append(**{name: getattr(entry, name) for name in Entry.__slots__ if name != "index"})
    return replace(index, entries=table)


DATA = gzip.compress(TAR, 6)
INDEX = index_of(DATA)
FILE = next(entry for entry in INDEX.entries if entry.name == b"d/f9")
LINK = next(entry for entry in INDEX.entries if entry.typeflag == "2")


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        (FILE.index, {"name": b"d/other"}, "name is"),
        (FILE.index, {"size": FILE.size - 1, "stored_size": FILE.size - 1}, "size is"),
        (FILE.index, {"mode": 0o777}, "mode is"),
        (FILE.index, {"uid": 0}, "uid is"),
        (FILE.index, {"gid": 0}, "gid is"),
        (FILE.index, {"mtime_s": 1}, "mtime is"),
        (0, {"mtime_ns": 1}, "mtime is"),
        (FILE.index, {"uname": b"root"}, "owner is"),
        (FILE.index, {"gname": b"root"}, "group is"),
        (FILE.index, {"typeflag": "5"}, "type is"),
        (FILE.index, {"pax": ((b"SCHILY.xattr.user.k", b"v"),)}, "xattrs is"),
        (LINK.index, {"linkname": b"/etc/shadow"}, "linkname is"),
        (FILE.index, {"data_offset": FILE.data_offset + 512}, "missing from the table of contents"),
        (FILE.index, {"data_offset": FILE.data_offset + 512}, "is not in the tar"),
    ],
)
def test_every_field_of_an_entry_is_compared(number: int, change: dict[str, object], says: str) -> None:
    assert any(says in what for what in checked(DATA, edited(INDEX, number, **change)))


def test_a_missing_entry_is_found() -> None:
    assert any("missing from the table" in what for what in checked(DATA, without(INDEX, FILE.index)))


def changed_points(**changes: object) -> LayerIndex:
    return replace(INDEX, checkpoints=replace(INDEX.checkpoints, **changes))  # type: ignore[arg-type]


def wrong_window() -> LayerIndex:
    """Every byte of one window is another one."""
    windows = bytearray(INDEX.checkpoints.windows)
    windows[32768 * 2 : 32768 * 3] = bytes(b ^ 0x55 for b in windows[32768 * 2 : 32768 * 3])
    return changed_points(windows=bytes(windows))


def shifted(offsets: tuple[int, ...], at: int, by: int) -> tuple[int, ...]:
    return (*offsets[:at], offsets[at] + by, *offsets[at + 1 :])


WRONG_INDEXES: dict[str, tuple[Callable[[], LayerIndex], str]] = {
    "window": (wrong_window, "span 2"),
    "bits": (
        lambda: changed_points(
            bits=bytes([0, (INDEX.checkpoints.bits[1] + 1) % 8]) + INDEX.checkpoints.bits[2:]
        ),
        "span 1",
    ),
    "uncompressed offset": (
        lambda: changed_points(uncomp_offset=shifted(INDEX.checkpoints.uncomp_offset, 1, 1)),
        "span 0",
    ),
    "compressed offset": (
        lambda: changed_points(comp_offset=shifted(INDEX.checkpoints.comp_offset, 1, 1)),
        "span 0",
    ),
    "span digest": (
        lambda: replace(INDEX, span_digests=("sha256:" + "0" * 64, *INDEX.span_digests[1:])),
        "span 0: digest is",
    ),
    "layer size": (lambda: replace(INDEX, comp_size=INDEX.comp_size + 1), "the index"),
    "archive size": (lambda: replace(INDEX, archive_size=INDEX.archive_size - 512), "the archive ends at"),
    "order of spans": (
        lambda: changed_points(comp_offset=tuple(reversed(INDEX.checkpoints.comp_offset))),
        "not a forward range",
    ),
}


@pytest.mark.parametrize("name", list(WRONG_INDEXES))
def test_every_claim_of_an_index_is_recomputed(name: str) -> None:
    make, says = WRONG_INDEXES[name]
    found = checked(DATA, make())
    assert any(says in what or "index says" in what for what in found), found


def test_layers_without_index_are_checked_too() -> None:
    assert checked(DATA, None) == []
    assert any("diffID" in what for what in checked(DATA, None, tar=b"other"))
    assert any("blob digest" in what for what in checked(DATA, None, digest="sha256:" + "0" * 64))
    assert any("bytes" in what for what in checked(DATA, None, size=1))


def test_corrupt_layers_are_reported_not_raised() -> None:
    bad = DATA[:30_000] + b"\xff" * 50 + DATA[30_050:]
    found = checked(bad, index_of(DATA))
    assert any("ordinary decoding fails" in what for what in found)
    assert any("digest is" in what for what in found)


def test_all_mismatches_are_listed() -> None:
    table = EntryTable()
    for entry in INDEX.entries:
        row = {name: getattr(entry, name) for name in Entry.__slots__ if name != "index"}
        table.append(**(row | {"mode": 0o123}))
    found = checked(DATA, replace(INDEX, entries=table))
    assert len(found) == len(INDEX.entries)


def test_many_mismatches_are_counted_not_kept() -> None:
    report = VerifyReport("test", "")
    for i in range(5000):
        report.mismatch("blob", str(i))
    assert len(report.mismatches) == report.max_per_blob and report.n_unlisted == 5000 - report.max_per_blob


# --- whole images -------------------------------------------------------------------------------------------


@pytest.fixture
def converted(tmp_path: Path) -> tuple[LayoutStore, str]:
    store = LayoutStore(tmp_path / "in")
    layers = [gzip_layer(TAR), gzip_layer(random_tar(1)), plain_layer(random_tar(2))]
    put(store, image(layers), "v1")
    return store, convert(f"oci:{tmp_path}/in:v1", None, ConvertOptions(min_layer_bytes=0)).reference


def test_a_converted_image_passes(converted: tuple[LayoutStore, str]) -> None:
    report = accel.verify(converted[1])
    assert report.ok and report.n_indexed_layers == report.n_layers == 3 and report.n_files > 20


def test_an_image_without_index_does_not_pass(tmp_path: Path) -> None:
    put(LayoutStore(tmp_path / "in"), image([gzip_layer(TAR)]), "v1")
    report = accel.verify(f"oci:{tmp_path}/in:v1")
    assert [mismatch.what for mismatch in report.mismatches] == [
        "no SOCI index, no layer with a table of contents: the image is not accelerated"
    ]


def blob_path(store: LayoutStore, digest: str, root: Path) -> Path:
    return root / "in/blobs/sha256" / digest.partition(":")[2]


@pytest.mark.parametrize("what", ["layer", "ztoc", "config", "soci index", "empty config"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_every_blob_counts(converted: tuple[LayoutStore, str], tmp_path: Path, what: str, how: str) -> None:
    store, where = converted
    with accel.open_image(where) as opened:
        assert opened.soci is not None
        digest = {
            "layer": opened.manifest.layers[1].digest,
            "ztoc": next(iter(opened.soci.ztocs.values())).digest,
            "config": opened.manifest.config.digest,
            "soci index": opened.soci.soci.digest,
            "empty config": digest_of(b"{}"),
        }[what]
    path = blob_path(store, digest, tmp_path)
    if how == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    report = accel.verify(where)
    assert not report.ok
    assert any(digest in mismatch.blob or digest in mismatch.what for mismatch in report.mismatches)


def test_a_dangling_attestation_is_found(converted: tuple[LayoutStore, str]) -> None:
    store, where = converted
    _, raw = store.get_manifest("v1_accelerated")
    data = dict(Index.parse(raw).data)
    gone = "sha256:" + "1" * 64
    dangling = dict(
        data["manifests"][0],
        digest="sha256:" + "2" * 64,
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": gone,
        },
        platform={"architecture": "unknown", "os": "unknown"},
    )
    data["manifests"] = [*data["manifests"], dangling]
    store.put_manifest(canonical_json(data), MediaType.OCI_INDEX, tag="v1_accelerated")
    assert any(gone in mismatch.what for mismatch in accel.verify(where).mismatches)


def test_an_index_that_lists_no_soci_index_is_found(converted: tuple[LayoutStore, str]) -> None:
    store, where = converted
    data = dict(Index.parse(store.get_manifest("v1_accelerated")[1]).data)
    data["manifests"] = data["manifests"][:1]
    store.put_manifest(canonical_json(data), MediaType.OCI_INDEX, tag="v1_accelerated")
    assert any("not listed" in mismatch.what for mismatch in accel.verify(where).mismatches)


def test_a_corrupt_unindexed_layer_is_found(tmp_path: Path) -> None:
    bad = layer_of(gzip.compress(TAR)[:-20], MediaType.OCI_LAYER_GZIP, digest_of(TAR))
    put(LayoutStore(tmp_path / "in"), image([gzip_layer(TAR), bad]), "v1")
    where = convert(f"oci:{tmp_path}/in:v1", None, ConvertOptions(min_layer_bytes=0)).reference
    assert {m.blob for m in accel.verify(where).mismatches} == {bad.descriptor.digest}


# --- streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 100])
def test_range_hasher(size: int) -> None:
    data = bytes(range(100))
    ranges = [(0, 0), (0, 10), (10, 10), (10, 11), (20, 50), (50, 100), (100, 100), (100, 101)]
    hasher = RangeHasher(ranges)
    for start in range(0, len(data), size):
        hasher.update(data[start : start + size])
    wanted = [digest_of(data[a:b])[7:] for a, b in ranges]
    assert hasher.digests[:-2] == wanted[:-2] and hasher.digests[-1] is None


@pytest.mark.parametrize("size", [1, 7, 100])
def test_span_cutter(size: int) -> None:
    data = bytes(range(100))
    spans = [(10, 20), (19, 50), (50, 51), (51, 100), (99, 120)]
    found: list[tuple[int, bytes]] = []
    cutter = SpanCutter(spans, lambda number, span: found.append((number, span)))
    for start in range(0, len(data), size):
        cutter.update(data[start : start + size])
    assert found == [(i, data[a:b]) for i, (a, b) in enumerate(spans[:4])]
    assert cutter.n_done == 4


def test_checkpoints_value_is_what_the_tests_edit() -> None:
    assert isinstance(INDEX.checkpoints, Checkpoints) and len(INDEX.checkpoints) > 3
