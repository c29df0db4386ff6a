"""Image manifests and indexes, OCI and Docker schema 2 (image-spec «manifest», «image index»)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from accel.errors import FormatError, UnsupportedError
from accel.oci.canonical import sorted_map
from accel.oci.descriptor import Descriptor
from accel.oci.digest import digest_of
from accel.oci.fields import JsonObject, get_list, get_object, get_text, get_text_map, json_object
from accel.oci.media_types import INDEX_TYPES, MANIFEST_TYPES, SCHEMA1_TYPES, MediaType, essence
from accel.oci.strict_json import MAX_MANIFEST_BYTES, parse_json

_Parsed = TypeVar("_Parsed", "Manifest", "Index")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image (or artifact) for one platform.

    ``raw`` are the bytes it was parsed from and ``digest`` their sha256 digest. ``data`` is the parsed JSON with
    everything in it, known or not, to copy and edit for rewritten images; do not change it in place.
    """

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str] = field(hash=False)
    digest: str
    raw: bytes = field(repr=False)
    data: JsonObject = field(repr=False, hash=False, compare=False)

    @classmethod
    def parse(
        cls, raw: bytes, media_type: str | None = None, *, max_bytes: int = MAX_MANIFEST_BYTES
    ) -> "Manifest":
        """From the bytes of a manifest; see :func:`parse_manifest`. An index is a FormatError."""
        return _expect(cls, parse_manifest(raw, media_type, max_bytes=max_bytes))

    def descriptor(self) -> Descriptor:
        """Media type, digest and size of ``raw``."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def to_json(self) -> JsonObject:
        """The known fields in Go's order, as a tool in Go would write this manifest after reading it."""
        data: JsonObject = {"schemaVersion": 2} | _head(self.data, self.artifact_type)
        data["config"] = self.config.to_json()
        data["layers"] = _list_json(self.layers, self.data.get("layers"))
        return data | _tail(self.subject, self.annotations)


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests under one name. ``raw``, ``digest`` and ``data`` as in :class:`Manifest`."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str] = field(hash=False)
    digest: str
    raw: bytes = field(repr=False)
    data: JsonObject = field(repr=False, hash=False, compare=False)

    @classmethod
    def parse(
        cls, raw: bytes, media_type: str | None = None, *, max_bytes: int = MAX_MANIFEST_BYTES
    ) -> "Index":
        """From the bytes of an index or Docker list; see :func:`parse_manifest`. A manifest is a FormatError."""
        return _expect(cls, parse_manifest(raw, media_type, max_bytes=max_bytes))

    def descriptor(self) -> Descriptor:
        """Media type, digest and size of ``raw``."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def to_json(self) -> JsonObject:
        """The known fields in Go's order, as a tool in Go would write this index after reading it."""
        data: JsonObject = {"schemaVersion": 2} | _head(self.data, self.artifact_type)
        data["manifests"] = _list_json(self.manifests, self.data.get("manifests"))
        return data | _tail(self.subject, self.annotations)


def parse_manifest(
    raw: bytes, media_type: str | None = None, *, max_bytes: int = MAX_MANIFEST_BYTES
) -> Manifest | Index:
    """The manifest or index in ``raw``, checked.

    ``media_type`` is what the descriptor or Content-Type said (parameters are ignored, as are types that name no
    manifest). The document's own ``mediaType`` must agree with it; a document that could be read as both kinds is
    refused (image-spec GHSA-77vh-xpmg-72qh). Raises FormatError, LimitError, UnsupportedError (schema 1).
    """
    data = json_object(parse_json(raw, "manifest", max_bytes=max_bytes), "manifest")
    kind = _media_type(data, essence(media_type or ""))
    subject = _subject(data)
    artifact_type = get_text(data, "artifactType", "manifest")
    annotations = get_text_map(data, "annotations", "manifest")
    raw = bytes(raw)
    if kind in INDEX_TYPES:
        children = _descriptors(data, "manifests")
        return Index(kind, children, subject, artifact_type, annotations, digest_of(raw), raw, data)
    config = get_object(data, "config", "manifest")
    if config is None:
        raise FormatError("manifest.config is missing")
    return Manifest(
        media_type=kind,
        config=Descriptor.from_json(config, "manifest.config"),
        layers=_descriptors(data, "layers"),
        subject=subject,
        artifact_type=artifact_type,
        annotations=annotations,
        digest=digest_of(raw),
        raw=raw,
        data=data,
    )


def _media_type(data: JsonObject, told: str) -> str:
    """Which of the four kinds this is, from what the document says, what we were told, and what it holds."""
    own = get_text(data, "mediaType", "manifest")
    version = data.get("schemaVersion")
    if version == 1 or own in SCHEMA1_TYPES or told in SCHEMA1_TYPES:
        raise UnsupportedError(
            "Docker schema 1 manifests are not supported; push the image again with a current tool"
        )
    if version != 2 or isinstance(version, float):
        raise FormatError("manifest.schemaVersion is not 2")
    known = INDEX_TYPES | MANIFEST_TYPES
    if own and own not in known:
        raise UnsupportedError(f"manifest.mediaType {own[:200]!r} is neither an image manifest nor an index")
    if own and told in known and own != told:
        raise FormatError(f"manifest.mediaType is {own!r}, but it was announced as {told!r}")
    looks_like_index = "manifests" in data
    if looks_like_index and ("config" in data or "layers" in data):
        raise FormatError("manifest has both manifests and config or layers")
    guess = MediaType.OCI_INDEX if looks_like_index else MediaType.OCI_MANIFEST
    kind = own or (told if told in known else guess)
    if (kind in INDEX_TYPES) != looks_like_index:
        raise FormatError(f"manifest does not hold what its media type {kind!r} requires")
    return kind


def _subject(data: JsonObject) -> Descriptor | None:
    subject = get_object(data, "subject", "manifest")
    return None if subject is None else Descriptor.from_json(subject, "manifest.subject")


def _descriptors(data: JsonObject, key: str) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor.from_json(json_object(item, f"{key}[{i}]"), f"{key}[{i}]")
        for i, item in enumerate(get_list(data, key, "manifest"))
    )


def _head(data: JsonObject, artifact_type: str) -> JsonObject:
    own = data.get("mediaType")
    return ({"mediaType": own} if own else {}) | ({"artifactType": artifact_type} if artifact_type else {})


def _tail(subject: Descriptor | None, annotations: Mapping[str, str]) -> JsonObject:
    data: JsonObject = {}
    if subject:
        data["subject"] = subject.to_json()
    if annotations:
        data["annotations"] = sorted_map(annotations)
    return data


def _list_json(items: tuple[Descriptor, ...], source: object) -> list[JsonObject] | None:
    # A list that was absent or null is null again in Go's output.
    return None if source is None else [item.to_json() for item in items]


def _expect(kind: type[_Parsed], parsed: Manifest | Index) -> _Parsed:
    if not isinstance(parsed, kind):
        raise FormatError(f"{parsed.media_type} where {kind.__name__.lower()} was expected")
    return parsed
