"""Layers that are what is wanted already, whoever made them: taken over as they are, without reading them whole."""

import logging

from accel.blobs import check_bytes
from accel.convert.full.image import NewLayer
from accel.convert.full.names import OPTIONS, PLAIN, SOURCE_DIGEST
from accel.convert.options import ESTARGZ, ConvertOptions
from accel.convert.report import OutputReport
from accel.errors import DigestMismatch, FormatError, LimitError, TruncatedError
from accel.formats.stargz import ESTARGZ_LAYER, ZSTD_LAYER, Annotation, Extent, lazy_readers
from accel.images.toc_layer import FoundToc, find_toc, has_toc
from accel.oci import Descriptor
from accel.stores import ImageStore

_log = logging.getLogger(__name__)

_FOR_STARGZ = (Annotation.TOC_DIGEST, Annotation.UNCOMP_SIZE)
_FOR_PODMAN = (Annotation.CHECKSUM, Annotation.POSITION, Annotation.TAR_SPLIT_POSITION)
_OURS = (SOURCE_DIGEST, OPTIONS, PLAIN)


def recognise(
    store: ImageStore, layer: Descriptor, format: str, options: ConvertOptions
) -> tuple[NewLayer, OutputReport] | None:
    """``layer`` with the annotations that belong to it in ``format``; None if it must be converted.

    Its table of contents is fetched and compared with them. Annotations for another reader go: with those for two of
    them on one layer, podman refuses the image.
    """
    if not has_toc(layer) or options.force or (format == ESTARGZ and options.prefetch):
        return None
    keys = _keys(format, options)
    if keys[0] not in layer.annotations:
        return None
    try:
        asked = Descriptor(
            layer.media_type, layer.digest, layer.size, annotations={keys[0]: layer.annotations[keys[0]]}
        )
        found = find_toc(store.blob(layer), asked)
        if found is None or not _is_format(found, format, options) or not _fits(store, layer, found, keys):
            return None
    except (FormatError, DigestMismatch, LimitError) as error:
        _log.info("layer %s is not the %s layer it claims to be: %s", layer.digest, format, error)
        return None
    kept = {key: value for key, value in layer.annotations.items() if key in (*keys, *_OURS)}
    media_type = ESTARGZ_LAYER if format == ESTARGZ else ZSTD_LAYER
    descriptor = Descriptor(media_type, layer.digest, layer.size, annotations=kept)
    report = OutputReport(format, "already converted", layer.digest, layer.size, lazy_readers(kept))
    return NewLayer(descriptor, None), report


def _keys(format: str, options: ConvertOptions) -> tuple[str, ...]:
    if format == ESTARGZ:
        return _FOR_STARGZ
    if not options.containerd_only:
        return _FOR_PODMAN
    return (*_FOR_STARGZ, Annotation.STARGZ_CHECKSUM, Annotation.STARGZ_POSITION)


def _is_format(found: FoundToc, format: str, options: ConvertOptions) -> bool:
    if format == ESTARGZ:
        may_share = options.min_chunk_bytes > 0
        return found.footer.kind == "gzip" and (may_share or not any(found.toc.chunks.inner_offset))
    return found.footer.kind == "zstd" or (found.footer.kind == "containers" and not options.containerd_only)


def _fits(store: ImageStore, layer: Descriptor, found: FoundToc, keys: tuple[str, ...]) -> bool:
    """Whether positions in annotations are those of the blob, and podman finds its tar-split there."""
    footer = found.footer
    if keys is not _FOR_PODMAN:
        return True
    if layer.annotations.get(Annotation.POSITION) != footer.toc_position:
        return False
    try:
        extent = Extent.parse(layer.annotations.get(Annotation.TAR_SPLIT_POSITION, ""))
        split = store.blob(layer).read_at(extent.comp_offset, extent.comp_size)
    except (ValueError, TruncatedError):
        return False
    if not found.toc.tar_split_digest:
        return False
    check_bytes(split, Descriptor("", found.toc.tar_split_digest, extent.comp_size))
    return True
