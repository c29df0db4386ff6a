"""Everything one pass over a layer learns: the format-neutral index that formats encode and readers use."""

from dataclasses import dataclass
from typing import Literal

from accel_core.checkpoints import Checkpoints
from accel_core.entries import EntryTable


@dataclass(frozen=True, slots=True)
class LayerIndex:
    """Random-access index of one layer blob.

    For ``gzip``, span i starts at checkpoint i and ends where span i + 1 starts (the last one at ``archive_size`` /
    ``comp_size``). For ``tar`` there are no checkpoints: span i is ``[i * span_bytes, (i + 1) * span_bytes)``.
    """

    compression: Literal["gzip", "tar"]
    comp_size: int                      # bytes of the stored blob
    uncomp_size: int                    # bytes it inflates to
    archive_size: int                   # tar bytes up to the end-of-archive mark, that included (SOCI §1.5)
    span_bytes: int                     # nominal span size asked for
    checkpoints: Checkpoints
    span_digests: tuple[str, ...]       # "sha256:…" over the compressed bytes of each span
    entries: EntryTable
    digest: str | None = None           # of the stored blob
    diff_id: str | None = None          # of the inflated bytes
    members: int = 1                    # gzip members (1 for tar)
    trailing_bytes: int = 0             # bytes after the last gzip member (zero padding or garbage)

    @property
    def n_spans(self) -> int:
        """Number of spans; equals ``len(span_digests)`` if digests were computed."""
        return len(self.checkpoints) if self.compression == "gzip" else -(-self.comp_size // self.span_bytes)

    def span_uncomp(self, i: int) -> tuple[int, int]:
        """Uncompressed range ``[start, end)`` of span ``i``."""
        if self.compression == "tar":
            return i * self.span_bytes, min((i + 1) * self.span_bytes, self.comp_size)
        end = self.checkpoints.uncomp_offset[i + 1] if i + 1 < self.n_spans else self.archive_size
        return self.checkpoints.uncomp_offset[i], end

    def span_comp(self, i: int) -> tuple[int, int]:
        """Compressed range ``[start, end)`` to fetch for span ``i``; neighbours may share one byte."""
        if self.compression == "tar":
            return self.span_uncomp(i)
        end = self.checkpoints.comp_offset[i + 1] if i + 1 < self.n_spans else self.comp_size
        return self.checkpoints.span_start(i), end
