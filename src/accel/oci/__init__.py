"""Values of the OCI and Docker image formats: parsed once, checked, immutable. No I/O here.

::

    Reference ──names──> Index ──manifests──> Manifest ──config──> ImageConfig (platform, diffIDs)
                           │                     └──layers──> Descriptor (media type, digest, size)
                           └── a Descriptor each, with its Platform

The raw bytes of a manifest stay beside the parsed value, because the digest is of the bytes. Whatever breaks the
format raises :class:`accel.errors.FormatError` naming the field; what is valid but not ours (schema 1, digests we
cannot compute) raises :class:`accel.errors.UnsupportedError`.
"""

from accel.oci.canonical import canonical_json, sorted_map
from accel.oci.config import ImageConfig
from accel.oci.descriptor import EMPTY_CONFIG, EMPTY_JSON, Descriptor, with_attested
from accel.oci.digest import check_digest, digest_of, hasher_for, split_digest
from accel.oci.manifest import Index, Manifest, parse_manifest
from accel.oci.media_types import (
    INDEX_TYPES,
    MANIFEST_ACCEPT,
    MANIFEST_TYPES,
    MediaType,
    essence,
    is_foreign_layer,
    is_layer,
)
from accel.oci.platform import Platform
from accel.oci.reference import MAX_TAG_CHARS, Reference, check_tag
from accel.oci.strict_json import MAX_MANIFEST_BYTES, parse_json

__all__ = [
    "EMPTY_CONFIG",
    "EMPTY_JSON",
    "INDEX_TYPES",
    "MANIFEST_ACCEPT",
    "MANIFEST_TYPES",
    "MAX_MANIFEST_BYTES",
    "MAX_TAG_CHARS",
    "Descriptor",
    "ImageConfig",
    "Index",
    "Manifest",
    "MediaType",
    "Platform",
    "Reference",
    "canonical_json",
    "check_digest",
    "check_tag",
    "digest_of",
    "essence",
    "hasher_for",
    "is_foreign_layer",
    "is_layer",
    "parse_json",
    "parse_manifest",
    "sorted_map",
    "split_digest",
    "with_attested",
]
