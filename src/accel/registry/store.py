"""One repository of a registry as an :class:`accel.stores.ImageStore`."""

from collections.abc import Iterable
from urllib.parse import urlencode

from accel.blobs import Chunk
from accel.errors import ConfigError, RegistryError
from accel.oci import EMPTY_CONFIG, EMPTY_JSON, Descriptor, MediaType, Reference, canonical_json
from accel.registry.blobs import BlobReader, RemoteBlob
from accel.registry.client import RegistryClient, Repository
from accel.registry.errors import parse_json
from accel.registry.manifests import Manifests
from accel.registry.options import RegistryOptions
from accel.registry.paging import pages
from accel.registry.referrers import Referrers
from accel.registry.uploads import BlobWriter
from accel.stores import ImageStore, SpooledBlob


class RegistryStore:
    """The repository that ``reference`` names. Calls may come from several threads at once.

    Stores on the same registry should share a ``client`` (connections, tokens); who made it closes it. Without one,
    the store makes its own.
    """

    def __init__(
        self,
        reference: Reference | str,
        options: RegistryOptions | None = None,
        *,
        client: RegistryClient | None = None,
    ) -> None:
        where = Reference.parse(reference) if isinstance(reference, str) else reference
        if where.transport != "docker":
            raise ConfigError(f"{where} is not in a registry")
        self.reference = where
        self.name = where.location
        self._own_client = client is None
        self.client = client or RegistryClient(where.host, options or RegistryOptions())
        if self.client.host != where.host:
            raise ConfigError(f"{where} is not in the registry {self.client.host}")
        self.repository = Repository(self.client, where.repository)
        self._reader = BlobReader(self.repository)
        self._writer = BlobWriter(self.repository)
        self._manifests = Manifests(self.repository)
        self._referrers = Referrers(self.repository, self._manifests)

    @property
    def bytes_fetched(self) -> int:
        """Body bytes received so far: manifests, blobs and ranges, repeated ones counted again."""
        return self.repository.meter.n_bytes

    def get_manifest(self, ref: str) -> tuple[Descriptor, bytes]:
        """Descriptor and verified bytes of ``ref`` (tag or digest; "": what the store's own reference names)."""
        return self._manifests.get(ref or self.reference.selector)

    def tag_digest(self, tag: str) -> str | None:
        """The digest of the manifest or index that ``tag`` names now; None if there is no such tag."""
        return self._manifests.digest_of(tag)

    def blob(self, desc: Descriptor) -> RemoteBlob:
        """The blob; nothing is asked for before it is read."""
        return self._reader.blob(desc)

    def has_blob(self, desc: Descriptor) -> bool:
        return self._writer.has(desc)

    def has_manifest(self, digest: str) -> bool:
        """Also takes a tag."""
        return self._manifests.has(digest)

    def put_blob(self, desc: Descriptor, chunks: Iterable[Chunk]) -> None:
        """Store a blob. ``chunks`` that can be iterated again (a list, not a generator) survive a lost upload."""
        self._writer.put(desc, chunks)

    def stage_blob(self) -> SpooledBlob:
        """See :class:`accel.stores.ImageStore`: uploads need the size at the start, so it waits in a temporary file."""
        return SpooledBlob(self.put_blob)

    def mount_blob(self, desc: Descriptor, source: ImageStore) -> bool:
        if not isinstance(source, RegistryStore) or source.client.origin != self.client.origin:
            return False
        if source.repository.name == self.repository.name:
            return self._writer.has(desc)
        return self._writer.mount(desc, source.repository.name)

    def put_manifest(self, raw: bytes, media_type: str, *, tag: str | None = None) -> Descriptor:
        return self._manifests.put(raw, media_type, tag or None)

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest, and with it every tag on it. NotFoundError if it is not there."""
        self._manifests.delete(digest)

    def delete_tag(self, tag: str) -> None:
        """Remove a tag and leave what it names. Raises RegistryError where nothing can be deleted.

        Where tags cannot be deleted the tag is first moved to an artifact made for that, which is deleted with it.
        """
        if self._manifests.delete_tag(tag):
            return
        self.put_blob(EMPTY_CONFIG, [EMPTY_JSON])
        nothing = {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": EMPTY_CONFIG.to_json(),
            "layers": [EMPTY_CONFIG.to_json()],
            "annotations": {"dev.accel.deleted-tag": tag},
        }
        made = self.put_manifest(canonical_json(nothing), MediaType.OCI_MANIFEST, tag=tag)
        self.delete_manifest(made.digest)

    def referrers(self, digest: str, artifact_type: str | None = None) -> list[Descriptor]:
        return self._referrers.find(digest, artifact_type)

    def add_referrer(self, subject: Descriptor, referrer: Descriptor) -> None:
        self._referrers.add(subject, referrer)

    def tags(self) -> list[str]:
        """All tags of the repository, as the registry orders them. NotFoundError if there is no such repository."""
        what = "list of tags"
        response, raw = self.repository.document(f"tags/list?{urlencode({'n': 1000})}", what=what)
        found: list[str] = []
        for page, body in pages(self.repository, response, raw, what):
            value = parse_json(body, page.what)
            tags = (value.get("tags") or []) if isinstance(value, dict) else None
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise RegistryError(f"{page.what}: the answer is no list of tags")
            found += tags
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._reader.close()
        if self._own_client:
            self.client.close()
