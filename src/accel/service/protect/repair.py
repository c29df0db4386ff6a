"""Putting a deleted source back, digest for digest."""

from collections.abc import Mapping

import sqlalchemy as sa

from accel.errors import NotFoundError
from accel.oci import Index, parse_manifest
from accel.registry.store import RegistryStore
from accel.service.protect.kept import KeptManifest


def put_back(store: RegistryStore, row: sa.RowMapping, kept: Mapping[str, KeptManifest]) -> None:
    """The source of a dependency from its ``kept`` manifests, under its tag.

    Does nothing to a tag that names something else by now. Raises RegistryError (MissingBlobsError) if blobs are
    gone, NotFoundError if the manifests were never kept.
    """
    source = row["source_digest"]
    if source not in kept:
        raise NotFoundError(f"the manifests of {source} were not kept")
    _put_children(store, source, kept)
    top = kept[source]
    tag = row["source_tag"] if store.tag_digest(row["source_tag"]) is None else None
    store.put_manifest(top.raw, top.media_type, tag=tag)
    if row["keep_tag"]:
        store.put_manifest(top.raw, top.media_type, tag=row["keep_tag"])


def _put_children(store: RegistryStore, digest: str, kept: Mapping[str, KeptManifest]) -> None:
    """What an index lists, before it: a registry refuses an index whose manifests are not there."""
    made = parse_manifest(kept[digest].raw, kept[digest].media_type)
    for child in made.manifests if isinstance(made, Index) else ():
        if child.digest in kept and not store.has_manifest(child.digest):
            _put_children(store, child.digest, kept)
            store.put_manifest(kept[child.digest].raw, kept[child.digest].media_type)
