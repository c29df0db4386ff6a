"""Which layers an image has to have made, and by which names their results are known."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from accel.convert.full.names import SOURCE_DIGEST, TOC_ANNOTATIONS, fingerprint
from accel.convert.full.run import full_plan
from accel.convert.options import FORMATS, INDEX_ONLY, SOCI, ConvertOptions
from accel.convert.parts.values import ImagePlan, PlannedLayer
from accel.convert.plan import Plan, make_plan
from accel.images import Image, load
from accel.oci import Descriptor, canonical_json
from accel.stores import ImageStore

_MANY_DIGITS = 16


def plan_image(store: ImageStore, selector: str, options: ConvertOptions) -> ImagePlan:
    """The plan for the image that ``selector`` names in ``store``. Raises as :func:`accel.images.load`."""
    image = load(store, selector)
    digest = image.top.descriptor.digest
    sizes = {layer.digest: layer.size for child in image.images() for layer in _layers(child.manifest)}
    comp_size = sum(sizes.values())
    if image.top.index is not None and SOURCE_DIGEST in image.top.index.annotations:
        return ImagePlan(digest, comp_size, (), "it is the result of a conversion")
    if not image.images(options.platforms):
        return ImagePlan(digest, comp_size, (), f"no image for {', '.join(map(str, options.platforms))}")
    plans = plans_of(image, options)
    layers: dict[str, PlannedLayer] = {}
    for output in options.formats:
        for job in plans[output].jobs:
            known = layers.get(job.descriptor.digest)
            keys = dict(known.keys) if known else {}
            keys[output] = layer_key(job.descriptor, output, options)
            layers[job.descriptor.digest] = PlannedLayer(job.descriptor, keys)
    ordered = sorted(layers.values(), key=lambda layer: -layer.descriptor.size)
    return ImagePlan(digest, comp_size, tuple(ordered), "" if layers else _why_nothing(plans.values()))


def layer_key(layer: Descriptor, output: str, options: ConvertOptions) -> str:
    """The name of what ``output`` is for ``layer``: the same name, the same bytes."""
    made_with = options.soci.fingerprint if output == SOCI else fingerprint(output, options)
    claims = {key: value for key, value in layer.annotations.items() if key in TOC_ANNOTATIONS}
    if output != SOCI and claims:  # it may be taken over as it is, with what it says about itself
        made_with += "-" + hashlib.sha256(canonical_json(claims)).hexdigest()[:_MANY_DIGITS]
    # With its size: an image that lies about that spoils no result for those that do not.
    return f"{layer.digest}/{layer.size}/{output}/{made_with}"


def plans_of(image: Image, options: ConvertOptions) -> dict[str, Plan]:
    """For each output, what its mode wants to do."""
    made = {
        mode: make_plan(image, options) if mode == INDEX_ONLY else full_plan(image, options)
        for mode in options.modes
    }
    return {output: made[mode_of(output)] for output in options.formats}


def mode_of(output: str) -> str:
    return next(mode for mode, outputs in FORMATS.items() if output in outputs)


def _layers(manifest: Any) -> Sequence[Descriptor]:
    return manifest.layers if manifest is not None else ()


def _why_nothing(plans: Iterable[Plan]) -> str:
    rows = [row for plan in plans for row in plan.decided]
    if any(row.state == "unsupported" for row in rows):
        reasons = sorted({row.reason for row in rows if row.state == "unsupported"})
        return "unsupported: " + "; ".join(reasons)
    reasons = sorted({row.reason for row in rows})
    return "no layer to work on" + (f": {'; '.join(reasons[:3])}" if reasons else "")
