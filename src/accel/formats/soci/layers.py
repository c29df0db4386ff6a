"""Which layers get a zTOC."""

import math
from dataclasses import dataclass
from typing import Literal

from accel.errors import UnsupportedError
from accel.formats.soci.names import SociType
from accel.formats.soci.options import SociOptions
from accel.oci import Descriptor, MediaType, is_foreign_layer, is_layer

Compression = Literal["gzip", "tar"]

# What SOCI's builder takes each media type for (containerd images.DiffCompression, soci buildSociLayer).
_BY_TYPE: dict[str, Compression] = {
    MediaType.OCI_LAYER: "tar",
    MediaType.OCI_LAYER_GZIP: "gzip",
    MediaType.OCI_FOREIGN_GZIP: "gzip",
    MediaType.DOCKER_LAYER: "tar",
    MediaType.DOCKER_FOREIGN: "tar",
    MediaType.DOCKER_LAYER_GZIP: "gzip",
    MediaType.DOCKER_FOREIGN_GZIP: "gzip",
}


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """``compression`` to scan the layer as, or None to leave it out, and then the ``reason``."""

    compression: Compression | None
    reason: str = ""


def choose_layer(layer: Descriptor, options: SociOptions, *, sniffed: str | None = None) -> LayerChoice:
    """Whether ``layer`` is to be indexed.

    ``sniffed`` is what its first bytes say ("gzip", "tar", "zstd", …); None: nobody looked, the media type counts.
    Raises UnsupportedError in identical mode for what makes SOCI refuse the whole image.
    """
    media_type = layer.media_type
    if media_type == SociType.PREFETCH:
        return LayerChoice(None, "a SOCI prefetch list, not a layer")
    if not is_layer(media_type):
        if options.identical:
            raise UnsupportedError(f"SOCI refuses images with a layer of type {media_type} ({layer.digest})")
        return LayerChoice(None, f"not a file system layer ({media_type})")
    reason = "" if options.identical else _left_alone(media_type)
    if not reason and layer.size < options.min_layer_bytes:
        reason = f"{layer.size} bytes, fewer than the minimum of {options.min_layer_bytes}"
    if reason:
        return LayerChoice(None, reason)
    told = _compression_of(media_type)
    if options.identical:
        return _as_soci(layer, told, sniffed)
    if sniffed is None and told is None:
        return LayerChoice(None, f"unsupported media type {media_type}")
    actual = told if sniffed is None else sniffed
    if actual == "gzip":
        return LayerChoice("gzip")
    if actual == "tar":
        return LayerChoice("tar")
    return LayerChoice(None, f"unsupported compression {actual}")


def _left_alone(media_type: str) -> str:
    """Why compatible mode does not look at layers of this type ("" if it does)."""
    if is_foreign_layer(media_type):
        return "a foreign layer, whose blob may live elsewhere"
    if "+encrypted" in media_type:
        return "encrypted"
    if "zstd" in media_type:
        return "unsupported compression zstd"
    return ""


def _compression_of(media_type: str) -> Compression | None:
    base, _, suffixes = media_type.partition("+")
    # Suffixes are sorted before the last one is looked at, so "+gzip+encrypted" counts as gzip.
    return _BY_TYPE.get(f"{base}+{max(suffixes.split('+'))}" if suffixes else base)


def _as_soci(layer: Descriptor, told: Compression | None, sniffed: str | None) -> LayerChoice:
    if told is None:
        return LayerChoice(None, f"SOCI skips layers of type {layer.media_type}")
    if sniffed is not None and sniffed != told:
        raise UnsupportedError(
            f"SOCI takes layer {layer.digest} for {told} by its type {layer.media_type} and fails, for it is {sniffed}"
        )
    return LayerChoice(told)


LARGE_LAYER_BYTES = 160 << 20


def gzip_span_bytes(comp_size: int, options: SociOptions) -> int:
    """Span size for a gzip layer of ``comp_size`` bytes.

    In compatible mode it grows with the square root of the size above 160 MiB. A reader fetches all checkpoints and
    then a few spans: that is least in sum when their number grows as their size does.
    """
    if options.identical or comp_size <= LARGE_LAYER_BYTES:
        return options.span_bytes
    return int(options.span_bytes * math.sqrt(comp_size / LARGE_LAYER_BYTES))


def tar_span_bytes(comp_size: int, options: SociOptions) -> int:
    """Span size for an uncompressed layer of ``comp_size`` bytes.

    SOCI's reader fails on a file that ends exactly where the last span does, so compatible mode avoids spans that
    divide the size evenly.
    """
    span_bytes = options.span_bytes
    if not options.identical:
        while comp_size % span_bytes == 0 and span_bytes <= comp_size:
            span_bytes += 512
    return span_bytes
