"""What is behind a reference: one image, or an index of images, attestations and other things.

Every manifest is read once, by digest, from the moment the tag was resolved: a tag that moves later changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from accel.blobs import read_whole
from accel.errors import DigestMismatch, FormatError, LimitError, NotFoundError, UnsupportedError
from accel.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    Platform,
    parse_manifest,
)
from accel.stores import ImageStore

Kind = Literal["image", "attestation", "index", "artifact", "absent", "broken"]

MAX_MANIFESTS = 2000  # over all nested indexes; the largest official images list about 50
MAX_NESTING = 4
MAX_CONFIG_BYTES = 8 << 20

_IMAGE_CONFIGS = (MediaType.OCI_CONFIG, MediaType.DOCKER_CONFIG)


@dataclass(frozen=True, slots=True)
class Child:
    """One entry of an index, or the only image there is.

    ``artifact`` is anything but an image for a known platform (a SOCI index, a signature); ``absent`` is listed but
    not in the store, ``broken`` cannot be read because of ``problem`` (only if asked for). ``platform`` is the entry's,
    or where it has none the image config's.
    """

    descriptor: Descriptor
    kind: Kind
    platform: Platform | None = None
    manifest: Manifest | None = None
    index: Index | None = None
    children: tuple["Child", ...] = ()
    problem: str = ""

    @property
    def foreign_layers(self) -> tuple[Descriptor, ...]:
        """Layers that may live outside every registry (Windows base layers)."""
        layers = self.manifest.layers if self.manifest else ()
        return tuple(layer for layer in layers if layer.is_foreign)


@dataclass(frozen=True, slots=True)
class Image:
    """Everything a reference leads to. ``top`` is what its tag names: an image, or an index with children."""

    top: Child
    store: ImageStore

    def walk(self) -> Iterator[Child]:
        """Every child, nested ones after the index that lists them, the top included."""
        todo = [self.top]
        while todo:
            child = todo.pop()
            yield child
            todo.extend(reversed(child.children))

    def images(self, platforms: tuple[Platform, ...] = ()) -> list[Child]:
        """The images, each digest once, in the order of the index; of ``platforms`` only, unless that is empty."""
        found: dict[str, Child] = {}
        for child in self.walk():
            if child.kind == "image" and _wanted(child.platform, platforms):
                found.setdefault(child.descriptor.digest, child)
        return list(found.values())

    def pick(self, platform: Platform | None) -> Child:
        """The image for ``platform``; without one the host's, or the only one. Raises ``NotFoundError``."""
        images = self.images()
        wanted = platform or Platform.host()
        for child in images:
            if child.platform is not None and child.platform.matches(wanted):
                return child
        if platform is None and len(images) == 1:
            return images[0]
        have = ", ".join(str(child.platform) for child in images) or "none"
        raise NotFoundError(f"{self.store.name}: no image for {wanted} (there is: {have})")


def load(store: ImageStore, reference: str, *, keep_broken: bool = False) -> Image:
    """What the tag or digest ``reference`` names in ``store`` ("": the only image there).

    With ``keep_broken`` entries whose manifest is broken become children of that kind instead of an error.

    Raises ``NotFoundError``, ``UnsupportedError`` for what is no container image, ``FormatError``, ``LimitError``.
    """
    descriptor, raw = store.get_manifest(reference)
    top = _Loader(store, keep_broken).child(descriptor, raw, nesting=0)
    image = Image(top, store)
    if top.kind == "artifact" or not any(child.kind in ("image", "absent") for child in image.walk()):
        what = top.manifest.config.media_type if top.manifest else top.descriptor.media_type
        raise UnsupportedError(f"{store.name}: {descriptor.digest} is no container image ({what})")
    return image


def config_of(store: ImageStore, manifest: Manifest) -> ImageConfig:
    """The image config of ``manifest``, verified."""
    raw = read_whole(store.blob(manifest.config), manifest.config, max_bytes=MAX_CONFIG_BYTES)
    return ImageConfig.parse(raw, max_bytes=MAX_CONFIG_BYTES)


class _Loader:
    def __init__(self, store: ImageStore, keep_broken: bool) -> None:
        self._store = store
        self._keep_broken = keep_broken
        self._n_manifests = 0

    def child(self, descriptor: Descriptor, raw: bytes, nesting: int) -> Child:
        self._n_manifests += 1
        if self._n_manifests > MAX_MANIFESTS:
            raise LimitError(f"{self._store.name}: too many manifests in one image", limit=MAX_MANIFESTS)
        parsed = parse_manifest(raw, descriptor.media_type)
        if isinstance(parsed, Index):
            if nesting >= MAX_NESTING:
                raise LimitError(f"{self._store.name}: indexes nested too deeply", limit=MAX_NESTING)
            children = tuple(self._listed(entry, nesting + 1) for entry in parsed.manifests)
            return Child(descriptor, "index", descriptor.platform, index=parsed, children=children)
        kind = _kind(descriptor, parsed)
        platform = descriptor.platform
        if kind == "image" and platform is None:
            platform = config_of(self._store, parsed).platform
        return Child(descriptor, kind, platform, manifest=parsed)

    def _listed(self, descriptor: Descriptor, nesting: int) -> Child:
        if descriptor.media_type not in INDEX_TYPES | MANIFEST_TYPES:
            return Child(descriptor, "artifact", descriptor.platform)
        try:
            return self._read(descriptor, nesting)
        except (FormatError, DigestMismatch, UnsupportedError) as error:
            if not self._keep_broken:
                raise
            return Child(descriptor, "broken", descriptor.platform, problem=str(error))

    def _read(self, descriptor: Descriptor, nesting: int) -> Child:
        try:
            _, raw = self._store.get_manifest(descriptor.digest)
        except NotFoundError:
            # Layouts and mirrors may hold some platforms only; what is missing is left as it is listed.
            return Child(descriptor, "absent", descriptor.platform)
        if len(raw) != descriptor.size:
            raise FormatError(
                f"manifest has {len(raw)} bytes, its index says {descriptor.size}", blob=descriptor.digest
            )
        return self.child(descriptor, raw, nesting)


def _kind(descriptor: Descriptor, manifest: Manifest) -> Kind:
    if descriptor.is_attestation:
        return "attestation"
    if descriptor.platform is not None and descriptor.platform.is_unknown:
        return "attestation"
    if descriptor.artifact_type or manifest.artifact_type or manifest.config.media_type not in _IMAGE_CONFIGS:
        return "artifact"
    return "image"


def _wanted(platform: Platform | None, platforms: tuple[Platform, ...]) -> bool:
    return not platforms or (platform is not None and any(platform.matches(wanted) for wanted in platforms))
