"""The archive that ``docker save`` writes, read in place.

::

    manifest.json     [{"Config": "<hex>.json", "RepoTags": ["name:tag"], "Layers": ["<id>/layer.tar", …]}]
    <hex>.json        the image config, with the diffIDs
    <id>/layer.tar    a layer, or a link to an equal one

Since version 25 the same file is an OCI layout as well, and Config and Layers point into ``blobs/sha256``; other
writers store gzip layers. There is no manifest: one is made here, in Docker's schema 2, from the config and the
digests of the layer files as they are, so every layer of the image is read once when its manifest is asked for.
"""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from accel.blobs import Blob, Chunk, FileBlob
from accel.errors import DigestMismatch, FormatError, NotFoundError, ReferenceSyntaxError, UnsupportedError
from accel.layout.index_json import CONTAINERD_NAME, REF_NAME
from accel.layout.tar_members import TarMembers
from accel.oci import (
    MAX_MANIFEST_BYTES,
    Descriptor,
    ImageConfig,
    MediaType,
    Reference,
    canonical_json,
    hasher_for,
    parse_json,
)
from accel.oci.fields import get_texts, json_object, need_text
from accel.stores import ImageStore, StagedBlob

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SHA256 = "sha256:" + 64 * "0"  # names the algorithm


@dataclass(frozen=True, slots=True)
class _Image:
    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]  # in full: docker.io/library/x:tag


