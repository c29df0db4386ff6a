"""What an image in an OCI layout holds, found without any of our code: json, gzip and tarfile only."""

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOCI_INDEX = "application/vnd.amazon.soci.index.v2+json"
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class File:
    """A regular file (or hard link to one) as the container sees it; ``layer`` is the one its bytes come from."""

    digest: str
    size: int
    layer: int
    typeflag: bytes


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/", 1)


def image_manifests(layout: Path, tag: str) -> list[tuple[str, dict[str, Any]]]:
    """("os/architecture[/variant]", manifest) of every platform of the image, attestations and indexes left out."""
    names = json.loads((layout / "index.json").read_text())["manifests"]
    by_tag = {m.get("annotations", {}).get("org.opencontainers.image.ref.name"): m for m in names}
    top = json.loads(blob(layout, by_tag[tag]["digest"]).read_text())
    found = []
    for child in top["manifests"]:
        platform = child.get("platform", {})
        if child.get("artifactType") != SOCI_INDEX and platform.get("os", "unknown") != "unknown":
            parts = [platform["os"], platform["architecture"], platform.get("variant")]
            found.append(("/".join(filter(None, parts)), json.loads(blob(layout, child["digest"]).read_text())))
    return found


def merged_files(layout: Path, manifest: dict[str, Any]) -> tuple[dict[str, File], set[str]]:
    """The files of the whole image by path, as stacking the layers gives them, and the paths that whiteouts removed."""
    files: dict[str, File] = {}
    removed: set[str] = set()
    for number, layer in enumerate(manifest["layers"]):
        added: dict[str, File] = {}
        gone: list[str] = []
        with tarfile.open(blob(layout, layer["digest"]), mode="r|*") as tar:
            for entry in tar:
                _take(entry, tar, number, added, files, gone)
        for path in gone:  # a whiteout hides what is below, never what its own layer adds
            for below in [p for p in files if p == path or p.startswith(path.rstrip("/") + "/")]:
                if path.endswith("/") or below not in added:
                    removed.add(below)
                    del files[below]
        files |= added
        removed -= added.keys()
    return files, removed


def _take(
    entry: tarfile.TarInfo,
    tar: tarfile.TarFile,
    number: int,
    added: dict[str, File],
    below: dict[str, File],
    gone: list[str],
) -> None:
    """Note one tar entry: a file in ``added``, or what a whiteout hides in ``gone`` (ending in "/": its contents)."""
    path = entry.name.strip("/").removeprefix("./")
    folder, _, name = path.rpartition("/")
    if name == OPAQUE:
        gone.append(folder + "/")
    elif name.startswith(WHITEOUT):
        gone.append(f"{folder}/{name.removeprefix(WHITEOUT)}".lstrip("/"))
    elif entry.isreg():
        data = tar.extractfile(entry)
        assert data is not None
        digest = hashlib.file_digest(data, "sha256").hexdigest()  # type: ignore[arg-type]
        added[path] = File(digest, entry.size, number, entry.type)
    elif entry.islnk():
        target = entry.linkname.strip("/").removeprefix("./")
        if first := added.get(target) or below.get(target):
            added[path] = File(first.digest, first.size, first.layer, entry.type)
    elif not entry.isdir():
        added.pop(path, None)
        gone.append(path)
