"""Putting a deleted source back: its manifests, the index last, and then its tag."""

from collections.abc import Callable

import sqlalchemy as sa

from accel.errors import NotFoundError
from accel.oci import INDEX_TYPES
from accel.registry.store import RegistryStore
from accel.service.database import Database, kept_manifests


class Repair:
    """Puts sources back from the manifests that were kept."""

    def __init__(self, database: Database, store_of: Callable[[str, str], RegistryStore]) -> None:
        self._database = database
        self._store_of = store_of

    def put_back(self, store: RegistryStore, row: sa.RowMapping) -> None:
        """The source of a dependency, under its tag, digest for digest.

        Does nothing to a tag that names something else by now. Raises RegistryError (MissingBlobsError) if blobs are
        gone, NotFoundError if the manifests were never kept.
        """
        kept = self._kept(row)
        # Manifests before the index that lists them: a registry refuses an index whose children are not there.
        for one in sorted(kept, key=lambda one: (one["media_type"] in INDEX_TYPES, one["digest"])):
            if one["digest"] != row["source_digest"]:
                store.put_manifest(bytes(one["raw"]), one["media_type"])
        top = next((one for one in kept if one["digest"] == row["source_digest"]), None)
        if top is None:
            raise NotFoundError(f"the manifests of {row['source_digest']} were not kept")
        tag = row["source_tag"] if store.tag_digest(row["source_tag"]) is None else None
        store.put_manifest(bytes(top["raw"]), top["media_type"], tag=tag)
        if row["keep_tag"]:
            store.put_manifest(bytes(top["raw"]), top["media_type"], tag=row["keep_tag"])

    def _kept(self, row: sa.RowMapping) -> list[sa.RowMapping]:
        query = sa.select(kept_manifests).where(
            kept_manifests.c.registry == row["registry"],
            kept_manifests.c.repository == row["repository"],
            kept_manifests.c.source_digest == row["source_digest"],
        )
        with self._database.read() as connection:
            return list(connection.execute(query).mappings())
