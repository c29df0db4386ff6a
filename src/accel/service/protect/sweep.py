"""Whether an accelerated tag has all it needs, asked of the registry with HEAD requests only where that will do."""

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from accel.errors import NotFoundError
from accel.images import load
from accel.registry.store import RegistryStore


@dataclass(frozen=True, slots=True)
class Problem:
    """``released``: the accelerated tag is gone or names something else, so nothing is needed any more."""

    kind: Literal["released", "source gone", "blob gone", "unknown"]
    words: str


def problem_of(store: RegistryStore, row: sa.RowMapping) -> Problem | None:
    """What is wrong with a dependency; None if nothing is."""
    if store.tag_digest(row["tag"]) != row["digest"]:
        return Problem("released", "the accelerated tag is gone or names another image")
    missing = _missing_blob(store, row["digest"])
    if missing:
        return Problem("blob gone", missing)
    now = store.tag_digest(row["source_tag"])
    if now is None:
        return Problem("source gone", f"the source tag {row['source_tag']} is gone")
    if now != row["source_digest"] and not store.has_manifest(row["source_digest"]):
        return Problem("source gone", f"the source {row['source_digest']} is gone")
    return None


def _missing_blob(store: RegistryStore, digest: str) -> str:
    """The first thing that the accelerated image lists and the registry has not; "" if all is there."""
    try:
        image = load(store, digest, keep_broken=True)
    except NotFoundError as error:
        return str(error)
    seen: set[str] = set()
    for child in image.walk():
        if child.kind in ("absent", "broken"):
            return f"manifest {child.descriptor.digest} is {child.kind}"
        if child.manifest is None:
            continue
        for blob in (child.manifest.config, *child.manifest.layers):
            if blob.digest in seen or blob.is_foreign:
                continue
            seen.add(blob.digest)
            if not store.has_blob(blob):
                return f"blob {blob.digest} is gone"
    return ""
