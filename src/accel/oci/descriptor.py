"""Descriptors: media type, digest and size of a blob or manifest (image-spec «descriptor»)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from accel.errors import FormatError
from accel.oci.canonical import sorted_map
from accel.oci.digest import check_digest, digest_of
from accel.oci.fields import JsonObject, get_object, get_text, get_text_map, get_texts, need_size, need_text
from accel.oci.media_types import MediaType, is_foreign_layer
from accel.oci.platform import Platform

_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")
_ATTESTED_DIGEST = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of one blob. ``size`` in bytes; ``annotations`` are to be read only."""

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    data: bytes | None = field(default=None, repr=False)
    platform: Platform | None = None
    artifact_type: str = ""

    @classmethod
    def of(
        cls,
        raw: bytes,
        media_type: str,
        *,
        annotations: Mapping[str, str] | None = None,
        platform: Platform | None = None,
        artifact_type: str = "",
    ) -> "Descriptor":
        """The descriptor of ``raw``."""
        return cls(
            media_type,
            digest_of(raw),
            len(raw),
            annotations=dict(annotations or {}),
            platform=platform,
            artifact_type=artifact_type,
        )

    @classmethod
    def from_json(cls, data: JsonObject, where: str = "descriptor") -> "Descriptor":
        """From parsed JSON; unknown fields are not kept. Raises FormatError naming the field, below ``where``."""
        try:
            digest = check_digest(need_text(data, "digest", where))
        except FormatError as e:
            raise FormatError(f"{where}.digest: {e.what}") from e
        platform = get_object(data, "platform", where)
        embedded = get_text(data, "data", where)
        return cls(
            media_type=need_text(data, "mediaType", where),
            digest=digest,
            size=need_size(data, "size", where),
            urls=get_texts(data, "urls", where),
            annotations=get_text_map(data, "annotations", where),
            data=_decode(embedded, f"{where}.data") if embedded else None,
            platform=None if platform is None else Platform.from_json(platform, f"{where}.platform"),
            artifact_type=get_text(data, "artifactType", where),
        )

    def to_json(self) -> JsonObject:
        """The fields in Go's order, annotations sorted, empty optional ones left out."""
        data: JsonObject = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            data["urls"] = list(self.urls)
        if self.annotations:
            data["annotations"] = sorted_map(self.annotations)
        if self.data:
            data["data"] = base64.b64encode(self.data).decode("ascii")
        if self.platform:
            data["platform"] = self.platform.to_json()
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        return data

    @property
    def is_foreign(self) -> bool:
        """Whether the blob may live outside of every registry, at ``urls`` (Windows base layers)."""
        return bool(self.urls) or is_foreign_layer(self.media_type)

    @property
    def is_attestation(self) -> bool:
        """Whether this entry of an index is a BuildKit attestation (provenance, SBOM), not an image."""
        return self.annotations.get(_ATTESTATION[0]) == _ATTESTATION[1]

    @property
    def attested_digest(self) -> str:
        """The digest of the image manifest that this attestation entry is about; "" if it is none."""
        return self.annotations.get(_ATTESTED_DIGEST, "") if self.is_attestation else ""


def with_attested(entry: JsonObject, new_digests: Mapping[str, str]) -> JsonObject:
    """The entry of an index, pointed at the image that took the place of the one it attests; itself if none did."""
    annotations = entry.get("annotations") or {}
    new_digest = new_digests.get(annotations.get(_ATTESTED_DIGEST, ""))
    return {**entry, "annotations": annotations | {_ATTESTED_DIGEST: new_digest}} if new_digest else entry


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise FormatError(f"{where} is not base64") from e


EMPTY_JSON = b"{}"
EMPTY_CONFIG = Descriptor.of(EMPTY_JSON, MediaType.OCI_EMPTY)