class DockerArchiveStore:
    """A read-only ImageStore over one archive; its manifests are made here (see the module)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises FileNotFoundError, NotFoundError (no images), UnsupportedError (compressed), FormatError or
        LimitError."""
        self.name = f"docker-archive:{os.fspath(path)}"
        self._members = TarMembers(path)
        self._lock = threading.Lock()
        self._blobs: dict[str, FileBlob] = {}
        self._layers: dict[str, Descriptor] = {}  # by name in the archive
        self._manifests: dict[str, tuple[Descriptor, bytes]] = {}
        if "manifest.json" not in self._members:
            raise NotFoundError(f"{self.name} is no docker-archive (it has no manifest.json)")
        self._images = self._parse(self._members.read("manifest.json", max_bytes=MAX_MANIFEST_BYTES))

    def tags(self) -> list[str]:
        """The full names of all images (``docker.io/library/name:tag``)."""
        return [name for image in self._images for name in image.names]

    def get_manifest(self, ref: str) -> tuple[Descriptor, bytes]:
        """See :class:`accel.stores.ImageStore`. ``ref`` is a name (``name:tag``), its tag alone, or a digest.

        A digest is found once the image was asked for by name. Reads all layers of the image the first time.
        """
        with self._lock:
            if ref.startswith("sha256:"):
                if ref not in self._manifests:
                    raise NotFoundError(f"manifest {ref} is not in {self.name}")
                return self._manifests[ref]
            image = self._select(ref)
            descriptor, raw = self._make_manifest(image)
            self._manifests[descriptor.digest] = (descriptor, raw)
        if image.names:
            name = next((n for n in image.names if _answers_to(n, ref)), image.names[0])
            names = {CONTAINERD_NAME: name, REF_NAME: name.rpartition(":")[2]}
            descriptor = replace(descriptor, annotations=names)
        return descriptor, raw

    def blob(self, desc: Descriptor) -> Blob:
        """A config or layer of an image that was asked for. Raises NotFoundError, DigestMismatch (its size)."""
        blob = self._blobs.get(desc.digest)
        if blob is None:
            raise NotFoundError(f"blob {desc.digest} is not in {self.name}")
        if blob.size != desc.size:
            raise DigestMismatch(
                f"{desc.size} bytes", f"{blob.size} bytes", n_bytes=blob.size, blob=desc.digest
            )
        return blob

    def has_blob(self, desc: Descriptor) -> bool:
        """Whether it is a config or layer of an image that was asked for."""
        blob = self._blobs.get(desc.digest)
        return blob is not None and blob.size == desc.size

    def has_manifest(self, digest: str) -> bool:
        """Whether it is the manifest of an image that was asked for."""
        return digest in self._manifests

    def put_blob(self, desc: Descriptor, chunks: Iterable[Chunk]) -> None:
        """Raises UnsupportedError."""
        raise self._read_only()

    def stage_blob(self) -> StagedBlob:
        """Raises UnsupportedError."""
        raise self._read_only()

    def mount_blob(self, desc: Descriptor, source: ImageStore) -> bool:
        """Raises UnsupportedError."""
        raise self._read_only()

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        """Raises UnsupportedError."""
        raise self._read_only()

    def referrers(self, digest: str, artifact_type: str | None = None) -> list[Descriptor]:
        """None: the format has no place for them."""
        return []

    def add_referrer(self, subject: Descriptor, referrer: Descriptor) -> None:
        """Raises UnsupportedError."""
        raise self._read_only()

    def close(self) -> None:
        """Nothing is held open."""

    def _read_only(self) -> UnsupportedError:
        return UnsupportedError(f"{self.name} can only be read; write to oci-archive: or oci: instead")

    def _parse(self, raw: bytes) -> list[_Image]:
        entries = parse_json(raw, "manifest.json")
        if not isinstance(entries, list):
            raise FormatError("manifest.json is not a list")
        images = []
        for i, entry in enumerate(entries):
            where = f"manifest.json[{i}]"
            data = json_object(entry, where)
            names = tuple(map(_full_name, get_texts(data, "RepoTags", where)))
            images.append(_Image(need_text(data, "Config", where), get_texts(data, "Layers", where), names))
        return images

    def _select(self, ref: str) -> _Image:
        found = [image for image in self._images if not ref or any(_answers_to(n, ref) for n in image.names)]
        if len(found) == 1:
            return found[0]
        what = f"image called {ref!r}" if ref else "image"
        names = ", ".join(self.tags()[:10]) or "none has a name"
        how_many = f"{len(found)} times an" if found else "no"
        raise NotFoundError(f"{how_many} {what} in {self.name} (images: {names})")

    def _make_manifest(self, image: _Image) -> tuple[Descriptor, bytes]:
        config_raw = self._members.read(image.config, max_bytes=MAX_MANIFEST_BYTES)
        config = Descriptor.of(config_raw, MediaType.DOCKER_CONFIG)
        diff_ids = ImageConfig.parse(config_raw).diff_ids
        if len(diff_ids) != len(image.layers):
            raise FormatError(
                f"{image.config[:300]!r} has {len(diff_ids)} diffIDs for {len(image.layers)} layers",
                blob=config.digest,
            )
        self._blobs[config.digest] = self._members.blob(image.config)
        layers = [self._layer(name, diff_id) for name, diff_id in zip(image.layers, diff_ids, strict=True)]
        raw = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MediaType.DOCKER_MANIFEST,
                "config": config.to_json(),
                "layers": [layer.to_json() for layer in layers],
            }
        )
        return Descriptor.of(raw, MediaType.DOCKER_MANIFEST), raw

    def _layer(self, name: str, diff_id: str) -> Descriptor:
        if name not in self._layers:
            blob = self._members.blob(name)
            descriptor = Descriptor(_layer_type(blob), _digest_of_blob(blob), blob.size)
            self._layers[name] = descriptor
            self._blobs[descriptor.digest] = blob
        layer = self._layers[name]
        if layer.media_type == MediaType.DOCKER_LAYER and layer.digest != diff_id:
            raise DigestMismatch(diff_id, layer.digest, n_bytes=layer.size, blob=name[:300])
        return layer


def _layer_type(blob: Blob) -> str:
    head = blob.read_at(0, min(4, blob.size))
    if head.startswith(_GZIP):
        return MediaType.DOCKER_LAYER_GZIP
    return MediaType.DOCKER_LAYER_ZSTD if head == _ZSTD else MediaType.DOCKER_LAYER


def _digest_of_blob(blob: Blob) -> str:
    hasher = hasher_for(_SHA256)
    for chunk in blob.stream():
        hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"


def _full_name(name: str) -> str:
    """``docker.io/library/x:tag`` for ``x:tag``; as it is where it is no reference."""
    try:
        ref = Reference.parse(f"docker://{name}")
    except ReferenceSyntaxError:
        return name
    return str(ref).removeprefix("docker://")


def _answers_to(name: str, ref: str) -> bool:
    return ref in (name, name.rpartition(":")[2]) or name == _full_name(ref)
