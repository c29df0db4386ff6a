"""What a conversion did, layer by layer."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

LayerState = Literal[
    "indexed", "already indexed", "converted", "already converted", "skipped", "unsupported", "failed"
]
OutputState = Literal["converted", "plain", "already converted", "kept"]


@dataclass(frozen=True, slots=True)
class OutputReport:
    """What a layer became in one format.

    ``plain``: written, but without the annotations that make readers load it lazily, or taken as it was for the same
    reason. ``kept``: the source's layer, in whatever format. ``lazy`` names the readers that load it lazily; if there
    are none, ``reason`` says why. ``digest`` and ``size`` are those of the blob.
    """

    format: str
    state: OutputState
    digest: str
    size: int
    lazy: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "OutputReport":
        """From what :meth:`LayerReport.to_json` has in ``outputs``."""
        return cls(**{**data, "lazy": tuple(data["lazy"])})


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One distinct layer. Sizes in bytes; None where this run had no need to find out.

    ``index_size`` is the zTOC's, made of ``checkpoint_bytes`` and ``toc_bytes`` (the table of contents and the rest).
    ``outputs`` has an item for each format that the layer was to be written in.
    """

    digest: str
    media_type: str
    platforms: tuple[str, ...]
    state: LayerState
    comp_size: int
    reason: str = ""
    entries: int | None = None
    uncomp_size: int | None = None
    index_size: int | None = None
    checkpoint_bytes: int | None = None
    checkpoints: int | None = None
    seconds: float | None = None
    outputs: tuple[OutputReport, ...] = ()

    @property
    def toc_bytes(self) -> int | None:
        """The part of the index that is not checkpoints."""
        if self.index_size is None or self.checkpoint_bytes is None:
            return None
        return self.index_size - self.checkpoint_bytes

    @property
    def mb_per_s(self) -> float | None:
        """10^6 uncompressed bytes per second, reading the layer included."""
        if not self.uncomp_size or not self.seconds:
            return None
        return self.uncomp_size / self.seconds / 1e6

    @property
    def usable(self) -> bool:
        """True if the result has an index for this layer, or the layer in another format."""
        return self.state in ("indexed", "already indexed", "converted", "already converted")

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["platforms"] = list(self.platforms)
        data["outputs"] = [asdict(output) | {"lazy": list(output.lazy)} for output in self.outputs]
        return data | {"toc_bytes": self.toc_bytes, "mb_per_s": self.mb_per_s}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "LayerReport":
        """From what :meth:`to_json` gave."""
        own = {field.name: data[field.name] for field in fields(cls)}
        outputs = tuple(OutputReport.from_json(output) for output in data["outputs"])
        return cls(**{**own, "platforms": tuple(data["platforms"]), "outputs": outputs})


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """The outcome of a conversion.

    ``digest`` is the result's, None if there was nothing to index (then nothing was written). ``changed`` is false
    when everything was there already. ``messages`` are warnings for people, one line each.
    """

    source: str
    source_digest: str
    reference: str
    digest: str | None
    changed: bool
    layers: tuple[LayerReport, ...]
    referrers: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    seconds: float = 0.0
    index_only: "ConvertReport | None" = None  # of the index made beside a full conversion

    @property
    def nothing_to_index(self) -> bool:
        return self.digest is None

    def count(self, state: LayerState) -> int:
        """Layers in ``state``."""
        return sum(layer.state == state for layer in self.layers)

    @property
    def totals(self) -> dict[str, int]:
        """Sums over the layers that have an index now."""
        usable = [layer for layer in self.layers if layer.usable]
        return {
            "layers": len(self.layers),
            "usable": len(usable),
            "comp_size": sum(layer.comp_size for layer in usable),
            "uncomp_size": sum(layer.uncomp_size or 0 for layer in usable),
            "index_size": sum(layer.index_size or 0 for layer in usable),
            "entries": sum(layer.entries or 0 for layer in usable),
            "lazy": sum(any(output.lazy for output in layer.outputs) for layer in usable),
        }

    @property
    def output_sizes(self) -> dict[str, int]:
        """Bytes of all layers in each format that they were written in."""
        sizes: dict[str, int] = {}
        for layer in self.layers:
            for output in layer.outputs:
                sizes[output.format] = sizes.get(output.format, 0) + output.size
        return sizes

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; the layout is part of the documented interface."""
        return {
            "source": self.source,
            "source_digest": self.source_digest,
            "reference": self.reference,
            "digest": self.digest,
            "changed": self.changed,
            "referrers": list(self.referrers),
            "layers": [layer.to_json() for layer in self.layers],
            "totals": self.totals,
            "output_sizes": self.output_sizes,
            "messages": list(self.messages),
            "seconds": self.seconds,
            "index_only": self.index_only.to_json() if self.index_only else None,
        }
