"""Small images for tests: layers from bytes, manifests, indexes and attestations, as the usual builders make them.

::

    base = gzip_layer(tar_of(file("etc/motd", b"hello"), symlink("motd", "etc/motd")))
    amd64 = image([base], platform="linux/amd64")
    multi = index([amd64, image([base], platform="linux/arm64/v8"), attestation_of(amd64)])
    put(store, multi, tag="v1")        # any ImageStore
    multi.descriptor.digest, multi.blobs[digest], amd64.layers[0].diff_id

All bytes are the same on each run (no times, no names of this machine), except where zlib's versions differ.
"""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from accel.oci import Descriptor, MediaType, Platform, canonical_json, digest_of
from accel.stores import ImageStore

# --- tar -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TarEntry:
    """One member: header and content."""

    info: tarfile.TarInfo
    data: bytes = b""


def _info(name: str, kind: bytes, mode: int, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def file(name: str, data: bytes = b"", mode: int = 0o644, **fields: Any) -> TarEntry:
    """A regular file; ``fields`` are TarInfo's (``mtime=``, ``uid=``, ``pax_headers=`` …)."""
    info = _info(name, tarfile.REGTYPE, mode, **fields)
    info.size = len(data)
    return TarEntry(info, data)


def directory(name: str, mode: int = 0o755, **fields: Any) -> TarEntry:
    return TarEntry(_info(name, tarfile.DIRTYPE, mode, **fields))


def symlink(name: str, target: str, **fields: Any) -> TarEntry:
    return TarEntry(_info(name, tarfile.SYMTYPE, 0o777, linkname=target, **fields))


def hardlink(name: str, target: str, **fields: Any) -> TarEntry:
    return TarEntry(_info(name, tarfile.LNKTYPE, 0o644, linkname=target, **fields))


def whiteout(name: str) -> TarEntry:
    """The marker that removes ``name`` of a layer below."""
    parent, slash, base = name.rpartition("/")
    return file(f"{parent}{slash}.wh.{base}")


def tar_of(*entries: TarEntry, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of the entries, in order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        for entry in entries:
            tar.addfile(entry.info, io.BytesIO(entry.data))
    return out.getvalue()


def random_tar(seed: int, n_files: int = 8, file_bytes: int = 4096) -> bytes:
    """Files of words drawn with ``seed``: compressible, like text."""
    rng = random.Random(seed)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(500)]
    entries = []
    for i in range(n_files):
        text = b" ".join(rng.choices(words, k=file_bytes // 4))[: rng.randint(0, file_bytes)]
        entries.append(file(f"usr/share/f{i:04}", text))
    return tar_of(directory("usr"), directory("usr/share"), *entries)


# --- layers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """Stored bytes (None: they live elsewhere), what the manifest says of them, and their diffID."""

    data: bytes | None
    descriptor: Descriptor
    diff_id: str


def plain_layer(tar: bytes, *, docker: bool = False) -> Layer:
    return layer_of(tar, MediaType.DOCKER_LAYER if docker else MediaType.OCI_LAYER, digest_of(tar))


def gzip_layer(tar: bytes, *, docker: bool = False, level: int = 6) -> Layer:
    media_type = MediaType.DOCKER_LAYER_GZIP if docker else MediaType.OCI_LAYER_GZIP
    return layer_of(gzip.compress(tar, level, mtime=0), media_type, digest_of(tar))


def layer_of(data: bytes, media_type: str, diff_id: str | None = None) -> Layer:
    """Any bytes as a layer (zstd, corrupt, mislabelled, …)."""
    return Layer(data, Descriptor.of(data, media_type), diff_id or digest_of(data))


def foreign_layer(tar: bytes = b"windows base", *, docker: bool = True) -> Layer:
    """A layer that is not stored with the image and names an URL instead (Windows base layers)."""
    data = gzip.compress(tar, mtime=0)
    media_type = MediaType.DOCKER_FOREIGN_GZIP if docker else MediaType.OCI_FOREIGN_GZIP
    descriptor = Descriptor(
        media_type, digest_of(data), len(data), urls=("https://layers.invalid/windows/base",)
    )
    return Layer(None, descriptor, digest_of(tar))


_EPOCH = "1970-01-01T00:00:00Z"
EMPTY_LAYER = gzip_layer(tar_of())  # as BuildKit's for steps that change nothing

# --- manifests -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A manifest or index with the blobs below it. ``descriptor`` is how an index lists it."""

    raw: bytes
    descriptor: Descriptor
    blobs: dict[str, bytes] = field(repr=False)
    children: tuple["Built", ...] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def digest(self) -> str:
        return self.descriptor.digest

    @property
    def media_type(self) -> str:
        return self.descriptor.media_type


def image(
    layers: Sequence[Layer],
    *,
    platform: str = "linux/amd64",
    docker: bool = False,
    annotations: dict[str, str] | None = None,
    subject: Descriptor | None = None,
    leave_out: Iterable[str] = (),
    pretty: bool = False,
) -> Built:
    """One image. ``leave_out`` drops top-level fields of the manifest (``mediaType``); ``pretty`` indents its JSON."""
    where = _platform(platform)
    config = canonical_json(
        where.to_json()
        | {
            "created": _EPOCH,
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": _EPOCH, "created_by": f"layer {i}"} for i in range(len(layers))],
        }
    )
    config_type = MediaType.DOCKER_CONFIG if docker else MediaType.OCI_CONFIG
    media_type = MediaType.DOCKER_MANIFEST if docker else MediaType.OCI_MANIFEST
    fields: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": Descriptor.of(config, config_type).to_json(),
        "layers": [layer.descriptor.to_json() for layer in layers],
    }
    if subject:
        fields["subject"] = subject.to_json()
    if annotations:
        fields["annotations"] = annotations
    raw = _document(fields, leave_out, pretty)
    blobs = {digest_of(config): config} | {
        layer.descriptor.digest: layer.data for layer in layers if layer.data
    }
    return Built(raw, Descriptor.of(raw, media_type, platform=where), blobs, layers=tuple(layers))


def attestation_of(subject: Built) -> Built:
    """A provenance attestation for one image of the same index, as BuildKit adds it by default."""
    statement = canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"name": "_", "digest": {"sha256": subject.digest.removeprefix("sha256:")}}],
            "predicate": {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1"},
        }
    )
    config = canonical_json(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(statement)]},
        }
    )
    layer = Descriptor.of(
        statement,
        "application/vnd.in-toto+json",
        annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
    )
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": Descriptor.of(config, MediaType.OCI_CONFIG).to_json(),
            "layers": [layer.to_json()],
        }
    )
    descriptor = Descriptor.of(
        raw,
        MediaType.OCI_MANIFEST,
        annotations={
            "vnd.docker.reference.digest": subject.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        platform=Platform("unknown", "unknown"),
    )
    return Built(raw, descriptor, {digest_of(config): config, layer.digest: statement})


def index(
    children: Sequence[Built],
    *,
    docker: bool = False,
    annotations: dict[str, str] | None = None,
    leave_out: Iterable[str] = (),
    pretty: bool = False,
) -> Built:
    """An index (``docker``: a manifest list) of images, attestations or other indexes."""
    media_type = MediaType.DOCKER_LIST if docker else MediaType.OCI_INDEX
    fields: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [child.descriptor.to_json() for child in children],
    }
    if annotations:
        fields["annotations"] = annotations
    raw = _document(fields, leave_out, pretty)
    blobs = {digest: data for child in children for digest, data in child.blobs.items()}
    return Built(raw, Descriptor.of(raw, media_type), blobs, children=tuple(children))


def put(store: ImageStore, built: Built, tag: str | None = None) -> Descriptor:
    """Store an image with everything below it, and tag it."""
    for child in built.children:
        put(store, child)
    for digest, data in built.blobs.items():
        store.put_blob(Descriptor(MediaType.OCTET_STREAM, digest, len(data)), [data])
    return store.put_manifest(built.raw, built.media_type, tag=tag)


def _platform(text: str) -> Platform:
    # Not Platform.parse: that normalizes, and images say arm64/v8.
    os_name, architecture, *variant = text.split("/")
    return Platform(os_name, architecture, "".join(variant))


def _document(fields: dict[str, Any], leave_out: Iterable[str], pretty: bool) -> bytes:
    kept = {key: value for key, value in fields.items() if key not in set(leave_out)}
    return json.dumps(kept, indent=3).encode() if pretty else canonical_json(kept)
