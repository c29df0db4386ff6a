"""What is to be done: which images get an index, and which distinct layers must be scanned for that."""

from collections.abc import Callable
from dataclasses import dataclass, field

from accel.convert.options import ConvertOptions
from accel.convert.report import LayerReport
from accel.errors import NotFoundError
from accel.formats.soci import choose_layer
from accel.images import Child, Image
from accel.oci import Descriptor

FOREIGN = "foreign layer: its bytes need not be in any registry, left alone"


@dataclass(frozen=True, slots=True)
class LayerJob:
    """One distinct layer and the platforms that have it."""

    descriptor: Descriptor
    platforms: tuple[str, ...]

    def report(self, state: str, reason: str = "", **facts: object) -> LayerReport:
        """The report row of this layer."""
        layer = self.descriptor
        return LayerReport(layer.digest, layer.media_type, self.platforms, state, layer.size, reason, **facts)  # type: ignore[arg-type]


@dataclass(slots=True)
class Plan:
    """``targets`` are the images to index, ``jobs`` every distinct layer of theirs worth a look."""

    image: Image
    targets: list[Child]
    jobs: list[LayerJob] = field(default_factory=list)
    decided: list[LayerReport] = field(default_factory=list)
    order: list[str] = field(default_factory=list)  # digests of all layers as first met, for the report
    messages: list[str] = field(default_factory=list)


def make_plan(
    image: Image,
    options: ConvertOptions,
    *,
    reason_to_skip: Callable[[Descriptor, ConvertOptions], str] | None = None,
    leave_out: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for ``image``, without the manifests ``leave_out``.

    ``reason_to_skip`` says why a layer is not worth a look, "" if it is; by default, why it gets no zTOC. Raises
    ``NotFoundError`` if no platform asked for is there.
    """
    skip = reason_to_skip or reason_for_no_index
    targets = [child for child in image.images(options.platforms) if child.descriptor.digest not in leave_out]
    if not targets:
        have = ", ".join(str(child.platform) for child in image.images()) or "none"
        wanted = ", ".join(map(str, options.platforms))
        raise NotFoundError(f"{image.store.name}: no image for {wanted or 'any platform'} (there is: {have})")
    plan = Plan(image, targets)
    for child in image.walk():
        if child.kind == "absent":
            which = f"manifest {child.descriptor.digest} ({child.platform or 'no platform'})"
            plan.messages.append(f"{which} is listed but not there: kept as it is")
    for digest, (layer, platforms) in _distinct_layers(targets).items():
        job = LayerJob(layer, tuple(platforms))
        plan.order.append(digest)
        reason = skip(layer, options)
        if reason:
            plan.decided.append(job.report("unsupported" if _is_unsupported(layer) else "skipped", reason))
            if reason == FOREIGN:
                plan.messages.append(f"layer {digest}: {reason}")
        else:
            plan.jobs.append(job)
    plan.jobs.sort(
        key=lambda job: -job.descriptor.size
    )  # the longest first, so that no thread ends up alone with it
    return plan


def _distinct_layers(targets: list[Child]) -> dict[str, tuple[Descriptor, list[str]]]:
    layers: dict[str, tuple[Descriptor, list[str]]] = {}
    for child in targets:
        assert child.manifest is not None
        for layer in child.manifest.layers:
            _, platforms = layers.setdefault(layer.digest, (layer, []))
            platform = str(child.platform or "unknown")
            if platform not in platforms:
                platforms.append(platform)
    return layers


def _is_unsupported(layer: Descriptor) -> bool:
    """Whether the media type alone says that no index is possible, whatever the size."""
    return "zstd" in layer.media_type or "encrypted" in layer.media_type


def reason_for_no_index(layer: Descriptor, options: ConvertOptions) -> str:
    """Why the descriptor of a layer alone says that it gets no zTOC; "" if its bytes must say."""
    if layer.is_foreign:
        return FOREIGN
    # Media types lie, so in our own mode the first bytes decide later; the reference tool looks at nothing else.
    return choose_layer(layer, options.soci, sniffed=None if options.digest_identical else "gzip").reason
