"""What the parts of a conversion hand to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from accel.convert.report import ConvertReport, LayerReport, OutputReport
from accel.errors import NotFoundError
from accel.oci import Descriptor, MediaType

Json = dict[str, Any]


class MissingResult(NotFoundError):
    """Results whose blobs are in no store any more: ``keys`` must be made again."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"{len(keys)} results of layers are lost, the first is {keys[0]}")
        self.keys = tuple(keys)


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A distinct layer, and the key of each output that is wanted of it."""

    descriptor: Descriptor
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What there is to do for an image. ``reason``: why there is nothing; ``comp_size`` sums its distinct layers."""

    source_digest: str
    comp_size: int
    layers: tuple[PlannedLayer, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One output of a layer; without one ``blob`` is None, and ``row`` says why. ``diff_id`` is as in NewLayer."""

    row: LayerReport
    blob: Descriptor | None = None
    diff_id: str | None = None
    report: OutputReport | None = None

    def to_json(self) -> Json:
        """Plain values for :meth:`from_json`."""
        return {
            "row": self.row.to_json(),
            "blob": self.blob.to_json() if self.blob else None,
            "diff_id": self.diff_id,
            "report": asdict(self.report) if self.report else None,
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        return cls(
            LayerReport.from_json(data["row"]),
            Descriptor.from_json(data["blob"]) if data["blob"] else None,
            data["diff_id"],
            OutputReport.from_json(data["report"]) if data["report"] else None,
        )


@dataclass(frozen=True, slots=True)
class Assembled:
    """The image of one mode: its index, which is there by digest and waits for a tag. None: nothing came of it."""

    raw: bytes | None = field(repr=False)
    report: ConvertReport

    @property
    def descriptor(self) -> Descriptor | None:
        return Descriptor.of(self.raw, MediaType.OCI_INDEX) if self.raw is not None else None
