"""Layers whose table of contents lies: nothing lands outside the target, and no byte that nobody vouches for inside."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accel
from accel.errors import AccelError
from accel.formats.stargz import estargz_annotations, estargz_end, toc_member
from accel.layout import LayoutStore
from accel.oci import Descriptor, MediaType
from accel.reader.extract import ExtractOptions
from support.images import Layer, directory, file, image, put, symlink, tar_of
from support.stargz_blobs import estargz_blob, gzip_member

CHUNK = 4096
FILES = {"d/one": bytes(range(256)) * 10, "d/two": b"two" * 5000, "d/three": b"3" * 9000}
TAR = tar_of(directory("d"), *(file(name, data) for name, data in FILES.items()), symlink("l", "d/one"))
BLOB = estargz_blob(TAR, chunk_bytes=CHUNK)
SECRET = b"not of the image"

Entries = list[dict[str, Any]]


def layer_with(change: Callable[[Entries], object]) -> Layer:
    """The layer with its table changed, and an annotation that vouches for it."""
    table = json.loads(BLOB.toc)
    change(table["entries"])
    toc = json.dumps(table).encode()
    end_of_data = BLOB.data.index(gzip_member(toc_member(BLOB.toc)))
    blob = BLOB.data[:end_of_data] + gzip_member(toc_member(toc)) + estargz_end(end_of_data)
    descriptor = Descriptor.of(blob, MediaType.OCI_LAYER_GZIP, annotations=estargz_annotations(toc, len(TAR)))
    return Layer(blob, descriptor, "sha256:" + hashlib.sha256(TAR).hexdigest())


def extracted(layer: Layer, folder: Path) -> dict[str, bytes] | None:
    """Every file that came out, by its path below ``folder``; None if the layer was refused. What lies beside the
    target is looked at too.
    """
    (folder / "outside").mkdir()
    (folder / "outside/secret").write_bytes(SECRET)
    put(LayoutStore(folder / "layout"), image([layer]), "v1")
    try:
        with accel.open_image(f"oci:{folder}/layout:v1") as opened:
            opened.extract(folder / "out", options=ExtractOptions())
    except AccelError as error:
        assert str(error)
        refused = True
    else:
        refused = False
    outside = [
        path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "layout")
    ]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in outside}
    assert files.pop("outside/secret") == SECRET
    assert all(path.startswith("out/") for path in files), files
    return None if refused else files


def entry(entries: Entries, name: str, offset: int = 0) -> dict[str, Any]:
    (found,) = [one for one in entries if one["name"] == name and one.get("chunkOffset", 0) == offset]
    return found


def whole(entries: Entries, name: str) -> Entries:
    return [one for one in entries if one["name"] == name]


def rename(name: str, to: str) -> Callable[[Entries], None]:
    def change(entries: Entries) -> None:
        for one in whole(entries, name):
            one["name"] = to

    return change


def test_the_table_unchanged_gives_the_files(tmp_path: Path) -> None:
    files = extracted(layer_with(lambda entries: None), tmp_path)
    assert files == {f"out/{name}": data for name, data in FILES.items()} | {"out/l": FILES["d/one"]}


@pytest.mark.parametrize("to", ["../evil", "d/../../evil", "/../../evil", "..", "../outside/secret"])
def test_names_that_climb_stay_out(tmp_path: Path, to: str) -> None:
    extracted(layer_with(rename("d/two", to)), tmp_path)


@pytest.mark.parametrize("target", ["../outside", "{folder}/outside", "d/../../outside"])
def test_symlinks_lead_no_file_outside(tmp_path: Path, target: str) -> None:
    def change(entries: Entries) -> None:
        entry(entries, "l")["linkName"] = target.format(folder=tmp_path)
        rename("d/two", "l/secret")(entries)
        rename("d/three", "l/new")(entries)

    extracted(layer_with(change), tmp_path)


@pytest.mark.parametrize("target", ["../outside/secret", "{folder}/outside/secret", "l/secret", "nowhere"])
def test_hard_links_reach_nothing_outside(tmp_path: Path, target: str) -> None:
    def change(entries: Entries) -> None:
        entry(entries, "l")["linkName"] = "../outside"
        name = target.format(folder=tmp_path)
        entries.append({"name": "hard", "type": "hardlink", "linkName": name})

    files = extracted(layer_with(change), tmp_path)
    assert SECRET not in (files or {}).values()
    assert (tmp_path / "outside/secret").stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["char", "block", "fifo"])
def test_devices_are_not_made_unasked(tmp_path: Path, kind: str) -> None:
    def change(entries: Entries) -> None:
        entries.append({"name": "dev", "type": kind, "devMajor": 1, "devMinor": 3, "mode": 0o666})

    extracted(layer_with(change), tmp_path)
    assert not (tmp_path / "out/dev").is_block_device() and not (tmp_path / "out/dev").is_char_device()


def lies() -> dict[str, Callable[[Entries], object]]:
    def set_to(name: str, at: int, /, **values: object) -> Callable[[Entries], object]:
        return lambda entries: entry(entries, name, at).update(values)

    def swapped(entries: Entries) -> None:
        first, second = entry(entries, "d/two"), entry(entries, "d/three")
        first["offset"], second["offset"] = second["offset"], first["offset"]

    def overlapping(entries: Entries) -> None:
        entry(entries, "d/three", CHUNK)["offset"] = entry(entries, "d/three")["offset"]

    return {
        "offset of another": swapped,
        "chunks at one offset": overlapping,
        "offset outside": set_to("d/two", CHUNK, offset=1 << 40),
        "offset negative": set_to("d/two", CHUNK, offset=-1),
        "offset in a chunk": set_to("d/two", CHUNK, offset=7),
        "size too large": set_to("d/one", 0, size=1 << 50),
        "size too small": set_to("d/two", 0, size=100),
        "chunk too large": set_to("d/three", 0, chunkSize=1 << 40),
        "chunk too small": set_to("d/three", 0, chunkSize=100),
        "chunks overlap in the file": set_to("d/three", CHUNK, chunkOffset=CHUNK - 1),
        "a gap in the file": set_to("d/three", CHUNK, chunkOffset=CHUNK + 1),
        "another digest": set_to("d/one", 0, chunkDigest="sha256:" + "0" * 64),
        "no digest": set_to("d/one", 0, chunkDigest="", digest=""),
        "inner offset": set_to("d/one", 0, innerOffset=1),
        "inner offset outside": set_to("d/one", 0, innerOffset=1 << 60),
    }


@pytest.mark.parametrize("lie", lies())
def test_a_lie_about_content_gives_no_wrong_file(tmp_path: Path, lie: str) -> None:
    files = extracted(layer_with(lies()[lie]), tmp_path)
    for path, data in (files or {}).items():
        name = path.removeprefix("out/")
        assert data == FILES["d/one" if name == "l" else name], path
    assert files is None or len(files) < len(FILES) + 1


def test_a_huge_table_is_refused(tmp_path: Path) -> None:
    padding = {"name": "x" * 1000, "type": "dir"}
    layer = layer_with(lambda entries: entries.extend([padding] * 180_000))
    assert layer.descriptor.size < 4 << 20
    assert extracted(layer, tmp_path) is None


def test_a_table_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    layer = layer_with(rename("d/two", "d/other"))
    annotations = estargz_annotations(BLOB.toc, len(TAR))
    assert (
        extracted(replace(layer, descriptor=replace(layer.descriptor, annotations=annotations)), tmp_path)
        is None
    )
