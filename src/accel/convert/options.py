"""What a conversion may be told."""

from dataclasses import dataclass, field
from typing import Literal

from accel.errors import ConfigError
from accel.formats.soci import DEFAULT_MIN_LAYER_BYTES, DEFAULT_SPAN_BYTES, SociOptions
from accel.oci import Platform
from accel_core import n_cpus

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Options of one conversion.

    ``platforms``: only these get an index, the others are kept as they are (empty: all). ``referrers`` additionally
    attaches a SOCI v1 index to each source image. ``digest_identical`` writes the bytes the reference tool writes, and
    fails where it fails. ``max_layer_bytes`` bounds what one layer may inflate to. ``threads`` work on all layers
    together, several of them on a large local one. ``force`` rebuilds what is there.
    """

    mode: Literal["index-only"] = "index-only"
    format: Literal["soci"] = "soci"
    span_bytes: int = DEFAULT_SPAN_BYTES
    min_layer_bytes: int = DEFAULT_MIN_LAYER_BYTES  # 10 MiB, as soci: smaller ones are soon fetched whole
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False
    digest_identical: bool = False
    threads: int = field(default_factory=n_cpus)
    max_layer_bytes: int = 64 << 30
    force: bool = False

    def __post_init__(self) -> None:
        if self.mode != "index-only" or self.format != "soci":
            raise ConfigError(
                f"mode {self.mode!r} with format {self.format!r} is not available (index-only, soci)"
            )
        if not 64 << 10 <= self.span_bytes <= 128 * MIB:
            raise ConfigError("span size must be between 64 KiB and 128 MiB")
        if self.min_layer_bytes < 0 or self.max_layer_bytes <= 0 or self.threads < 1:
            raise ConfigError("sizes must not be negative, threads must be at least 1")

    @property
    def soci(self) -> SociOptions:
        """The part of it that the format wants to know."""
        return SociOptions(
            identical=self.digest_identical, span_bytes=self.span_bytes, min_layer_bytes=self.min_layer_bytes
        )
