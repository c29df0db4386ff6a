"""SOCI: layers stay as they are; an index beside them lets a snapshotter fetch only the spans that files need.

::

    OCI index ──manifests──> image manifest ──layers──> layer blob
        │                        │ annotation com.amazon.soci.index-digest
        └──manifests──────> SOCI index ──layers──> zTOC of each indexed layer (annotation: the layer's digest)

:func:`choose_layer` says whether a layer is to be indexed, :func:`plan_toc` whether and how its entries fit a zTOC,
:func:`build_ztoc` makes it; :func:`soci_index` lists a platform's zTOCs, :func:`rewrite_image` puts the SOCI indexes
into the image.

Two modes throughout. *Compatible* (the default): what SOCI's snapshotter reads, with its builder's known faults
avoided; one layer that cannot be indexed is left out. *Identical*: the same bytes as SOCI's own tools, or
UnsupportedError.
"""

from accel.formats.soci.image import IndexedManifest, RewrittenImage, rewrite_image
from accel.formats.soci.index import SociIndex, soci_index, ztoc_descriptor
from accel.formats.soci.layers import LayerChoice, choose_layer, gzip_span_bytes, tar_span_bytes
from accel.formats.soci.names import (
    DEFAULT_MIN_LAYER_BYTES,
    DEFAULT_SPAN_BYTES,
    SOCI_TOOL,
    Annotation,
    SociType,
)
from accel.formats.soci.options import SociOptions
from accel.formats.soci.plan import TocPlan, build_ztoc, plan_toc
from accel.formats.soci.reuse import AcceleratedImage, accelerated_images, reusable_ztocs

__all__ = [
    "DEFAULT_MIN_LAYER_BYTES",
    "DEFAULT_SPAN_BYTES",
    "SOCI_TOOL",
    "AcceleratedImage",
    "Annotation",
    "IndexedManifest",
    "LayerChoice",
    "RewrittenImage",
    "SociIndex",
    "SociOptions",
    "SociType",
    "TocPlan",
    "accelerated_images",
    "build_ztoc",
    "choose_layer",
    "plan_toc",
    "reusable_ztocs",
    "rewrite_image",
    "soci_index",
    "gzip_span_bytes",
    "tar_span_bytes",
    "ztoc_descriptor",
]
