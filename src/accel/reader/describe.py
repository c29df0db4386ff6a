"""How an image is accelerated, as plain values for people and machines."""

from typing import Any

from accel.errors import DigestMismatch, FormatError, LimitError
from accel.formats.stargz import lazy_readers
from accel.images import Image, load
from accel.images.open import open_store
from accel.images.soci_lookup import FoundIndex, find_soci_index
from accel.images.toc_layer import find_toc, has_toc
from accel.oci import Descriptor, Reference
from accel.registry.options import RegistryOptions
from accel_core.layer_index import LayerIndex
from accel_core.ztoc import CHECKPOINT_BYTES, decode


def describe_ztoc(data: bytes, *, spans: bool = False) -> dict[str, Any]:
    """What the zTOC in ``data`` holds. Raises ``FormatError``."""
    index, version, tool = decode(data)
    return _index(index, len(data), spans=spans) | {"version": version, "tool": tool}


def describe_image(
    reference: Reference | str, *, spans: bool = False, registries: RegistryOptions | None = None
) -> dict[str, Any]:
    """The platforms of an image, their layers, and the index of each."""
    where = Reference.parse(reference) if isinstance(reference, str) else reference
    store = open_store(where, registries)
    try:
        image = load(store, where.selector)
        top = image.top.descriptor
        return {
            "reference": str(where),
            "digest": top.digest,
            "media_type": top.media_type,
            "annotations": dict(image.top.index.annotations) if image.top.index else {},
            "platforms": [_platform(image, number, spans=spans) for number in range(len(image.images()))],
            "others": [
                {
                    "digest": child.descriptor.digest,
                    "kind": child.kind,
                    "media_type": child.descriptor.media_type,
                }
                for child in image.walk()
                if child.kind not in ("image", "index")
            ],
        }
    finally:
        store.close()


def _platform(image: Image, number: int, *, spans: bool) -> dict[str, Any]:
    child = image.images()[number]
    assert child.manifest is not None
    soci = find_soci_index(image, child)
    return {
        "platform": str(child.platform or "unknown"),
        "digest": child.descriptor.digest,
        "soci_index": soci.soci.digest if soci else None,
        "soci_version": soci.soci.version if soci else None,
        "layers": [
            {
                "digest": layer.digest,
                "media_type": layer.media_type,
                "size": layer.size,
                "index": _layer_index(soci, layer.digest, spans=spans),
                "toc": _layer_toc(image, layer),
            }
            for layer in child.manifest.layers
        ],
    }


def _layer_index(soci: FoundIndex | None, layer_digest: str, *, spans: bool) -> dict[str, Any] | None:
    ztoc = soci.ztocs.get(layer_digest) if soci else None
    if soci is None or ztoc is None:
        return None
    return {"digest": ztoc.digest} | _index(soci.load(ztoc), ztoc.size, spans=spans)


def _layer_toc(image: Image, layer: Descriptor) -> dict[str, Any] | None:
    """What the layer's own table of contents holds, or why it cannot be used; None if it claims none."""
    if not has_toc(layer):
        return None
    try:
        found = find_toc(image.store.blob(layer), layer)
    except (FormatError, DigestMismatch, LimitError) as error:
        return {"problem": str(error)}
    assert found is not None
    return {
        "format": "estargz" if found.footer.is_gzip else "zstd-chunked",
        "lazy": list(lazy_readers(layer.annotations)),
        "digest": found.toc.digest,
        "comp_size": found.footer.toc_comp_size,
        "entries": len(found.toc.entries),
        "chunks": len(found.toc.chunks),
        "content_size": found.toc.content_size,
    }


def _index(index: LayerIndex, size: int, *, spans: bool) -> dict[str, Any]:
    checkpoint_bytes = len(index.checkpoints) * CHECKPOINT_BYTES
    described: dict[str, Any] = {
        "size": size,
        "compression": index.compression,
        "comp_size": index.comp_size,
        "archive_size": index.archive_size,
        "entries": len(index.entries),
        "n_spans": index.n_spans,
        "checkpoint_bytes": checkpoint_bytes,
        "toc_bytes": size - checkpoint_bytes,
    }
    if spans:
        described["spans"] = [
            {"comp": index.span_comp(i), "uncomp": index.span_uncomp(i), "digest": index.span_digests[i]}
            for i in range(index.n_spans)
        ]
    return described
