"""A conversion in parts, for those who keep what is done: a plan, each layer by itself, and the image put together.

::

    plan_image ──> layers, each with a key for every output ──> convert_layer, once for a key ──┐
                                                                                                v
                                        assemble: manifests of the very image that accel.convert makes, without a tag

An output is what one format makes of a layer: "soci", "estargz" or "zstd-chunked". The same key means the same bytes,
whatever image the layer is in. Results are plain values; their blobs are in a store when they are given out.
"""

from accel.convert.parts.image import assemble
from accel.convert.parts.layer import LayerWorkers, convert_layer, estimate
from accel.convert.parts.plan import layer_key, plan_image
from accel.convert.parts.values import Assembled, ImagePlan, LayerResult, MissingResult, PlannedLayer

__all__ = [
    "Assembled",
    "ImagePlan",
    "LayerResult",
    "LayerWorkers",
    "MissingResult",
    "PlannedLayer",
    "assemble",
    "convert_layer",
    "estimate",
    "layer_key",
    "plan_image",
]
