"""Whole images converted in memory, as a converter would drive ``accel.formats.soci``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accel.errors import UnsupportedError
from accel.formats.soci import (
    IndexedManifest,
    RewrittenImage,
    SociIndex,
    SociOptions,
    build_ztoc,
    choose_layer,
    rewrite_image,
    soci_index,
    tar_span_bytes,
    ztoc_descriptor,
)
from accel.oci import EMPTY_JSON, ImageConfig, Index, Manifest, Platform, digest_of, parse_manifest
from accel_core import LayerScanner
from support.images import Built


@dataclass(frozen=True)
class Converted:
    """The rewritten image and every blob and manifest it needs beyond the source's, by digest."""

    image: RewrittenImage
    blobs: Mapping[str, bytes]


def all_blobs(built: Built) -> dict[str, bytes]:
    """Blobs and manifests of an image, by digest."""
    found = dict(built.blobs) | {built.digest: built.raw}
    for child in built.children:
        found |= all_blobs(child)
    return found


def sniff(data: bytes) -> str:
    return "gzip" if data[:2] == b"\x1f\x8b" else "zstd" if data[:4] == b"\x28\xb5\x2f\xfd" else "tar"


def index_manifest(
    manifest: Manifest, blobs: Mapping[str, bytes], options: SociOptions, made: dict[str, bytes]
) -> SociIndex | None:
    """The SOCI index of one image; its zTOCs go into ``made``. None if no layer can be indexed."""
    ztocs = []
    for layer in manifest.layers:
        data = blobs.get(layer.digest, b"")
        choice = choose_layer(layer, options, sniffed=sniff(data))
        if choice.compression is None:
            continue
        span_bytes = (
            options.span_bytes if choice.compression == "gzip" else tar_span_bytes(layer.size, options)
        )
        scanner = LayerScanner(
            compression=choice.compression,
            span_bytes=span_bytes,
            placement="soci" if options.identical else "adaptive",
        )
        scanner.feed(data)
        try:
            ztoc, _ = build_ztoc(scanner.finish(), options)
        except UnsupportedError:
            if options.identical:
                raise
            continue
        made[digest_of(ztoc)] = ztoc
        ztocs.append(ztoc_descriptor(ztoc, layer, options, span_bytes=span_bytes))
    if not ztocs:
        return None
    index = soci_index(ztocs, options)
    made[index.digest] = index.raw
    return index


def convert(
    raw: bytes, blobs: Mapping[str, bytes], options: SociOptions, *, platforms: Sequence[str] | None = None
) -> Converted:
    """The accelerated image of the manifest or index ``raw``; all platforms if none are named."""
    source = parse_manifest(raw)
    made = {digest_of(EMPTY_JSON): EMPTY_JSON}
    indexed = []
    for digest, platform in _images(source, blobs, platforms):
        soci = index_manifest(Manifest.parse(blobs[digest]), blobs, options, made)
        if soci is not None:
            indexed.append(IndexedManifest(digest, soci, platform))
    entries = source.manifests if isinstance(source, Index) else ()
    manifests = {entry.digest: blobs[entry.digest] for entry in entries if entry.digest in blobs}
    image = rewrite_image(source, indexed, options, manifests=manifests)
    made |= {manifest.digest: manifest.raw for manifest in image.manifests}
    made[image.descriptor().digest] = image.raw
    return Converted(image, made)


def _images(
    source: Manifest | Index, blobs: Mapping[str, bytes], platforms: Sequence[str] | None
) -> list[tuple[str, Platform]]:
    if isinstance(source, Manifest):
        return [(source.digest, ImageConfig.parse(blobs[source.config.digest]).platform.normalized())]
    runnable = [
        (entry.digest, entry.platform)
        for entry in source.manifests
        if entry.platform and not entry.platform.is_unknown and not entry.artifact_type
    ]
    if platforms is None:
        return runnable
    wanted = [Platform.parse(text) for text in platforms]
    return [
        (next(digest for digest, mine in runnable if mine.matches(platform)), platform) for platform in wanted
    ]


def write_layout(directory: Path, blobs: Mapping[str, bytes]) -> Path:
    """An OCI layout with these blobs and no tags."""
    (directory / "blobs" / "sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": []}))
    for digest, data in blobs.items():
        (directory / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
    return directory


def layout_blobs(directory: Path) -> dict[str, bytes]:
    return {f"sha256:{path.name}": path.read_bytes() for path in (directory / "blobs" / "sha256").iterdir()}
