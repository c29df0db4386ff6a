"""Whether an accelerated tag has all it needs, asked of the registry with HEAD requests where that will do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from accel.oci import Descriptor, Index, parse_manifest
from accel.service.protect.inventory import Inventory, blobs_in_words
from accel.service.protect.kept import KeptManifest


@dataclass(frozen=True, slots=True)
class Problem:
    """``released``: the accelerated tag is gone or names something else, so nothing is needed any more."""

    kind: Literal["released", "source gone", "blob gone", "unreadable"]
    words: str


def problem_of(have: Inventory, row: sa.RowMapping, kept: Mapping[str, KeptManifest]) -> Problem | None:
    """What is wrong with a dependency whose source's manifests are ``kept``; None if nothing is.

    The source's own blobs count too: a result that was written anew (containerd-only) does not list them, and no
    manifest can be put back without them.
    """
    if have.store.tag_digest(row["tag"]) != row["digest"]:
        return Problem("released", "the accelerated tag is gone or names another image")
    missing = have.problem_of(row["digest"])
    if missing:
        return Problem("blob gone", missing)
    if have.store.tag_digest(row["source_tag"]) is None:
        return Problem("source gone", f"the source tag {row['source_tag']} is gone")
    gone = have.missing_manifests([row["source_digest"], *kept])
    if gone:
        return Problem("source gone", f"manifest {gone[0]} of the source is gone")
    missing = blobs_in_words(have.missing_blobs(_blobs(kept)), " of the source")
    return Problem("blob gone", missing) if missing else None


def _blobs(kept: Mapping[str, KeptManifest]) -> Iterator[Descriptor]:
    for one in kept.values():
        made = parse_manifest(one.raw, one.media_type)
        if not isinstance(made, Index):
            yield from (made.config, *made.layers)
