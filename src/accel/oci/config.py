"""The image config: the part that conversion needs (image-spec «image configuration»)."""

from dataclasses import dataclass, field

from accel.errors import FormatError
from accel.oci.digest import check_digest
from accel.oci.fields import JsonObject, get_object, get_texts, json_object
from accel.oci.platform import Platform
from accel.oci.strict_json import MAX_MANIFEST_BYTES, parse_json


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """Platform and diffIDs (digests of the uncompressed layers, bottom first) of one image."""

    platform: Platform
    diff_ids: tuple[str, ...]
    data: JsonObject = field(repr=False, hash=False, compare=False)

    @classmethod
    def parse(cls, raw: bytes, *, max_bytes: int = MAX_MANIFEST_BYTES) -> "ImageConfig":
        """From the bytes of an OCI or Docker image config. Raises FormatError, LimitError."""
        data = json_object(parse_json(raw, "config", max_bytes=max_bytes), "config")
        rootfs = get_object(data, "rootfs", "config") or {}
        diff_ids = get_texts(rootfs, "diff_ids", "config.rootfs")
        for i, diff_id in enumerate(diff_ids):
            try:
                check_digest(diff_id)
            except FormatError as e:
                raise FormatError(f"config.rootfs.diff_ids[{i}]: {e.what}") from e
        return cls(Platform.from_json(data, "config"), diff_ids, data)
