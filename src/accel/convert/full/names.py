"""Annotations of our own on the layers we write, so that a later run finds them again."""

import hashlib
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version

import zstandard

from accel.convert.options import ESTARGZ, ConvertOptions
from accel.formats.soci import Annotation as SociAnnotation
from accel.formats.stargz import Annotation as StargzAnnotation
from accel.oci import canonical_json

SOURCE_DIGEST = SociAnnotation.SOURCE_DIGEST  # on a layer: of the layer it was made from
OPTIONS = SociAnnotation.OPTIONS  # on a layer: what it was made with, see fingerprint
PLAIN = "dev.accel.not-lazy"  # on a layer: why no reader loads it lazily

# What claims something about the bytes of one blob, and so must not be said of another one.
TOC_ANNOTATIONS = frozenset(
    {
        StargzAnnotation.TOC_DIGEST,
        StargzAnnotation.UNCOMP_SIZE,
        StargzAnnotation.CHECKSUM,
        StargzAnnotation.POSITION,
        StargzAnnotation.TAR_SPLIT_POSITION,
        StargzAnnotation.STARGZ_CHECKSUM,
        StargzAnnotation.STARGZ_POSITION,
        "io.github.containers.zstd-chunked.tarsplit-checksum",
        SOURCE_DIGEST,
        OPTIONS,
        PLAIN,
    }
)


def without(annotations: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    """The annotations whose keys are not in ``keys``."""
    return {key: value for key, value in annotations.items() if key not in keys}


def fingerprint(format: str, options: ConvertOptions) -> str:
    """A short hash of all that decides about the bytes and annotations of a layer: the same one, the same layer."""
    facts: dict[str, object] = {"accel": _own_version(), "format": format}
    if format == ESTARGZ:
        facts |= {"level": options.gzip_level, "libdeflate": version("deflate")}
        if options.min_chunk_bytes:
            facts["min chunk, offsets of their own"] = options.min_chunk_bytes
        if options.prefetch:
            ordered = b"\n".join(dict.fromkeys(options.prefetch))
            facts["prefetch"] = hashlib.sha256(ordered).hexdigest()
    else:
        facts |= {"level": options.zstd_level, "zstd": ".".join(map(str, zstandard.ZSTD_VERSION))}
        facts["for"] = "containerd" if options.containerd_only else "podman"
    return hashlib.sha256(canonical_json(facts)).hexdigest()[:16]


def _own_version() -> str:
    try:
        return version("accel")
    except PackageNotFoundError:
        return "unknown"
