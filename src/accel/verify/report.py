"""What a verification found."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One claim that does not hold: in which blob, about what (an offset, a path, a field), and how."""

    blob: str
    what: str


@dataclass(slots=True)
class VerifyReport:
    """All mismatches, and how much was checked. Lists at most :attr:`max_per_blob` of one blob, and counts the rest."""

    source: str
    digest: str
    n_manifests: int = 0
    n_layers: int = 0
    n_indexed_layers: int = 0
    n_lazy_layers: int = 0
    n_spans: int = 0
    n_chunks: int = 0
    n_entries: int = 0
    n_files: int = 0
    n_bytes: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    max_per_blob: int = 1000
    n_unlisted: int = 0
    _per_blob: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """True if every claim holds."""
        return not self.mismatches

    def mismatch(self, blob: str, what: str) -> None:
        """Add one."""
        # hostile archives could list millions; a thousand of one blob say enough
        count = self._per_blob[blob] = self._per_blob.get(blob, 0) + 1
        if count <= self.max_per_blob:
            self.mismatches.append(Mismatch(blob, what))
        else:
            self.n_unlisted += 1

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        data = asdict(self)
        del data["_per_blob"], data["max_per_blob"]
        return data | {"ok": self.ok}
