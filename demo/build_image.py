"""Assembles a real multi-layer image from files of this machine, as an OCI layout: ``demo/work/image``, tag ``demo``.

Nothing is downloaded. The layers together hold the corners that images in the wild have::

    linux/amd64   1 system    PAX   zlib -6   programs and libraries, hard and symbolic links
                  2 runtime   GNU   zlib -6   the Python library, long names by GNU L and K records
                  3 empty     ustar gzip      1024 zero bytes, the 32-byte blob that BuildKit writes
                  4 data      PAX   pigz -6   headers, documentation, data (zlib -6 where pigz is missing)
                  5 app       PAX   zlib -6   changed copies of files of 1, whiteouts, xattrs, odd names and types
                  6 app       the same digest once more
    linux/arm64   1 app (the same blob), 2 a small uncompressed tar
    attestation   an in-toto manifest about linux/amd64, as BuildKit attaches it

Entries come in sorted order and gzip headers carry no time, so the same files give the same digests.
"""

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from layers import MIB, Layer, build_layers

WORK = Path(__file__).parent / "work"
TAG = "demo"
LEAST_BYTES = 150 * 10**6       # of tar over all layers; a smaller machine cannot show what this is about
LAYER_BYTES = 100 * MIB         # wanted in each of the three large layers on average

OCI = "application/vnd.oci.image."
MANIFEST, INDEX, CONFIG = OCI + "manifest.v1+json", OCI + "index.v1+json", OCI + "config.v1+json"


def put(blobs: Path, value: Any, media_type: str, **more: Any) -> dict[str, Any]:
    """Store JSON (or bytes) as a blob; gives its descriptor."""
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    digest = hashlib.sha256(raw).hexdigest()
    (blobs / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw), **more}


def put_manifest(blobs: Path, architecture: str, layers: list[Layer]) -> dict[str, Any]:
    """Store config and manifest of one platform; gives the manifest's descriptor."""
    made = "2023-11-14T22:13:20Z"
    config = {
        "architecture": architecture, "os": "linux", "created": made,
        "config": {"Cmd": ["/opt/demo/program"], "Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": made, "created_by": f"demo: {layer.what}"} for layer in layers],
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": put(blobs, config, CONFIG),
        "layers": [layer.descriptor() for layer in layers],
    }  # fmt: skip
    return put(blobs, manifest, MANIFEST, platform={"architecture": architecture, "os": "linux"})


def put_attestation(blobs: Path, subject: dict[str, Any]) -> dict[str, Any]:
    """Store a BuildKit-like provenance manifest about ``subject``; gives its descriptor."""
    sha256 = subject["digest"].removeprefix("sha256:")
    predicate = "https://slsa.dev/provenance/v0.2"
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate, "predicate": {},
        "subject": [{"name": "demo", "digest": {"sha256": sha256}}],
    }  # fmt: skip
    about = {"in-toto.io/predicate-type": predicate}
    layer = put(blobs, statement, "application/vnd.in-toto+json", annotations=about)
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = put(blobs, {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs}, CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    link = {"vnd.docker.reference.digest": subject["digest"], "vnd.docker.reference.type": "attestation-manifest"}
    platform = {"architecture": "unknown", "os": "unknown"}
    return put(blobs, manifest, MANIFEST, annotations=link, platform=platform)


def write_layout(layout: Path, layer_bytes: int) -> list[Layer]:
    """Make the whole layout in ``layout``; gives the layers of linux/amd64."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers, plain = build_layers(blobs, layer_bytes)
    amd64 = put_manifest(blobs, "amd64", layers)
    arm64 = put_manifest(blobs, "arm64", [layers[-1], plain])
    manifests = [amd64, arm64, put_attestation(blobs, amd64)]
    name = {"org.opencontainers.image.ref.name": TAG}
    image = put(blobs, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX, annotations=name)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}))
    return layers


def build(work: Path = WORK, layer_bytes: int = LAYER_BYTES, *, force: bool = False) -> tuple[Path, list[Layer]]:
    """The layout's directory and the layers of linux/amd64; made only if this program or the sizes changed."""
    layout, stamp = work / "image", work / "image.json"
    sources = [Path(__file__), Path(__file__).with_name("layers.py")]
    made_of = b"".join(path.read_bytes() for path in sources) + str(layer_bytes).encode()
    key = hashlib.sha256(made_of).hexdigest()
    if not force and stamp.exists():
        made = json.loads(stamp.read_text())
        if made["key"] == key and (layout / "index.json").exists():
            return layout, [Layer(**row) for row in made["layers"]]
    stamp.unlink(missing_ok=True)
    shutil.rmtree(layout, ignore_errors=True)
    shutil.rmtree(work / "image.part", ignore_errors=True)
    layers = write_layout(work / "image.part", layer_bytes)
    (work / "image.part").rename(layout)
    stamp.write_text(json.dumps({"key": key, "layers": [asdict(layer) for layer in layers]}))
    return layout, layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layer-mib", type=int, default=LAYER_BYTES // MIB, help="tar bytes wanted in a large layer")
    parser.add_argument("--force", action="store_true", help="build it again")
    args = parser.parse_args()
    layout, layers = build(layer_bytes=args.layer_mib * MIB, force=args.force)
    for layer in layers:
        print(f"{layer.what:8} {layer.uncomp_size:>12,} -> {layer.size:>12,}  {layer.digest}")
    total = sum(layer.uncomp_size for layer in layers)
    print(f"{layout}: {len(layers)} layers, {total:,} bytes of tar")
    if total < LEAST_BYTES:
        sys.exit(f"this machine has too few files for the demo: {total:,} bytes of tar, wanted {LEAST_BYTES:,}")


if __name__ == "__main__":
    main()
