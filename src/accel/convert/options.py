"""What a conversion may be told."""

from dataclasses import dataclass, field

from accel.errors import ConfigError
from accel.formats.soci import DEFAULT_MIN_LAYER_BYTES, DEFAULT_SPAN_BYTES, SociOptions
from accel.members import BEST_LEVEL
from accel.oci import Platform
from accel_core import n_cpus

MIB = 1 << 20

INDEX_ONLY, FULL = "index-only", "full"
SOCI, ESTARGZ, ZSTD_CHUNKED = "soci", "estargz", "zstd-chunked"
FORMATS = {INDEX_ONLY: (SOCI,), FULL: (ESTARGZ, ZSTD_CHUNKED)}  # what each mode can make, in the order of the result

MAX_ZSTD_LEVEL = 22
_LEVELS = ("default", "best")
_BEST_ZSTD_LEVEL = 19
DEFAULT_MIN_CHUNK_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Options of one conversion.

    ``mode``: "index-only" leaves all layers as they are and makes an index; "full" writes every layer anew; both, with
    a comma between them. ``format``: what to make, by name with commas between them ("": all that the mode can).
    ``platforms``: only these are converted, the others are kept as they are (empty: all). ``max_layer_bytes`` bounds
    what one layer may inflate to. ``threads`` work on all layers together, several of them on a large local one.
    ``force`` makes again what is there.

    Index-only: ``referrers`` additionally attaches a SOCI v1 index to each source image. ``digest_identical`` writes
    the bytes the reference tool writes, and fails where it fails.

    Full: ``level`` is "default", "best" or a number; ``prefetch`` are paths of files that go to the front of their
    layer; ``containerd_only`` makes zstd:chunked for containerd's stargz-snapshotter, and nothing else. In eStargz,
    members that hold less than ``min_chunk_bytes`` of tar take the next file too, if that is smaller.
    """

    mode: str = INDEX_ONLY
    format: str = ""
    span_bytes: int = DEFAULT_SPAN_BYTES
    min_layer_bytes: int = DEFAULT_MIN_LAYER_BYTES  # 10 MiB, as soci: smaller ones are soon fetched whole
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False
    digest_identical: bool = False
    threads: int = field(default_factory=n_cpus)
    max_layer_bytes: int = 64 << 30
    force: bool = False
    level: str = "default"
    prefetch: tuple[bytes, ...] = ()
    containerd_only: bool = False
    min_chunk_bytes: int = DEFAULT_MIN_CHUNK_BYTES

    def __post_init__(self) -> None:
        self._check_formats()
        if not 64 << 10 <= self.span_bytes <= 128 * MIB:
            raise ConfigError("span size must be between 64 KiB and 128 MiB")
        if self.min_layer_bytes < 0 or self.max_layer_bytes <= 0 or self.threads < 1:
            raise ConfigError("sizes must not be negative, threads must be at least 1")
        if self.level not in _LEVELS and not (self.level.isdecimal() and 1 <= int(self.level) <= MAX_ZSTD_LEVEL):
            raise ConfigError(f"level {self.level!r} is neither default, best nor a number from 1 to {MAX_ZSTD_LEVEL}")
        if FULL not in self.modes and (self.prefetch or self.containerd_only or self.level != "default"):
            raise ConfigError("level, prefetch and containerd-only are about layers that are written: use mode full")
        if FULL in self.modes and (self.digest_identical or self.referrers):
            raise ConfigError("digest-identical and referrers are about an index alone: use mode index-only")
        is_sharing_asked_for = self.min_chunk_bytes not in (0, DEFAULT_MIN_CHUNK_BYTES)
        if (self.prefetch or is_sharing_asked_for) and ESTARGZ not in self.formats:
            raise ConfigError("prefetched files and members that files share have a place in estargz only")
        if not 0 <= self.min_chunk_bytes <= MIB:
            raise ConfigError("members that files share may be 1 MiB at most")

    def _check_formats(self) -> None:
        unknown = [mode for mode in self.modes if mode not in FORMATS]
        if unknown or not self.modes:
            raise ConfigError(f"no mode {self.mode!r} (there are {', '.join(FORMATS)}, or both)")
        able = [name for mode in self.modes for name in FORMATS[mode]]
        wrong = [name for name in _parts(self.format) if name not in able]
        if wrong:
            raise ConfigError(f"mode {self.mode} makes no format {wrong[0]!r} (it makes {', '.join(able)})")
        missing = [mode for mode in self.modes if not {*FORMATS[mode]} & {*self.formats}]
        if missing:
            raise ConfigError(f"format {self.format!r} leaves nothing to do for mode {missing[0]}")
        if self.containerd_only and ESTARGZ in _parts(self.format):
            raise ConfigError("containerd-only is zstd-chunked alone, without estargz")

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes asked for, each once."""
        return _parts(self.mode)

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats asked for, in the order of :data:`FORMATS`."""
        named = _parts(self.format)
        able = [name for mode in FORMATS if mode in self.modes for name in FORMATS[mode]]
        left_out = {ESTARGZ} if self.containerd_only else set()
        return tuple(name for name in able if name not in left_out and (not named or name in named))

    @property
    def gzip_level(self) -> int | None:
        """Level of the gzip members of eStargz; None: use what a gzip source's encoder found."""
        if self.level == "default":
            return None
        return BEST_LEVEL if self.level == "best" else min(int(self.level), BEST_LEVEL)

    @property
    def zstd_level(self) -> int | None:
        """Level of the frames of zstd:chunked; None: use what a gzip source's encoder found."""
        if self.level == "default":
            return None
        return _BEST_ZSTD_LEVEL if self.level == "best" else int(self.level)

    @property
    def soci(self) -> SociOptions:
        """The part of it that the format wants to know."""
        return SociOptions(
            identical=self.digest_identical, span_bytes=self.span_bytes, min_layer_bytes=self.min_layer_bytes
        )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in text.replace(" ", "").split(",") if part))
